//! Activations as codes, and sums of codes: the definitions of `specs/numerics.md` against integers
//! and f64, at their corners and at the ends of what 32 bits hold.

use deepthin::verify::choices::Choices;
use deepthin::verify::exact::bounds;
use deepthin::verify::values::Class;
use deepthin_compiler::dequant::{StoredGroup, stored_groups};
use deepthin_compiler::format::{Activations, Bits, Codes, Format, Group, MOST_EXACT, Scale};
use deepthin_compiler::numerics::{Quantized, dot_codes, quantize};
use deepthin_tests::ops::{Matrix, product};
use proptest::prelude::*;

/// The codes and scales of one group.
fn alone(x: &[f32]) -> (Vec<i8>, f32) {
    let Quantized { codes, scales } = quantize(x, x.len());
    assert_eq!((codes.len(), scales.len()), (x.len(), 1));
    (codes, scales[0])
}

/// A group of 32 that begins so, zeros behind.
fn group(x: &[f32]) -> Vec<f32> {
    let mut group = x.to_vec();
    group.resize(32, 0.0);
    group
}

#[test]
fn codes_are_rounded_to_even() {
    let x = [127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, 0.499_999_97, -0.0, 125.500_01];
    let (codes, scale) = alone(&group(&x));
    assert_eq!(scale, 1.0);
    assert_eq!(codes[..12], [127, 0, 2, 2, 0, -2, -2, 126, -126, 0, 0, 126]);
    assert_eq!(codes[12..], [0; 20]);
}

#[test]
fn the_greatest_magnitude_has_the_last_code_of_either_sign() {
    for most in [f32::MAX, 1e30, 3.0, 0.007, 2_f32.powi(-99), 2_f32.powi(-100)] {
        for sign in [1.0, -1.0] {
            let (codes, scale) = alone(&group(&[0.25 * most, sign * most, -0.5 * most]));
            assert_eq!(codes[1], if sign > 0.0 { 127 } else { -127 }, "{most}");
            assert_eq!((codes[0], codes[2]), (32, -64), "{most}");
            assert_eq!(scale, most / 127.0);
        }
    }
}

/// Where 127 by the magnitude may overflow there are no codes; the scale stays.
#[test]
fn groups_below_the_least_magnitude_are_zeros() {
    let least = 2_f32.powi(-100);
    let below = f32::from_bits(least.to_bits() - 1);
    for most in [below, f32::MIN_POSITIVE, f32::from_bits(1), 0.0, -0.0] {
        let (codes, scale) = alone(&group(&[most, -most, most / 2.0]));
        assert_eq!(codes, [0; 32], "{most:e}");
        assert_eq!(scale.to_bits(), (most.abs() / 127.0).to_bits(), "{most:e}");
    }
    assert_eq!(alone(&group(&[least])).0[0], 127);
}

#[test]
fn groups_that_are_not_finite_have_no_codes_and_no_scale() {
    let bad = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001)];
    for bad in bad {
        for place in [0, 13, 31] {
            let mut x: Vec<f32> = (0..96_u8).map(|i| f32::from(i) - 40.0).collect();
            let good = quantize(&x, 32);
            x[32 + place] = bad;
            let found = quantize(&x, 32);
            assert!(found.scales[1].is_nan());
            assert_eq!(found.codes[32..64], [0; 32]);
            assert_eq!((found.scales[0], found.scales[2]), (good.scales[0], good.scales[2]));
            assert_eq!(found.codes[..32], good.codes[..32], "the others stay");
            assert_eq!(found.codes[64..], good.codes[64..]);
        }
    }
}

/// Bits, scales and minima of a row, drawn; scales are of normal size.
fn row(format: Format, columns: usize, choices: &mut Choices) -> Vec<StoredGroup> {
    let codes = format.codes().unwrap();
    let mut bytes: Vec<u8> =
        (0..format.row_bytes(columns).unwrap()).map(|_| choices.bits().to_le_bytes()[0]).collect();
    for group in bytes.chunks_mut(format.group_bytes(columns)) {
        let numbers = Class::Normal.floats(2, choices);
        group[..2].copy_from_slice(&codes.scale.write(numbers[0] / 64.0));
        if codes.minimum {
            group[2..4].copy_from_slice(&codes.scale.write(numbers[1]));
        }
    }
    stored_groups(codes, &bytes).unwrap()
}

