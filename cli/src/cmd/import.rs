//! `deepthin import`: prints the description of the model that a GGUF file holds.

use deepthin::import::Imported;

use crate::args::ImportArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;

/// Prints a description that `check` accepts; what it leaves out follows as comments.
pub(crate) fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let imported = Imported::read(&args.file)?;
    Stdout::new().bytes(imported.text().as_bytes())?;
    Ok(Exit::Success)
}
