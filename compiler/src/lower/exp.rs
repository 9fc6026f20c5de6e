//! exp and SiLU as VIR instructions; the polynomial is that of `specs/numerics.md`.

use crate::numerics::{EXP_CLAMP, EXP_POLYNOMIAL, LN2_HI, LN2_LO, MAGIC};
use crate::vir::{BinaryOp, Builder, ShiftOp, UnaryOp, ValueId};
use std::f32::consts::LOG2_E;

/// `exp(x)`: 2^n times a polynomial, the power of two applied in two halves so that subnormal
/// results round once.
pub fn exp(b: &mut Builder, x: ValueId) -> ValueId {
    let top = b.f32(EXP_CLAMP.1);
    let x = b.binary(BinaryOp::FMin, top, x);
    let bottom = b.f32(EXP_CLAMP.0);
    let x = b.binary(BinaryOp::FMax, bottom, x);
    let (log2e, magic) = (b.f32(LOG2_E), b.f32(MAGIC));
    let t = b.fma(log2e, x, magic);
    let n = b.fsub(t, magic);
    let ln2_hi = b.f32(-LN2_HI);
    let r = b.fma(ln2_hi, n, x);
    let ln2_lo = b.f32(-LN2_LO);
    let r = b.fma(ln2_lo, n, r);
    let [first, rest @ ..] = EXP_POLYNOMIAL;
    let mut p = b.f32(first);
    for coefficient in rest {
        let addend = b.f32(coefficient);
        p = b.fma(p, r, addend);
    }
    let r2 = b.fmul(r, r);
    let p = b.fma(p, r2, r);
    let one = b.f32(1.0);
    let p = b.fadd(p, one);
    let bits = b.unary(UnaryOp::AsI32, t);
    let magic_bits = b.i32(MAGIC.to_bits());
    let n = b.binary(BinaryOp::ISub, bits, magic_bits);
    let n1 = b.shift(ShiftOp::Sar, n, 1);
    let n2 = b.binary(BinaryOp::ISub, n, n1);
    let first = power_of_two(b, n1);
    let second = power_of_two(b, n2);
    let p = b.fmul(p, first);
    b.fmul(p, second)
}

/// 2^n for -126 <= n <= 127.
fn power_of_two(b: &mut Builder, n: ValueId) -> ValueId {
    let bias = b.i32(127);
    let biased = b.binary(BinaryOp::IAdd, n, bias);
    let bits = b.shift(ShiftOp::Shl, biased, 23);
    b.unary(UnaryOp::AsF32, bits)
}

/// `g / (1 + exp(0 - g))`.
pub fn silu(b: &mut Builder, g: ValueId) -> ValueId {
    let zero = b.f32(0.0);
    let negated = b.fsub(zero, g);
    let e = exp(b, negated);
    let one = b.f32(1.0);
    let denominator = b.fadd(one, e);
    b.fdiv(g, denominator)
}
