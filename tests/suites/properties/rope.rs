//! Rotary positions: turns keep lengths, undo each other, and depend on distances alone.

use deepthin::verify::values::Class;
use deepthin_compiler::numerics::rope_angle;
use deepthin_tests::cases::cases;
use deepthin_tests::ops::rope;
use deepthin_tests::reference::{U, gamma};
use proptest::prelude::*;

use super::{assert_same_bits, floats};

const THETA: f64 = 10_000.0;

fn head_dim() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![2_usize, 4, 6, 16, 24, 30, 32, 34, 48, 64])
}

/// Cosines and then sines of the angles at a position, as the packed table has them.
fn angles(position: u32, head_dim: usize) -> Vec<f32> {
    let dim = u32::try_from(head_dim).unwrap();
    let pairs = (0..dim / 2).map(|pair| rope_angle(position, pair, dim, THETA));
    let (cosines, sines): (Vec<f32>, Vec<f32>) = pairs.unzip();
    [cosines, sines].concat()
}

/// The inner product, and the sum of the magnitudes of its terms.
fn dot(a: &[f32], b: &[f32]) -> (f64, f64) {
    let terms = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
}

fn length(x: &[f32]) -> f64 {
    dot(x, x).0.sqrt()
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn lengths_are_kept(dim in head_dim(), position in 0..131_072_u32, seed in any::<u64>()) {
        let x = floats(Class::Normal, dim, seed);
        let (before, after) = (length(&x), length(&rope(&x, &angles(position, dim))));
        prop_assert!((before - after).abs() <= 4.0 * U * before, "{before} and {after}");
    }

    #[test]
    fn position_0_changes_nothing(dim in head_dim(), seed in any::<u64>()) {
        let x = floats(Class::Outliers, dim, seed);
        assert_same_bits(&rope(&x, &angles(0, dim)), &x);
    }

    #[test]
    fn products_depend_on_the_distance(
        dim in head_dim(),
        [position, further] in [0..2000_u32, 0..2000_u32],
        distance in 0..500_u32,
        seed in any::<u64>(),
    ) {
        let (q, k) = (floats(Class::Normal, dim, seed), floats(Class::Normal, dim, !seed));
        let at = |key: u32| {
            let query = rope(&q, &angles(key + distance, dim));
            dot(&query, &rope(&k, &angles(key, dim))).0
        };
        // Each turned element errs by its row of the table, relative to its pair's length.
        let bound = 4.0 * (gamma(3) + 1e-10) * 2.0 * length(&q) * length(&k);
        prop_assert!((at(position) - at(position + further)).abs() <= bound);
    }

    #[test]
    fn the_inverse_turn_restores(dim in head_dim(), position in 0..131_072_u32, seed in any::<u64>()) {
        let x = floats(Class::Normal, dim, seed);
        let forward = angles(position, dim);
        let mut backward = forward.clone();
        backward[dim / 2..].iter_mut().for_each(|sine| *sine = -*sine);
        let restored = rope(&rope(&x, &forward), &backward);
        for i in 0..dim {
            let pair = f64::from(x[i % (dim / 2)].abs()) + f64::from(x[i % (dim / 2) + dim / 2].abs());
            let error = (f64::from(restored[i]) - f64::from(x[i])).abs();
            prop_assert!(error <= 3.0 * (gamma(3) + 1e-10) * pair, "{} for {}", restored[i], x[i]);
        }
    }

    #[test]
    fn a_turn_is_linear_in_powers_of_two(dim in head_dim(), position in 0..4096_u32, seed in any::<u64>()) {
        let x = floats(Class::Normal, dim, seed);
        let twice: Vec<f32> = x.iter().map(|x| 2.0 * x).collect();
        let turned = rope(&x, &angles(position, dim));
        let expected: Vec<f32> = turned.iter().map(|x| 2.0 * x).collect();
        assert_same_bits(&rope(&twice, &angles(position, dim)), &expected);
    }
}
