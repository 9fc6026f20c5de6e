//! A model ready to run: compiled for this host, its weights packed.

use crate::memory::{Available, Bound};
use crate::packed::PackedError;
use crate::source::{FilePlace, GgufWeights, Source, SourceError, Weights};
use deepthin_compiler::codegen::Backend;
pub use deepthin_compiler::codegen::choice::Vectors as Isa;
use deepthin_compiler::fir::Graph;
use deepthin_compiler::format::{self, Format};
use deepthin_compiler::lower::{CHUNK, CacheLayout};
use deepthin_compiler::pack::{PackError, PackedTensor, pack_watched, tables};
use deepthin_compiler::pipeline::{CompileError, Lowered, jit_program, lower};
use deepthin_compiler::plan::PlanOptions;
use deepthin_compiler::weights::RandomWeights;
use deepthin_dsl::Model;
use deepthin_dsl::model::{Activations, KvStorage};
use deepthin_runtime::memory::{OutOfMemory, Region};
use deepthin_runtime::program::{Program, Regions};
use deepthin_runtime::session::{Constants, RunError, Session};
use deepthin_runtime::shown::Shown;
use deepthin_runtime::tokenizer::Tokenizer;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How a model is to run, where a user says so; `None` is the description's or the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunOptions {
    /// Positions to make room for.
    pub context: Option<u32>,
    /// Threads.
    pub threads: Option<usize>,
    /// Precision of activations.
    pub activations: Option<Activations>,
    /// Storage of the KV cache.
    pub kv: Option<KvStorage>,
    /// Back end.
    pub isa: Option<Isa>,
}

impl RunOptions {
    /// A source's model as it runs: what the options say in place of what its description does.
    pub fn model(&self, source: &Source) -> Model {
        let mut model = source.model.clone();
        model.storage.kv_cache = self.kv.unwrap_or(model.storage.kv_cache);
        model.storage.activations = self.activations.or(model.storage.activations);
        model
    }
}

/// Why a model is not ready.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The model or its weights.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It did not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The weights do not fit the plan.
    #[error("{origin}: {cause}")]
    Pack {
        /// Where they come from.
        origin: String,
        /// What is wrong.
        cause: PackError,
    },
    /// A file has a weight, scale or minimum that is infinite or NaN.
    #[error(
        "{}@0x{:x}: tensor `{}`, row {}, group {group}: found a weight or scale that is not \
         finite, expected finite ones",
        Shown(.path), .place.offset, .place.tensor, .place.row
    )]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: FilePlace,
        /// Group of the row, from 0; an element where the format has no groups.
        group: u32,
    },
    /// A row has weights that its new storage has no finite numbers for.
    #[error(
        "{}: tensor `{}`, row {}: found a weight of {most:e}, expected at most {limit:e} for {format}",
        Shown(.path), .place.tensor, .place.row
    )]
    Beyond {
        /// The file.
        path: PathBuf,
        /// The row in it.
        place: FilePlace,
        /// The greatest magnitude of the row.
        most: f32,
        /// That of the new storage.
        limit: f32,
        /// The new storage.
        format: Format,
    },
    /// Whoever watched wanted no more.
    #[error("interrupted")]
    Stopped,
    /// Weights are needed.
    #[error("the description `{model}` has no weights")]
    NoWeights {
        /// The model.
        model: String,
    },
    /// Weights that are in the layout of kernels already.
    #[error("{}: found a packed file, expected a GGUF file that is not packed", Shown(.path))]
    Packed {
        /// The file.
        path: PathBuf,
    },
    /// Codes of activations are multiplied with codes of weights, and there are none.
    #[error(
        "--activations q8: found no tensor that is stored as integer codes, expected f32 for this \
         model"
    )]
    NoCodes,
    /// A KV cache that kernels cannot address.
    #[error(
        "a context of {context} positions has {bytes} bytes of keys or values in each layer, expected \
         at most the {MAX_CACHE_BYTES} that a kernel can address"
    )]
    Context {
        /// Positions asked for.
        context: u32,
        /// Bytes of one layer's cache of keys, or of values where these are more.
        bytes: u64,
        /// Whether the description asks for them, and no option.
        described: bool,
        /// Most positions.
        fits: u64,
    },
    /// More memory than there is.
    #[error(
        "the model needs {needed} MiB (weights {weights}, KV cache {kv} for {context} positions, \
         working memory {work}), expected at most the {available} MiB that {bound} leaves"
    )]
    TooLarge {
        /// MiB in all.
        needed: u64,
        /// MiB of weights.
        weights: u64,
        /// MiB of KV cache.
        kv: u64,
        /// Positions.
        context: u32,
        /// MiB of activations, logits and the threads' parts.
        work: u64,
        /// MiB that can be had.
        available: u64,
        /// What does not leave more.
        bound: Bound,
        /// Most positions that fit, in whole chunks; 0 where the weights alone are too large.
        fits: u64,
    },
    /// No memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The session could not be made.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A compiled model with packed weights. Sessions made of it share both.
