//! `deepthin import`: prints the description of the model that a GGUF file holds.

use deepthin::catalog;
use deepthin::import::Imported;

use super::input;
use crate::args::ImportArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;

/// Prints a description that `check` accepts; what it leaves out follows as comments.
pub(crate) fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let entry = args.file.to_str().and_then(catalog::find);
    let imported = match entry {
        Some(entry) => Imported::read(&input::fetched(entry)?)?,
        None => Imported::read(&args.file)?,
    };
    Stdout::new().bytes(imported.text().as_bytes())?;
    Ok(Exit::Success)
}
