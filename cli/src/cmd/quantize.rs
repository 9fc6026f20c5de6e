//! `deepthin quantize`: stores a model's weights in fewer bits, as a packed file.

use std::ops::ControlFlow;
use std::path::Path;

use deepthin::calibrate;
use deepthin::codec::Codec;
use deepthin::engine::{self, EngineError, RunOptions};
use deepthin::file;
use deepthin::packed::Draft;
use deepthin::quantize::{self, Line};
use deepthin::source::{ModelName, Source, SourceError, Weights};
use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::Format;
use deepthin_compiler::quantize::Importance;
use deepthin_compiler::weights::WeightSource;
use deepthin_dsl::model::{Activations, KvStorage};
use deepthin_runtime::gguf::Gguf;
use deepthin_runtime::program::Regions;
use deepthin_runtime::shown::Shown;
use serde::Serialize;

use crate::answers::{Answer, print_one};
use crate::args::output::Form;
use crate::args::quantize::QuantizeArgs;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::{self, PackProgress};
use crate::table::{Align, Column};

use super::input;

/// What was written, as JSON has it, with the keys in this order.
#[derive(Serialize)]
struct Summary {
    model: String,
    file: String,
    bytes: u64,
    calibrated: bool,
    tensors: Vec<Line>,
}

/// Quantizes a model; Ctrl-C leaves nothing behind.
pub(crate) fn run(args: &QuantizeArgs) -> Result<Exit, Failure> {
    let interrupt = Interrupt::watch()?;
    let stop = &|| interrupt.requested();
    let mut source = input::source(&args.source, &interrupt)?;
    check(args, &source)?;
    let threads = args.threads.map_or_else(engine::default_threads, usize::from);
    let [blocks, embeddings] = targets(args, &source)?;
    let formats = quantize::formats(&source.model, blocks, embeddings)?;
    let importance = match &args.calibrate {
        Some(text) => calibrated(args, text, &source, threads, &interrupt)?,
        None => Importance::new(),
    };
    source.model.storage.blocks = quantize::described(blocks);
    source.model.storage.embeddings = quantize::described(embeddings);
    source.formats = formats;
    // What is packed does not depend on the context.
    let options =
        RunOptions { context: Some(source.model.context.min(CHUNK)), ..RunOptions::default() };
    let lowered = engine::lower_source(&source, &options)?;
    let plan = &lowered.plan;
    let needed = Regions { image: plan.regions.image, ..Regions::default() };
    engine::check_memory(&needed, plan.options.context, threads)?;
    let draft = Draft::new(source.metadata(), &source.model, &source.formats, plan);
    let model = source.model.name.clone();
    let mut progress = PackProgress::new();
    let watch = &mut |done, total| progress.told(done, total, stop);
    let (mut image, stored) = quantize::image(source, &importance, &lowered, threads, watch)?;
    drop(progress);
    let mut progress = PackProgress::writing();
    let watch = &mut |done, total| progress.told(done, total, stop);
    let bytes = draft.write(&args.output, &mut image, threads, watch)?;
    drop(progress);
    output::log(format_args!("deepthin: wrote {} ({bytes} bytes)", Shown(&args.output)));
    let file = args.output.display().to_string();
    let form = if args.json { Form::Json } else { Form::Md };
    let lines = if args.json { quantize::each(&stored) } else { quantize::by_role(&stored) };
    let calibrated = !importance.is_empty();
    print_one(form, &Summary { model, file, bytes, calibrated, tensors: lines })?;
    Ok(Exit::Success)
}

