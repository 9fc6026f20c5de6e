//! `deepthin completions`: prints what makes a shell complete verbs and flags.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::exit::{Exit, Failure};
use crate::output::Stdout;

/// Prints the script of one shell.
pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "deepthin", &mut script);
    Stdout::new().bytes(&script)?;
    Ok(Exit::Success)
}
