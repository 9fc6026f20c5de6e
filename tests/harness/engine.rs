//! The ladder of engines in tests: the product's, and the formulas in f64 below its first rung.
//!
//! [`check`] climbs all of it: the f64 reference may differ a little, all others by no bit. What
//! the product reports as an error is a panic here.

use std::ops::Deref;
use std::sync::Arc;

use deepthin::verify::ladder::{self, LadderError};
use deepthin_compiler::fir::{Formats, Graph};
use deepthin_compiler::format::Activations;
use deepthin_compiler::pipeline::Lowered;
use deepthin_compiler::weights::{RandomWeights, WeightSource};
use deepthin_dsl::Model;
use deepthin_dsl::model::KvStorage;
use deepthin_runtime::program::Program;
use deepthin_runtime::session::{Constants, Session};

use crate::jit::{machine_code, machines};
use crate::reference::Reference;

pub use deepthin::verify::ladder::{Agreement, Fir, Jit, Logits, Other, Vir, difference};

/// A model under test.
pub struct Subject(ladder::Subject<'static>);

impl Deref for Subject {
    type Target = ladder::Subject<'static>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
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
        let subject = ladder::Subject::new(model, formats, context, machine_code(), source);
        Subject(subject.unwrap_or_else(|error| panic!("{}: {error}", model.name)))
    }

    /// A model with random weights.
    ///
    /// # Panics
    /// If the model has no graph.
    pub fn random(model: &Model, formats: &Formats, context: u32, seed: u64) -> Self {
        Subject::new(model, formats, context, |graph| RandomWeights::new(graph, seed))
    }

    fn unwrapped<T>(&self, result: Result<T, LadderError>) -> T {
        result.unwrap_or_else(|error| panic!("{}: {error}", self.model.name))
    }

    /// All stages down to kernels of 4, 8 or 16 lanes.
    ///
    /// # Panics
    /// If the model does not lower.
    pub fn lowered(&self, lanes: u32) -> &Lowered {
        self.unwrapped(self.0.lowered(lanes))
    }

    /// Packed weights and tables, which are the same for any number of lanes.
    ///
    /// # Panics
    /// If the weights do not pack.
    pub fn constants(&self) -> Arc<Constants> {
        self.unwrapped(self.0.constants())
    }

    /// The program in machine code.
    ///
    /// # Panics
    /// If there is no code for it.
    pub fn program(&self) -> Arc<Program> {
        self.unwrapped(self.0.program())
    }

    /// A session of machine code.
    ///
    /// # Panics
    /// If there is no session.
    pub fn session(&self, threads: usize) -> Session {
        self.unwrapped(self.0.session(threads))
    }
}

/// Something that computes logits.
pub trait Engine {
    /// Logits after each of `tokens`, fed in pieces of the given lengths from position 0.
    fn logits(&self, subject: &Subject, tokens: &[u32], pieces: &[usize]) -> Logits;
}

impl<E: ladder::Engine + ?Sized> Engine for E {
    fn logits(&self, subject: &Subject, tokens: &[u32], pieces: &[usize]) -> Logits {
        let logits = ladder::Engine::logits(self, subject, tokens, pieces);
        logits.unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }
}

/// The formulas in f64, which know nothing of pieces.
pub struct Formulas;

impl ladder::Engine for Formulas {
    fn name(&self) -> String {
        "f64 formulas".to_owned()
    }

    fn agreement(&self) -> Agreement {
        // The figure for small random models in `specs/numerics.md`.
        Agreement::Within(1e-4)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a comparison within 1e-4")]
    fn logits(
        &self,
        subject: &ladder::Subject<'_>,
        tokens: &[u32],
        _pieces: &[usize],
    ) -> Result<Logits, LadderError> {
        let logits = Reference::new(&subject.model, &*subject.weights).logits(tokens);
        Ok(logits.iter().map(|row| row.iter().map(|x| *x as f32).collect()).collect())
    }
}

/// Every engine of a model, from the formulas to machine code. Quantized activations are as far
/// from the formulas as codes are coarse, and may flip, and the formulas round no keys and values:
/// then they are no rung.
pub fn ladder(subject: &Subject) -> Vec<Box<dyn ladder::Engine>> {
    let mut engines = ladder::ladder();
    for engine in &machines()[1..] {
        engines.push(Box::new(Other { engine, threads: 2 }));
    }
    let is_exact = subject.model.storage.kv_cache == KvStorage::F32;
    if is_exact && !has_quantized_activations(&subject.lowered(4).plain) {
        engines.insert(0, Box::new(Formulas));
    }
    engines
}

/// Whether any product of a graph has quantized activations.
pub fn has_quantized_activations(graph: &Graph) -> bool {
    let functions = graph.blocks.iter().chain([&graph.embed, &graph.head]);
    let mut weights = functions.flat_map(|function| function.weights.values());
    weights.any(|weight| weight.activations != Activations::F32)
}

/// Feeds `tokens` in pieces of the given lengths; the logits after each.
///
/// # Panics
/// If the session refuses a piece.
pub fn feed(session: &mut Session, tokens: &[u32], pieces: &[usize]) -> Logits {
    ladder::feed(session, tokens, pieces).unwrap_or_else(|error| panic!("{error}"))
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
    for engine in ladder(subject) {
        let found = Engine::logits(&*engine, subject, tokens, pieces);
        if let Some(difference) = difference(&expected, &found, engine.agreement()) {
            let ladder::Subject { model, formats, .. } = &**subject;
            let name = engine.name();
            panic!("plain FIR and {name} differ at {difference}\n{model:?}\n{formats:?}");
        }
    }
    expected
}
