//! Whole models: logits to the bit, on every engine, any number of threads, any cut of the tokens.

use std::sync::Arc;

use deepthin_dsl::Model;
use deepthin_runtime::program::Program;
use deepthin_runtime::session::{Constants, RunError, Session};

use super::choices::Choices;
use super::ladder::{
    Agreement, Engine, Fir, LadderError, Logits, Subject, Vir, difference, distinct_tokens, feed,
};

/// Numbers of threads that must make no difference.
pub const THREADS: [usize; 4] = [1, 2, 3, 8];

/// Most tokens of a sequence: some behind the first chunk of 64 positions.
const TOKENS: u32 = 71;

/// Products of weights and activations of a sequence in machine code: a large model gets fewer
/// tokens.
const WORK: u64 = 20_000_000_000;
/// The same for the FIR interpreter, and for each VIR interpreter: under a second.
const FIR_WORK: u64 = 300_000_000;
const VIR_WORK: u64 = 4_000_000;

/// A sequence for a model: as many tokens as its context, a few chunks and some seconds have room
/// for, each unlike its neighbors.
pub fn tokens(model: &Model, context: u32) -> Vec<u32> {
    let affordable = WORK / model.parameters().applied.max(1);
    let affordable = u32::try_from(affordable).unwrap_or(u32::MAX).max(4);
    distinct_tokens(model.vocab, TOKENS.min(affordable).min(context))
}

/// How sequences of a model came out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sequences {
    /// Comparisons of all logits of a sequence.
    pub compared: u64,
    /// Those that differed.
    pub different: u64,
    /// The first difference: the engine, the pieces, the place.
    pub first: Option<String>,
}

impl Sequences {
    fn compare(&mut self, name: &str, expected: &Logits, found: &Logits) {
        self.compared += 1;
        if let Some(difference) = difference(expected, found, Agreement::Exact) {
            self.different += 1;
            self.first.get_or_insert_with(|| format!("{name}: {difference}"));
        }
    }
}

/// Runs a sequence through every engine: as prefill, token by token, and in drawn pieces, on
/// [`THREADS`]. Interpreters take as many tokens as their time allows, in small models all.
///
/// Where `until_different` holds, the first difference ends it.
///
/// # Errors
/// A model that does not compile or run.
pub fn sequences(
    subject: &Subject<'_>,
    seed: u64,
    until_different: bool,
) -> Result<Sequences, LadderError> {
    let tokens = tokens(&subject.model, subject.context);
    let work = subject.model.parameters().applied.max(1);
    let few = |most: u64| {
        let fit = usize::try_from(most / work).unwrap_or(usize::MAX);
        tokens.get(..fit).unwrap_or(&tokens)
    };
    let (program, constants) = (subject.program()?, subject.constants()?);
    let (expected, mut sequences) =
        session_sequences(&program, &constants, &tokens, seed, until_different)?;
    let pieces = pieces(tokens.len(), seed);
    let mut engines: Vec<(Box<dyn Engine>, &[u32])> = Vec::new();
    for fused in [false, true] {
        engines.push((Box::new(Fir { fused }), few(FIR_WORK)));
    }
    for lanes in [4, 8, 16] {
        engines.push((Box::new(Vir { lanes }), few(VIR_WORK)));
    }
    for (engine, tokens) in engines.into_iter().filter(|(_, tokens)| !tokens.is_empty()) {
        if until_different && sequences.different > 0 {
            break;
        }
        let found = engine.logits(subject, tokens, &pieces)?;
        let expected = expected.get(..tokens.len()).unwrap_or_default().to_vec();
        sequences.compare(&engine.name(), &expected, &found);
    }
    Ok(sequences)
}

/// The part of [`sequences`] that sessions of a program can tell; with the logits that all had to
/// give, which are those of the prefill on one thread.
///
/// # Errors
/// What a session refuses.
pub fn session_sequences(
    program: &Arc<Program>,
    constants: &Arc<Constants>,
    tokens: &[u32],
    seed: u64,
    until_different: bool,
) -> Result<(Logits, Sequences), RunError> {
    let session = |threads| Session::new(Arc::clone(program), Arc::clone(constants), threads);
    let mut sequences = Sequences::default();
    let expected = feed(&mut session(1)?, tokens, &[tokens.len()])?;
    for threads in THREADS {
        for pieces in [&[tokens.len()][..], &[1], &pieces(tokens.len(), seed)] {
            if until_different && sequences.different > 0 {
                return Ok((expected, sequences));
            }
            let found = feed(&mut session(threads)?, tokens, pieces)?;
            let name = format!("machine code on {threads} threads, pieces of {pieces:?}");
            sequences.compare(&name, &expected, &found);
        }
    }
    Ok((expected, sequences))
}

/// How a sequence is cut: single tokens between pieces of some.
fn pieces(tokens: usize, seed: u64) -> [usize; 3] {
    let mut choices = Choices::seeded(seed);
    let half = u32::try_from(tokens / 2).unwrap_or(u32::MAX);
    let mut piece = || 1 + choices.below(half) as usize;
    [piece(), 1, piece()]
}
