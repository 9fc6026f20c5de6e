//! The ladder: every way to get logits out of a model, each rung one stage below the one before.
//!
//! ```text
//! plain FIR = fused FIR = VIR of 4, 8, 16 lanes = machine code, on any number of threads
//! ```
//!
//! A [`Subject`] is a model with its formats and weights; an [`Engine`] turns tokens into logits,
//! fed in whatever pieces. All engines owe the bits of the first. A new one joins by a line in
//! [`ladder`].

use std::cell::OnceCell;
use std::sync::Arc;

use deepthin_compiler::codegen::CodegenError;
use deepthin_compiler::fir::{BuildError, Formats, Graph, build};
use deepthin_compiler::interp::fir::{FirInterp, InterpError};
use deepthin_compiler::interp::kernel_code::interpreted;
use deepthin_compiler::pack::PackError;
use deepthin_compiler::pipeline::{self, CompileError, Lowered, lower, program};
use deepthin_compiler::plan::PlanOptions;
use deepthin_compiler::weights::WeightSource;
use deepthin_dsl::Model;
use deepthin_runtime::program::Program;
use deepthin_runtime::session::{Constants, RunError, Session};
use thiserror::Error;

use super::machine::KernelEngine;

/// Logits after each token.
pub type Logits = Vec<Vec<f32>>;

/// Why there are no logits.
#[derive(Debug, Error)]
pub enum LadderError {
    /// The model has no graph.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The model does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A kernel has no code.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// The weights do not pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The FIR interpreter refuses the model or the tokens.
    #[error(transparent)]
    Interpreter(#[from] InterpError),
    /// The session refuses the program or the tokens, or meets a number that is not finite.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A model under test: all that its logits depend on, and what was compiled from it so far.
pub struct Subject<'e> {
    /// The model.
    pub model: Model,
    /// Storage of each tensor.
    pub formats: Formats,
    /// The weights.
    pub weights: Box<dyn WeightSource + 'e>,
    /// Positions of the KV cache.
    pub context: u32,
    /// What runs kernels as machine code.
    pub engine: &'e dyn KernelEngine,
    plain: Graph,
    /// For 4, 8 and 16 lanes.
    lowered: [OnceCell<Lowered>; 3],
    constants: OnceCell<Arc<Constants>>,
    program: OnceCell<Arc<Program>>,
}

impl<'e> Subject<'e> {
    /// A model with the weights that `source` makes for its graph, and a cache of `context`.
    ///
    /// # Errors
    /// A model without a graph.
    pub fn new<S: WeightSource + 'e>(
        model: &Model,
        formats: &Formats,
        context: u32,
        engine: &'e dyn KernelEngine,
        source: impl FnOnce(&Graph) -> S,
    ) -> Result<Self, LadderError> {
        let plain = build(model, formats)?;
        Ok(Subject {
            model: model.clone(),
            formats: formats.clone(),
            weights: Box::new(source(&plain)),
            context,
            engine,
            plain,
            lowered: [const { OnceCell::new() }; 3],
            constants: OnceCell::new(),
            program: OnceCell::new(),
        })
    }

    /// All stages down to kernels of 4, 8 or 16 lanes.
    ///
    /// # Errors
    /// A model that does not lower.
    pub fn lowered(&self, lanes: u32) -> Result<&Lowered, LadderError> {
        let [four, eight, sixteen] = &self.lowered;
        let cell = match lanes {
            0..=4 => four,
            5..=8 => eight,
            9.. => sixteen,
        };
        get_or_try(cell, || {
            let options = PlanOptions::new(lanes, self.context);
            Ok(lower(&self.model, &self.formats, &options)?)
        })
    }

    /// Packed weights and tables, which are the same for any number of lanes.
    ///
    /// # Errors
    /// Weights that do not pack, and no memory.
    pub fn constants(&self) -> Result<Arc<Constants>, LadderError> {
        let constants = get_or_try(&self.constants, || {
            let plan = &self.lowered(self.engine.lanes())?.plan;
            Ok(Arc::new(pipeline::constants(plan, &*self.weights, 1)?))
        });
        constants.map(Arc::clone)
    }

