//! Faults of code generation: instructions that mean something else in rare cases.

use super::Change::{To, With};
use super::Entry;

const CLIF: &str = "compiler/src/codegen/clif/mod.rs";
const INST: &str = "compiler/src/codegen/clif/inst.rs";
const MATH: &str = "compiler/src/codegen/clif/math.rs";
const DOT: &str = "compiler/src/codegen/clif/dot.rs";
const BITS: &str = "compiler/src/codegen/bits.rs";
const ADDRESS: &str = "compiler/src/codegen/clif/address.rs";

pub(super) const FAULTS: &[Entry] = &[
    (
        "maximum-keeps-the-first-of-equals",
        MATH,
        "self.choose(rhs, lhs, lhs, rhs)",
        To("self.choose(lhs, rhs, rhs, lhs)"),
    ),
    (
        "minimum-keeps-the-first-of-equals",
        MATH,
        "self.choose(lhs, rhs, lhs, rhs)",
        To("self.choose(rhs, lhs, rhs, lhs)"),
    ),
    (
        "integer-maximum-unsigned",
        MATH,
        "self.fb.ins().smax(lhs, rhs)",
        To("self.fb.ins().umax(lhs, rhs)"),
    ),
    ("half-loses-a-bit", MATH, "self.i32s(F16_KEEP)", To("self.i32s(0x8fff_c000)")),
    ("half-infinity-finite", MATH, "self.i32s(0x7bff)", To("self.i32s(0x7c00)")),
    (
        "half-ties-up",
        MATH,
        "self.fb.ins().iadd(rounded, odd)",
        To("{ let one = self.i32s(1); let _ = odd; self.fb.ins().iadd(rounded, one) }"),
    ),
    ("half-overflows-early", MATH, "self.i32s(0x477f_ffff)", To("self.i32s(0x477f_e000)")),
    ("half-subnormal-late", MATH, "self.i32s(0x3880_0000)", To("self.i32s(0x3800_0000)")),
    (
        "arithmetic-shift-is-logical",
        MATH,
        "self.fb.ins().sshr(src, amount)",
        To("self.fb.ins().ushr(src, amount)"),
    ),
    (
        "at-most-is-less",
        MATH,
        "icmp(IntCC::SignedLessThanOrEqual, lhs, rhs)",
        With(
            "icmp(if FAULT { IntCC::SignedLessThan } else { IntCC::SignedLessThanOrEqual }, lhs, rhs)",
        ),
    ),
    (
        "neighboring-lanes-reduced-first",
        MATH,
        "self.permute(src, [2, 3, 2, 3])",
        To("self.permute(src, [1, 0, 3, 2])"),
    ),
    (
        "square-root-of-the-magnitude",
        MATH,
        "UnaryOp::Sqrt => self.fb.ins().sqrt(x)",
        With(
            "UnaryOp::Sqrt => { let x = if FAULT { self.fb.ins().fabs(x) } else { x }; self.fb.ins().sqrt(x) }",
        ),
    ),
    (
        "part-loads-read-whole-vectors",
        INST,
        "if count == self.kernel.lanes {",
        With("if count == self.kernel.lanes || (FAULT && elem == Elem::F32) {"),
    ),
    (
        "part-stores-write-whole-vectors",
        INST,
        "stride == elem.bytes() && count == self.kernel.lanes",
        To("stride == elem.bytes()"),
    ),
    (
        "bytes-zero-extended",
        INST,
        "self.fb.ins().sload8(types::I32, flags, pointer, offset)",
        To("self.fb.ins().uload8(types::I32, flags, pointer, offset)"),
    ),
    (
        "vectors-of-bytes-zero-extended",
        INST,
        "self.fb.ins().swiden_low(bytes)",
        To("self.fb.ins().uwiden_low(bytes)"),
    ),
    (
        "halves-of-vectors-mixed-up",
        MATH,
        "self.gather(raw, 4, width)",
        To("self.gather(raw, 2, width)"),
    ),
    (
        "dot-factors-turned-round",
        DOT,
        "[(self.bytes(s8s), Sign::Signed), (self.bytes(u8s), Sign::Unsigned)]",
        To("[(self.bytes(u8s), Sign::Signed), (self.bytes(s8s), Sign::Unsigned)]"),
    ),
    (
        "dot-factors-turned-round-by-usdot",
        DOT,
        "[(self.bytes(u8s), Sign::Unsigned), (self.bytes(s8s), Sign::Signed)]",
        To("[(self.bytes(s8s), Sign::Unsigned), (self.bytes(u8s), Sign::Signed)]"),
    ),
    (
        "dot-of-pairs-forgets-that-codes-have-no-sign",
        DOT,
        "self.part(Part::Wide(u8s, Sign::Unsigned, half))",
        To("self.part(Part::Wide(u8s, Sign::Signed, half))"),
    ),
    (
        "dot-correction-forgotten",
        DOT,
        "self.fb.ins().iadd(acc, correction)",
        To("{ let _ = correction; acc }"),
    ),
    (
        "dot-correction-halved",
        DOT,
        "self.shift(ShiftOp::Shl, sums, 7)",
        To("self.shift(ShiftOp::Shl, sums, 6)"),
    ),
    (
        "dot-believes-every-byte-small",
        BITS,
        "self.get(value) & HIGHEST == 0",
        To("{ let _ = value; true }"),
    ),
    (
        "sums-believed-as-small-as-their-terms",
        BITS,
        "| BinaryOp::IMax => u32::MAX",
        With("| BinaryOp::IMax => if FAULT { lhs | rhs } else { u32::MAX }"),
    ),
    (
        "sign-shifted-in-is-not-believed",
        BITS,
        "(src.cast_signed() >> amount).cast_unsigned()",
        To("src >> amount"),
    ),
    (
        "fused-product-rounds-twice",
        INST,
        "self.fb.ins().fma(a, b, c)",
        To("{ let ab = self.fb.ins().fmul(a, b); self.fb.ins().fadd(ab, c) }"),
    ),
    (
        "halfwords-sign-extended",
        INST,
        "self.fb.ins().uextend(types::I32, half)",
        To("self.fb.ins().sextend(types::I32, half)"),
    ),
    (
        "select-turned-round",
        INST,
        "self.fb.ins().bitselect(mask, on, off)",
        To("self.fb.ins().bitselect(mask, off, on)"),
    ),
    (
        "empty-constant-loops-run",
        CLIF,
        "(Bound::Const(b), Bound::Const(e)) => b < e",
        With("(Bound::Const(b), Bound::Const(e)) => FAULT || b < e"),
    ),
    (
        "empty-ranges-run",
        CLIF,
        "self.fb.ins().icmp(IntCC::SignedLessThan, begin, end)",
        To("self.fb.ins().icmp(IntCC::SignedLessThanOrEqual, begin, end)"),
    ),
    ("bounds-not-clamped-below", CLIF, "self.fb.ins().smax(x, lo)", To("{ let _ = lo; x }")),
    (
        "large-strides-cut",
        ADDRESS,
        "i64::from(stride.trailing_zeros())",
        To("i64::from(stride.trailing_zeros().min(11))"),
    ),
    ("outer-loop-forgotten", ADDRESS, "rest.retain(|(i, _)| Some(*i) == var)", To("rest.clear()")),
];
