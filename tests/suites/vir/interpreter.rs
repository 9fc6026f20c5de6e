//! What the interpreter promises beside the files: conversions, trees, checks before the run.

use deepthin_compiler::interp::vir::{RunError, reduce, run, unary};
use deepthin_compiler::vir::{
    Access, Builder, ReduceOp, ScalarError, UnaryOp, check_scalars, verify,
};

/// Sixteen lanes summed as two values of eight or four of four give the same bits: halves are
/// added first whatever the lane count.
#[test]
fn reduction_trees_do_not_depend_on_the_lane_count() {
    let mut state = 1u32;
    for _ in 0..1000 {
        let lanes = [(); 16].map(|()| {
            state = state.wrapping_mul(747_796_405).wrapping_add(1);
            (f32::from_bits(0x3f80_0000 | state >> 9) - 1.5).to_bits()
        });
        let add = |a: u32, b: u32| (f32::from_bits(a) + f32::from_bits(b)).to_bits();
        let halve = |lanes: &[u32]| -> Vec<u32> {
            let (low, high) = lanes.split_at(lanes.len() / 2);
            low.iter().zip(high).map(|(a, b)| add(*a, *b)).collect()
        };
        let narrow = |lanes: &[u32]| {
            let mut wide = [0; 16];
            wide[..lanes.len()].copy_from_slice(lanes);
            wide
        };
        let of_16 = reduce(ReduceOp::FAdd, lanes, 16);
        let eight = halve(&lanes);
        let four = halve(&eight);
        assert_eq!(of_16, reduce(ReduceOp::FAdd, narrow(&eight), 8));
        assert_eq!(of_16, reduce(ReduceOp::FAdd, narrow(&four), 4));
    }
}

/// The value of f16 bits by the definition of the format.
fn f16_value(bits: u16) -> f32 {
    let (sign, exponent, mantissa) =
        (bits >> 15, i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => mantissa * 2f32.powi(-24),
        31 if mantissa == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + mantissa / 1024.0) * 2f32.powi(exponent - 15),
    };
    if sign == 1 { -magnitude } else { magnitude }
}

#[test]
fn f16_widens_exactly() {
    for bits in 0..=u16::MAX {
        let expected = f16_value(bits);
        // The high half is ignored.
        for high in [0, 0xffff_0000] {
            let word = u32::from(bits) | high;
            let full = f32::from_bits(unary(UnaryOp::F16ToF32, word));
            let short = f32::from_bits(unary(UnaryOp::FiniteF16ToF32, word));
            assert!(full.to_bits() == expected.to_bits() || full.is_nan() && expected.is_nan());
            assert!(!expected.is_finite() || short.to_bits() == expected.to_bits(), "{bits:#x}");
        }
    }
}

#[test]
fn f16_narrows_to_nearest_even() {
    let narrow = |x: f32| unary(UnaryOp::F32ToF16, x.to_bits());
    for bits in 0..0x7c00u16 {
        let (low, word) = (f16_value(bits), u32::from(bits));
        // The last step is to 2^16, where f16 has infinity.
        let high = if bits == 0x7bff { 65536.0 } else { f16_value(bits + 1) };
        let middle = f32::midpoint(low, high);
        let even = word + word % 2;
        for sign in [1.0, -1.0] {
            let sign_bit = if sign < 0.0 { 0x8000 } else { 0 };
            assert_eq!(narrow(sign * low), sign_bit | word);
            assert_eq!(narrow(sign * middle.next_down()), sign_bit | word);
            assert_eq!(narrow(sign * middle), sign_bit | even);
            assert_eq!(narrow(sign * middle.next_up()), sign_bit | (word + 1));
        }
    }
    assert_eq!(narrow(f32::MAX), 0x7c00);
    assert_eq!(narrow(f32::NEG_INFINITY), 0xfc00);
    let nan = narrow(f32::NAN);
    assert!(nan >> 16 == 0 && f16_value(u16::try_from(nan).unwrap()).is_nan());
}

#[test]
fn scalars_are_checked_before_the_call() {
    let mut b = Builder::new("k", 4);
    b.scalar("position", 0, 9);
    b.range("rows", 40);
    let kernel = verify(b.finish()).unwrap();
    let message = |scalars: &[i64]| match check_scalars(&kernel, scalars) {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    assert_eq!(message(&[0, 0, 40]), "ok");
    assert_eq!(message(&[9, 40, 40]), "ok");
    assert_eq!(message(&[9, 7, 7]), "ok");
    assert_eq!(message(&[0, 0]), "kernel `k` takes 3 scalars, found 2");
    assert_eq!(message(&[10, 0, 0]), "`position` of kernel `k` is 10, declared 0..=9");
    for (begin, end) in [(0, 41), (-1, 3), (5, 4), (i64::MIN, i64::MAX)] {
        let expected =
            format!("`rows` of kernel `k` is {begin}..{end}, declared as a part of 0..40");
        assert_eq!(message(&[0, begin, end]), expected);
    }
    let ran = run(&kernel, &mut [[0u8; 0]; 0][..], &[0]);
    assert!(matches!(
        ran,
        Err(RunError::Scalars(ScalarError::Count { expected: 3, found: 1, .. }))
    ));
}

#[test]
fn buffers_are_measured_before_the_run() {
    let mut b = Builder::new("k", 4);
    b.buffer("x", 64, Access::Read);
    let kernel = verify(b.finish()).unwrap();
    let message = |buffers: &mut [Vec<u8>]| run(&kernel, buffers, &[]).map_err(|e| e.to_string());
    assert_eq!(message(&mut [vec![0; 64]]), Ok(()));
    assert_eq!(message(&mut [vec![0; 65]]), Ok(()));
    let short = "buffer `x` of kernel `k` has 63 bytes, declared 64".to_owned();
    assert_eq!(message(&mut [vec![0; 63]]), Err(short));
    let missing = "buffer `x` of kernel `k` has 0 bytes, declared 64".to_owned();
    assert_eq!(message(&mut []), Err(missing));
}
