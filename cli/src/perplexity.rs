//! Perplexity: how well a model predicts a text.
//!
//! The text's tokens are cut into chunks of c tokens; what is left over is dropped. Each chunk is
//! run on its own, with an empty KV cache, and the logits at its positions c/2 to c-2 score the
//! tokens at c/2+1 to c-1: every scored token has at least half a chunk before it. The perplexity
//! is `exp` of the mean of `-ln p`; its error is the standard error of that mean, times the
//! perplexity.

use std::ops::ControlFlow;

use deepthin_runtime::session::{RunError, Session};
use thiserror::Error;

use crate::distribution::Distribution;

/// Tokens of the shortest chunk in which one is scored.
pub const MIN_CHUNK: u32 = 3;

/// Why there is no perplexity.
#[derive(Debug, Error)]
pub enum PerplexityError {
    /// No token of such a chunk would be scored.
    #[error("chunks of {found} tokens score nothing: expected at least {MIN_CHUNK}")]
    Chunk {
        /// Tokens of a chunk.
        found: u32,
    },
    /// Not one whole chunk.
    #[error("the text has {tokens} tokens: expected at least one chunk of {chunk}")]
    TooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of a chunk.
        chunk: u32,
    },
    /// The model could not be run.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A perplexity, of the chunks so far or of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Chunks scored.
    pub chunks: usize,
    /// Tokens scored.
    pub tokens: usize,
    /// The perplexity.
    pub perplexity: f64,
    /// Its standard error.
    pub error: f64,
}

/// Sums of `-ln p` and of its squares.
#[derive(Default)]
struct Sums {
    tokens: usize,
    first: f64,
    second: f64,
}

impl Sums {
    fn add(&mut self, log_probability: f64) {
        self.tokens += 1;
        self.first -= log_probability;
        self.second += log_probability * log_probability;
    }

    fn score(&self, chunks: usize) -> Score {
        let count = self.tokens as f64;
        let mean = self.first / count;
        let variance = (self.second / count - mean * mean).max(0.0);
        let perplexity = libm::exp(mean);
        let error = (variance / (count - 1.0).max(1.0)).sqrt() * perplexity;
        Score { chunks, tokens: self.tokens, perplexity, error }
    }
}

/// Scores `ids` in chunks of `chunk` tokens, on a session with at least that much context.
///
/// `start` is the token that texts of the model begin with, if any: it takes the place of the
/// first token of each chunk. `after` sees the score so far after each chunk and may end the
/// measurement there.
///
/// # Errors
/// A chunk that scores nothing, a text shorter than one chunk, logits that are not finite.
pub fn measure(
    session: &mut Session,
    ids: &[u32],
    chunk: u32,
    start: Option<u32>,
    after: &mut dyn FnMut(&Score) -> ControlFlow<()>,
) -> Result<Score, PerplexityError> {
    if chunk < MIN_CHUNK {
        return Err(PerplexityError::Chunk { found: chunk });
    }
    let mut sums = Sums::default();
    let mut score = None;
    for (number, tokens) in ids.chunks_exact(chunk as usize).enumerate() {
        let mut tokens = tokens.to_vec();
        if let (Some(first), Some(start)) = (tokens.first_mut(), start) {
            *first = start;
        }
        session.truncate(0);
        score_chunk(session, &tokens, &mut sums)?;
        let so_far = sums.score(number + 1);
        score = Some(so_far);
        if after(&so_far).is_break() {
            break;
        }
    }
    score.ok_or(PerplexityError::TooShort { tokens: ids.len(), chunk })
}

/// Scores the second half of one chunk.
fn score_chunk(session: &mut Session, tokens: &[u32], sums: &mut Sums) -> Result<(), RunError> {
    let last = tokens.len().saturating_sub(1);
    session.feed_each(&tokens[..last], tokens.len() / 2, &mut |index, logits| {
        let next = tokens.get(index + 1);
        let scored = next.and_then(|next| Distribution::new(logits).log_probability(*next));
        if let Some(log_probability) = scored {
            sums.add(log_probability);
        }
    })
}
