//! The tests of llama-bench: what is timed, and one repetition of it.
//!
//! `ppN` feeds N tokens at once, `tgN` feeds N tokens one by one, `ppN+tgM` does both; `@ dD` does
//! so behind D tokens that are not timed. Token ids are drawn; tokenization and sampling are left
//! out.

use std::fmt;
use std::time::{Duration, Instant};

use deepthin_runtime::session::{RunError, Session};

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// Tokens fed at once.
    pub prompt: u32,
    /// Tokens fed one by one, after the prompt.
    pub generate: u32,
    /// Tokens in the KV cache when the clock starts.
    pub depth: u32,
}

/// The times of one repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repetition {
    /// All tokens that are timed.
    pub whole: Duration,
    /// From an empty cache to the logits that the first token is drawn from: through the depth's
    /// tokens and the prompt, or where there are neither, through one token.
    pub first: Duration,
    /// Each token that was fed by itself.
    pub tokens: Vec<Duration>,
}

impl Test {
    /// Tokens timed.
    pub const fn tokens(self) -> u32 {
        self.prompt.saturating_add(self.generate)
    }

    /// Positions of the KV cache that it takes.
    pub const fn positions(self) -> u32 {
        self.tokens().saturating_add(self.depth)
    }

    /// Positions that a token fed by itself looks at, on average: its own and all before it.
    pub fn mean_positions(self) -> f64 {
        let before = f64::from(self.depth) + f64::from(self.prompt);
        before + f64::midpoint(1.0, f64::from(self.generate))
    }
}

impl fmt::Display for Test {
    /// `pp512`, `tg128 @ d512`, `pp512+tg128`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prompt, self.generate) {
            (prompt, 0) => write!(f, "pp{prompt}")?,
            (0, generate) => write!(f, "tg{generate}")?,
            (prompt, generate) => write!(f, "pp{prompt}+tg{generate}")?,
        }
        if self.depth > 0 {
            write!(f, " @ d{}", self.depth)?;
        }
        Ok(())
    }
}

/// Runs `test` once, from an empty cache on.
///
/// A token that is not timed comes first: it wakes the threads and brings into the caches what fits
/// there, so that every variant of a round starts alike, whatever ran before it.
///
/// # Errors
/// More tokens than the session's context; weights that compute no numbers.
pub fn repeat(session: &mut Session, test: Test, ids: &mut Ids) -> Result<Repetition, RunError> {
    session.truncate(0);
    session.feed(&ids.draw(1))?;
    session.truncate(0);
    let (depth, prompt) = (ids.draw(test.depth), ids.draw(test.prompt));
    let generated = ids.draw(test.generate);
    let start = Instant::now();
    if !depth.is_empty() {
        session.feed(&depth)?;
    }
    let timed = Instant::now();
    if !prompt.is_empty() {
        session.feed(&prompt)?;
    }
    let mut last = Instant::now();
    let mut first = last - start;
    let mut tokens = Vec::with_capacity(generated.len());
    for token in &generated {
        session.feed(std::slice::from_ref(token))?;
        let now = Instant::now();
        tokens.push(now - last);
        last = now;
    }
    if let (0, 0, Some(token)) = (test.depth, test.prompt, tokens.first()) {
        first = *token;
    }
    Ok(Repetition { whole: last - timed, first, tokens })
}

/// Token ids from a linear congruential generator (Knuth's MMIX constants, upper bits).
#[derive(Debug, Clone)]
pub struct Ids {
    state: u64,
    vocab: u32,
}

impl Ids {
    /// Ids below `vocab`; the same seed draws the same.
    pub fn new(seed: u64, vocab: u32) -> Ids {
        Ids { state: seed, vocab }
    }

    /// The next `count` ids.
    pub fn draw(&mut self, count: u32) -> Vec<u32> {
        (0..count).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> u32 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let upper = u32::try_from(self.state >> 33).unwrap_or(0);
        upper % self.vocab.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn test(prompt: u32, generate: u32, depth: u32) -> Test {
        Test { prompt, generate, depth }
    }

    #[test]
    fn names_are_those_of_llama_bench() {
        let tests = [test(512, 0, 0), test(0, 128, 512), test(64, 16, 0), test(64, 16, 1)];
        let names = tests.map(|test| test.to_string());
        assert_eq!(names, ["pp512", "tg128 @ d512", "pp64+tg16", "pp64+tg16 @ d1"]);
    }

    #[test]
    fn a_token_looks_at_itself_and_at_all_before_it() {
        assert_eq!(test(0, 1, 0).mean_positions(), 1.0);
        assert_eq!(test(0, 3, 0).mean_positions(), 2.0, "1, 2 and 3");
        assert_eq!(test(0, 2, 10).mean_positions(), 11.5, "11 and 12");
        assert_eq!(test(4, 2, 10).mean_positions(), 15.5, "15 and 16");
        assert_eq!(test(u32::MAX, 1, 1).positions(), u32::MAX);
    }

    #[test]
    fn ids_are_below_the_vocabulary_and_differ_by_seed() {
        let draw = |seed| Ids::new(seed, 300).draw(64);
        assert!(draw(1).iter().all(|id| *id < 300));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(Ids::new(1, 0).draw(2), [0, 0]);
    }
}
