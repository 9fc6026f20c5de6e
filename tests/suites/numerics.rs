//! Each scalar definition of `specs/numerics.md` against f64, within the bound that stands there.

use deepthin::verify::exact::bounds;
use deepthin_compiler::dequant::{StoredGroup, dequantize_row, quantize_row, stored_groups};
use deepthin_compiler::format::{Bits, Codes, Format, KvFormat, Scale};
use deepthin_compiler::numerics;
use deepthin_compiler::numerics::kv::Stored;
use deepthin_tests::reference::{self, U, attention_bound, gamma, ulp_error};
use expect_test::expect;
use proptest::collection::vec;
use proptest::prelude::*;

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

/// Numbers of many magnitudes and both signs.
fn number() -> impl Strategy<Value = f32> {
    (-8.0_f32..8.0, -12..6_i32).prop_map(|(m, e)| m * 2_f32.powi(e))
}

#[test]
fn exp_is_within_its_bound() {
    // A prime stride meets every exponent and sign with many fractions.
    for bits in (0..=u32::MAX).step_by(4099) {
        let x = f32::from_bits(bits);
        let exact = f64::from(x).exp();
        let found = numerics::exp(x);
        if x.is_nan() {
            assert!(found.is_nan());
        } else if exact >= f64::from(f32::MAX) {
            assert!(found == f32::INFINITY || x < 88.73, "exp({x}) = {found}");
        } else {
            let error = ulp_error(found, exact);
            assert!(error <= 1.02, "exp({x}) = {found}, {error} ulp from {exact}");
        }
    }
}

#[test]
fn exp_at_its_corners() {
    let exp = |x: f32| numerics::exp(x).to_bits();
    assert_eq!(exp(0.0), 1_f32.to_bits());
    assert_eq!(exp(-0.0), 1_f32.to_bits());
    assert_eq!(exp(f32::NEG_INFINITY), 0);
    assert_eq!(exp(-104.0), 0);
    assert_eq!(exp(-103.97), 1, "the least subnormal");
    assert_eq!(exp(f32::INFINITY), f32::INFINITY.to_bits());
    assert_eq!(exp(f32::MAX), f32::INFINITY.to_bits());
    assert!(numerics::exp(88.722_83).is_finite());
    assert!(numerics::exp(f32::NAN).is_nan());
}

#[test]
fn max_and_min_pass_a_nan_in_the_second_operand() {
    assert!(numerics::max(1.0, f32::NAN).is_nan());
    assert!(numerics::min(1.0, f32::NAN).is_nan());
    assert_eq!(numerics::max(f32::NAN, 1.0), 1.0);
    assert_eq!(numerics::max(0.0, -0.0).to_bits(), (-0.0_f32).to_bits());
    assert_eq!(numerics::min(2.0, 3.0), 2.0);
}

#[test]
fn the_tree_folds_lane_j_with_lane_j_plus_8_first() {
    let lanes = std::array::from_fn(|lane| lane as f32);
    let order = std::cell::RefCell::new(Vec::new());
    numerics::tree(lanes, |a, b| {
        order.borrow_mut().push((a, b));
        a
    });
    let order = order.into_inner();
    assert_eq!(order[..2], [(0.0, 8.0), (1.0, 9.0)]);
    assert_eq!(order[8..10], [(0.0, 4.0), (1.0, 5.0)]);
    assert_eq!(order[12..], [(0.0, 2.0), (1.0, 3.0), (0.0, 1.0)]);
}

