//! The engines that must agree: every way to get logits out of a model, as one ladder.
//!
//! A [`Subject`] is a model with its formats and weights; an [`Engine`] turns tokens into logits.
//! [`check`] climbs the [`ladder`]: the f64 reference may differ a little, all others by no bit.

use std::cell::OnceCell;
use std::sync::Arc;

use deepthin_compiler::fir::{Formats, Graph, build};
use deepthin_compiler::interp::fir::FirInterp;
use deepthin_compiler::interp::kernel_code::interpreted;
use deepthin_compiler::pack::pack;
use deepthin_compiler::pipeline::{self, Lowered};
use deepthin_compiler::plan::PlanOptions;
use deepthin_compiler::weights::{RandomWeights, WeightSource};
use deepthin_dsl::Model;
use deepthin_runtime::memory::Region;
use deepthin_runtime::program::Program;
use deepthin_runtime::session::Session;

use crate::jit::clif;
use crate::reference::Reference;

/// Logits after each token.
pub type Logits = Vec<Vec<f32>>;

/// A model under test: all that its logits depend on, and what was compiled from it so far.
pub struct Subject {
    /// The model.
    pub model: Model,
    /// Storage of each tensor.
    pub formats: Formats,
    /// The weights.
    pub weights: Box<dyn WeightSource>,
    /// Positions of the KV cache.
    pub context: u32,
    plain: Graph,
    /// For 4, 8 and 16 lanes.
    lowered: [OnceCell<Lowered>; 3],
    image: OnceCell<Arc<Region>>,
    program: OnceCell<Arc<Program>>,
}

impl Subject {
    /// A model with the weights that `source` makes for its graph, and a cache of `context`.
    ///
    /// # Panics
    /// If the model has no graph.
    pub fn new<S: WeightSource + 'static>(
        model: &Model,
        formats: &Formats,
        context: u32,
        source: impl FnOnce(&Graph) -> S,
    ) -> Self {
        let plain = build(model, formats).unwrap_or_else(|error| panic!("{}: {error}", model.name));
        Subject {
            model: model.clone(),
            formats: formats.clone(),
            weights: Box::new(source(&plain)),
            context,
            plain,
            lowered: [const { OnceCell::new() }; 3],
            image: OnceCell::new(),
            program: OnceCell::new(),
        }
    }

    /// A model with random weights.
    pub fn random(model: &Model, formats: &Formats, context: u32, seed: u64) -> Self {
        Subject::new(model, formats, context, |graph| RandomWeights::new(graph, seed))
    }

    /// All stages down to kernels of 4, 8 or 16 lanes.
    ///
    /// # Panics
    /// If the model does not lower.
    pub fn lowered(&self, lanes: u32) -> &Lowered {
        let cell = &self.lowered[if lanes == 4 { 0 } else { lanes as usize / 8 }];
        cell.get_or_init(|| {
            let options = PlanOptions::new(lanes, self.context);
            pipeline::lower(&self.model, &self.formats, &options)
                .unwrap_or_else(|error| panic!("{} at {lanes} lanes: {error}", self.model.name))
        })
    }

    /// The packed weights, which are the same for any number of lanes.
    ///
    /// # Panics
    /// If the weights do not pack.
    pub fn image(&self) -> Arc<Region> {
        let packed = || {
            let plan = &self.lowered(4).plan;
            let mut image = Region::new("image", plan.regions.image).expect("memory");
            pack(&plan.image, &*self.weights, image.bytes_mut(), 2).expect("weights that pack");
            Arc::new(image)
        };
        Arc::clone(self.image.get_or_init(packed))
    }

    /// The program in machine code.
    ///
    /// # Panics
    /// If there is no code for it.
    pub fn program(&self) -> Arc<Program> {
        let compiled = || pipeline::jit_program(self.lowered(4), clif()).expect("machine code");
        Arc::clone(self.program.get_or_init(|| Arc::new(compiled())))
    }

    /// A session of machine code.
    ///
    /// # Panics
    /// If there is no session.
    pub fn session(&self, threads: usize) -> Session {
        Session::new(self.program(), self.image(), threads).expect("a session")
    }

    /// A session of kernels that the VIR interpreter runs.
    ///
    /// # Panics
    /// If there is no session.
    pub fn interpreted_session(&self, lanes: u32) -> Session {
        let lowered = self.lowered(lanes);
        assert_eq!(lowered.plan.image, self.lowered(4).plan.image, "lanes do not move weights");
        let program = pipeline::program(lowered, interpreted(&lowered.kernels));
        Session::new(Arc::new(program), self.image(), 1).expect("a session")
    }

    /// `count` tokens of the vocabulary, each unlike its neighbors.
    pub fn tokens(&self, count: u32) -> Vec<u32> {
        (0..count).map(|i| (i * 37 + 5) % self.model.vocab).collect()
    }
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
    fn logits(&self, subject: &Subject, tokens: &[u32], pieces: &[usize]) -> Logits;
}

