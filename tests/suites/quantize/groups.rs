//! The search for the scale of a group, whatever its weights are and however they count.

use deepthin::verify::choices::Choices;
use deepthin::verify::values::Class;
use deepthin_compiler::dequant::{StoredGroup, dequantize_row, quantize_row, stored_groups};
use deepthin_compiler::format::{Bits, Codes, Scale};
use proptest::prelude::*;

use super::{coded, error, stored};

/// Columns that every group divides.
const COLUMNS: usize = 192;

/// How columns count: all alike, by normal squares, some not at all.
fn importance(kind: u32, choices: &mut Choices) -> Vec<f32> {
    let squares = Class::Normal.floats(COLUMNS, choices).into_iter().map(|x| x * x);
    match kind {
        0 => vec![1.0; COLUMNS],
        1 => squares.collect(),
        2 => squares.map(|x| if x < 1.0 { 0.0 } else { x * 1e20 }).collect(),
        _ => squares.map(|x| x * 1e-20).collect(),
    }
}

/// The least weighted error of a group with this scale and minimum, whatever its codes are.
#[expect(clippy::cast_possible_truncation, reason = "a stored weight is an f32")]
fn least_error(codes: Codes, pair: (f32, f32), weights: &[f32], importance: &[f32]) -> f64 {
    let (d, m) = (f64::from(pair.0), f64::from(pair.1));
    let (least, most) = match (codes.bits, codes.minimum) {
        (Bits::Four, true) => (0.0, 15.0),
        (Bits::Six, true) => (0.0, 63.0),
        (Bits::Eight, true) => (0.0, 255.0),
        (Bits::Four, false) => (-8.0, 7.0),
        (Bits::Six, false) => (-32.0, 31.0),
        (Bits::Eight, false) => (-127.0, 127.0),
    };
    let nearest = |w: &f32| {
        let q = if d == 0.0 { 0.0 } else { (f64::from(*w) - m) / d };
        let q = q.clamp(least, most);
        let at = |q: f64| q.mul_add(d, m) as f32;
        let distance = |q: f64| (f64::from(at(q)) - f64::from(*w)).abs();
        distance(q.floor()).min(distance(q.ceil()))
    };
    weights.iter().zip(importance).map(|(w, i)| f64::from(*i) * nearest(w).powi(2)).sum()
}

