//! Builds and runs the `deepthin` program.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::project;

/// A command that runs the program, built from the sources as they are now.
pub fn deepthin() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(PROGRAM.get_or_init(build));
    command.stdin(Stdio::null());
    command
}

/// How a run of the program ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ended {
    /// What it wrote to stderr, without the lines that only a slow machine is shown.
    pub fn messages(&self) -> String {
        let progress = ["deepthin: preparing weights, ", "deepthin: writing weights, "];
        let is_progress = |line: &&str| progress.iter().any(|start| line.starts_with(start));
        self.stderr.split_inclusive('\n').filter(|line| !is_progress(line)).collect()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs the command to its end.
///
/// # Panics
/// If it cannot be started.
pub fn run(command: &mut Command) -> Ended {
    command.output().expect("the program can be started").into()
}

/// Builds the program in the profile of the running tests, and returns its path.
///
/// Cargo builds the binaries of a package for that package's own tests only, so that the tests of
/// another would find an old program, or none. With all packages selected Cargo unifies features
/// as it did for the tests, and the dependencies are not compiled a second time.
fn build() -> PathBuf {
    let tests = env::current_exe().expect("the path of a running test is known");
    // target/PROFILE/deps/suites-HASH
    let folder = tests.parent().and_then(Path::parent).expect("tests lie two folders down");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    };
    let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile])
        .current_dir(project::root())
        .status()
        .expect("cargo can be started");
    assert!(built.success(), "the program does not build");
    folder.join(format!("deepthin{}", env::consts::EXE_SUFFIX))
}
