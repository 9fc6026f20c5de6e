//! Statistics of samples: few numbers, of which the middle is told and never the best.
//!
//! A series holds one number for each round, in the order of the rounds. A series that ends early
//! was interrupted; rounds that only one of two series has say nothing about their ratio.

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

/// Median, the mean of the two in the middle where their count is even; `None` of no numbers.
pub fn median(numbers: &[f64]) -> Option<f64> {
    let sorted = sorted(numbers);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The least of the numbers that no more than `100 - percent` % of them pass (nearest rank);
/// `None` of no numbers.
pub fn percentile(numbers: &[f64], percent: u32) -> Option<f64> {
    let sorted = sorted(numbers);
    let rank = (sorted.len() as u64 * u64::from(percent.min(100))).div_ceil(100);
    let index = usize::try_from(rank.saturating_sub(1)).ok()?;
    sorted.get(index).copied()
}

/// The median over rounds of the ratio of two series within a round; `None` without a round that
/// has both.
pub fn median_ratio(numerators: &[f64], denominators: &[f64]) -> Option<f64> {
    let pairs = numerators.iter().zip(denominators);
    let ratios: Vec<f64> = pairs.map(|(a, b)| a / b).filter(|ratio| ratio.is_finite()).collect();
    median(&ratios)
}

fn sorted(numbers: &[f64]) -> Vec<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn count(numbers: &[f64]) -> f64 {
    u32::try_from(numbers.len()).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_a_sample() {
        assert_eq!((mean(&[]), deviation(&[])), (0.0, 0.0));
        assert_eq!((mean(&[5.0]), deviation(&[5.0])), (5.0, 0.0));
        // Squares of -3, -1, 4: 26 over 2.
        assert_eq!(mean(&[2.0, 4.0, 9.0]), 5.0);
        assert_eq!(deviation(&[2.0, 4.0, 9.0]), 13.0_f64.sqrt());
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[9.0, 1.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 100.0, 3.0]), Some(6.0));
    }

    #[test]
    fn percentiles_are_numbers_of_the_sample() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (percent, expected) in [(0, 1.0), (1, 1.0), (50, 50.0), (95, 95.0), (100, 100.0)] {
            assert_eq!(percentile(&hundred, percent), Some(expected), "{percent}");
        }
        let ten = &hundred[..10]; // 91 to 100
        assert_eq!(
            [50, 94, 95].map(|p| percentile(ten, p)),
            [Some(95.0), Some(100.0), Some(100.0)]
        );
        assert_eq!(percentile(&[3.0], 95), Some(3.0));
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(ten, 1000), Some(100.0));
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        // The machine is twice as fast in the last two rounds: medians of each would say 2 or 1/2.
        let (a, b) = ([100.0, 100.0, 202.0, 204.0], [50.0, 100.0, 200.0, 200.0]);
        assert_eq!(median_ratio(&a, &b), Some(f64::midpoint(1.01, 1.02)));
        assert_eq!(median_ratio(&a[..1], &b), Some(2.0), "one was interrupted");
        assert_eq!(median_ratio(&[], &b), None);
        assert_eq!(median_ratio(&[1.0, 2.0], &[0.0, 4.0]), Some(0.5), "no ratio to nothing");
    }
}