/// What a row of codes by codes is in integers and f64: the sum, and the sum of its magnitudes.
fn exact(codes: Codes, w: &[StoredGroup], x: &Quantized) -> (f64, f64) {
    let (own, theirs) = (x.codes.len() / w.len(), x.codes.len() / x.scales.len());
    let bias = if codes.minimum { 0 } else { 1_i64 << (codes.bits.count() - 1) };
    let (mut sum, mut magnitude) = (0.0, 0.0);
    for (k, code) in x.codes.iter().enumerate() {
        let group = &w[k / own];
        let q = i64::from(group.codes[k % own]) - bias;
        let (d, m) = (f64::from(group.scale), f64::from(group.minimum));
        let x = f64::from(x.scales[k / theirs]) * f64::from(*code);
        sum += (d * q as f64 + m) * x;
        magnitude += (d.abs() * q.abs() as f64 + m.abs()) * x.abs();
    }
    (sum, magnitude)
}

proptest! {
    /// An element is within half a step of its code, and a few roundings.
    #[test]
    fn codes_are_within_half_a_step(
        class in prop::sample::select(Class::FINITE.to_vec()),
        group in prop::sample::select(vec![32_usize, 64, 96, 192]),
        seed in any::<u64>(),
    ) {
        let x = class.floats(192, &mut Choices::seeded(seed));
        let Quantized { codes, scales } = quantize(&x, group);
        prop_assert_eq!((codes.len(), scales.len()), (192, 192 / group));
        for (k, (x, code)) in x.iter().zip(&codes).enumerate() {
            let d = f64::from(scales[k / group]);
            let error = (d * f64::from(*code) - f64::from(*x)).abs();
            prop_assert!(*code >= -127, "{}", code);
            prop_assert!(error <= bounds::quantized(d), "{x} by {code} of {d}: {error:e}");
        }
        for (scale, x) in scales.iter().zip(x.chunks(group)) {
            let most = x.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
            prop_assert_eq!(scale.to_bits(), (most / 127.0).to_bits());
        }
    }

    /// Twice the input has the codes of the input and twice its scales, to the bit.
    #[test]
    fn powers_of_two_leave_the_codes(
        class in prop::sample::select(vec![Class::Normal, Class::Outliers, Class::Cancellation]),
        power in -20..20_i32,
        seed in any::<u64>(),
    ) {
        let x = class.floats(96, &mut Choices::seeded(seed));
        let factor = 2_f32.powi(power);
        let scaled: Vec<f32> = x.iter().map(|x| x * factor).collect();
        let (plain, scaled) = (quantize(&x, 32), quantize(&scaled, 32));
        prop_assert_eq!(plain.codes, scaled.codes);
        let scales: Vec<f32> = plain.scales.iter().map(|d| d * factor).collect();
        prop_assert_eq!(scales, scaled.scales);
    }

    /// Sums of codes against integers and f64, over pieces of every length.
    #[test]
    fn products_of_codes_are_within_their_bound(
        group in prop::sample::select(Group::ALL.to_vec()),
        columns in prop::sample::select(vec![192_usize, 384]),
        seed in any::<u64>(),
    ) {
        let mut choices = Choices::seeded(seed);
        for format in Format::ALL {
            let Some(codes) = format.codes() else { continue };
            let w = row(format, columns, &mut choices);
            let x = quantize(&Class::Normal.floats(columns, &mut choices), group.elements(columns));
            let piece = Activations::Q8(group).piece(format, columns);
            prop_assert!(format.group(columns).is_multiple_of(piece));
            prop_assert!(group.elements(columns).is_multiple_of(piece));
            let found = f64::from(dot_codes(codes, &w, &x, piece));
            let (sum, magnitude) = exact(codes, &w, &x);
            let steps = columns / piece * if codes.minimum { 2 } else { 1 };
            let bound = bounds::product_of_codes(steps, columns, magnitude);
            prop_assert!((found - sum).abs() <= bound, "{format} by {group:?}: {found} and {sum}");
        }
    }
}

