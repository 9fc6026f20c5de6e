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

    /// Adds what a distribution says of the token that comes next.
    fn add_next(&mut self, distribution: &Distribution<'_>, next: Option<&u32>) {
        if let Some(log_probability) = next.and_then(|id| distribution.log_probability(*id)) {
            self.add(log_probability);
        }
    }

    fn score(&self, chunks: usize) -> Score {
        let count = (self.tokens as f64).max(1.0);
        let mean = self.first / count;
        let variance = (self.second / count - mean * mean).max(0.0);
        let perplexity = libm::exp(mean);
        let error = (variance / (count - 1.0).max(1.0)).sqrt() * perplexity;
        Score { chunks, tokens: self.tokens, perplexity, error }
    }
}

/// How far a model's distributions are from those of another, over all scored tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// Mean of the Kullback-Leibler divergence `sum p ln(p / q)`, p of the other model, in nats.
    pub mean: f64,
    /// Its standard error.
    pub error: f64,
    /// The share of tokens for which both find the same token the most likely.
    pub same_top: f64,
}

/// A text cut into chunks.
#[derive(Debug, Clone, Copy)]
pub struct Chunks<'t> {
    /// The text's tokens.
    pub ids: &'t [u32],
    /// Tokens of a chunk.
    pub chunk: u32,
    /// The token that texts of the model begin with, if any: it takes the place of the first token
    /// of each chunk.
    pub start: Option<u32>,
}

impl Chunks<'_> {
    /// The chunks, or why none is scored.
    fn each(&self) -> Result<Vec<Vec<u32>>, PerplexityError> {
        let Chunks { ids, chunk, start } = *self;
        if chunk < MIN_CHUNK {
            return Err(PerplexityError::Chunk { found: chunk });
        }
        if ids.len() < chunk as usize {
            return Err(PerplexityError::TooShort { tokens: ids.len(), chunk });
        }
        let begun = |tokens: &[u32]| {
            let mut tokens = tokens.to_vec();
            if let (Some(first), Some(start)) = (tokens.first_mut(), start) {
                *first = start;
            }
            tokens
        };
        Ok(ids.chunks_exact(chunk as usize).map(begun).collect())
    }
}

/// Scores a text on a session with at least a chunk of context.
///
/// `after` sees the score so far after each chunk and may end the measurement there.
///
/// # Errors
/// A chunk that scores nothing, a text shorter than one chunk, logits that are not finite.
pub fn measure(
    session: &mut Session,
    text: &Chunks<'_>,
    after: &mut dyn FnMut(&Score) -> ControlFlow<()>,
) -> Result<Score, PerplexityError> {
    let mut sums = Sums::default();
    let mut score = sums.score(0);
    for (number, tokens) in text.each()?.into_iter().enumerate() {
        session.truncate(0);
        let last = tokens.len().saturating_sub(1);
        session.feed_each(&tokens[..last], tokens.len() / 2, &mut |index, logits| {
            sums.add_next(&Distribution::new(logits), tokens.get(index + 1));
        })?;
        score = sums.score(number + 1);
        if after(&score).is_break() {
            break;
        }
    }
    Ok(score)
}

/// [`measure`], and how far the session's distributions are from those of `reference`, a session
/// of another model with the same vocabulary.
///
/// # Errors
/// As [`measure`].
pub fn compare(
    session: &mut Session,
    reference: &mut Session,
    text: &Chunks<'_>,
    after: &mut dyn FnMut(&Score) -> ControlFlow<()>,
) -> Result<(Score, Divergence), PerplexityError> {
    let (mut sums, mut divergences) = (Sums::default(), Sums::default());
    let mut same = 0_usize;
    let mut score = sums.score(0);
    for (number, tokens) in text.each()?.into_iter().enumerate() {
        session.truncate(0);
        reference.truncate(0);
        let last = tokens.len().saturating_sub(1);
        let (unscored, scored) = tokens[..last].split_at((tokens.len() / 2).min(last));
        for session in [&mut *session, &mut *reference] {
            session.feed_each(unscored, unscored.len(), &mut |_, _| ())?;
        }
        // In pieces, of which the other model's logits are kept: how a text is cut changes no bit.
        let mut first = unscored.len();
        for piece in scored.chunks(KEPT) {
            let mut kept: Vec<Vec<f32>> = Vec::with_capacity(KEPT);
            reference.feed_each(piece, 0, &mut |_, logits| kept.push(logits.to_vec()))?;
            session.feed_each(piece, 0, &mut |index, logits| {
                let distribution = Distribution::new(logits);
                sums.add_next(&distribution, tokens.get(first + index + 1));
                if let Some(other) = kept.get(index) {
                    let other = Distribution::new(other);
                    divergences.add(-other.divergence(&distribution));
                    same += usize::from(other.likeliest() == distribution.likeliest());
                }
            })?;
            first += piece.len();
        }
        score = sums.score(number + 1);
        if after(&score).is_break() {
            break;
        }
    }
    let count = (divergences.tokens as f64).max(1.0);
    let mean = divergences.first / count;
    let variance = (divergences.second / count - mean * mean).max(0.0);
    let error = (variance / (count - 1.0).max(1.0)).sqrt();
    Ok((score, Divergence { mean, error, same_top: same as f64 / count }))
}

/// Tokens whose logits of the other model are kept at a time.
const KEPT: usize = 16;
