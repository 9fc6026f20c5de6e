//! `deepthin quantize`: stores a model's weights in fewer bits, as a packed file.

use std::path::Path;

use deepthin::calibrate;
use deepthin::codec::Codec;
use deepthin::engine::{self, RunOptions};
use deepthin::packed::Draft;
use deepthin::quantize::{self, Line};
use deepthin::source::{Source, Weights};
use deepthin_compiler::format::Format;
use deepthin_compiler::quantize::Importance;
use deepthin_compiler::weights::WeightSource;
use deepthin_dsl::model::{Activations, KvStorage};
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
    let mut source = input::source(&args.source, &interrupt)?;
    let threads = args.threads.map_or_else(engine::default_threads, usize::from);
    let [blocks, embeddings] = targets(args, &source)?;
    let importance = match &args.calibrate {
        Some(text) => calibrated(args, text, &source, threads)?,
        None => Importance::new(),
    };
    let formats = quantize::formats(&source.model, blocks, embeddings)
        .map_err(|error| Failure::new(Exit::Usage, error).fix("choose other groups"))?;
    source.model.storage.blocks = quantize::described(blocks);
    source.model.storage.embeddings = quantize::described(embeddings);
    source.formats = formats;
    let lowered = engine::lower_source(&source, &RunOptions::default())?;
    let plan = &lowered.plan;
    let needed = Regions { image: plan.regions.image, ..Regions::default() };
    engine::check_memory(&needed, plan.options.context, threads)?;
    let stop = &|| interrupt.requested();
    let draft = Draft::new(source.metadata(), &source.model, &source.formats, plan);
    let model = source.model.name.clone();
    let mut progress = PackProgress::new();
    let watch = &mut |done, total| progress.told(done, total, stop);
    let (mut image, stored) = engine::requantized(source, &importance, &lowered, threads, watch)?;
    drop(progress);
    let mut progress = PackProgress::writing();
    let watch = &mut |done, total| progress.told(done, total, stop);
    let bytes = draft.write(&args.output, image.bytes(), threads, watch)?;
    drop(progress);
    let file = args.output.display().to_string();
    output::log(format_args!("deepthin: wrote {} ({bytes} bytes)", Shown(Path::new(&file))));
    let form = if args.json { Form::Json } else { Form::Md };
    let lines = if args.json { quantize::each(&stored) } else { quantize::by_role(&stored) };
    let calibrated = !importance.is_empty();
    print_one(form, &Summary { model, file, bytes, calibrated, tensors: lines })?;
    Ok(Exit::Success)
}

/// Tokens of a text that are run, and at a time.
const CALIBRATION: usize = 1 << 13;
const CHUNK: u32 = 512;

/// The importance of the columns, from running the model as it is on a text.
fn calibrated(
    args: &QuantizeArgs,
    text: &Path,
    source: &Source,
    threads: usize,
) -> Result<Importance, Failure> {
    let text = input::text_file(text)?;
    let gains: &dyn WeightSource = match &source.weights {
        Weights::Gguf(weights) => &**weights,
        Weights::Packed(_) | Weights::Random(_) | Weights::None => {
            let message = "--calibrate: found no file of weights, expected a GGUF file";
            return Err(Failure::new(Exit::Usage, message).fix("leave out --calibrate"));
        }
    };
    let options = RunOptions {
        context: Some(CHUNK.min(source.model.context)),
        threads: Some(threads),
        activations: Some(Activations::F32),
        kv: Some(KvStorage::F32),
        ..RunOptions::default()
    };
    let engine = input::engine(input::source_for_short(&args.source)?, &options)?;
    let codec = Codec::new(engine.tokenizer(), engine.model().vocab, false);
    let ids = codec.encode(&text)?;
    let ids = ids.get(..CALIBRATION).unwrap_or(&ids);
    if ids.is_empty() {
        let message = "--calibrate: found an empty text, expected some thousand tokens";
        return Err(Failure::new(Exit::BadData, message).fix("take a longer text"));
    }
    output::log(format_args!("deepthin: calibrating with {} tokens", ids.len()));
    Ok(calibrate::importance(&mut engine.session()?, engine.model(), gains, ids)?)
}

/// Storage of blocks, and of table and head: as asked, else as a description says, else the
/// default.
fn targets(args: &QuantizeArgs, source: &Source) -> Result<[Format; 2], Failure> {
    let is_description = args.source.weights.is_some() || args.source.random.is_some();
    let said = deepthin_compiler::fir::Formats::from_storage(&source.model)
        .ok()
        .filter(|_| is_description && !matches!(source.weights, Weights::Packed(_)));
    let role = deepthin_compiler::fir::Role::FfnUp;
    let table = deepthin_compiler::fir::Role::TokenEmbedding;
    let of = |asked: Option<Format>, said: Option<Format>, usual: &str| match asked.or(said) {
        Some(format) => Ok(format),
        None => usual.parse().map_err(|error: String| Failure::new(Exit::Bug, error)),
    };
    Ok([
        of(args.blocks, said.as_ref().and_then(|s| s.get(Some(0), role)), quantize::BLOCKS)?,
        of(args.embeddings, said.as_ref().and_then(|s| s.get(None, table)), quantize::EMBEDDINGS)?,
    ])
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
