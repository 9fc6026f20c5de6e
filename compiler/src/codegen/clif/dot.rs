//! `dot4` to CLIF: for each processor the tree that is folded to its dot instruction, or the
//! shortest exact one where it has none.
//!
//! Cranelift has no operation for a dot product of bytes. It looks for a tree of widenings,
//! products and pairwise sums that ends in `iadd(sums, acc)`, with operands in this order:
//!
//! | processor | first factor | second factor | folded to |
//! |---|---|---|---|
//! | x86-64 with AVX-VNNI, or AVX512-VNNI and AVX512-VL | signed | unsigned | `vpdpbusd` |
//! | aarch64 with i8mm | unsigned | signed | `usdot` |
//! | aarch64 with dotprod | signed | signed | `sdot` |
//!
//! An aarch64 processor without i8mm has products of one sign alone. There `u8s ^ 0x80` is
//! `u8s - 128` as signed bytes, and what is missing, 128 times the sum of the bytes of `s8s`, is
//! added to `acc`. Both are computed once for a value and a scope, before a loop where the value
//! comes from outside of it; bytes below 128 need neither.
//!
//! No step rounds or saturates: a product of bytes fits 16 bits (255 * -128 = -32640), sums of
//! products are in 32 bits.

use std::collections::BTreeMap;

use super::{Emitter, Slot};
use crate::codegen::target::Isa;
use crate::id::Id;
use crate::vir::{Inst, ShiftOp, ValueId};
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_codegen::isa::TargetIsa;

/// What `u8s - 128` is as signed bytes: `u8s` with these bits turned.
const SIGNS: u32 = 0x8080_8080;
/// Bytes whose products with other bytes are those.
const ONES: u32 = 0x0101_0101;

/// How a processor multiplies unsigned by signed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DotForm {
    /// `vpdpbusd`: the signed factor first.
    SignedFirst,
    /// `usdot`: the unsigned factor first.
    UnsignedFirst,
    /// aarch64 with products of one sign: `sdot`, or `smull` without dot products.
    Signed,
    /// x86-64 without dot products: `vpmaddwd` of widened bytes.
    Pairs,
}

impl DotForm {
    /// The form of a processor.
    pub(super) fn of(isa: Isa, processor: &dyn TargetIsa) -> Self {
        let flags = processor.isa_flags();
        let has = |name| flags.iter().any(|f| f.name == name && f.as_bool() == Some(true));
        let has_avx512 = has("has_avx512vnni") && has("has_avx512vl");
        match isa {
            Isa::X86_64 if has("has_avx_vnni") || has_avx512 => DotForm::SignedFirst,
            Isa::X86_64 => DotForm::Pairs,
            Isa::Aarch64 if has("has_i8mm") => DotForm::UnsignedFirst,
            Isa::Aarch64 => DotForm::Signed,
        }
    }
}

