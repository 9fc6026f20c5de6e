//! Logits: what is told of each panel is its greatest, in a form that orders as they do.

use deepthin::verify::values::Class;
use deepthin_tests::cases::cases;
use deepthin_tests::ops::logits;
use proptest::prelude::*;

use super::floats;

/// Logits of whose kind there is no greatest.
const NOT_FINITE: i32 = i32::MAX;

/// The number that a rank is of: negative ones have the bits below the sign inverted.
fn number(rank: i32) -> f32 {
    let bits = if rank < 0 { rank ^ i32::MAX } else { rank };
    f32::from_bits(bits.cast_unsigned())
}

fn vocab() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1_usize, 31, 32, 33, 63, 100])
}

/// What vectors are multiplied with: some sums overflow, some are of nothing finite.
const VECTORS: [[f32; 2]; 5] =
    [[1.0, 0.0], [-1.0, 0.5], [4.0, -3.0], [-0.0, f32::INFINITY], [f32::NAN, 1.0]];

proptest! {
    #![proptest_config(cases(48))]

    /// Numbers of every kind, the padding of the last panel beside them.
    #[test]
    fn maxima_are_the_greatest_of_their_panels(
        vocab in vocab(),
        class in prop::sample::select(Class::ALL.to_vec()),
        first in 0_usize..5,
        tokens in 1_usize..5,
        seed in any::<u64>(),
    ) {
        // Weights are finite: packing refuses others.
        let finite = |w: f32| if w.is_nan() { 0.0 } else { w.clamp(f32::MIN, f32::MAX) };
        let weights: Vec<f32> = floats(class, 2 * vocab, seed).into_iter().map(finite).collect();
        let x: Vec<[f32; 2]> = VECTORS.iter().cycle().skip(first).take(tokens).copied().collect();
        for (logits, maxima) in logits(weights.as_chunks().0, &x) {
            prop_assert_eq!(maxima.len(), vocab.div_ceil(32));
            for (panel, rank) in logits.chunks(32).zip(maxima) {
                let greatest = panel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                if panel.iter().all(|logit| logit.is_finite()) {
                    prop_assert_eq!(number(rank), greatest, "of {:?}", panel);
                } else {
                    prop_assert_eq!(rank, NOT_FINITE, "of {:?}", panel);
                }
            }
        }
    }

    /// Which of two numbers is the greater, ranks say too: -0 and 0 are one.
    #[test]
    fn ranks_order_as_numbers_do(left in any::<f32>(), right in any::<f32>()) {
        prop_assume!(left.is_finite() && right.is_finite());
        let rank = |number: f32| logits(&[[number, 0.0]], &[[1.0, 0.0]])[0].1[0];
        prop_assert_eq!(rank(left).cmp(&rank(right)), (left + 0.0).total_cmp(&(right + 0.0)));
    }
}
