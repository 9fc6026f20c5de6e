//! VIR operators to CLIF: the trees here are chosen so that Cranelift folds them to one
//! instruction where the ISA has it, and mean the same bits where it has not.

use super::constants::{F16_KEEP, F16_RESCALE};
use super::{Emitter, clif_type};
use crate::codegen::target::Isa;
use crate::vir::{BinaryOp, CompareOp, ReduceOp, ShiftOp, Ty, UnaryOp, ValueId};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value, types,
};

impl Emitter<'_, '_> {
    /// A vector of four 32-bit constants.
    pub(super) fn vector(&mut self, lanes: [u32; 4]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|l| l.to_le_bytes()).collect();
        let data = self.fb.func.dfg.constants.insert(ConstantData::from(bytes));
        self.fb.ins().vconst(types::I32X4, data)
    }

    /// A constant of `ty` in every lane.
    pub(super) fn constant(&mut self, ty: Ty, bits: u32) -> Value {
        self.kept_or(ty, bits, |emitter| emitter.made_constant(ty, bits))
    }

    fn made_constant(&mut self, ty: Ty, bits: u32) -> Value {
        let bits = if ty == Ty::Mask && bits != 0 { u32::MAX } else { bits };
        let bytes: Vec<u8> = [bits; 4].iter().flat_map(|l| l.to_le_bytes()).collect();
        let data = self.fb.func.dfg.constants.insert(ConstantData::from(bytes));
        self.fb.ins().vconst(clif_type(ty), data)
    }

    pub(super) fn i32s(&mut self, bits: u32) -> Value {
        self.constant(Ty::I32, bits)
    }

    fn f32s(&mut self, x: f32) -> Value {
        self.constant(Ty::F32, x.to_bits())
    }

    /// The same bits as another type of four 32-bit lanes.
    pub(super) fn cast(&mut self, value: Value, ty: Type) -> Value {
        if self.fb.func.dfg.value_type(value) == ty {
            value
        } else {
            self.fb.ins().bitcast(ty, MemFlagsData::new(), value)
        }
    }

    pub(super) fn unary(&mut self, op: UnaryOp, src: ValueId) -> Value {
        let x = self.get(src);
        match op {
            UnaryOp::Sqrt => self.fb.ins().sqrt(x),
            UnaryOp::I32ToF32 => self.fb.ins().fcvt_from_sint(types::F32X4, x),
            UnaryOp::AsF32 => self.cast(x, types::F32X4),
            UnaryOp::AsI32 => self.cast(x, types::I32X4),
            UnaryOp::FiniteF16ToF32 => self.finite_f16_to_f32(x),
            UnaryOp::F16ToF32 => self.f16_to_f32(x),
            UnaryOp::F32ToF16 => self.f32_to_f16(x),
        }
    }

    /// Exponent and mantissa moved to their f32 places, rescaled by 2^112: exact, subnormals too.
    fn finite_f16_to_f32(&mut self, half: Value) -> Value {
        let high = self.shift(ShiftOp::Shl, half, 16);
        let spread = self.shift(ShiftOp::Sar, high, 3);
        let keep = self.i32s(F16_KEEP);
        let bits = self.fb.ins().band(spread, keep);
        let scaled = self.cast(bits, types::F32X4);
        let rescale = self.constant(Ty::F32, F16_RESCALE);
        self.fb.ins().fmul(scaled, rescale)
    }

    /// The finite form, and exponent 31 made 255 with the mantissa kept.
    fn f16_to_f32(&mut self, half: Value) -> Value {
        let finite = self.finite_f16_to_f32(half);
        let finite = self.cast(finite, types::I32X4);
        let magnitude = self.i32s(0x7fff);
        let magnitude = self.fb.ins().band(half, magnitude);
        let last = self.i32s(0x7bff);
        let special = self.fb.ins().icmp(IntCC::SignedGreaterThan, magnitude, last);
        let exponent = self.i32s(0x7f80_0000);
        let exponent = self.fb.ins().band(special, exponent);
        let bits = self.fb.ins().bor(finite, exponent);
        self.cast(bits, types::F32X4)
    }

    /// Round to nearest even in integer arithmetic; results below the normal halves through one
    /// f32 addition whose unit in the last place is that of the subnormal halves.
    fn f32_to_f16(&mut self, x: Value) -> Value {
        let bits = self.cast(x, types::I32X4);
        let magnitude_mask = self.i32s(0x7fff_ffff);
        let magnitude = self.fb.ins().band(bits, magnitude_mask);
        // Normal: rebias, add just under half a unit plus the bit that makes ties even, cut.
        let kept = self.shift(ShiftOp::Shr, magnitude, 13);
        let one = self.i32s(1);
        let odd = self.fb.ins().band(kept, one);
        let rebias = self.i32s(0xc800_0fff);
        let rounded = self.fb.ins().iadd(magnitude, rebias);
        let rounded = self.fb.ins().iadd(rounded, odd);
        let normal = self.shift(ShiftOp::Shr, rounded, 13);
        // Subnormal: 0.5 has a unit in the last place of 2^-24.
        let half = self.f32s(0.5);
        let small = self.cast(magnitude, types::F32X4);
        let small = self.fb.ins().fadd(small, half);
        let small = self.cast(small, types::I32X4);
        let half_bits = self.i32s(0x3f00_0000);
        let subnormal = self.fb.ins().isub(small, half_bits);
        let least_normal = self.i32s(0x3880_0000);
        let is_small = self.fb.ins().icmp(IntCC::SignedLessThan, magnitude, least_normal);
        let finite = self.fb.ins().bitselect(is_small, subnormal, normal);
        // From 2^16 on: infinity, or a NaN.
        let infinity_bits = self.i32s(0x7f80_0000);
        let is_nan = self.fb.ins().icmp(IntCC::SignedGreaterThan, magnitude, infinity_bits);
        let (nan, infinity) = (self.i32s(0x7e00), self.i32s(0x7c00));
        let huge = self.fb.ins().bitselect(is_nan, nan, infinity);
        let largest = self.i32s(0x477f_ffff);
        let is_huge = self.fb.ins().icmp(IntCC::SignedGreaterThan, magnitude, largest);
        let result = self.fb.ins().bitselect(is_huge, huge, finite);
        let sign = self.shift(ShiftOp::Shr, bits, 16);
        let sign_mask = self.i32s(0x8000);
        let sign = self.fb.ins().band(sign, sign_mask);
        self.fb.ins().bor(result, sign)
    }

    pub(super) fn binary(&mut self, op: BinaryOp, lhs: Value, rhs: Value) -> Value {
        match op {
            BinaryOp::FAdd => self.fb.ins().fadd(lhs, rhs),
            BinaryOp::FSub => self.fb.ins().fsub(lhs, rhs),
            BinaryOp::FMul => self.fb.ins().fmul(lhs, rhs),
            BinaryOp::FDiv => self.fb.ins().fdiv(lhs, rhs),
            // `b < a ? a : b`, the operand order that becomes maxps on x86-64.
            BinaryOp::FMax => self.choose(rhs, lhs, lhs, rhs),
            BinaryOp::FMin => self.choose(lhs, rhs, lhs, rhs),
            BinaryOp::IAdd => self.fb.ins().iadd(lhs, rhs),
            BinaryOp::ISub => self.fb.ins().isub(lhs, rhs),
            BinaryOp::IMax => self.fb.ins().smax(lhs, rhs),
            BinaryOp::IAnd => self.fb.ins().band(lhs, rhs),
            BinaryOp::IOr => self.fb.ins().bor(lhs, rhs),
            BinaryOp::IXor => self.fb.ins().bxor(lhs, rhs),
        }
    }

    /// `a < b ? on : off` on f32 lanes.
    fn choose(&mut self, a: Value, b: Value, on: Value, off: Value) -> Value {
        let less = self.fb.ins().fcmp(FloatCC::LessThan, a, b);
        let less = self.cast(less, types::F32X4);
        self.fb.ins().bitselect(less, on, off)
    }

    pub(super) fn shift(&mut self, op: ShiftOp, src: Value, amount: u32) -> Value {
        let amount = self.fb.ins().iconst(types::I32, i64::from(amount));
        match op {
            ShiftOp::Shl => self.fb.ins().ishl(src, amount),
            ShiftOp::Shr => self.fb.ins().ushr(src, amount),
            ShiftOp::Sar => self.fb.ins().sshr(src, amount),
        }
    }

    pub(super) fn compare(&mut self, op: CompareOp, lhs: Value, rhs: Value) -> Value {
        match op {
            CompareOp::FLt => self.fb.ins().fcmp(FloatCC::LessThan, lhs, rhs),
            CompareOp::FGt => self.fb.ins().fcmp(FloatCC::GreaterThan, lhs, rhs),
            CompareOp::ILt => self.fb.ins().icmp(IntCC::SignedLessThan, lhs, rhs),
            CompareOp::ILe => self.fb.ins().icmp(IntCC::SignedLessThanOrEqual, lhs, rhs),
        }
    }

    /// Lanes j and j + 2, then j and j + 1, then lane 0 everywhere.
    pub(super) fn reduce(&mut self, op: ReduceOp, src: Value) -> Value {
        let op = op.of_lanes();
        let upper = self.permute(src, [2, 3, 2, 3]);
        let halves = self.binary(op, src, upper);
        let odd = self.permute(halves, [1, 1, 1, 1]);
        let all = self.binary(op, halves, odd);
        self.permute(all, [0, 0, 0, 0])
    }

    /// Lane i of the result is lane `lanes[i]` of `src`.
    fn permute(&mut self, src: Value, lanes: [u8; 4]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|l| (0..4).map(move |b| l * 4 + b)).collect();
        let ty = self.fb.func.dfg.value_type(src);
        let raw = self.as_bytes(src);
        let shuffled = self.shuffle(raw, bytes);
        self.of_bytes(shuffled, ty)
    }

    /// Byte i of the result is byte `places[i]` of `src` and `src` again, sixteen of them.
    fn shuffle(&mut self, src: Value, places: Vec<u8>) -> Value {
        let mask = self.fb.func.dfg.immediates.push(ConstantData::from(places));
        self.fb.ins().shuffle(src, src, mask)
    }

    /// The low halves (`width` 2) or low bytes (`width` 1) of the lanes, side by side at the
    /// front of a vector of bytes.
    pub(super) fn narrow(&mut self, src: Value, width: u8) -> Value {
        let raw = self.as_bytes(src);
        match self.isa {
            Isa::X86_64 => self.gather(raw, 4, width), // vpshufb
            Isa::Aarch64 if width == 2 => self.gather(raw, 4, 2), // uzp1 of halves
            Isa::Aarch64 => {
                let halves = self.gather(raw, 4, 2);
                self.gather(halves, 2, 1) // uzp1 of bytes
            }
        }
    }

    /// The first `width` of every `step` bytes of `src` and `src` again, sixteen in all.
    fn gather(&mut self, src: Value, step: u8, width: u8) -> Value {
        let places = (0..32).step_by(step.into()).flat_map(|from| from..from + width);
        self.shuffle(src, places.cycle().take(16).collect())
    }

    /// A vector as bytes, the first byte of lane 0 first.
    pub(super) fn as_bytes(&mut self, vector: Value) -> Value {
        self.of_bytes(vector, types::I8X16)
    }

    /// A vector of bytes as another type.
    pub(super) fn of_bytes(&mut self, bytes: Value, ty: Type) -> Value {
        let little = MemFlagsData::new().with_endianness(Endianness::Little);
        self.fb.ins().bitcast(ty, little, bytes)
    }
}
