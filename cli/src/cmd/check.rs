//! `deepthin check`: reads descriptions and tells everything that is wrong with them.

use deepthin::source::{ModelName, SourceError};
use deepthin_dsl::Diagnostic;
use serde::Serialize;

use crate::answers::{Answer, Answers};
use crate::args::language::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;
use crate::table::{Align, Column};

use super::input;

/// A diagnostic as JSON has it, with the keys in this order.
#[derive(Serialize)]
struct Finding {
    file: String,
    line: usize,
    column: usize,
    code: String,
    message: String,
    help: Option<String>,
}

/// Checks every file, whatever became of those before it; ends with the code of the first that
/// failed. In a form for programs the diagnostics are the output, and a right description says
/// nothing.
pub(crate) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let mut findings = args.output.form().map(Answers::<Finding>::new);
    let mut exit = Exit::Success;
    let mut any_checked = false;
    for file in &args.files {
        let answer = check(file);
        any_checked |= matches!(answer, Ok(_) | Err(Failure::Description { .. }));
        let verdict = match (answer, &mut findings) {
            (Ok(names), None) => {
                Stdout::new().line(format_args!("{names}"))?;
                Exit::Success
            }
            (Ok(_), Some(_)) => Exit::Success,
            (Err(Failure::Description { exit, diagnostics }), Some(findings)) => {
                let mut diagnostics = diagnostics.into_iter();
                diagnostics.try_for_each(|diagnostic| findings.push(&diagnostic.into()))?;
                exit
            }
            (Err(failure), _) => failure.report(),
        };
        if exit == Exit::Success {
            exit = verdict;
        }
    }
    // Where nothing was checked an empty list would say that nothing is wrong.
    findings.filter(|_| any_checked).map_or(Ok(()), Answers::finish)?;
    Ok(exit)
}

/// Checks one description, and that it holds the model that is asked for: the line to tell.
fn check(file: &str) -> Result<String, Failure> {
    let (path, wanted) = ModelName::split(file);
    let (file, text) = input::description(path)?;
    let models = deepthin_dsl::parse_bytes(&text, &file)
        .map_err(|diagnostics| Failure::Description { exit: Exit::CheckFailed, diagnostics })?;
    let names: Vec<String> = models.into_iter().map(|model| model.name).collect();
    match wanted {
        None => Ok(format!("{file}: ok ({})", names.join(", "))),
        Some(wanted) if names.iter().any(|name| name == wanted) => {
            Ok(format!("{file}: ok ({wanted})"))
        }
        Some(wanted) => {
            let (path, name) = (path.to_path_buf(), wanted.to_owned());
            Err(SourceError::NoSuchModel { path, name, names }.into())
        }
    }
}

impl From<Diagnostic> for Finding {
    fn from(diagnostic: Diagnostic) -> Finding {
        let Diagnostic { file, line, col, code, message, hint, .. } = diagnostic;
        Finding { file, line, column: col, code: code.to_string(), message, help: hint }
    }
}

impl Answer for Finding {
    const COLUMNS: &'static [Column] = &[
        ("file", Align::Left),
        ("line", Align::Right),
        ("column", Align::Right),
        ("code", Align::Left),
        ("message", Align::Left),
        ("help", Align::Left),
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let Finding { file, line, column, code, message, help } = self;
        let (line, column) = (line.to_string(), column.to_string());
        let help = help.clone().unwrap_or_default();
        vec![vec![file.clone(), line, column, code.clone(), message.clone(), help]]
    }
}
