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

use crate::logits::{among_highest, first_non_finite, from_rank, highest, rank};
use descending::{Candidate, Descending};
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
            self.keep(logits);
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

    /// Takes candidates: those of top-k in descending order, or all that can be drawn by id.
    fn keep(&mut self, logits: &[f32]) {
        self.candidates.clear();
        let candidate = |at: usize| Candidate { id: id(at), logit: logits[at] };
        let kept = usize::try_from(self.settings.top_k).unwrap_or(usize::MAX);
        if kept == 0 || kept >= logits.len() {
            let floor = self.floor(logits).map_or(i32::MIN, rank);
            self.candidates.extend(from_rank(logits, floor).into_iter().map(candidate));
            return;
        }
        self.candidates.extend(among_highest(logits, kept).into_iter().map(candidate));
        Descending::new(&mut self.candidates).get(kept - 1);
        self.candidates.truncate(kept);
    }

    /// A logit below which min-p keeps none, where it alone decides: top-p counts the others too.
    fn floor(&self, logits: &[f32]) -> Option<f32> {
        let SamplerSettings { temperature, top_p, min_p, .. } = self.settings;
        if top_p < 1.0 || min_p == 0.0 {
            return None;
        }
        let highest = f64::from(logits[highest(logits)?]);
        // A little too low, for what rounds: what it lets through min-p still weighs.
        let distance = libm::log(f64::from(min_p)) - 1e-9;
        #[expect(clippy::cast_possible_truncation, reason = "rounds; the next below is taken")]
        let floor = (highest + f64::from(temperature) * distance) as f32;
        Some(floor.next_down())
    }

    /// Draws one of the candidates.
    fn draw(&mut self) -> Result<u32, SampleError> {
        let logits = self.candidates.iter().map(|candidate| candidate.logit);
        let highest = f64::from(logits.reduce(f32::max).ok_or(SampleError::Empty)?);
        let temperature = f64::from(self.settings.temperature);
        // Of the highest logit the weight is 1, so weights are parts of the highest probability.
        let weight =
            |candidate: &Candidate| libm::exp((f64::from(candidate.logit) - highest) / temperature);
        let mut candidates = Descending::new(&mut self.candidates);
        let (sum, kept) = kept(&self.settings, &mut candidates, weight);
        let mut left = self.random.unit() * sum;
        let mut drawn = 0;
        for candidate in (0..kept).map_while(|at| candidates.get(at)) {
            drawn = candidate.id;
            let weight = weight(&candidate);
            if left < weight {
                break;
            }
            left -= weight;
        }
        Ok(drawn)
    }
}

/// The sum of the weights that top-p and then min-p keep, from the likeliest on, and how many
/// these are: at least one.
fn kept(
    settings: &SamplerSettings,
    candidates: &mut Descending<'_>,
    weight: impl Fn(&Candidate) -> f64,
) -> (f64, usize) {
    let SamplerSettings { top_p, min_p, .. } = *settings;
    let mut enough = f64::INFINITY;
    if top_p < 1.0 || min_p == 0.0 {
        let all = candidates.all().iter().map(&weight).sum();
        if top_p == 1.0 && min_p == 0.0 {
            return (all, candidates.all().len());
        }
        enough = f64::from(top_p) * all;
    }
    let (mut sum, mut count) = (0.0, 0);
    while let Some(candidate) = candidates.get(count) {
        let weight = weight(&candidate);
        if sum >= enough || weight < f64::from(min_p) {
            break;
        }
        sum += weight;
        count += 1;
    }
    (sum, count)
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
