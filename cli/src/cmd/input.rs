//! What verbs work on: the model and the text that the command line names.

use std::path::{Path, PathBuf};

use deepthin::catalog::CatalogModel;
use deepthin::engine::{self, Engine, RunOptions};
use deepthin::fetch;
use deepthin::file::{self, FileError};
use deepthin::source::{self, ModelName, Source, Weights};
use deepthin_compiler::pipeline::Lowered;
use deepthin_dsl::MAX_SOURCE_BYTES;
use deepthin_runtime::mapping;
use deepthin_runtime::memory::Region;
use deepthin_runtime::session::Constants;
use deepthin_runtime::shown::Shown;

use crate::args::model::SourceArgs;
use crate::args::text::TextArgs;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::{self, FetchProgress, PackProgress};

/// Most bytes of a text.
const MAX_TEXT_BYTES: u64 = 32 << 20;

/// Finds a model and its weights. A catalog model that is not there yet is fetched, which Ctrl-C
/// stops cleanly.
pub(crate) fn source(args: &SourceArgs, interrupt: &Interrupt) -> Result<Source, Failure> {
    let name = ModelName::parse(&args.model)?;
    let mut progress = FetchProgress::new(interrupt.clone());
    let source = Source::open(&name, &args.weights(), &mut progress)?;
    if let Weights::Packed(_) = source.weights {
        mapping::exit_where_pages_are_lost(Exit::Io as i32).map_err(|error| {
            Failure::new(Exit::Io, format!("cannot watch for signals: {error}"))
        })?;
    }
    Ok(source)
}

/// Finds a model for a verb during which Ctrl-C ends the process at once.
pub(crate) fn source_for_short(args: &SourceArgs) -> Result<Source, Failure> {
    let interrupt = Interrupt::watch()?;
    let source = source(args, &interrupt)?;
    interrupt.stop_watching();
    Ok(source)
}

/// The file of a catalog model, which is fetched if it is not there yet.
pub(crate) fn fetched(model: &CatalogModel) -> Result<PathBuf, Failure> {
    let interrupt = Interrupt::watch()?;
    let path = fetch::ensure(model.name, &mut FetchProgress::new(interrupt.clone()))?;
    interrupt.stop_watching();
    Ok(path)
}

/// Compiles a model and packs its weights; tells what the user should know about it.
pub(crate) fn engine(source: Source, options: &RunOptions) -> Result<Engine, Failure> {
    engine_until(source, options, &|| false)
}

/// [`engine`], unless `stop` says to stop.
pub(crate) fn engine_until(
    source: Source,
    options: &RunOptions,
    stop: &dyn Fn() -> bool,
) -> Result<Engine, Failure> {
    let mut progress = PackProgress::new();
    let watch = &mut |done, total| progress.told(done, total, stop);
    let engine = Engine::new_watched(source, options, watch)?;
    drop(progress); // the bar is gone before notes are told
    notes(engine.notices());
    Ok(engine)
}

/// What sessions of a lowered model share, unless `stop` says to stop.
pub(crate) fn constants(
    source: Source,
    lowered: &Lowered,
    threads: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Constants, Failure> {
    let mut progress = PackProgress::new();
    let Source { model, weights, .. } = source;
    let watch = &mut |done, total| progress.told(done, total, stop);
    Ok(engine::constants(weights, &model, lowered, threads, watch)?)
}

/// The packed weights of a lowered model, unless `stop` says to stop.
pub(crate) fn image(
    source: Source,
    lowered: &Lowered,
    threads: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Region, Failure> {
    let mut progress = PackProgress::new();
    let Source { model, weights, .. } = source;
    let watch = &mut |done, total| progress.told(done, total, stop);
    Ok(engine::image(weights, &model, lowered, threads, watch)?)
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

/// The bytes of a text file, or of stdin where it is called `-`; they are UTF-8.
pub(crate) fn text_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let (name, bytes) = match path.as_os_str() == "-" {
        true => (file::STDIN.to_owned(), file::read_stdin(file::TEXT, MAX_TEXT_BYTES)?),
        false => (Shown(path).to_string(), file::read(path, file::TEXT, MAX_TEXT_BYTES)?),
    };
    match str::from_utf8(&bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let at = error.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            let found =
                format!("{name}@0x{at:x}: found the byte 0x{byte:02x}, expected UTF-8 text");
            Err(Failure::new(Exit::BadData, found).fix("convert the text to UTF-8"))
        }
    }
}

/// A description and its name in messages: that of a file, or of stdin where `path` is `-`. What is
/// too long for a description is cut behind its first byte too many.
pub(crate) fn description(path: &Path) -> Result<(String, Vec<u8>), FileError> {
    if path.as_os_str() == "-" {
        let limit = MAX_SOURCE_BYTES as u64 + 1;
        return Ok((file::STDIN.to_owned(), file::read_stdin_start(limit)?));
    }
    Ok((Shown(path).to_string(), source::read_description(path)?))
}