    /// The program in machine code.
    ///
    /// # Errors
    /// A model that does not compile.
    pub fn program(&self) -> Result<Arc<Program>, LadderError> {
        let compiled = get_or_try(&self.program, || Ok(Arc::new(self.compiled(self.engine)?)));
        compiled.map(Arc::clone)
    }

    /// The program in the machine code of any engine.
    fn compiled(&self, engine: &dyn KernelEngine) -> Result<Program, LadderError> {
        let lowered = self.lowered(engine.lanes())?;
        Ok(program(lowered, engine.code(&lowered.kernels)?))
    }

    /// A session of machine code.
    ///
    /// # Errors
    /// A model that does not compile, and no memory or threads.
    pub fn session(&self, threads: usize) -> Result<Session, LadderError> {
        Ok(Session::new(self.program()?, self.constants()?, threads)?)
    }

    /// A session of kernels that the VIR interpreter runs.
    ///
    /// # Errors
    /// A model that does not lower, and no memory.
    pub fn interpreted_session(&self, lanes: u32) -> Result<Session, LadderError> {
        let lowered = self.lowered(lanes)?;
        let program = program(lowered, interpreted(&lowered.kernels));
        Ok(Session::new(Arc::new(program), self.constants()?, 1)?)
    }

    /// [`distinct_tokens`] of the model's vocabulary.
    pub fn tokens(&self, count: u32) -> Vec<u32> {
        distinct_tokens(self.model.vocab, count)
    }
}

/// `count` tokens of a vocabulary, each unlike its neighbors.
pub fn distinct_tokens(vocab: u32, count: u32) -> Vec<u32> {
    let vocab = u64::from(vocab.max(1));
    let token = |i: u32| u32::try_from((u64::from(i) * 37 + 5) % vocab).unwrap_or(0);
    (0..count).map(token).collect()
}

/// What a cell holds, made where it is empty.
fn get_or_try<T>(
    cell: &OnceCell<T>,
    make: impl FnOnce() -> Result<T, LadderError>,
) -> Result<&T, LadderError> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

/// How near an engine must come to the plain FIR graph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Agreement {
    /// Every bit, where any NaN is any NaN.
    Exact,
    /// This absolute distance.
    Within(f64),
}

/// Something that computes logits.
pub trait Engine {
    /// The name in failures.
    fn name(&self) -> String;

    /// How near it must come.
    fn agreement(&self) -> Agreement {
        Agreement::Exact
    }

    /// Logits after each of `tokens`, fed in pieces of the given lengths from position 0.
    ///
    /// # Errors
    /// A subject that does not compile, and tokens that it cannot run.
    fn logits(
        &self,
        subject: &Subject<'_>,
        tokens: &[u32],
        pieces: &[usize],
    ) -> Result<Logits, LadderError>;
}

/// Every engine that owes the exact bits. The first is what all are held to.
pub fn ladder() -> Vec<Box<dyn Engine>> {
    vec![
        Box::new(Fir { fused: false }),
        Box::new(Fir { fused: true }),
        Box::new(Vir { lanes: 4 }),
        Box::new(Vir { lanes: 8 }),
        Box::new(Vir { lanes: 16 }),
        Box::new(Jit { threads: 1 }),
        Box::new(Jit { threads: 2 }),
        Box::new(Jit { threads: 3 }),
    ]
}

/// The FIR interpreter.
pub struct Fir {
    /// On the fused graph.
    pub fused: bool,
}

/// The VIR interpreter.
pub struct Vir {
    /// Lanes of the kernels.
    pub lanes: u32,
}

/// Machine code of the subject's engine.
pub struct Jit {
    /// Threads of the session.
    pub threads: usize,
}

/// Machine code of another engine than the subject's.
pub struct Other<'e> {
    /// What runs the kernels.
    pub engine: &'e dyn KernelEngine,
    /// Threads of the session.
    pub threads: usize,
}