/// Every engine, from the formulas to machine code. The first exact one is what all are held to.
pub fn ladder() -> Vec<Box<dyn Engine>> {
    vec![
        Box::new(Formulas),
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

/// The formulas in f64, which know nothing of pieces.
pub struct Formulas;

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

/// Machine code.
pub struct Jit {
    /// Threads of the session.
    pub threads: usize,
}

impl Engine for Formulas {
    fn name(&self) -> String {
        "f64 formulas".to_owned()
    }

    fn agreement(&self) -> Agreement {
        // The figure for small random models in `specs/numerics.md`.
        Agreement::Within(1e-4)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a comparison within 1e-4")]
    fn logits(&self, subject: &Subject, tokens: &[u32], _pieces: &[usize]) -> Logits {
        let logits = Reference::new(&subject.model, &*subject.weights).logits(tokens);
        logits.iter().map(|row| row.iter().map(|x| *x as f32).collect()).collect()
    }
}

impl Engine for Fir {
    fn name(&self) -> String {
        if self.fused { "fused FIR" } else { "plain FIR" }.to_owned()
    }

    fn logits(&self, subject: &Subject, tokens: &[u32], pieces: &[usize]) -> Logits {
        let graph = if self.fused { &subject.lowered(4).fused } else { &subject.plain };
        let mut interp = FirInterp::new(graph, &*subject.weights).expect("a valid graph");
        let steps = cut(tokens, pieces).into_iter();
        steps.flat_map(|piece| interp.step(piece).expect("a step")).collect()
    }
}

impl Engine for Vir {
    fn name(&self) -> String {
        format!("VIR of {} lanes", self.lanes)
    }

    fn logits(&self, subject: &Subject, tokens: &[u32], pieces: &[usize]) -> Logits {
        feed(&mut subject.interpreted_session(self.lanes), tokens, pieces)
    }
}

impl Engine for Jit {
    fn name(&self) -> String {
        format!("machine code on {} threads", self.threads)
    }

    fn logits(&self, subject: &Subject, tokens: &[u32], pieces: &[usize]) -> Logits {
        feed(&mut subject.session(self.threads), tokens, pieces)
    }
}

/// Feeds `tokens` in pieces of the given lengths; the logits after each.
///
/// # Panics
/// If the session refuses a piece.
pub fn feed(session: &mut Session, tokens: &[u32], pieces: &[usize]) -> Logits {
    let mut logits = Vec::with_capacity(tokens.len());
    for piece in cut(tokens, pieces) {
        session
            .feed_each(piece, 0, &mut |_, row| logits.push(row.to_vec()))
            .unwrap_or_else(|error| panic!("{error}"));
    }
    logits
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

/// Checks that two lists of logits are the same to the bit.
///
/// # Panics
/// With the first difference.
#[track_caller]
pub fn assert_same(left: &Logits, right: &Logits, what: &str) {
    if let Some(difference) = difference(left, right, Agreement::Exact) {
        panic!("{what}: {difference}");
    }
}

/// Checks that all engines of the ladder agree on `tokens`; what they agree on.
///
/// # Panics
/// With the engine that differs, and where.
#[track_caller]
pub fn check(subject: &Subject, tokens: &[u32], pieces: &[usize]) -> Logits {
    let expected = Fir { fused: false }.logits(subject, tokens, &[tokens.len()]);
    for engine in ladder() {
        let found = engine.logits(subject, tokens, pieces);
        if let Some(difference) = difference(&expected, &found, engine.agreement()) {
            let Subject { model, formats, .. } = subject;
            let name = engine.name();
            panic!("plain FIR and {name} differ at {difference}\n{model:?}\n{formats:?}");
        }
    }
    expected
}