proptest! {
    #[test]
    fn silu_is_within_its_bound(g in prop_oneof![number(), -120.0_f32..120.0]) {
        let exact = reference::silu(f64::from(g));
        let error = (f64::from(numerics::silu(g)) - exact).abs();
        prop_assert!(error <= 4.2 * U * exact.abs() + 3e-37, "silu({g}): {error:e}");
    }

    #[test]
    fn dot_is_within_gamma_of_the_sum_of_magnitudes(pairs in vec((number(), number()), 0..1600)) {
        let (w, x): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let (w64, x64) = (wide(&w), wide(&x));
        let magnitude: f64 = w64.iter().zip(&x64).map(|(w, x)| (w * x).abs()).sum();
        let error = (f64::from(numerics::dot(&w, &x)) - reference::dot(&w64, &x64)).abs();
        prop_assert!(error <= gamma(w.len()) * magnitude + 1e-40, "{error:e}");
    }

    #[test]
    fn rms_norm_is_within_its_relative_bound(
        row in vec((number(), 0.5_f32..1.5), 1..1600),
        eps in prop::sample::select(vec![1e-6_f32, 1e-5, 0.1]),
    ) {
        let (x, gain): (Vec<f32>, Vec<f32>) = row.into_iter().unzip();
        let exact = reference::rms_norm(&wide(&x), &wide(&gain), f64::from(eps));
        for (found, exact) in numerics::rms_norm(&x, &gain, eps).into_iter().zip(exact) {
            let error = (f64::from(found) - exact).abs();
            prop_assert!(error <= gamma(x.len().div_ceil(32) + 8) * exact.abs() + 1e-40);
        }
    }

    #[test]
    fn rope_is_within_its_bound(
        pairs in vec((number(), number()), 1..64),
        position in 0..131_072_u32,
        theta in prop::sample::select(vec![10_000.0, 100_000.0, 500_000.0]),
    ) {
        let half = pairs.len();
        let (mut x, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        x.extend(b);
        let head_dim = u32::try_from(x.len()).unwrap();
        let exact = reference::rope(&wide(&x), position as usize, x.len(), theta);
        for (pair, i) in (0..).zip(0..half) {
            let angle = numerics::rope_angle(position, pair, head_dim, theta);
            let (a, b) = numerics::rotate((x[i], x[i + half]), angle);
            let bound = (gamma(3) + 1e-10) * f64::from(x[i].abs() + x[i + half].abs()) + 1e-40;
            prop_assert!((f64::from(a) - exact[i]).abs() <= bound);
            prop_assert!((f64::from(b) - exact[i + half]).abs() <= bound);
        }
    }

    #[test]
    fn attention_is_within_its_bound(
        query in vec(-3.0_f32..3.0, 8),
        cache in vec((vec(-3.0_f32..3.0, 8), vec(number(), 8)), 1..200),
        kv in prop::sample::select(KvFormat::ALL.to_vec()),
    ) {
        let stored = |(k, v): &(Vec<f32>, Vec<f32>)| (Stored::key(k, kv), Stored::value(v, kv));
        let (keys, values): (Vec<Stored>, Vec<Stored>) = cache.iter().map(stored).unzip();
        let found = {
            let (keys, values): (Vec<_>, Vec<_>) = keys.iter().zip(&values).unzip();
            numerics::attention(&query, &keys, &values)
        };
        let q = wide(&query);
        let kept = |all: &[Stored]| all.iter().map(|x| wide(&x.numbers())).collect::<Vec<_>>();
        let (keys, values) = (kept(&keys), kept(&values));
        let exact = reference::attention(&q, &keys, &values);
        let bound = attention_bound(&q, &keys, kv);
        let weights = reference::softmax(&reference::scores(&q, &keys));
        for (d, (found, exact)) in found.iter().zip(&exact).enumerate() {
            let magnitude: f64 = weights.iter().zip(&values).map(|(w, v)| w * v[d].abs()).sum();
            let error = (f64::from(*found) - exact).abs();
            prop_assert!(error <= bound * magnitude + 1e-36, "{error:e} of {magnitude:e}");
        }
    }

    #[test]
    fn what_a_cache_keeps_is_within_its_bound(
        head in vec(number(), 2..=40),
        greatest in prop::sample::select(vec![1.0_f32, 1e-30, 3e-31, 1e-36, 2_f32.powi(100)]),
    ) {
        let head: Vec<f32> = head.iter().map(|x| x * greatest).collect();
        let head = &head[..head.len() & !1];
        for stored in [Stored::key(head, KvFormat::Q8), Stored::value(head, KvFormat::Q8)] {
            let Stored::Groups(groups) = &stored else { panic!("{stored:?}") };
            for group in groups {
                for ((i, _), kept) in group.codes.iter().zip(group.numbers()) {
                    let error = f64::from(head[*i]) - f64::from(kept);
                    prop_assert!(error.abs() <= bounds::code(group.scale.into()));
                }
            }
        }
        for x in head.iter().filter(|x| x.abs() < 60_000.0) {
            let Stored::Numbers(kept) = Stored::key(&[*x], KvFormat::F16) else { panic!() };
            let error = f64::from(*x) - f64::from(kept[0]);
            prop_assert!(error.abs() <= bounds::half((*x).into()));
        }
    }

    #[test]
    fn elements_are_rounded_to_the_nearest_of_a_plain_format(row in vec(-4.0_f32..4.0, 32)) {
        for (format, relative) in
            [(Format::F32, 0.0), (Format::F16, 1.0 / 2048.0), (Format::Bf16, 1.0 / 256.0)]
        {
            let bytes = quantize_row(format, &row).unwrap();
            prop_assert_eq!(Some(bytes.len()), format.row_bytes(32));
            for (w, back) in row.iter().zip(dequantize_row(format, &bytes).unwrap()) {
                // Half the least subnormal of f16 below its normal numbers.
                let bound = relative * w.abs() + f32::exp2(-25.0);
                prop_assert!((w - back).abs() <= bound, "{format}: {w} {back}");
            }
        }
    }

    /// A weight is within half a step of the scale that is stored; one that is beyond the last
    /// code of its group, by what that scale or minimum was rounded.
    #[test]
    fn codes_are_the_nearest_of_the_stored_scale(row in vec(-4.0_f32..4.0, 192)) {
        for (format, codes) in coded() {
            let bytes = quantize_row(format, &row).unwrap();
            prop_assert_eq!(Some(bytes.len()), format.row_bytes(192));
            let groups = stored_groups(codes, &bytes).unwrap();
            for (group, weights) in groups.iter().zip(row.chunks(format.group(192))) {
                check_group(codes, group, weights)?;
            }
        }
    }

    /// Every format's bytes mean what the reference reads from them, within one rounding.
    #[test]
    fn stored_bytes_mean_what_the_reference_reads(bytes in vec(any::<u8>(), 192 * 4)) {
        for format in Format::ALL {
            let row = &bytes[..format.row_bytes(192).unwrap()];
            let found = dequantize_row(format, row).unwrap();
            let exact = reference::decode(format, 192, row);
            prop_assert_eq!((found.len(), exact.len()), (192, 192));
            for (found, exact) in found.into_iter().zip(exact) {
                let found = f64::from(found);
                // Scales in bf16 reach as far as f32 does, and codes further.
                let same = found == exact
                    || (found.is_nan() && exact.is_nan())
                    || (found.is_infinite() && found.signum() == exact.signum() && exact.abs() > f64::from(f32::MAX));
                prop_assert!(same || (found - exact).abs() <= bounds::weight(exact), "{format}: {found} {exact}");
            }
        }
    }
}

/// The formats of codes.
fn coded() -> impl Iterator<Item = (Format, Codes)> {
    Format::ALL.into_iter().filter_map(|format| Some((format, format.codes()?)))
}

/// Holds a quantized group to its weights.
fn check_group(codes: Codes, group: &StoredGroup, weights: &[f32]) -> Result<(), TestCaseError> {
    let StoredGroup { scale, minimum, codes: found } = group;
    let (d, m) = (f64::from(*scale), f64::from(*minimum));
    let (least, most) = match (codes.minimum, codes.bits) {
        // -128 stays unused.
        (false, Bits::Eight) => (1, 255),
        _ => (0, codes.bits.most()),
    };
    let weight = |q: u8| d * (f64::from(q) - f64::from(codes.bias())) + m;
    let unit = if codes.scale == Scale::F16 { f64::exp2(-11.0) } else { f64::exp2(-8.0) };
    let rounded = unit * (d.abs() * f64::from(codes.bits.most()) + 2.0 * m.abs());
    prop_assert_eq!(found.len(), weights.len());
    for (q, w) in found.iter().zip(weights) {
        prop_assert!((least..=most).contains(q), "{q}");
        let error = (weight(*q) - f64::from(*w)).abs() - 0.5 * d.abs();
        let is_last = *q == least || *q == most;
        // The greatest code of 4 and 6 bits is a step short of the least.
        let step = if *q == most && !codes.minimum { d.abs() / 2.0 } else { 0.0 };
        let allowed = if is_last { rounded + step } else { 0.0 };
        prop_assert!(error <= allowed + 1e-6, "{:?}: {w} by {q} of {d} and {m}", codes);
    }
    let ends = if codes.minimum {
        found.contains(&0)
    } else {
        found.contains(&least) || found.contains(&most)
    };
    prop_assert!(ends, "the greatest magnitude has the last code");
    Ok(())
}

#[test]
fn all_halves_are_read_and_written_exactly() {
    for bits in 0..=u16::MAX {
        let bytes = bits.to_le_bytes();
        let exact = reference::half_to_f64(bits);
        let found = dequantize_row(Format::F16, &bytes).unwrap()[0];
        if exact.is_nan() {
            assert!(found.is_nan());
        } else {
            assert_eq!(f64::from(found), exact);
            assert_eq!(quantize_row(Format::F16, &[found]).unwrap(), bytes);
        }
    }
    let written = |x: f32| quantize_row(Format::F16, &[x]).unwrap();
    assert_eq!(written(65_520.0), 0x7c00_u16.to_le_bytes(), "half way to 2^16 overflows");
    assert_eq!(written(65_519.9), 0x7bff_u16.to_le_bytes());
    assert_eq!(written(2_f32.powi(-25)), [0, 0], "half the least subnormal goes to even");
    assert_eq!(written(2_f32.powi(-25) * 1.01), [1, 0]);
}

#[test]
fn nibbles_lie_low_then_high() {
    // Scale 1, minimum 0.5 where there is one, codes 0 to 15 low and 15 to 0 high.
    let nibbles: Vec<u8> = (0..16_u8).map(|i| i | (15 - i) << 4).collect();
    let q4_0: Vec<u8> = [0, 0x3c].into_iter().chain(nibbles.iter().copied()).collect();
    let row = dequantize_row(Format::Q4_0, &q4_0).unwrap();
    assert_eq!((row[0], row[15], row[16], row[31]), (-8.0, 7.0, 7.0, -8.0));
    let q4_1: Vec<u8> = [0, 0x3c, 0, 0x38].into_iter().chain(nibbles).collect();
    let row = dequantize_row(Format::Q4_1, &q4_1).unwrap();
    assert_eq!((row[0], row[15], row[16], row[31]), (0.5, 15.5, 15.5, 0.5));
}

#[test]
fn rows_that_cut_a_group_are_refused() {
    let error = dequantize_row(Format::Q8_0, &[0; 35]).unwrap_err();
    expect!["a row of 35 bytes does not divide into q8_0 groups of 34"]
        .assert_eq(&error.to_string());
    let error = quantize_row(Format::Q4_1, &[0.0; 33]).unwrap_err();
    expect!["a row of 33 elements does not divide into q4_1 groups of 32"]
        .assert_eq(&error.to_string());
}
