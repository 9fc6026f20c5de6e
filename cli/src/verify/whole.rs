//! Whole models: logits to the bit, on every engine, any number of threads, any cut of the tokens.

use super::choices::Choices;
use super::ladder::{Agreement, Engine, Fir, Jit, LadderError, Logits, Subject, Vir, difference};

/// Numbers of threads that must make no difference.
pub const THREADS: [usize; 4] = [1, 2, 3, 8];

/// Most tokens of a sequence: some behind the first chunk of 64 positions.
const TOKENS: u32 = 71;

/// Products of weights and activations that the FIR interpreter, and each VIR interpreter, may
/// take: under a second.
const FIR_WORK: u64 = 300_000_000;
const VIR_WORK: u64 = 4_000_000;

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
/// # Errors
/// A model that does not compile or run.
pub fn sequences(subject: &Subject<'_>, seed: u64) -> Result<Sequences, LadderError> {
    let work = subject.model.parameters().applied.max(1);
    let count = subject.context.min(TOKENS);
    let tokens = subject.tokens(count);
    let few = |most: u64| {
        let fit = usize::try_from(most / work).unwrap_or(usize::MAX);
        tokens.get(..fit).unwrap_or(&tokens)
    };
    let mut sequences = Sequences::default();
    let expected = Jit { threads: 1 }.logits(subject, &tokens, &[tokens.len()])?;
    let mut compare = |engine: &dyn Engine, tokens: &[u32], pieces: &[usize]| {
        if tokens.is_empty() {
            return Ok(());
        }
        let found = engine.logits(subject, tokens, pieces)?;
        let name = format!("{} in pieces of {pieces:?}", engine.name());
        let expected = expected.get(..tokens.len()).unwrap_or_default().to_vec();
        sequences.compare(&name, &expected, &found);
        Ok::<(), LadderError>(())
    };
    let mut choices = Choices::seeded(seed);
    let mut pieces = [0; 3].map(|_| 1 + choices.below(count.max(2) / 2) as usize);
    pieces[1] = 1;
    for fused in [false, true] {
        compare(&Fir { fused }, few(FIR_WORK), &[few(FIR_WORK).len()])?;
    }
    for lanes in [4, 8, 16] {
        compare(&Vir { lanes }, few(VIR_WORK), &pieces)?;
    }
    for threads in THREADS {
        for pieces in [&[tokens.len()][..], &[1], &pieces] {
            compare(&Jit { threads }, &tokens, pieces)?;
        }
    }
    Ok(sequences)
}
