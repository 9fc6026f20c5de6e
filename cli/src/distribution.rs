//! The logits of one position as a distribution over the vocabulary.

use std::cmp::Ordering;

/// A distribution: probabilities are `exp(logit)` over the sum of all of them.
///
/// Sums run in f64 and in the order of the ids, by a pure-Rust `exp`, so that every machine
/// prints the same digits.
#[derive(Debug, Clone, Copy)]
pub struct Distribution<'l> {
    logits: &'l [f32],
    highest: f64,
    /// Logarithm of the sum of all `exp(logit - highest)`.
    log_sum: f64,
}

/// One token of a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likely {
    /// The token.
    pub id: u32,
    /// Its logit.
    pub logit: f32,
    /// The natural logarithm of its probability.
    pub log_probability: f64,
}

impl<'l> Distribution<'l> {
    /// The distribution of these logits, which are finite.
    pub fn new(logits: &'l [f32]) -> Distribution<'l> {
        let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|logit| libm::exp(f64::from(*logit) - highest)).sum();
        Distribution { logits, highest, log_sum: libm::log(sum) }
    }

    /// The natural logarithm of a token's probability; `None` for an id out of range.
    pub fn log_probability(&self, id: u32) -> Option<f64> {
        self.logits.get(usize::try_from(id).ok()?).map(|logit| self.of_logit(*logit))
    }

    /// One after the other, so that digits are kept however high the logits are.
    fn of_logit(&self, logit: f32) -> f64 {
        f64::from(logit) - self.highest - self.log_sum
    }

    /// The Kullback-Leibler divergence `sum p ln(p / q)` of this distribution p from `other`, q, over
    /// the same vocabulary, in nats.
    pub fn divergence(&self, other: &Distribution<'_>) -> f64 {
        let terms = self.logits.iter().zip(other.logits).map(|(p, q)| {
            let (p, q) = (self.of_logit(*p), other.of_logit(*q));
            libm::exp(p) * (p - q)
        });
        terms.sum()
    }

    /// The likeliest token; of equal logits the lowest id.
    pub fn likeliest(&self) -> Option<u32> {
        let logits = (0..).zip(self.logits.iter().copied());
        logits.min_by(likelier).map(|(id, _)| id)
    }

    /// The `count` likeliest tokens, or all where there are fewer; of equal logits the lower id
    /// comes first.
    pub fn top(&self, count: usize) -> Vec<Likely> {
        let mut tokens: Vec<(u32, f32)> = (0..).zip(self.logits.iter().copied()).collect();
        if count < tokens.len() {
            tokens.select_nth_unstable_by(count, likelier);
            tokens.truncate(count);
        }
        tokens.sort_unstable_by(likelier);
        let likely = |(id, logit)| Likely { id, logit, log_probability: self.of_logit(logit) };
        tokens.into_iter().map(likely).collect()
    }
}

/// The higher logit first, then the lower id.
fn likelier(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_at_any_height() {
        for shift in [-1e30_f32, 0.0, 700.0, 1e30] {
            let logits = [shift, shift, shift, shift];
            let top = Distribution::new(&logits).top(10);
            assert_eq!(top.iter().map(|t| t.id).collect::<Vec<_>>(), [0, 1, 2, 3], "{shift}");
            assert!(top.iter().all(|t| (t.log_probability + 4_f64.ln()).abs() < 1e-9), "{top:?}");
        }
    }

    #[test]
    fn of_equal_logits_the_lower_id_comes_first() {
        let logits = [1.0, 3.0, -0.0, 3.0, 0.0, 7.0];
        let ids = |count| Distribution::new(&logits).top(count).iter().map(|t| t.id).collect();
        let first: Vec<u32> = ids(2);
        assert_eq!(first, [5, 1]);
        let all: Vec<u32> = ids(6);
        assert_eq!(all, [5, 1, 3, 0, 2, 4]);
    }

    #[test]
    fn a_distribution_diverges_from_others_alone() {
        let (a, b) = ([0.0, 0.0], [3_f32.ln(), 0.0]);
        let (a, b) = (Distribution::new(&a), Distribution::new(&b));
        assert_eq!(a.divergence(&a), 0.0);
        // p = 1/2, 1/2 and q = 3/4, 1/4.
        let expected = 0.5 * (2.0_f64 / 3.0).ln() + 0.5 * 2_f64.ln();
        assert!((a.divergence(&b) - expected).abs() < 1e-7);
        assert_eq!((a.likeliest(), b.likeliest()), (Some(0), Some(0)));
        assert_eq!(Distribution::new(&[1.0, 7.0, 7.0]).likeliest(), Some(1));
    }

    #[test]
    fn an_id_out_of_range_has_no_probability() {
        let distribution = Distribution::new(&[0.0, 1.0]);
        assert_eq!(distribution.log_probability(2), None);
        let expected = -(1.0 + (-1_f64).exp()).ln();
        assert!((distribution.log_probability(1).unwrap() - expected).abs() < 1e-15);
    }
}
