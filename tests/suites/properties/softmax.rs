//! Softmax, seen through attention: values are unit vectors, so that the output is the weights.

use deepthin_compiler::fir::HeadShape;
use deepthin_compiler::format::KvFormat;
use deepthin_tests::cases::cases;
use deepthin_tests::ops::Attention;
use deepthin_tests::reference::gamma;
use proptest::prelude::*;

use super::assert_same_bits;

/// Elements of the head: as many positions have a weight of their own.
const DIM: usize = 64;

/// The weights of these scores (multiples of 2^-6 below 2^15, which come out exactly): the scale
/// is 1/8, the query 8 and then zeros, a key its score and then zeros.
fn softmax(scores: &[f32]) -> Vec<f32> {
    let with_first = |first: f32| [&[first], [0.0; DIM - 1].as_slice()].concat();
    let unit = |j: usize| (0..DIM).map(|d| f32::from(d == j)).collect();
    let shape = HeadShape { heads: 1, kv_heads: 1, head_dim: 64 };
    let attention = Attention {
        shape,
        context: 64,
        kv: KvFormat::F32,
        query: with_first(8.0),
        keys: scores.iter().map(|score| with_first(*score)).collect(),
        values: (0..scores.len()).map(unit).collect(),
        visible: scores.len(),
    };
    attention.run()
}

/// Scores that are exact in all of their sums with small integers.
fn scores() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-1280..1280_i16).prop_map(|n| f32::from(n) / 64.0), 1..=DIM)
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn weights_sum_to_one(scores in scores()) {
        let sum: f64 = softmax(&scores).into_iter().map(f64::from).sum();
        // The total adds 64 in lanes and a tree, merges once, divides; each weight rounds.
        prop_assert!((sum - 1.0).abs() <= gamma(3 + 4 + 6 + 2), "{}", sum);
    }

    #[test]
    fn an_exact_shift_of_all_scores_changes_nothing(
        scores in scores(),
        shift in prop::sample::select(vec![-1000.0_f32, -7.0, 0.25, 3.0, 4096.0]),
    ) {
        let shifted: Vec<f32> = scores.iter().map(|score| score + shift).collect();
        assert_same_bits(&softmax(&scores), &softmax(&shifted));
    }

    #[test]
    fn positions_that_are_not_visible_weigh_nothing(scores in scores()) {
        let weights = softmax(&scores);
        prop_assert!(weights[scores.len()..].iter().all(|weight| weight.to_bits() == 0));
    }

    #[test]
    fn a_higher_score_weighs_more(scores in scores()) {
        let weights = softmax(&scores);
        for (a, x) in scores.iter().zip(&weights) {
            for (b, y) in scores.iter().zip(&weights) {
                // Scores are 1/64 apart or equal: further than exp errs.
                let ordered = if a == b { x.to_bits() == y.to_bits() } else { (a > b) == (x > y) || *x == 0.0 };
                prop_assert!(ordered || *y == 0.0, "{a} weighs {x}, {b} weighs {y}");
            }
        }
    }

    #[test]
    fn weights_are_from_zero_to_one(scores in scores()) {
        prop_assert!(softmax(&scores).iter().all(|weight| (0.0..=1.0).contains(weight)));
    }
}

#[test]
fn a_single_position_weighs_one() {
    for score in [0.0, -5.0, 88.0, 1e4, -1e4] {
        assert_eq!(softmax(&[score])[0].to_bits(), 1_f32.to_bits());
    }
}

/// Scores that are all minus infinity leave no distribution: the result says so.
#[test]
fn no_finite_score_gives_no_number() {
    for count in [1, 3, 64] {
        let weights = softmax(&vec![f32::NEG_INFINITY; count]);
        assert!(weights.iter().all(|weight| weight.is_nan()), "{weights:?}");
    }
}

#[test]
fn one_infinite_score_below_weighs_nothing() {
    let weights = softmax(&[1.0, f32::NEG_INFINITY, 1.0]);
    assert_eq!(weights[..3], [0.5, 0.0, 0.5]);
}