/// Refuses what could not end well before any work is done, and tells what the user should know.
fn check(args: &QuantizeArgs, source: &Source) -> Result<(), Failure> {
    match &source.weights {
        Weights::None => {
            return Err(EngineError::NoWeights { model: source.model.name.clone() }.into());
        }
        Weights::Packed(packed) => {
            let path = packed.gguf().path().to_path_buf();
            return Err(EngineError::Packed { path }.into());
        }
        Weights::Random(_) if args.calibrate.is_some() => {
            let message = "--calibrate: found weights drawn at random, expected a GGUF file";
            return Err(Failure::new(Exit::Usage, message).fix("leave out --calibrate"));
        }
        Weights::Gguf(_) | Weights::Random(_) => {}
    }
    let named = Some(ModelName::split(&args.source.model).0);
    let weights = source.weights.file().map(Gguf::path);
    let read = [named, weights, args.calibrate.as_deref()];
    if read.into_iter().flatten().any(|path| file::is_same_place(path, &args.output)) {
        let message = format!(
            "--output: found {}, which is read, expected a file of its own",
            Shown(&args.output)
        );
        return Err(Failure::new(Exit::Usage, message).fix("give the packed file another name"));
    }
    file::check_place(&args.output)?;
    // Storage that a description says is what is to become of the weights, and no news.
    if !is_described(args)? {
        input::notes(&source.notices);
    }
    Ok(())
}

/// Tokens of a text that are run, and at a time.
const CALIBRATION: usize = 1 << 13;
const CHUNK: u32 = 512;

/// The importance of the columns, from running the model as it is on a text.
fn calibrated(
    args: &QuantizeArgs,
    path: &Path,
    source: &Source,
    threads: usize,
    interrupt: &Interrupt,
) -> Result<Importance, Failure> {
    let text = input::text_file(path)?;
    if text.is_empty() {
        let message = format!(
            "{}: found an empty text, expected some thousand tokens to calibrate with",
            Shown(path)
        );
        return Err(Failure::new(Exit::BadData, message).fix("take a longer text"));
    }
    let gains: &dyn WeightSource = match &source.weights {
        Weights::Gguf(weights) => &**weights,
        Weights::Packed(_) | Weights::Random(_) | Weights::None => {
            let message = "found no GGUF file behind a check for it";
            return Err(Failure::new(Exit::Bug, message));
        }
    };
    let options = RunOptions {
        context: Some(CHUNK.min(source.model.context)),
        threads: Some(threads),
        activations: Some(Activations::F32),
        kv: Some(KvStorage::F32),
        ..RunOptions::default()
    };
    let stop = &|| interrupt.requested();
    // The weights that are to be stored are read one by one, and only once they are.
    let mut own = input::source(&args.source, interrupt)?;
    own.notices.clear();
    let engine = input::engine_until(own, &options, stop)?;
    let codec = Codec::new(engine.tokenizer(), engine.model().vocab, false);
    let ids = codec.encode(&text)?;
    let ids = ids.get(..CALIBRATION).unwrap_or(&ids);
    output::log(format_args!("deepthin: calibrating with {} tokens", ids.len()));
    let watch = &mut || match stop() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    Ok(calibrate::importance(&mut engine.session()?, engine.model(), gains, ids, watch)?)
}

/// Whether the model is a description, and no file of weights.
fn is_described(args: &QuantizeArgs) -> Result<bool, Failure> {
    Ok(matches!(ModelName::parse(&args.source.model)?, ModelName::Description { .. }))
}

/// Storage of blocks, and of table and head: as asked, else as a description says, else as usual.
fn targets(args: &QuantizeArgs, source: &Source) -> Result<[Format; 2], Failure> {
    let [blocks, embeddings] = match is_described(args)? {
        false => quantize::usual(&source.model),
        true => {
            let formats = Formats::from_storage(&source.model).map_err(SourceError::from)?;
            let block = formats.get(Some(0), Role::FfnUp);
            let table = formats.get(None, Role::TokenEmbedding);
            let [usual, usual_table] = quantize::usual(&source.model);
            [block.unwrap_or(usual), table.unwrap_or(usual_table)]
        }
    };
    Ok([args.blocks.unwrap_or(blocks), args.embeddings.unwrap_or(embeddings)])
}

impl Answer for Summary {
    const COLUMNS: &'static [Column] = &[
        ("tensor", Align::Left),
        ("count", Align::Right),
        ("from", Align::Left),
        ("to", Align::Left),
        ("bits a weight", Align::Right),
        ("relative error", Align::Right),
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |line: &Line| {
            vec![
                line.tensor.clone(),
                line.tensors.to_string(),
                line.from.clone(),
                line.to.clone(),
                format!("{:.3}", line.bits),
                format!("{:.5}", line.relative_error),
            ]
        };
        self.tensors.iter().map(row).collect()
    }
}
