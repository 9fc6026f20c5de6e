//! Chooses the next token from the logits of a model.
//!
//! The order is that of the Hugging Face library: repeat penalty, then *top-k* keeps the k highest
//! logits, then the *temperature* T divides them, then *top-p* keeps the most likely tokens until
//! their probabilities reach p, then *min-p* drops those less likely than p times the most likely,
//! and one of the rest is drawn by its probability. Temperature 0 takes the highest logit.
//!
//! A choice is a function of logits, settings and seed alone, on every machine: equal logits are
//! ordered by id, probabilities are f64 by a pure-Rust `exp` and added in one order, and the
//! random numbers are `SplitMix64`'s.

use crate::logits::{among_highest, first_non_finite, highest, rank};
use std::cmp::Reverse;
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

/// A token that may be chosen.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
}

impl Candidate {
    /// Orders the higher logit first, and of equal logits (-0 is 0) the lower id.
    fn key(&self) -> (Reverse<i32>, u32) {
        (Reverse(rank(self.logit)), self.id)
    }
}

/// Chooses one token after the other.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: SamplerSettings,
    random: SplitMix64,
    /// The last tokens, the newest at the back.
    recent: VecDeque<u32>,
    /// The logits at hand, where some were penalized.
    penalized: Vec<f32>,
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
            penalized: Vec::new(),
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
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SampleError> {
        let count = u32::try_from(logits.len());
        count.map_err(|_| SampleError::TooMany(logits.len()))?;
        if let Some(at) = first_non_finite(logits) {
            return Err(SampleError::NonFinite { id: id(at), value: logits[at] });
        }
        let mut penalized = std::mem::take(&mut self.penalized);
        let logits = if self.settings.repeat_penalty == 1.0 {
            logits
        } else {
            penalized.clear();
            penalized.extend_from_slice(logits);
            self.penalize(&mut penalized);
            &penalized
        };
        let id = if self.settings.temperature == 0.0 {
            highest(logits).map(id).ok_or(SampleError::Empty)
        } else {
            self.keep_top_k(logits);
            self.draw()
        };
        self.penalized = penalized;
        let id = id?;
        self.observe(&[id]);
        Ok(id)
    }

    /// Lowers the logits of recent tokens, each once.
    fn penalize(&self, logits: &mut [f32]) {
        let penalty = self.settings.repeat_penalty;
        let mut recent: Vec<u32> = self.recent.iter().copied().collect();
        recent.sort_unstable();
        recent.dedup();
        for id in recent {
            if let Some(slot) = logits.get_mut(id as usize) {
                let logit = *slot;
                let lowered = if logit > 0.0 { logit / penalty } else { logit * penalty };
                *slot = lowered.clamp(f32::MIN, f32::MAX);
            }
        }
    }

    /// Takes the highest logits as candidates, in descending order.
    fn keep_top_k(&mut self, logits: &[f32]) {
        let count = logits.len();
        let kept = match usize::try_from(self.settings.top_k) {
            Ok(k) if k > 0 => k.min(count),
            _ => count,
        };
        let found = among_highest(logits, kept);
        self.candidates.clear();
        self.candidates.extend(found.iter().map(|&at| Candidate { id: id(at), logit: logits[at] }));
        if kept < self.candidates.len() {
            self.candidates.select_nth_unstable_by_key(kept, Candidate::key);
            self.candidates.truncate(kept);
        }
        self.candidates.sort_unstable_by_key(Candidate::key);
    }

    /// Draws one of the candidates, which are in descending order.
    fn draw(&mut self) -> Result<u32, SampleError> {
        let first = self.candidates.first().ok_or(SampleError::Empty)?;
        let highest = f64::from(first.logit);
        let temperature = f64::from(self.settings.temperature);
        // Of the highest logit the weight is 1, so weights are parts of the highest probability.
        let weights: Vec<f64> = self
            .candidates
            .iter()
            .map(|candidate| libm::exp((f64::from(candidate.logit) - highest) / temperature))
            .collect();
        let kept = self.kept(&weights);
        let weights = weights.get(..kept).unwrap_or(&weights);

        let mut target = self.random.unit() * weights.iter().sum::<f64>();
        let mut drawn = first.id;
        for (candidate, weight) in self.candidates.iter().zip(weights) {
            drawn = candidate.id;
            if target < *weight {
                break;
            }
            target -= weight;
        }
        Ok(drawn)
    }

    /// How many of the weights, which descend from 1, top-p and then min-p keep: at least one.
    fn kept(&self, weights: &[f64]) -> usize {
        let mut kept = weights.len();
        if self.settings.top_p < 1.0 {
            let target = f64::from(self.settings.top_p) * weights.iter().sum::<f64>();
            let mut sum = 0.0;
            let reached = weights.iter().position(|weight| {
                sum += weight;
                sum >= target
            });
            kept = reached.map_or(kept, |last| last + 1);
        }
        let least = f64::from(self.settings.min_p);
        kept.min(weights.partition_point(|weight| *weight >= least)).max(1)
    }
}

/// The id of a logit, of which there are fewer than 2^32.
fn id(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The generator of Steele, Lea and Flood (2014): 64 bits of state, each of which is met once.
#[derive(Debug, Clone, Copy)]
struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number in [0, 1), a multiple of 2^-53.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    #[test]
    fn random_numbers_are_those_of_the_published_generator() {
        let mut random = SplitMix64 { state: 1_234_567 };
        let numbers: [u64; 3] = std::array::from_fn(|_| random.next());
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }
}
