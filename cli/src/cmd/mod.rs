//! The verbs, one file each.

mod check;
mod fetch;

use crate::args::Command;
use crate::exit::{Exit, Failure};

/// Runs the verb of the command line.
pub(crate) fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Check(args) => check::run(&args),
        Command::Fetch(args) => fetch::run(&args),
    }
}
