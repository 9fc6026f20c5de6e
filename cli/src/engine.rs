//! A model ready to run: compiled for this host, its weights packed.

use crate::source::{Source, SourceError, Weights};
use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::lower::{key_cache_bytes, padded_context, value_cache_bytes};
use deepthin_compiler::pack::{PackError, pack};
use deepthin_compiler::pipeline::{CompileError, Lowered, jit_program, lower};
use deepthin_compiler::plan::PlanOptions;
use deepthin_compiler::weights::RandomWeights;
use deepthin_dsl::Model;
use deepthin_dsl::model::{Activations, KvStorage};
use deepthin_runtime::memory::{OutOfMemory, Region};
use deepthin_runtime::program::Program;
use deepthin_runtime::session::{RunError, Session};
use deepthin_runtime::tokenizer::Tokenizer;
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

/// Back ends by the name that `--isa` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// 128-bit vectors, through Cranelift.
    Clif128,
    /// 256-bit vectors of x86-64.
    Avx2,
    /// 512-bit vectors of x86-64.
    Avx512,
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
    /// The weights do not fit or are not finite.
    #[error("{origin}: {cause}")]
    Pack {
        /// The weights' file.
        origin: String,
        /// What is wrong.
        cause: PackError,
    },
    /// Weights are needed.
    #[error("the description `{model}` has no weights")]
    NoWeights {
        /// The model.
        model: String,
    },
    /// An option whose kernels do not exist yet.
    #[error("{flag} {value} is not there yet: {instead}")]
    NotYet {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: &'static str,
        /// What there is.
        instead: &'static str,
    },
    /// A KV cache that kernels cannot address.
    #[error("a context of {context} is too long: the kernels of this model reach {fits} positions")]
    Context {
        /// Positions asked for.
        context: u32,
        /// Most positions.
        fits: u64,
    },
    /// More memory than the machine has.
    #[error(
        "the model needs {needed} MiB (weights {weights}, KV cache {kv} for {context} positions), \
         {available} MiB are available"
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
        /// MiB that the system has.
        available: u64,
        /// What fits.
        advice: String,
    },
    /// No memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The session could not be made.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A compiled model with packed weights. Sessions made of it share both.
pub struct Engine {
    model: Model,
    tokenizer: Option<Tokenizer>,
    program: Arc<Program>,
    image: Arc<Region>,
    threads: usize,
    compile_time: Duration,
    weight_bytes: u64,
    notices: Vec<String>,
}

impl Engine {
    /// Compiles a model and packs its weights.
    ///
    /// # Errors
    /// Options or shapes without kernels, weights that are missing or wrong, too little memory.
    pub fn new(source: Source, options: &RunOptions) -> Result<Engine, EngineError> {
        if let Weights::None = source.weights {
            return Err(EngineError::NoWeights { model: source.model.name });
        }
        let notices = notices(&source, options);
        let tokenizer = source.tokenizer()?;
        let start = Instant::now();
        let lowered = lower_source(&source, options)?;
        let clif = Clif::host().map_err(CompileError::from)?;
        let program = Arc::new(jit_program(&lowered, &clif)?);
        let compile_time = start.elapsed();
        check_memory(&program)?;
        let threads = options.threads.unwrap_or_else(default_threads);
        let image = Arc::new(pack_image(&source, &lowered, threads)?);
        let model = source.model;
        let weight_bytes = lowered.plan.weight_bytes();
        Ok(Engine {
            model,
            tokenizer,
            program,
            image,
            threads,
            compile_time,
            weight_bytes,
            notices,
        })
    }

    /// The model.
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

    /// Time from the checked model to machine code, packing not included.
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    /// Bytes of packed weights, each tensor once.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
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
        let (program, image) = (Arc::clone(&self.program), Arc::clone(&self.image));
        Ok(Session::new(program, image, threads)?)
    }
}

/// The model at every stage down to verified kernels, for the back end that the options choose.
///
/// # Errors
/// Options, shapes or storage without kernels.
pub fn lower_source(source: &Source, options: &RunOptions) -> Result<Lowered, EngineError> {
    refuse(options)?;
    let context = options.context.unwrap_or(source.model.context);
    check_cache(&source.model, context)?;
    let lanes = 4; // of `Clif`, the one back end there is
    Ok(lower(&source.model, &source.formats, &PlanOptions::new(lanes, context))?)
}