///
/// The weights of a packed file are mapped from it: while the engine lives, nobody may cut the file
/// or write to it. Another that takes its place by renaming does no harm. Where it is cut all the
/// same the process ends by SIGBUS, or as
/// [`exit_where_pages_are_lost`](deepthin_runtime::mapping::exit_where_pages_are_lost) says.
pub struct Engine {
    model: Model,
    tokenizer: Option<Tokenizer>,
    program: Arc<Program>,
    constants: Arc<Constants>,
    threads: usize,
    backend: &'static str,
    compile_time: Duration,
    weight_bytes: u64,
    activations: String,
    notices: Vec<String>,
}

impl Engine {
    /// Compiles a model and packs its weights.
    ///
    /// # Errors
    /// Options or shapes without kernels, weights that are missing or wrong, too little memory.
    pub fn new(source: Source, options: &RunOptions) -> Result<Engine, EngineError> {
        Engine::new_watched(source, options, &mut |_, _| ControlFlow::Continue(()))
    }

    /// [`Engine::new`] that tells `watch` several times a second how many bytes of weights, of how
    /// many, are drawn or read, and may be stopped by it.
    ///
    /// # Errors
    /// As [`Engine::new`]; [`EngineError::Stopped`].
    pub fn new_watched(
        source: Source,
        options: &RunOptions,
        watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Engine, EngineError> {
        if let Weights::None = source.weights {
            return Err(EngineError::NoWeights { model: source.model.name });
        }
        let mut notices = notices(&source, options);
        let tokenizer = source.tokenizer()?;
        let start = Instant::now();
        let backend = backend(options)?;
        let lowered = lower_for(&source, options, backend.lanes())?;
        let program = Arc::new(jit_program(&lowered, &*backend)?);
        let compile_time = start.elapsed();
        let threads = options.threads.unwrap_or_else(default_threads);
        notices.extend(threads_notice(threads));
        check_memory(&program.regions, program.context, threads)?;
        let model = options.model(&source);
        let constants = Arc::new(constants(source.weights, &model, &lowered, threads, watch)?);
        let weight_bytes = lowered.plan.weight_bytes();
        let activations = activations(&lowered.fused);
        Ok(Engine {
            model,
            tokenizer,
            program,
            constants,
            threads,
            backend: backend.name(),
            compile_time,
            weight_bytes,
            activations,
            notices,
        })
    }

    /// The model as it runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The tokenizer of the weights' file; without one, bytes are ids.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The compiled program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The back end that emitted the kernels, by the name that `--isa` takes.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Time from the checked model to machine code, packing not included.
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    /// Bytes of packed weights, each tensor once.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// What weights are multiplied with: `q8(64)`, `f32`, or several kinds.
    pub fn activations(&self) -> &str {
        &self.activations
    }

    /// What the user should know, a line each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// A new, empty sequence on as many threads as the options say.
    ///
    /// # Errors
    /// Too little memory or too few threads.
    pub fn session(&self) -> Result<Session, EngineError> {
        self.session_with_threads(self.threads)
    }

    /// A new, empty sequence on `threads` threads; the results do not depend on their number.
    ///
    /// # Errors
    /// Too little memory or too few threads.
    pub fn session_with_threads(&self, threads: usize) -> Result<Session, EngineError> {
        let (program, constants) = (Arc::clone(&self.program), Arc::clone(&self.constants));
        Ok(Session::new(program, constants, threads)?)
    }
}

/// The back end for this machine: the one that the options name, or the widest that processor and
/// operating system support.
///
/// # Errors
/// A machine that lacks what the back end needs.
pub fn backend(options: &RunOptions) -> Result<Box<dyn Backend>, EngineError> {
    Ok(Isa::for_host(options.isa).map_err(CompileError::from)?)
}

/// The model at every stage down to verified kernels, for the back end that the options choose; on
/// a machine that kernels cannot run on, for the narrowest.
///
/// # Errors
/// Options, shapes or storage without kernels; a back end that is named and not there.
pub fn lower_source(source: &Source, options: &RunOptions) -> Result<Lowered, EngineError> {
    let lanes = match backend(options) {
        Ok(backend) => backend.lanes(),
        Err(error) if options.isa.is_some() => return Err(error),
        Err(_) => NARROWEST,
    };
    lower_for(source, options, lanes)
}

/// Lanes of kernels that are looked at where none can run.
const NARROWEST: u32 = 4;

/// The model at every stage down to verified kernels of so many lanes.
///
/// # Errors
/// Options, shapes or storage without kernels.
pub fn lower_for(
    source: &Source,
    options: &RunOptions,
    lanes: u32,
) -> Result<Lowered, EngineError> {
    let model = options.model(source);
    let context = options.context.unwrap_or(model.context);
    check_cache(&model, context, options.context.is_none())?;
    if matches!(options.activations, Some(Activations::Q8 { .. })) && !source.formats.has_codes() {
        return Err(EngineError::NoCodes);
    }
    Ok(lower(&model, &source.formats, &PlanOptions::new(lanes, context))?)
}

/// The kinds of activations that the products of a graph have, in words.
pub fn activations(graph: &Graph) -> String {
    let funcs = graph.blocks.iter().chain([&graph.head]);
    let weights = funcs.flat_map(|func| func.weights.values());
    let matrices = weights.filter(|weight| !weight.role.is_gain());
    let kinds: BTreeSet<format::Activations> = matrices.map(|w| w.activations).collect();
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// Threads where the user names none: the cores that this process may use.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What the user should know about how a model runs, a line each: above all where it does not run
/// as its description wishes.
pub fn notices(source: &Source, options: &RunOptions) -> Vec<String> {
    let mut notices = source.notices.clone();
    let context = source.model.context;
    if let Some(asked) = options.context.filter(|asked| *asked > context) {
        notices.push(format!(
            "a context of {asked} is longer than the {context} that the model was made for: text \
             past that is likely to be poor"
        ));
    }
    notices
}

/// Most bytes of one buffer of a kernel: rule V-03 of specs/vir.md.
const MAX_CACHE_BYTES: u32 = i32::MAX.unsigned_abs();

/// Refuses a context whose keys or values of one layer no kernel can address.
fn check_cache(model: &Model, context: u32, described: bool) -> Result<(), EngineError> {
    let kv = model.storage.kv_cache.into();
    let (kv_heads, head_dim) = (model.block.kv_heads, model.block.head_dim);
    let layout = |context| CacheLayout { kv, kv_heads, head_dim, context };
    let bytes = layout(context).largest_bytes();
    if bytes <= u64::from(MAX_CACHE_BYTES) {
        return Ok(());
    }
    // A chunk of positions is the least that a cache has room for.
    let fits = u64::from(MAX_CACHE_BYTES) / layout(CHUNK).largest_bytes().max(1) * u64::from(CHUNK);
    Err(EngineError::Context { context, bytes, described, fits })
}

/// Says where threads have to take turns.
fn threads_notice(threads: usize) -> Option<String> {
    let cores = default_threads();
    (threads > cores).then(|| {
        format!("{threads} threads share the {cores} cores of this process: fewer may be faster")
    })
}

/// What sessions of a lowered model share: its packed weights, and tables. `watch` sees how many
/// bytes, of how many, are drawn, read or computed, and may stop.
///
/// # Errors
/// As [`image`].
pub fn constants(
    weights: Weights,
    model: &Model,
    lowered: &Lowered,
    threads: usize,
    watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Constants, EngineError> {
    let plan = &lowered.plan;
    let packed = plan.weight_bytes();
    let total = packed.saturating_add(plan.table_bytes());
    let image = image(weights, model, lowered, threads, &mut |done, _| watch(done, total))?;
    let mut tables = Region::new("tables", plan.regions.tables)?;
    let mut watch = |done: u64| watch(packed.saturating_add(done), total);
    let filled = tables::fill(&plan.tables, tables.bytes_mut(), threads, &mut watch);
    match filled {
        ControlFlow::Continue(()) => Ok(Constants { image, tables }),
        ControlFlow::Break(()) => Err(EngineError::Stopped),
    }
}

/// The packed weights of a lowered model, on `threads` threads: made anew, or mapped from a packed
/// file. `watch` sees how many bytes, of how many, are drawn or read, and may stop.
///
/// # Errors
/// Weights that are missing, wrong or not finite; no memory; [`EngineError::Stopped`].
pub fn image(
    weights: Weights,
    model: &Model,
    lowered: &Lowered,
    threads: usize,
    watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Region, EngineError> {
    let tensors = &lowered.plan.image;
    let new = || Region::in_large_pages("weights", lowered.plan.regions.image);
    match weights {
        Weights::Gguf(weights) => {
            let mut image = new()?;
            pack_file(*weights, tensors, &mut image, threads, watch)?;
            Ok(image)
        }
        Weights::Packed(packed) => {
            let total = lowered.plan.regions.image;
            let mapped = packed.map(&lowered.plan, threads, &mut |done| watch(done, total));
            mapped.map_err(|error| match error {
                PackedError::Stopped => EngineError::Stopped,
                error => SourceError::from(error).into(),
            })
        }
        Weights::Random(seed) => {
            let mut image = new()?;
            let weights = RandomWeights::new(&lowered.plain, seed).on_threads(threads);
            let packed = pack_watched(tensors, &weights, image.bytes_mut(), threads, watch);
            packed.map_err(|cause| match cause {
                PackError::Stopped => EngineError::Stopped,
                cause => EngineError::Pack { origin: format!("random weights {seed}"), cause },
            })?;
            Ok(image)
        }
        Weights::None => Err(EngineError::NoWeights { model: model.name.clone() }),
    }
}

/// Packs a file's weights. Whether the file could be read, and stayed as it was, is asked before
/// what was found in it: what is wrong with half a file is no news.
fn pack_file(
    weights: GgufWeights,
    tensors: &[PackedTensor],
    image: &mut Region,
    threads: usize,
    watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let path = weights.gguf().path().to_path_buf();
    let packed =
        pack_watched(tensors, &weights, image.bytes_mut(), threads, watch).map_err(|cause| {
            let place = match cause {
                PackError::NonFinite { block, role, row, group } => {
                    weights.place(block, role, row, group).zip(Some(group))
                }
                PackError::Stopped => return EngineError::Stopped,
                PackError::Missing { .. }
                | PackError::Mismatch { .. }
                | PackError::Memory(_)
                | PackError::Image { .. } => None,
            };
            match place {
                Some((place, group)) => EngineError::NonFinite { path: path.clone(), place, group },
                None => EngineError::Pack { origin: Shown(&path).to_string(), cause },
            }
        });
    weights.finish().map_err(SourceError::from)?;
    packed
}

const MIB: u64 = 1 << 20;

/// Compares what a session with a cache of `context` positions will touch with what the system can
/// give.
///
/// # Errors
/// [`EngineError::TooLarge`], with what would fit.
pub fn check_memory(regions: &Regions, context: u32, threads: usize) -> Result<(), EngineError> {
    let scratch = regions.scratch.saturating_mul(threads as u64);
    let work = regions.arena.saturating_add(regions.logits).saturating_add(scratch);
    let fixed = regions.image.saturating_add(work);
    let growing = regions.kv.saturating_add(regions.tables);
    let needed = fixed.saturating_add(growing);
    let Some(available) = Available::now().filter(|available| available.bytes < needed) else {
        return Ok(());
    };
    let per_position = growing / u64::from(context.max(1));
    let room = available.bytes.saturating_sub(fixed);
    Err(EngineError::TooLarge {
        needed: needed.div_ceil(MIB),
        weights: regions.image.div_ceil(MIB),
        kv: regions.kv.div_ceil(MIB),
        context,
        work: work.saturating_add(regions.tables).div_ceil(MIB),
        available: available.bytes / MIB,
        bound: available.bound,
        fits: room.checked_div(per_position).unwrap_or(0) / 64 * 64,
    })
}
