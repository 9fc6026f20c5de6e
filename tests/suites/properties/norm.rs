//! RMS norms: what scales, permutes, vanishes and overflows.

use deepthin::verify::values::Class;
use deepthin_tests::cases::cases;
use deepthin_tests::ops::rms_norm;
use deepthin_tests::reference::gamma;
use proptest::prelude::*;

use super::{assert_same_bits, floats, tame};

fn width() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1, 2, 3, 5, 15, 16, 17, 31, 32, 33, 61, 127, 576, 960])
}

/// Whether `found` is within the relative bound of a norm of `width`, twice: both sides have it.
fn is_near(found: f32, expected: f32, width: usize) -> bool {
    let bound = 2.0 * gamma(width.div_ceil(32) + 8) * f64::from(expected.abs()) + 1e-40;
    (f64::from(found) - f64::from(expected)).abs() <= bound
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn a_power_of_two_in_the_input_cancels_without_epsilon(
        width in width(),
        seed in any::<u64>(),
        power in -20..20_i32,
    ) {
        let mut x = floats(Class::Normal, width, seed);
        x[0] += 4.0; // not all zero
        let gain = floats(Class::Normal, width, !seed);
        let scaled: Vec<f32> = x.iter().map(|x| x * 2_f32.powi(power)).collect();
        assert_same_bits(&rms_norm(&x, &gain, 0.0), &rms_norm(&scaled, &gain, 0.0));
    }

    #[test]
    fn permuted_elements_permute_the_output(
        width in width(),
        class in tame(),
        seed in any::<u64>(),
    ) {
        let x = floats(class, width, seed);
        let gain = floats(Class::Normal, width, !seed);
        let reversed = |v: &[f32]| v.iter().rev().copied().collect::<Vec<f32>>();
        let y = rms_norm(&x, &gain, 1e-5);
        let permuted = reversed(&rms_norm(&reversed(&x), &reversed(&gain), 1e-5));
        for (a, b) in y.iter().zip(&permuted) {
            prop_assert!(is_near(*a, *b, width), "{} {}", a, b);
        }
    }

    #[test]
    fn a_constant_vector_becomes_the_gain(
        width in width(),
        seed in any::<u64>(),
        constant in prop::sample::select(vec![1.0_f32, -1.0, 0.37, 1e-3, 3e4, -8e15]),
    ) {
        let gain = floats(Class::Normal, width, seed);
        let y = rms_norm(&vec![constant; width], &gain, 0.0);
        for (y, gain) in y.iter().zip(&gain) {
            prop_assert!(is_near(*y, gain * constant.signum(), width), "{} {}", y, gain);
        }
    }

    #[test]
    fn zeros_stay_zeros(width in width(), seed in any::<u64>()) {
        let x = floats(Class::Zeros, width, seed);
        let gain = floats(Class::MaxFinite, width, !seed);
        for eps in [1e-6, f32::MIN_POSITIVE] {
            prop_assert!(rms_norm(&x, &gain, eps).iter().all(|y| *y == 0.0));
        }
    }

    /// From 2^64 / sqrt(n) on the sum of squares passes f32: the formula then gives zeros.
    #[test]
    fn a_sum_of_squares_past_f32_gives_zeros(width in width(), seed in any::<u64>()) {
        let mut x = floats(Class::Normal, width, seed);
        x[width / 2] = 1e20;
        let gain = floats(Class::Normal, width, !seed);
        prop_assert!(rms_norm(&x, &gain, 1e-5).iter().all(|y| *y == 0.0));
        x[width / 2] = 1e18;
        prop_assert!(rms_norm(&x, &vec![1.0; width], 1e-5)[width / 2] > 0.9);
    }

    #[test]
    fn what_is_no_number_passes(width in width(), seed in any::<u64>()) {
        let mut x = floats(Class::Normal, width, seed);
        x[width - 1] = f32::NAN;
        prop_assert!(rms_norm(&x, &vec![1.0; width], 1e-5).iter().all(|y| y.is_nan()));
        x[width - 1] = f32::INFINITY;
        prop_assert!(rms_norm(&x, &vec![1.0; width], 1e-5)[width - 1].is_nan());
    }
}