/// Threads where the user names none: the cores that this process may use.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Refuses options that would have to be replaced.
fn refuse(options: &RunOptions) -> Result<(), EngineError> {
    let not_yet = |flag, value, instead| Err(EngineError::NotYet { flag, value, instead });
    match options.isa {
        Some(Isa::Avx2) => return not_yet("--isa", "avx2", "clif128 is"),
        Some(Isa::Avx512) => return not_yet("--isa", "avx512", "clif128 is"),
        Some(Isa::Clif128) | None => {}
    }
    match options.kv {
        Some(KvStorage::F16) => return not_yet("--kv", "f16", "f32 is"),
        Some(KvStorage::Q8) => return not_yet("--kv", "q8", "f32 is"),
        Some(KvStorage::F32) | None => {}
    }
    match options.activations {
        Some(Activations::Q8) => not_yet("--activations", "q8", "f32 is"),
        Some(Activations::F32) | None => Ok(()),
    }
}

/// What the user should know about how a model runs, a line each: above all where it does not run
/// as its description wishes.
pub fn notices(source: &Source, options: &RunOptions) -> Vec<String> {
    let mut notices = source.notices.clone();
    let Model { context, storage, .. } = &source.model;
    if storage.activations != Activations::F32 && options.activations.is_none() {
        let activations = storage.activations;
        notices.push(format!("activations {activations} are not there yet: running with f32"));
    }
    if storage.kv_cache != KvStorage::F32 && options.kv.is_none() {
        let kv = storage.kv_cache;
        notices.push(format!("a KV cache in {kv} is not there yet: running with f32"));
    }
    if let Some(asked) = options.context.filter(|asked| asked > context) {
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
fn check_cache(model: &Model, context: u32) -> Result<(), EngineError> {
    let (kv_heads, head_dim) = (model.block.kv_heads, model.block.head_dim);
    let bytes = key_cache_bytes(kv_heads, head_dim, context)
        .max(value_cache_bytes(kv_heads, head_dim, context));
    if bytes <= u64::from(MAX_CACHE_BYTES) {
        return Ok(());
    }
    let per_position = (bytes / u64::from(padded_context(context))).max(1);
    let fits = u64::from(MAX_CACHE_BYTES) / per_position / 64 * 64;
    Err(EngineError::Context { context, fits })
}

fn pack_image(source: &Source, lowered: &Lowered, threads: usize) -> Result<Region, EngineError> {
    let mut image = Region::new("weights", lowered.plan.regions.image)?;
    let tensors = &lowered.plan.image;
    let (origin, packed) = match &source.weights {
        Weights::Gguf(weights) => (
            weights.gguf().path().display().to_string(),
            pack(tensors, weights.as_ref(), image.bytes_mut(), threads),
        ),
        Weights::Random(seed) => {
            let weights = RandomWeights::new(&lowered.plain, *seed);
            (format!("random weights {seed}"), pack(tensors, &weights, image.bytes_mut(), threads))
        }
        Weights::None => {
            return Err(EngineError::NoWeights { model: source.model.name.clone() });
        }
    };
    packed.map_err(|cause| EngineError::Pack { origin, cause })?;
    Ok(image)
}

const MIB: u64 = 1 << 20;

/// Compares what the program will touch with what the system can give.
fn check_memory(program: &Program) -> Result<(), EngineError> {
    let regions = &program.regions;
    let needed = regions.image.saturating_add(regions.kv).saturating_add(regions.arena);
    let Some(available) = available_memory().filter(|a| *a < needed) else { return Ok(()) };
    let per_position = regions.kv / u64::from(program.context.max(1));
    let room = available.saturating_sub(regions.image + regions.arena);
    let fits = room.checked_div(per_position).unwrap_or(0) / 64 * 64;
    let advice = if fits == 0 {
        "the weights alone do not fit; a smaller model or storage does".to_owned()
    } else {
        format!("a context of {fits} fits: -c {fits}")
    };
    Err(EngineError::TooLarge {
        needed: needed / MIB,
        weights: regions.image / MIB,
        kv: regions.kv / MIB,
        context: program.context,
        available: available / MIB,
        advice,
    })
}

/// Bytes that the system says it can give without swapping; `None` where it does not say.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}
