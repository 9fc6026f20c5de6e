//! What may be drawn, and the draw: top-k, temperature, top-p, min-p, in this order.

use super::descending::{Candidate, Descending};
use super::{SampleError, Sampler, SamplerSettings, id};
use crate::logits::{Logits, rank};

impl Sampler {
    /// Takes candidates: those of top-k in descending order, or all that can be drawn by id.
    pub(super) fn keep(&mut self, logits: &Logits<'_>) {
        self.candidates.clear();
        let candidate = |at: usize| Candidate { id: id(at), logit: logits[at] };
        let kept = usize::try_from(self.settings.top_k).unwrap_or(usize::MAX);
        if kept == 0 || kept >= logits.len() {
            let floor = self.floor(logits).map_or(i32::MIN, rank);
            self.candidates.extend(logits.of_rank(floor).into_iter().map(candidate));
            return;
        }
        self.candidates.extend(logits.among_highest(kept).into_iter().map(candidate));
        Descending::new(&mut self.candidates).sort(kept);
        self.candidates.truncate(kept);
    }

    /// A logit below which min-p keeps none, where it alone decides: top-p counts the others too.
    fn floor(&self, logits: &Logits<'_>) -> Option<f32> {
        let SamplerSettings { temperature, top_p, min_p, .. } = self.settings;
        if top_p < 1.0 || min_p == 0.0 {
            return None;
        }
        let highest = f64::from(logits[logits.highest()?]);
        // A little too low, for what rounds: what it lets through min-p still weighs.
        let distance = libm::log(f64::from(min_p)) - 1e-9;
        #[expect(clippy::cast_possible_truncation, reason = "rounds; the next below is taken")]
        let floor = (highest + f64::from(temperature) * distance) as f32;
        Some(floor.next_down())
    }

    /// Draws one of the candidates.
    pub(super) fn draw(&mut self) -> Result<u32, SampleError> {
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
