//! Chooses the next token from the logits of a model.
//!
//! The order is that of the Hugging Face library: repeat penalty, then *top-k* keeps the k highest
//! logits, then the *temperature* T divides them, then *top-p* keeps the most likely tokens until
//! their probabilities reach p, then *min-p* drops those less likely than p times the most likely,
//! and one of the rest is drawn by its probability. Temperature 0 takes the highest logit.
//!
//! A choice is a function of logits, settings and seed alone, on every machine: equal logits are
//! ordered by id, probabilities are f64 by a pure-Rust `exp` and added in one order (descending;
//! those of the whole vocabulary by id), and the random numbers are `SplitMix64`'s.

mod descending;
mod draw;
mod random;

use crate::logits::{Changed, Logits};
use descending::Candidate;
use random::SplitMix64;
use std::collections::VecDeque;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerSettings {
    /// Divides the logits: below 1 sharpens, above 1 flattens; 0 always takes the highest.
    pub temperature: f32,
    /// How many of the highest logits are kept; 0 keeps all.
    pub top_k: u32,
    /// The sum of probabilities that is kept, in (0, 1]; 1 keeps all.
    pub top_p: f32,
    /// The least probability that is kept, as a part of the highest, in [0, 1]; 0 keeps all.
    pub min_p: f32,
    /// Divides the positive and multiplies the negative logits of the last
    /// [`SamplerSettings::REPEAT_WINDOW`] tokens, above 0; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Where the random numbers begin.
    pub seed: u64,
}

impl SamplerSettings {
    /// How many tokens back the repeat penalty looks.
    pub const REPEAT_WINDOW: usize = 64;

    /// Always the highest logit.
    pub const GREEDY: SamplerSettings = SamplerSettings {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repeat_penalty: 1.0,
        seed: 0,
    };

    /// Checks every setting's range; the error names the flag.
    pub fn check(&self) -> Result<(), SettingsError> {
        let checks = [
            ("--temp", self.temperature, 0.0..=100.0, "0 to 100"),
            ("--top-p", self.top_p, f32::MIN_POSITIVE..=1.0, "above 0, at most 1"),
            ("--min-p", self.min_p, 0.0..=1.0, "0 to 1"),
            ("--repeat-penalty", self.repeat_penalty, 0.01..=100.0, "0.01 to 100"),
        ];
        for (flag, found, range, expected) in checks {
            if !range.contains(&found) {
                return Err(SettingsError { flag, found, expected });
            }
        }
        Ok(())
    }
}

/// A setting out of its range.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("`{flag}` is {found}, expected {expected}")]
pub struct SettingsError {
    /// The flag of the command line.
    pub flag: &'static str,
    /// The value it was given.
    pub found: f32,
    /// Its range, in words.
    pub expected: &'static str,
}

/// Why no token can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// There is nothing to choose from.
    #[error("no logits, expected one for each token of the vocabulary")]
    Empty,
    /// More logits than there can be ids.
    #[error("{0} logits, expected at most 2^32")]
    TooMany(usize),
    /// The model has computed nonsense.
    #[error("the logit of token {id} is {value}, expected finite logits")]
    NonFinite {
        /// The lowest token of which the logit is not finite.
        id: u32,
        /// Its logit.
        value: f32,
    },
}

/// Chooses one token after the other.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: SamplerSettings,
    random: SplitMix64,
    /// The last tokens, the newest at the back.
    recent: VecDeque<u32>,
    /// The logits at hand, where some were penalized.
    penalized: Changed,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler by these settings, which are checked.
    pub fn new(settings: SamplerSettings) -> Result<Sampler, SettingsError> {
        settings.check()?;
        let random = SplitMix64 { state: settings.seed };
        Ok(Sampler {
            settings,
            random,
            recent: VecDeque::new(),
            penalized: Changed::default(),
            candidates: Vec::new(),
        })
    }

    /// Tells the repeat penalty of tokens that were not chosen here: the prompt's.
    pub fn observe(&mut self, ids: &[u32]) {
        for &id in ids {
            if self.recent.len() == SamplerSettings::REPEAT_WINDOW {
                self.recent.pop_front();
            }
            self.recent.push_back(id);
        }
    }

    /// The next token, by one logit for each token of the vocabulary.
    pub fn sample<'a>(&mut self, logits: impl Into<Logits<'a>>) -> Result<u32, SampleError> {
        let logits = logits.into();
        let count = u32::try_from(logits.len());
        count.map_err(|_| SampleError::TooMany(logits.len()))?;
        if let Some(at) = logits.first_non_finite() {
            return Err(SampleError::NonFinite { id: id(at), value: logits[at] });
        }
        let mut penalized = std::mem::take(&mut self.penalized);
        let logits = if self.settings.repeat_penalty == 1.0 {
            logits
        } else {
            penalized.copy(&logits);
            self.penalize(&mut penalized);
            penalized.logits()
        };
        let id = if self.settings.temperature == 0.0 {
            logits.highest().map(id).ok_or(SampleError::Empty)
        } else {
            self.keep(&logits);
            self.draw()
        };
        self.penalized = penalized;
        let id = id?;
        self.observe(&[id]);
        Ok(id)
    }

    /// Lowers the logits of recent tokens, each once.
    fn penalize(&self, logits: &mut Changed) {
        let penalty = self.settings.repeat_penalty;
        let mut recent: Vec<u32> = self.recent.iter().copied().collect();
        recent.sort_unstable();
        recent.dedup();
        for id in recent {
            logits.change(id as usize, |logit| {
                let lowered = if logit > 0.0 { logit / penalty } else { logit * penalty };
                lowered.clamp(f32::MIN, f32::MAX)
            });
        }
    }
}

/// The id of a logit, of which there are fewer than 2^32.
fn id(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