/// The stored values next to one.
fn neighbors(scale: Scale, value: f32) -> Vec<f32> {
    let bits = u16::from_le_bytes(scale.write(value));
    let next = [bits.wrapping_sub(1), bits.wrapping_add(1)];
    let next = next.map(|bits| scale.read(bits.to_le_bytes()));
    next.into_iter().filter(|next| next.is_finite() && next.signum() == value.signum()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Each code is the nearest one, no scale next to a group's own is better for it, and rounding
    /// to nearest by the scale that covers the group is not either.
    #[test]
    fn no_group_has_a_better_scale_next_to_its_own(
        class in prop::sample::select(Class::FINITE.to_vec()),
        kind in 0..4_u32,
        seed in any::<u64>(),
    ) {
        let mut choices = Choices::seeded(seed);
        let row = class.floats(COLUMNS, &mut choices);
        let importance = importance(kind, &mut choices);
        for (format, codes) in coded() {
            let (bytes, _) = stored(format, &row, &importance);
            let weights = dequantize_row(format, &bytes).unwrap();
            prop_assert!(weights.iter().all(|w| w.is_finite()), "{format} of {}", class.name());
            let rounded = dequantize_row(format, &quantize_row(format, &row).unwrap()).unwrap();
            let group = codes.group.elements(COLUMNS);
            for (number, StoredGroup { scale, minimum, .. }) in
                stored_groups(codes, &bytes).unwrap().into_iter().enumerate()
            {
                let part = number * group..(number + 1) * group;
                let even = vec![1.0; group];
                let counts = &importance[part.clone()];
                let counts = if counts.iter().all(|i| *i == 0.0) { &even } else { counts };
                let row = &row[part.clone()];
                let own = error(row, &weights[part.clone()], counts);
                // The test's sums go the way of the elements, the product's eight ways.
                let is_least = |other: f64| own <= other * (1.0 + 1e-9);
                let nearest = least_error(codes, (scale, minimum), row, counts);
                prop_assert!(is_least(nearest), "{format}: {own:e}, {nearest:e}");
                for next in neighbors(codes.scale, scale) {
                    let other = least_error(codes, (next, minimum), row, counts);
                    prop_assert!(is_least(other), "{format}: {scale:e}, {next:e}");
                }
                let rounded = error(row, &rounded[part], counts);
                let covered = is_least(rounded) || !rounded.is_finite();
                prop_assert!(covered, "{format}: {own:e}, {rounded:e}");
            }
        }
    }

    /// The error that is told is that of the stored row, and the power that of the weights.
    #[test]
    fn errors_are_those_of_what_is_stored(
        class in prop::sample::select(Class::FINITE.to_vec()),
        kind in 0..4_u32,
        seed in any::<u64>(),
    ) {
        let mut choices = Choices::seeded(seed);
        let row = class.floats(COLUMNS, &mut choices);
        let importance = importance(kind, &mut choices);
        let power = error(&row, &[0.0; COLUMNS], &importance);
        for (format, _) in coded() {
            let (bytes, told) = stored(format, &row, &importance);
            let weights = dequantize_row(format, &bytes).unwrap();
            let expected = error(&row, &weights, &importance);
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
            prop_assert!(near(told.error, expected), "{format}: {:e}, {expected:e}", told.error);
            prop_assert!(near(told.power, power), "{format}: {:e}, {power:e}", told.power);
        }
    }

    /// Weights and importance have no size of their own: a power of two goes to scale and minimum,
    /// and changes no code.
    #[test]
    fn a_power_of_two_changes_no_code(seed in any::<u64>(), by in -40..40_i32, counts in -90..90_i32) {
        let mut choices = Choices::seeded(seed);
        let row = Class::Normal.floats(COLUMNS, &mut choices);
        let importance = importance(1, &mut choices);
        let times = |x: &[f32], by: i32| -> Vec<f32> { x.iter().map(|x| x * 2_f32.powi(by)).collect() };
        for (format, codes) in coded().filter(|(_, codes)| codes.scale == Scale::Bf16) {
            let (plain, told) = stored(format, &row, &importance);
            let (scaled, other) = stored(format, &times(&row, by), &times(&importance, counts));
            let (plain, scaled) = (stored_groups(codes, &plain), stored_groups(codes, &scaled));
            for (plain, scaled) in plain.unwrap().into_iter().zip(scaled.unwrap()) {
                prop_assert_eq!(&plain.codes, &scaled.codes, "{}", format);
                let expected = times(&[plain.scale, plain.minimum], by);
                prop_assert_eq!(vec![scaled.scale, scaled.minimum], expected, "{}", format);
            }
            let expected = told.error * 4_f64.powi(by) * 2_f64.powi(counts);
            prop_assert!((other.error / expected - 1.0).abs() < 1e-12, "{}", format);
        }
    }
}

#[test]
fn zeros_are_stored_as_zeros() {
    for (format, _) in coded() {
        let (bytes, told) = stored(format, &[0.0; COLUMNS], &[1.0; COLUMNS]);
        assert!(dequantize_row(format, &bytes).unwrap().iter().all(|w| *w == 0.0), "{format}");
        assert_eq!((told.error, told.power, told.relative_error()), (0.0, 0.0, 0.0), "{format}");
    }
}

/// One weight of any size and sign among zeros: it is kept within the precision of a scale, and the
/// zeros are kept.
#[test]
fn one_weight_among_zeros_is_kept() {
    for (format, codes) in coded() {
        let near = if codes.scale == Scale::F16 { 1e-3 } else { 8e-3 };
        for one in [1.0_f32, -1.0, 0.3, -1e-3, 6e4, -3e38, 1e-30] {
            if codes.scale == Scale::F16 && !(1e-3..=6e4).contains(&one.abs()) {
                continue; // beyond what such a scale can say
            }
            let mut row = [0.0; COLUMNS];
            row[77] = one;
            let weights = stored(format, &row, &[1.0; COLUMNS]).0;
            let mut weights = dequantize_row(format, &weights).unwrap();
            let kept = weights.remove(77);
            assert!((kept / one - 1.0).abs() < near, "{format}: {kept:e} of {one:e}");
            let most = weights.iter().fold(0.0, |most: f32, w| most.max(w.abs()));
            assert!(most <= one.abs() * near, "{format}: {most:e} beside {one:e}");
        }
    }
}

/// The least numbers that there are: stored as they are, or nearly as zeros, and never as more.
#[test]
fn subnormal_weights_are_not_made_larger() {
    let row: Vec<f32> = (0..COLUMNS).map(|i| (i % 7) as f32 * 1e-40 - 3e-40).collect();
    for (format, codes) in coded() {
        let told = stored(format, &row, &[1.0; COLUMNS]).1;
        let most = if codes.scale == Scale::F16 { 1.0 } else { 0.2 };
        assert!(told.relative_error() <= most, "{format}: {}", told.relative_error());
    }
}

/// The greatest numbers that there are stay numbers, and near.
#[test]
fn weights_at_the_end_of_the_range_stay_finite() {
    let sign = |i: usize| if i.is_multiple_of(3) { -1.0 } else { 1.0 };
    let row: Vec<f32> = (0..COLUMNS).map(|i| f32::MAX * sign(i)).collect();
    for (format, codes) in coded().filter(|(_, codes)| codes.scale == Scale::Bf16) {
        let (bytes, told) = stored(format, &row, &[1.0; COLUMNS]);
        let weights = dequantize_row(format, &bytes).unwrap();
        assert!(weights.iter().all(|w| w.is_finite()), "{format}");
        // 4 bits have no code opposite to their least.
        let most = if codes.bits == Bits::Four { 0.08 } else { 0.03 };
        assert!(told.relative_error() < most, "{format}: {}", told.relative_error());
    }
}

/// Columns that never count have no say in their scale where others do; where none does, all count
/// alike and keep their values, at no error that counts.
#[test]
fn columns_without_importance_have_no_error() {
    let row = Class::Normal.floats(COLUMNS, &mut Choices::seeded(5));
    for (format, codes) in coded() {
        let (even, _) = stored(format, &row, &[1.0; COLUMNS]);
        let (none, told) = stored(format, &row, &[0.0; COLUMNS]);
        assert_eq!((&none, told.error, told.power), (&even, 0.0, 0.0), "{format}");
        assert_eq!(told.relative_error(), 0.0);
        // One column that counts in each group: the others have no say against it.
        let group = codes.group.elements(COLUMNS);
        let one: Vec<f32> = (0..COLUMNS).map(|i| f32::from(i % group == group / 2)).collect();
        let (_, told) = stored(format, &row, &one);
        let even = error(&row, &dequantize_row(format, &even).unwrap(), &one);
        assert!(told.error < 0.5 * even, "{format}: {}, {even}", told.error);
    }
}

/// A weight that is no finite number makes its own group no numbers, which packing refuses.
#[test]
fn weights_that_are_not_finite_leave_no_numbers() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (format, codes) in coded() {
            let mut row = [1.0; COLUMNS];
            row[100] = bad;
            let (bytes, _) = stored(format, &row, &[1.0; COLUMNS]);
            let own = 100 / codes.group.elements(COLUMNS);
            for (number, group) in stored_groups(codes, &bytes).unwrap().iter().enumerate() {
                assert_eq!(group.scale.is_finite(), number != own, "{format}, {bad}, {number}");
            }
        }
    }
}
