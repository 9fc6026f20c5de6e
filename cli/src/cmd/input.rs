//! What verbs work on: the model and the text that the command line names.

use std::path::Path;

use deepthin::engine::{Engine, RunOptions};
use deepthin::file;
use deepthin::source::{ModelName, Source};

use crate::args::model::SourceArgs;
use crate::args::text::TextArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::output::{self, FetchProgress};

/// Most bytes of a text.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Finds a model and its weights. A catalog model that is not there yet is fetched, which Ctrl-C
/// stops cleanly.
pub(crate) fn source(args: &SourceArgs, interrupt: &Interrupt) -> Result<Source, Failure> {
    let name = ModelName::parse(&args.model)?;
    let mut progress = FetchProgress::new(interrupt.clone());
    Ok(Source::open(&name, &args.weights(), &mut progress)?)
}

/// Finds a model for a verb during which Ctrl-C ends the process at once.
pub(crate) fn source_for_short(args: &SourceArgs) -> Result<Source, Failure> {
    let interrupt = Interrupt::watch()?;
    let source = source(args, &interrupt)?;
    interrupt.stop_watching();
    Ok(source)
}

/// Compiles a model and packs its weights; tells what the user should know about it.
pub(crate) fn engine(source: Source, options: &RunOptions) -> Result<Engine, Failure> {
    let engine = Engine::new(source, options)?;
    notes(engine.notices());
    Ok(engine)
}

/// Tells what the user should know.
pub(crate) fn notes(notices: &[String]) {
    for notice in notices {
        output::note(format_args!("{notice}"));
    }
}

/// The bytes of the text that a verb reads, as they are.
pub(crate) fn text(args: &TextArgs) -> Result<Vec<u8>, Failure> {
    match (&args.prompt, &args.file) {
        (_, Some(file)) => text_file(file),
        (prompt, None) => Ok(prompt.clone().unwrap_or_default().into_bytes()),
    }
}

/// The bytes of a text file.
pub(crate) fn text_file(path: &Path) -> Result<Vec<u8>, Failure> {
    Ok(file::read(path, "a text", MAX_TEXT_BYTES)?)
}