impl Engine for Fir {
    fn name(&self) -> String {
        if self.fused { "fused FIR" } else { "plain FIR" }.to_owned()
    }

    fn logits(
        &self,
        subject: &Subject<'_>,
        tokens: &[u32],
        pieces: &[usize],
    ) -> Result<Logits, LadderError> {
        let graph = match self.fused {
            true => &subject.lowered(subject.engine.lanes())?.fused,
            false => &subject.plain,
        };
        let mut interp = FirInterp::new(graph, &*subject.weights)?;
        let mut logits = Vec::with_capacity(tokens.len());
        for piece in cut(tokens, pieces) {
            logits.extend(interp.step(piece)?);
        }
        Ok(logits)
    }
}

impl Engine for Vir {
    fn name(&self) -> String {
        format!("VIR of {} lanes", self.lanes)
    }

    fn logits(
        &self,
        subject: &Subject<'_>,
        tokens: &[u32],
        pieces: &[usize],
    ) -> Result<Logits, LadderError> {
        Ok(feed(&mut subject.interpreted_session(self.lanes)?, tokens, pieces)?)
    }
}

impl Engine for Jit {
    fn name(&self) -> String {
        format!("machine code on {} threads", self.threads)
    }

    fn logits(
        &self,
        subject: &Subject<'_>,
        tokens: &[u32],
        pieces: &[usize],
    ) -> Result<Logits, LadderError> {
        Ok(feed(&mut subject.session(self.threads)?, tokens, pieces)?)
    }
}

impl Engine for Other<'_> {
    fn name(&self) -> String {
        format!("{} on {} threads", self.engine.name(), self.threads)
    }

    fn logits(
        &self,
        subject: &Subject<'_>,
        tokens: &[u32],
        pieces: &[usize],
    ) -> Result<Logits, LadderError> {
        let program = Arc::new(subject.compiled(self.engine)?);
        let mut session = Session::new(program, subject.constants()?, self.threads)?;
        Ok(feed(&mut session, tokens, pieces)?)
    }
}

/// Feeds `tokens` in pieces of the given lengths; the logits after each.
///
/// # Errors
/// What the session refuses.
pub fn feed(session: &mut Session, tokens: &[u32], pieces: &[usize]) -> Result<Logits, RunError> {
    let mut logits = Vec::with_capacity(tokens.len());
    for piece in cut(tokens, pieces) {
        session.feed_each(piece, 0, &mut |_, row| logits.push(row.to_vec()))?;
    }
    Ok(logits)
}

/// The tokens in pieces of the given lengths, taken in turn until no token is left.
fn cut<'t>(mut tokens: &'t [u32], pieces: &[usize]) -> Vec<&'t [u32]> {
    let mut cut = Vec::new();
    for length in pieces.iter().cycle() {
        let (piece, rest) = tokens.split_at((*length).clamp(1, tokens.len().max(1)));
        cut.push(piece);
        tokens = rest;
        if tokens.is_empty() {
            break;
        }
    }
    cut
}

/// The first place where two lists of logits differ by more than `agreement` allows.
pub fn difference(left: &Logits, right: &Logits, agreement: Agreement) -> Option<String> {
    if left.len() != right.len() {
        return Some(format!("{} positions and {}", left.len(), right.len()));
    }
    let same = |a: f32, b: f32| match agreement {
        Agreement::Exact => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        Agreement::Within(distance) => (f64::from(a) - f64::from(b)).abs() <= distance,
    };
    for (position, (left, right)) in left.iter().zip(right).enumerate() {
        if left.len() != right.len() {
            return Some(format!("position {position}: {} and {} rows", left.len(), right.len()));
        }
        let mut rows = left.iter().zip(right).enumerate();
        if let Some((row, (a, b))) = rows.find(|(_, (a, b))| !same(**a, **b)) {
            return Some(format!("position {position}, row {row}: {a:?} and {b:?}"));
        }
    }
    None
}
