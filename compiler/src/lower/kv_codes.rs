//! Quantizing a group of numbers to signed bytes with one bf16 scale, as VIR instructions; the
//! formulas are those of `specs/numerics.md`.

use crate::numerics::MAGIC;
use crate::numerics::kv::{LEAST_MAGNITUDE, MAX_CODE};
use crate::vir::{BinaryOp, Builder, CompareOp, ReduceOp, ShiftOp, UnaryOp, ValueId};

/// A group's scale, in every lane.
pub(super) struct Scale {
    /// Its bf16 bits, a NaN where a number of the group is not finite.
    pub(super) bits: ValueId,
    /// What numbers are multiplied with to be codes; 0 where all codes are.
    inverse: ValueId,
    /// Whether all numbers of the group are finite.
    is_finite: ValueId,
}

/// The bits of `abs(x)`: their order as integers is that of the numbers, infinity and NaN last.
pub(super) fn magnitude(b: &mut Builder, x: ValueId) -> ValueId {
    let bits = b.unary(UnaryOp::AsI32, x);
    let mask = b.i32(0x7fff_ffff);
    b.binary(BinaryOp::IAnd, bits, mask)
}

/// The scale of a group, from lanes that hold the greatest of its magnitudes among them.
pub(super) fn scale(b: &mut Builder, greatest: ValueId) -> Scale {
    let last_finite = b.i32(f32::MAX.to_bits());
    let is_special = b.compare(CompareOp::ILt, last_finite, greatest);
    let infinity = b.f32(f32::INFINITY);
    let lanes = b.unary(UnaryOp::AsF32, greatest);
    let lanes = b.select(is_special, infinity, lanes);
    let magnitude = b.reduce(ReduceOp::FMax, lanes);
    let is_finite = b.compare(CompareOp::FLt, magnitude, infinity);

    let codes = b.f32(MAX_CODE);
    let exact = b.fdiv(magnitude, codes);
    let rounded = bf16_bits(b, exact);
    let nan = b.i32(0x7fc0);
    let bits = b.select(is_finite, rounded, nan);

    let scale = b.shift(ShiftOp::Shl, rounded, 16);
    let scale = b.unary(UnaryOp::AsF32, scale);
    let one = b.f32(1.0);
    let inverse = b.fdiv(one, scale);
    let least = b.f32(LEAST_MAGNITUDE);
    let is_tiny = b.compare(CompareOp::FLt, magnitude, least);
    let zero = b.f32(0.0);
    let inverse = b.select(is_tiny, zero, inverse);
    Scale { bits, inverse, is_finite }
}

/// The bf16 nearest to a number that is no NaN, the even one of two, in the low half.
fn bf16_bits(b: &mut Builder, x: ValueId) -> ValueId {
    let bits = b.unary(UnaryOp::AsI32, x);
    let kept = b.shift(ShiftOp::Shr, bits, 16);
    let one = b.i32(1);
    let odd = b.binary(BinaryOp::IAnd, kept, one);
    let under_half = b.i32(0x7fff);
    let bits = b.binary(BinaryOp::IAdd, bits, under_half);
    let bits = b.binary(BinaryOp::IAdd, bits, odd);
    b.shift(ShiftOp::Shr, bits, 16)
}

/// The code of a number of the group, in the low byte: none is past [`MAX_CODE`].
pub(super) fn code(b: &mut Builder, x: ValueId, scale: &Scale) -> ValueId {
    let zero = b.f32(0.0);
    let x = b.select(scale.is_finite, x, zero);
    let x = b.fmul(x, scale.inverse);
    let magic = b.f32(MAGIC);
    let rounded = b.fadd(x, magic);
    b.unary(UnaryOp::AsI32, rounded)
}
