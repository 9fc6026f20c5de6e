//! `deepthin fmt`: lays descriptions out in canonical form.

use std::path::Path;

use deepthin::file;

use crate::args::language::FmtArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;

use super::input;

/// Rewrites every file that is not canonical, whatever became of those before it; ends with the
/// code of the first that failed.
pub(crate) fn run(args: &FmtArgs) -> Result<Exit, Failure> {
    let mut exit = Exit::Success;
    for path in &args.files {
        let verdict = match format(path, args) {
            Ok(verdict) => verdict,
            // Nobody reads what else there is to say.
            Err(Failure::ClosedPipe) => return Err(Failure::ClosedPipe),
            Err(failure) => failure.report(),
        };
        if exit == Exit::Success {
            exit = verdict;
        }
    }
    Ok(exit)
}

/// Lays one description out.
fn format(path: &Path, args: &FmtArgs) -> Result<Exit, Failure> {
    let (name, text) = input::description(path)?;
    let canonical = deepthin_dsl::format_bytes(&text, &name)
        .map_err(|diagnostics| Failure::Description { exit: Exit::BadData, diagnostics })?;
    let is_canonical = canonical.as_bytes() == text;
    if args.check {
        if is_canonical {
            return Ok(Exit::Success);
        }
        Stdout::new().line(format_args!("{name}"))?;
        return Ok(Exit::CheckFailed);
    }
    if args.stdout || path.as_os_str() == "-" {
        Stdout::new().bytes(canonical.as_bytes())?;
    } else if !is_canonical {
        file::rewrite(path, canonical.as_bytes())?;
    }
    Ok(Exit::Success)
}
