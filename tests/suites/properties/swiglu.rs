//! Gated units: closed, open, and the symmetry between.

use deepthin::verify::values::Class;
use deepthin_tests::cases::cases;
use deepthin_tests::ops::swiglu;
use deepthin_tests::reference::U;
use proptest::prelude::*;

use super::{assert_same_bits, floats, tame};

fn width() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1_usize, 3, 15, 16, 17, 33, 48])
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn a_gate_of_zero_is_closed(width in width(), class in tame(), seed in any::<u64>()) {
        let up = floats(class, width, seed);
        let gate = floats(Class::Zeros, width, !seed);
        prop_assert!(swiglu(&gate, &up).iter().all(|y| *y == 0.0));
    }

    /// From 17.4 on `1 + exp(-g)` rounds to 1.
    #[test]
    fn a_large_gate_is_a_factor(width in width(), class in tame(), seed in any::<u64>()) {
        let up = floats(class, width, seed);
        let gate: Vec<f32> = (0..width).map(|i| 17.5 + i as f32 * 3.25).collect();
        let expected: Vec<f32> = gate.iter().zip(&up).map(|(g, u)| g * (u + 0.0)).collect();
        assert_same_bits(&swiglu(&gate, &up), &expected);
    }

    #[test]
    fn a_gate_far_below_zero_is_closed(width in width(), seed in any::<u64>()) {
        let up = floats(Class::Normal, width, seed);
        let gate = vec![-120.0; width];
        prop_assert!(swiglu(&gate, &up).iter().all(|y| *y == 0.0));
    }

    #[test]
    fn opposite_gates_differ_by_the_gate(width in width(), seed in any::<u64>(), size in 0.01..30_f32) {
        let gate: Vec<f32> =
            floats(Class::Normal, width, seed).into_iter().map(|g| g * size).collect();
        let opposite: Vec<f32> = gate.iter().map(|g| -g).collect();
        let ones = vec![1.0; width];
        let (above, below) = (swiglu(&gate, &ones), swiglu(&opposite, &ones));
        for ((g, a), b) in gate.iter().zip(above).zip(below) {
            let [g, a, b] = [*g, a, b].map(f64::from);
            let bound = 4.2 * U * (a.abs() + b.abs()) + 6e-37;
            prop_assert!((a - b - g).abs() <= bound, "{g}: {a} and {b}");
        }
    }

    #[test]
    fn twice_the_up_projection_gives_twice_the_output(width in width(), seed in any::<u64>()) {
        let (gate, up) = (floats(Class::Normal, width, seed), floats(Class::Normal, width, !seed));
        let twice: Vec<f32> = up.iter().map(|u| 2.0 * u).collect();
        let expected: Vec<f32> = swiglu(&gate, &up).iter().map(|y| 2.0 * y).collect();
        assert_same_bits(&swiglu(&gate, &twice), &expected);
    }
}
