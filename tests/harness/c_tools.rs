//! Finds the C compilers and the emulator that some tests need.

use std::env;
use std::path::Path;
use std::process::Command;

/// What installs all of them on Debian and its relatives; `.ci/run` does it.
pub const INSTALL: &str = "apt-get install gcc g++ libc6-dev gcc-aarch64-linux-gnu \
                           libc6-dev-arm64-cross qemu-user-static";

/// The C compiler of this machine.
pub const CC: &str = "cc";
/// The C++ compiler of this machine.
pub const CXX: &str = "c++";

/// Whether all these programs are there; a line on stderr says which is not.
///
/// # Panics
/// If one is missing and the environment says `CI=true`: there no test may be left out.
pub fn have(programs: &[&str]) -> bool {
    let missing: Vec<&str> =
        programs.iter().copied().filter(|program| !is_there(program)).collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    assert!(
        env::var_os("CI").is_none_or(|value| value != "true"),
        "no {missing}: install with `{INSTALL}`"
    );
    eprintln!("a test is left out, for there is no {missing}: install with `{INSTALL}`");
    false
}

/// Whether a program is a file, or in a directory of `PATH`.
fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    Path::new(program).is_file()
        || env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Runs a command that must go well; what it wrote to stdout.
///
/// # Panics
/// With what it wrote to stderr, where it fails.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{told}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
