//! A test in a process of its own, where no other test runs beside it: for what a whole process
//! has (its mappings, its end).

use std::env;
use std::process::{Command, Output};

/// The variable that tells the process what to do.
const ROLE: &str = "DEEPTHIN_TEST_ROLE";

/// What this process was started for by [`run`], if it was.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Runs one test, named by its path in the suites, in a new process with a role.
///
/// # Panics
/// If no process can be had.
pub fn run(test: &str, role: &str) -> Output {
    let suites = env::current_exe().expect("the path of this program");
    let mut process = Command::new(suites);
    process.args(["--exact", test, "--nocapture"]).env(ROLE, role);
    process.output().expect("a process")
}
