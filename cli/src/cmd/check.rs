//! `deepthin check`: reads descriptions and tells everything that is wrong with them.

use std::path::Path;

use deepthin_dsl::{MAX_SOURCE_BYTES, Model};

use crate::args::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::input;
use crate::output::{self, Stdout};

/// Checks every file, whatever became of those before it; ends with the code of the first that
/// failed.
pub(crate) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let mut stdout = Stdout::new();
    let mut exit = Exit::Success;
    for path in &args.files {
        let verdict = match input::read(path, "a description", MAX_SOURCE_BYTES as u64) {
            Ok(text) => check(path, &text, &mut stdout)?,
            Err(failure) => failure.report(),
        };
        if exit == Exit::Success {
            exit = verdict;
        }
    }
    Ok(exit)
}

/// Checks one description: a line on stdout if it is right, its diagnostics on stderr if not.
fn check(path: &Path, text: &[u8], stdout: &mut Stdout) -> Result<Exit, Failure> {
    let name = path.display().to_string();
    match deepthin_dsl::parse_bytes(text, &name) {
        Ok(models) => {
            let names: Vec<&str> = models.iter().map(model_name).collect();
            stdout.line(format_args!("{name}: ok ({})", names.join(", ")))?;
            Ok(Exit::Success)
        }
        Err(diagnostics) => {
            for diagnostic in &diagnostics {
                output::log(format_args!("deepthin: {diagnostic}"));
            }
            let count = diagnostics.len();
            let errors = if count == 1 { "error" } else { "errors" };
            output::log(format_args!("deepthin: error: {name}: {count} {errors}"));
            Ok(Exit::BadData)
        }
    }
}

/// The name that a model has in its file.
fn model_name(model: &Model) -> &str {
    &model.name
}
