//! A model ready to run: compiled for this host, its weights packed.

mod error;
mod room;
mod weights;

pub use error::EngineError;
pub use room::check_memory;
pub use weights::{constants, image};

use crate::hw::placement;
use crate::source::{Source, Weights};
use deepthin_compiler::codegen::Backend;
pub use deepthin_compiler::codegen::choice::Vectors as Isa;
use deepthin_compiler::fir::Graph;
use deepthin_compiler::format;
use deepthin_compiler::pipeline::{CompileError, Lowered, jit_program, lower};
use deepthin_compiler::plan::PlanOptions;
use deepthin_dsl::Model;
use deepthin_dsl::model::{Activations, KvStorage};
use deepthin_runtime::program::Program;
use deepthin_runtime::session::{Constants, RunError, Session};
use deepthin_runtime::threads::ThreadError;
use deepthin_runtime::tokenizer::Tokenizer;
use room::check_cache;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// Whether each thread but the caller's is pinned to a processor.
    pub pin: bool,
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

/// A compiled model with packed weights. Sessions made of it share both.
///
/// The weights of a packed file are mapped from it: while the engine lives, nobody may cut the file
/// or write to it. Another that takes its place by renaming does no harm. Where it is done all the
/// same, a session ends with [`RunError::Mapping`](deepthin_runtime::session::RunError), or, where
/// whole pages are gone, the process by SIGBUS, or as
/// [`exit_where_pages_are_lost`](deepthin_runtime::mapping::exit_where_pages_are_lost) says.
pub struct Engine {
    model: Model,
    tokenizer: Option<Tokenizer>,
    program: Arc<Program>,
    constants: Arc<Constants>,
    threads: usize,
    /// Processors for threads, where they are pinned.
    processors: Option<Vec<usize>>,
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
        // Said before weights are packed, which may take long.
        let processors = options.pin.then(placement::processors);
        if let Some(found) = processors.as_ref().map(Vec::len).filter(|found| *found < threads) {
            return Err(
                RunError::from(ThreadError::Processors { threads, processors: found }).into()
            );
        }
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
            processors,
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
        let mut session = Session::new(program, constants, threads)?;
        if let Some(processors) = &self.processors {
            session.pin(processors)?;
        }
        Ok(session)
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

/// Says where threads have to take turns.
fn threads_notice(threads: usize) -> Option<String> {
    let cores = default_threads();
    (threads > cores).then(|| {
        format!("{threads} threads share the {cores} cores of this process: fewer may be faster")
    })
}