/// The greatest common divisor of both groups, written out.
#[test]
fn pieces_are_what_both_groups_share() {
    let own = |group| Format::Codes(Codes::own(Bits::Six, group, false));
    let piece =
        |weights, activations, columns| Activations::Q8(activations).piece(own(weights), columns);
    use Group::{Of32, Of64, Of96, Of192, Row};
    for (weights, activations, columns, expected) in [
        (Of32, Row, 576, 32),
        (Of64, Of64, 576, 64),
        (Of96, Of64, 576, 32),
        (Of64, Of96, 576, 32),
        (Of192, Of96, 576, 96),
        (Of192, Of64, 576, 64),
        (Of192, Of192, 576, 192),
        (Row, Of192, 576, 192),
        (Row, Row, 576, 576),
        (Row, Of64, 96, 32),
        (Of96, Row, 960, 96),
    ] {
        assert_eq!(
            piece(weights, activations, columns),
            expected,
            "{weights:?} by {activations:?}"
        );
    }
    assert_eq!(Activations::Q8(Of64).piece(Format::Q8_0, 576), 32, "files have groups of 32");
    assert_eq!(Activations::F32.piece(Format::Q8_0, 576), 1);
}

/// A row of codes by its bytes: all of its codes are those that `code` gives, its scale 1 and its
/// minimum 1 where it has one.
fn stored(codes: Codes, columns: usize, code: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut bytes = codes.scale.write(1.0).to_vec();
    if codes.minimum {
        bytes.extend(codes.scale.write(1.0));
    }
    for first in (0..columns).step_by(32) {
        let block = std::array::from_fn(|i| code(first + i));
        deepthin_compiler::codes::pack(codes, &block, &mut bytes);
    }
    bytes
}

/// The longest sum, its codes at both ends by activations at both ends: what 32 bits must hold.
/// The definition and the kernels of all engines give the number that the sum is, rounded once.
#[test]
fn sums_at_their_extremes_are_exact() {
    let most: fn(usize) -> f32 = |_| 127.0;
    let least: fn(usize) -> f32 = |_| -127.0;
    let turns: fn(usize) -> f32 = |k| if k % 2 == 0 { 127.0 } else { -127.0 };
    for bits in Bits::ALL {
        for minimum in [false, true] {
            let codes = Codes { bits, group: Group::Row, minimum, scale: Scale::Bf16 };
            let rows: [fn(Bits, usize) -> u8; 3] = [
                |bits, _| bits.most(),
                |_, _| 0,
                |bits, k| if k % 2 == 0 { bits.most() } else { 0 },
            ];
            let stored: Vec<Vec<u8>> =
                rows.iter().map(|row| stored(codes, MOST_EXACT, |k| row(bits, k))).collect();
            let matrix = Matrix::stored(Format::Codes(codes), stored.clone());
            let inputs = [most, least, turns].map(|x| (0..MOST_EXACT).map(x).collect::<Vec<f32>>());
            let found = product(&matrix, Activations::Q8(Group::Row), &inputs);
            for (x, found) in inputs.iter().zip(found) {
                let x = quantize(x, MOST_EXACT);
                assert_eq!(x.scales, [1.0]);
                for (row, found) in stored.iter().zip(found) {
                    let w = stored_groups(codes, row).unwrap();
                    let sums = |add: i64| -> i64 {
                        let pairs = w[0].codes.iter().zip(&x.codes);
                        pairs.map(|(w, x)| (i64::from(*w) + add) * i64::from(*x)).sum()
                    };
                    let exact = if minimum {
                        // The sum of codes is rounded, then the sum of x's codes is added.
                        let of_x: i64 = x.codes.iter().map(|x| i64::from(*x)).sum();
                        sums(0) as f32 + of_x as f32
                    } else {
                        sums(-i64::from(codes.bias())) as f32
                    };
                    assert_eq!(found, exact, "{codes:?}");
                    assert_eq!(dot_codes(codes, &w, &x, MOST_EXACT), exact, "{codes:?}");
                }
            }
        }
    }
}

/// One number that is none, or an infinity, makes all products of its token no numbers, and none
/// of another token's.
#[test]
fn a_group_that_is_not_finite_makes_its_token_no_number() {
    let mut choices = Choices::seeded(3);
    for name in ["q8_0", "q4g64", "q6g96m", "q8rowm", "q4_1"] {
        let format: Format = name.parse().unwrap();
        let rows: Vec<Vec<f32>> = (0..5).map(|_| Class::Normal.floats(192, &mut choices)).collect();
        let matrix = Matrix::new(format, &rows);
        for group in Group::ALL {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let good = Class::Normal.floats(192, &mut choices);
                let mut wrong = good.clone();
                wrong[77] = bad;
                let y = product(&matrix, Activations::Q8(group), &[good, wrong]);
                assert!(y[0].iter().all(|y| y.is_finite()), "{name} by {group:?}");
                assert!(y[1].iter().all(|y| y.is_nan()), "{name} by {group:?}");
            }
        }
    }
}
