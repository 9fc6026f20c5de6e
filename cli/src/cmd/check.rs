//! `deepthin check`: reads descriptions and tells everything that is wrong with them.

use std::path::Path;

use deepthin::source;
use deepthin_dsl::Diagnostic;
use serde::Serialize;

use crate::args::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;

/// A diagnostic as JSON has it, with the keys in this order.
#[derive(Serialize)]
struct Answer<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    code: String,
    message: &'a str,
    help: Option<&'a str>,
}

/// Checks every file, whatever became of those before it; ends with the code of the first that
/// failed.
pub(crate) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let mut stdout = Stdout::new();
    let mut exit = Exit::Success;
    for path in &args.files {
        let verdict = match source::read_description(path) {
            Ok(text) => check(path, &text, args.json, &mut stdout)?,
            Err(error) => Failure::from(error).report(),
        };
        if exit == Exit::Success {
            exit = verdict;
        }
    }
    Ok(exit)
}

/// Checks one description: a line on stdout if it is right, its diagnostics on stderr if not.
/// With `json` the diagnostics are the data, and a right description says nothing.
fn check(path: &Path, text: &[u8], json: bool, stdout: &mut Stdout) -> Result<Exit, Failure> {
    let file = path.display().to_string();
    match deepthin_dsl::parse_bytes(text, &file) {
        Ok(_) if json => Ok(Exit::Success),
        Ok(models) => {
            let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
            stdout.line(format_args!("{file}: ok ({})", names.join(", ")))?;
            Ok(Exit::Success)
        }
        Err(diagnostics) if json => {
            diagnostics.iter().try_for_each(|diagnostic| stdout.json(&answer(diagnostic)))?;
            Ok(Exit::CheckFailed)
        }
        Err(diagnostics) => {
            Ok(Failure::Description { exit: Exit::CheckFailed, diagnostics }.report())
        }
    }
}

fn answer(diagnostic: &Diagnostic) -> Answer<'_> {
    Answer {
        file: &diagnostic.file,
        line: diagnostic.line,
        column: diagnostic.col,
        code: diagnostic.code.to_string(),
        message: &diagnostic.message,
        help: diagnostic.hint.as_deref(),
    }
}
