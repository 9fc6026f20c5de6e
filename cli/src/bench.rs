//! Benchmarks of a compiled model: prompt processing and generation, in tokens a second.
//!
//! Tests are those of llama-bench: `ppN` feeds N tokens at once, `tgN` feeds N tokens one by one,
//! `@ dD` does so behind D tokens that are not timed. Token ids are drawn anew for each repetition
//! from a fixed seed; tokenization and sampling are left out. One repetition that is not counted
//! warms up caches and threads.

use std::time::{Duration, Instant};

use deepthin_runtime::session::{RunError, Session};

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// Tokens fed at once.
    Prompt(u32),
    /// Tokens fed one by one.
    Generate(u32),
}

/// The times of one test.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// What was timed.
    pub test: Test,
    /// Tokens in the KV cache when the clock started.
    pub depth: u32,
    /// One for each repetition.
    pub samples: Vec<Duration>,
}

impl Test {
    /// Tokens timed.
    pub const fn tokens(self) -> u32 {
        match self {
            Test::Prompt(tokens) | Test::Generate(tokens) => tokens,
        }
    }
}

impl Timing {
    /// `pp512`, `tg128 @ d512`.
    pub fn name(&self) -> String {
        let depth = if self.depth == 0 { String::new() } else { format!(" @ d{}", self.depth) };
        match self.test {
            Test::Prompt(tokens) => format!("pp{tokens}{depth}"),
            Test::Generate(tokens) => format!("tg{tokens}{depth}"),
        }
    }

    /// Tokens a second of each repetition.
    pub fn rates(&self) -> Vec<f64> {
        let tokens = f64::from(self.test.tokens());
        self.samples.iter().map(|s| tokens / s.as_secs_f64().max(1e-9)).collect()
    }
}

/// Fewest tokens that make a rate.
const FEWEST_TOKENS: u64 = 4;

/// Shortest time that makes a rate: below it the clock, the scheduler and the caches decide.
const SHORTEST: Duration = Duration::from_millis(10);

/// Whether tokens a second mean something where so many tokens took so long.
pub fn rate_means_something(tokens: u64, time: Duration) -> bool {
    tokens >= FEWEST_TOKENS && time >= SHORTEST
}

/// Mean of some numbers; 0 of none.
pub fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / count(numbers).max(1.0)
}

/// Standard deviation of a sample; 0 of fewer than two numbers.
pub fn deviation(numbers: &[f64]) -> f64 {
    let mean = mean(numbers);
    let squares: f64 = numbers.iter().map(|x| (x - mean) * (x - mean)).sum();
    (squares / (count(numbers) - 1.0).max(1.0)).sqrt()
}

/// Median; 0 of no numbers.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
    f64::midpoint(lower, upper)
}

fn count(numbers: &[f64]) -> f64 {
    u32::try_from(numbers.len()).map_or(f64::INFINITY, f64::from)
}

/// Times `test` behind `depth` tokens, `repetitions` times after one that is not counted.
///
/// # Errors
/// More tokens than the session's context.
pub fn measure(
    session: &mut Session,
    test: Test,
    depth: u32,
    repetitions: u32,
) -> Result<Timing, RunError> {
    let mut ids = Ids { state: 1, vocab: session.program().vocab };
    let mut samples = Vec::new();
    for repetition in 0..=repetitions {
        session.truncate(0);
        if depth > 0 {
            session.feed(&ids.draw(depth))?;
        }
        let tokens = ids.draw(test.tokens());
        let start = Instant::now();
        match test {
            Test::Prompt(_) => {
                session.feed(&tokens)?;
            }
            Test::Generate(_) => {
                for token in &tokens {
                    session.feed(std::slice::from_ref(token))?;
                }
            }
        }
        if repetition > 0 {
            samples.push(start.elapsed());
        }
    }
    Ok(Timing { test, depth, samples })
}

/// Token ids from a linear congruential generator (Knuth's MMIX constants, upper bits).
struct Ids {
    state: u64,
    vocab: u32,
}

impl Ids {
    fn draw(&mut self, count: u32) -> Vec<u32> {
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