/// What is made for dots and kept for more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The unsigned bytes of a value less 128, signed.
    Shifted(ValueId),
    /// 128 times the sum of the four signed bytes of a value.
    Correction(ValueId),
    /// The bytes of two lanes of a value as 16 bits each.
    Wide(ValueId, Sign, Half),
    /// The same bits in every lane.
    Mask(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    Unsigned,
    Signed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Half {
    Low,
    High,
}

/// The parts that are there, by the open scopes, outermost first.
#[derive(Default)]
pub(super) struct DotParts {
    scopes: Vec<BTreeMap<Part, Value>>,
}

impl DotParts {
    pub(super) fn enter_scope(&mut self) {
        self.scopes.push(BTreeMap::new());
    }

    pub(super) fn leave_scope(&mut self) {
        self.scopes.pop();
    }
}

impl Emitter<'_, '_> {
    /// `acc` plus the bytes of `u8s` times those of `s8s`.
    pub(super) fn dot4(&mut self, u8s: ValueId, s8s: ValueId, acc: ValueId) -> Value {
        match self.dot_form {
            DotForm::SignedFirst => {
                let factors = [(self.bytes(s8s), Sign::Signed), (self.bytes(u8s), Sign::Unsigned)];
                let acc = self.get(acc);
                self.folded(factors, acc)
            }
            DotForm::UnsignedFirst => {
                let factors = [(self.bytes(u8s), Sign::Unsigned), (self.bytes(s8s), Sign::Signed)];
                let acc = self.get(acc);
                self.folded(factors, acc)
            }
            DotForm::Signed if self.bits.bytes_are_below_128(u8s) => {
                let factors = [u8s, s8s].map(|v| (self.bytes(v), Sign::Signed));
                let acc = self.get(acc);
                self.folded(factors, acc)
            }
            DotForm::Signed => {
                let (shifted, correction) =
                    (self.part(Part::Shifted(u8s)), self.part(Part::Correction(s8s)));
                let factors = [(shifted, Sign::Signed), (self.bytes(s8s), Sign::Signed)];
                let acc = self.get(acc);
                let acc = self.fb.ins().iadd(acc, correction);
                self.folded(factors, acc)
            }
            DotForm::Pairs => self.pairs(u8s, s8s, acc),
        }
    }

    /// Before a loop: what its dots need of values that are there already.
    pub(super) fn prepare_dots(&mut self, body: &[Inst]) {
        if self.dot_form != DotForm::Signed {
            return;
        }
        for inst in body {
            if let Inst::Dot4 { u8s, s8s, .. } = inst
                && !self.bits.bytes_are_below_128(*u8s)
            {
                self.part(Part::Mask(SIGNS));
                self.part(Part::Mask(ONES));
                for (value, part) in [(u8s, Part::Shifted(*u8s)), (s8s, Part::Correction(*s8s))] {
                    if matches!(self.values[value.index()], Slot::Value(_)) {
                        self.part(part);
                    }
                }
            }
            self.prepare_dots(inst.body());
        }
    }

    /// The tree that is folded, whatever the signs of the factors.
    fn folded(&mut self, factors: [(Value, Sign); 2], acc: Value) -> Value {
        let [low, high] = [Half::Low, Half::High].map(|half| {
            let [a, b] = factors.map(|(bytes, sign)| self.wide(bytes, sign, half));
            let products = self.fb.ins().imul(a, b);
            let even = self.fb.ins().swiden_low(products);
            let odd = self.fb.ins().swiden_high(products);
            self.fb.ins().iadd_pairwise(even, odd)
        });
        let sums = self.fb.ins().iadd_pairwise(low, high);
        self.fb.ins().iadd(sums, acc)
    }

    /// Sums of two products of 16 bits, then of two such sums.
    fn pairs(&mut self, u8s: ValueId, s8s: ValueId, acc: ValueId) -> Value {
        let [low, high] = [Half::Low, Half::High].map(|half| {
            let a = self.part(Part::Wide(u8s, Sign::Unsigned, half));
            let b = self.part(Part::Wide(s8s, Sign::Signed, half));
            let [a_low, b_low] = [a, b].map(|x| self.fb.ins().swiden_low(x));
            let [a_high, b_high] = [a, b].map(|x| self.fb.ins().swiden_high(x));
            let first = self.fb.ins().imul(a_low, b_low);
            let second = self.fb.ins().imul(a_high, b_high);
            self.fb.ins().iadd_pairwise(first, second)
        });
        let sums = self.fb.ins().iadd_pairwise(low, high);
        let acc = self.get(acc);
        self.fb.ins().iadd(sums, acc)
    }

    /// A part, computed here unless a scope around has it.
    fn part(&mut self, part: Part) -> Value {
        let known = self.dot_parts.scopes.iter().rev().find_map(|scope| scope.get(&part).copied());
        if let Some(known) = known {
            return known;
        }
        let computed = match part {
            Part::Shifted(value) => {
                let (bytes, signs) = (self.get(value), self.part(Part::Mask(SIGNS)));
                let shifted = self.fb.ins().bxor(bytes, signs);
                self.as_bytes(shifted)
            }
            Part::Correction(value) => {
                let (ones, zero) = (self.part(Part::Mask(ONES)), self.i32s(0));
                let factors = [self.as_bytes(ones), self.bytes(value)].map(|v| (v, Sign::Signed));
                let sums = self.folded(factors, zero);
                self.shift(ShiftOp::Shl, sums, 7)
            }
            Part::Wide(value, sign, half) => {
                let bytes = self.bytes(value);
                self.wide(bytes, sign, half)
            }
            Part::Mask(bits) => self.i32s(bits),
        };
        if let Some(scope) = self.dot_parts.scopes.last_mut() {
            scope.insert(part, computed);
        }
        computed
    }

    fn bytes(&mut self, value: ValueId) -> Value {
        let value = self.get(value);
        self.as_bytes(value)
    }

    fn wide(&mut self, bytes: Value, sign: Sign, half: Half) -> Value {
        match (sign, half) {
            (Sign::Unsigned, Half::Low) => self.fb.ins().uwiden_low(bytes),
            (Sign::Unsigned, Half::High) => self.fb.ins().uwiden_high(bytes),
            (Sign::Signed, Half::Low) => self.fb.ins().swiden_low(bytes),
            (Sign::Signed, Half::High) => self.fb.ins().swiden_high(bytes),
        }
    }
}
