//! Arithmetic on lanes.

use super::constants::{F16_KEEP, F16_RESCALE};
use super::{Selector, Slot, Waiting};
use crate::codegen::x64wide::Width;
use crate::codegen::x64wide::code::Part;
use crate::codegen::x64wide::forms::Form;
use crate::id::Id;
use crate::vir::{BinaryOp, CompareOp, Elem, ReduceOp, ShiftOp, Ty, UnaryOp, ValueId};
use regalloc2::VReg;

/// Rounding to nearest even, whatever the mode, in `vcvtps2ph`.
const NEAREST: i64 = 0;
/// Predicates of `vcmpps`: less and greater, false and quiet where an operand is NaN.
const LESS: i64 = 0x11;
const GREATER: i64 = 0x1e;
/// Predicates of `vpcmpd`.
const LESS_D: i64 = 1;
const LESS_OR_EQUAL_D: i64 = 2;

impl Selector<'_> {
    pub(super) fn unary(&mut self, dst: ValueId, op: UnaryOp, src: ValueId) {
        let made = match op {
            UnaryOp::AsF32 | UnaryOp::AsI32 => return self.same_bits(dst, src),
            UnaryOp::Sqrt => {
                let src = self.source(src);
                self.made(Form::SqrtPs, &[src])
            }
            UnaryOp::I32ToF32 => {
                let src = self.source(src);
                self.made(Form::FromDwords, &[src])
            }
            UnaryOp::F16ToF32 => {
                let halves = match self.waiting_words(src) {
                    Some(memory) => memory,
                    None => {
                        let lanes = self.get(src);
                        Part::Use(self.narrow_words(lanes))
                    }
                };
                self.made(Form::FromHalves, &[halves])
            }
            UnaryOp::FiniteF16ToF32 => self.finite_f16(src),
            UnaryOp::F32ToF16 => {
                let src = self.get(src);
                let halves = self.made(Form::ToHalves, &[Part::Use(src), Part::Immediate(NEAREST)]);
                self.made(Form::LoadWords, &[Part::Use(halves)])
            }
        };
        self.set(dst, made);
    }

    fn same_bits(&mut self, dst: ValueId, src: ValueId) {
        match self.slots[src.index()] {
            Slot::Waiting(load) if self.uses[dst.index()] == 1 => {
                self.waiting.retain(|other| *other != src);
                self.slots[dst.index()] = Slot::Waiting(load);
                self.waiting.push(dst);
            }
            Slot::Waiting(_) => {
                let register = self.get(src);
                self.set(dst, register);
            }
            slot => {
                self.last_use(src);
                self.alias(dst, slot);
            }
        }
    }

    /// The memory of a load of words that waits.
    fn waiting_words(&mut self, value: ValueId) -> Option<Part> {
        let Slot::Waiting(Waiting { elem: Elem::U16, is_splat: false, place, .. }) =
            self.slots[value.index()]
        else {
            return None;
        };
        self.waiting.retain(|other| *other != value);
        Some(Part::Memory(place))
    }

    /// The formula of `specs/vir.md`: a word with its sign, 13 places up, is `x << 16 >> 3`. Not
    /// `vcvtph2ps`, which knows infinities.
    fn finite_f16(&mut self, src: ValueId) -> VReg {
        let spread = match self.waiting_words(src) {
            Some(memory) => {
                let words = self.made(Form::LoadSignedWords, &[memory]);
                self.shifted(Form::ShiftLeft, words, 13)
            }
            None => {
                let lanes = self.get(src);
                let high = self.shifted(Form::ShiftLeft, lanes, 16);
                self.shifted(Form::ShiftSigned, high, 3)
            }
        };
        let keep = self.constant_source(F16_KEEP);
        let moved = self.made(Form::And, &[Part::Use(spread), keep]);
        let rescale = self.constant_source(F16_RESCALE);
        self.made(Form::MulPs, &[Part::Use(moved), rescale])
    }

    pub(super) fn shifted(&mut self, form: Form, src: VReg, amount: u32) -> VReg {
        self.made(form, &[Part::Use(src), Part::Immediate(amount.into())])
    }

    pub(super) fn binary(&mut self, dst: ValueId, op: BinaryOp, lhs: ValueId, rhs: ValueId) {
        let (form, commutes) = match op {
            BinaryOp::FAdd => (Form::AddPs, true),
            BinaryOp::FSub => (Form::SubPs, false),
            BinaryOp::FMul => (Form::MulPs, true),
            BinaryOp::FDiv => (Form::DivPs, false),
            // The second operand where either is NaN or both are zero: just what VIR wants.
            BinaryOp::FMax => (Form::MaxPs, false),
            BinaryOp::FMin => (Form::MinPs, false),
            BinaryOp::IAdd => (Form::AddD, true),
            BinaryOp::ISub => (Form::SubD, false),
            BinaryOp::IMax => (Form::MaxD, true),
            BinaryOp::IAnd => (Form::And, true),
            BinaryOp::IOr => (Form::Or, true),
            BinaryOp::IXor => (Form::Xor, true),
        };
        let swap = commutes && self.is_memory(lhs) && !self.is_memory(rhs);
        let (lhs, rhs) = if swap { (rhs, lhs) } else { (lhs, rhs) };
        let lhs = self.get(lhs);
        let rhs = self.source(rhs);
        let made = self.made(form, &[Part::Use(lhs), rhs]);
        self.set(dst, made);
    }

    pub(super) fn shift(&mut self, dst: ValueId, op: ShiftOp, src: ValueId, amount: u32) {
        let form = match op {
            ShiftOp::Shl => Form::ShiftLeft,
            ShiftOp::Shr => Form::ShiftRight,
            ShiftOp::Sar => Form::ShiftSigned,
        };
        let src = self.get(src);
        let made = self.shifted(form, src, amount);
        self.set(dst, made);
    }

    /// `a * b + c`, in the register of an operand that is free behind it.
    pub(super) fn fma(&mut self, dst: ValueId, a: ValueId, b: ValueId, c: ValueId) {
        let (a, b) = if self.is_memory(a) { (b, a) } else { (a, b) };
        let is_free = |selector: &Self, v| selector.dies(v);
        let def = self.lanes();
        if !is_free(self, c) && (is_free(self, a) || is_free(self, b)) && a != b {
            let (from, other) = if is_free(self, a) { (a, b) } else { (b, a) };
            let from = self.get(from);
            let tied = Part::Tied { def, from };
            if self.is_memory(c) || !self.is_memory(other) {
                let (other, addend) = (self.get(other), self.source(c));
                self.code.operation(Form::Fma213, &[tied, Part::Use(other), addend]);
            } else {
                let (addend, other) = (self.get(c), self.source(other));
                self.code.operation(Form::Fma132, &[tied, Part::Use(addend), other]);
            }
        } else {
            let from = self.accumulator(c);
            let (factor, other) = (self.get(a), self.source(b));
            let parts = [Part::Tied { def, from }, Part::Use(factor), other];
            self.code.operation(Form::Fma231, &parts);
        }
        self.set(dst, def);
    }

    pub(super) fn compare(&mut self, dst: ValueId, op: CompareOp, lhs: ValueId, rhs: ValueId) {
        let mask = self.register(Ty::Mask);
        let (form, predicate) = match (op, self.width) {
            (CompareOp::FLt, Width::Ymm) => (Form::ComparePs, LESS),
            (CompareOp::FGt, Width::Ymm) => (Form::ComparePs, GREATER),
            (CompareOp::FLt, Width::Zmm) => (Form::ComparePsMask, LESS),
            (CompareOp::FGt, Width::Zmm) => (Form::ComparePsMask, GREATER),
            (CompareOp::ILt, Width::Zmm) => (Form::CompareDMask, LESS_D),
            (CompareOp::ILe, Width::Zmm) => (Form::CompareDMask, LESS_OR_EQUAL_D),
            (CompareOp::ILt, Width::Ymm) => {
                let (rhs, lhs) = (self.get(rhs), self.source(lhs));
                self.emit(Form::GreaterD, mask, &[Part::Use(rhs), lhs]);
                return self.set(dst, mask);
            }
            (CompareOp::ILe, Width::Ymm) => {
                let (lhs, rhs) = (self.get(lhs), self.source(rhs));
                let greater = self.made(Form::GreaterD, &[Part::Use(lhs), rhs]);
                let ones = self.made(Form::Ones, &[Part::Again, Part::Again]);
                self.emit(Form::Xor, mask, &[Part::Use(greater), Part::Use(ones)]);
                return self.set(dst, mask);
            }
        };
        let (lhs, rhs) = (self.get(lhs), self.source(rhs));
        self.emit(form, mask, &[Part::Use(lhs), rhs, Part::Immediate(predicate)]);
        self.set(dst, mask);
    }

    pub(super) fn select(&mut self, dst: ValueId, mask: ValueId, on: ValueId, off: ValueId) {
        let off = self.get(off);
        let on = self.source(on);
        let mask = self.get(mask);
        let made = match self.width {
            Width::Ymm => self.made(Form::Blend, &[Part::Use(off), on, Part::Use(mask)]),
            Width::Zmm => {
                let made = self.lanes();
                let parts = [Part::Def(made), Part::Use(off), on, Part::Choose(mask)];
                self.code.operation(Form::BlendMask, &parts);
                made
            }
        };
        self.set(dst, made);
    }

    /// Lane j with lane j + h for falling h; lane 0 of the result in every lane.
    pub(super) fn reduce(&mut self, dst: ValueId, op: ReduceOp, src: ValueId) {
        let form = match op {
            ReduceOp::FAdd => Form::AddPs,
            ReduceOp::FMax => Form::MaxPs,
            ReduceOp::IAdd => Form::AddD,
            ReduceOp::IMax => Form::MaxD,
        };
        let mut lanes = self.get(src);
        // Halves of the vector, then of half of it, as far as 128 bits; then inside those.
        let quarters: &[i64] = match self.width {
            Width::Ymm => &[0x01],
            Width::Zmm => &[0x4e, 0xb1],
        };
        for swap in quarters {
            let source = Part::Use(lanes);
            let swapped =
                self.made(Form::ShuffleQuarters, &[source, source, Part::Immediate(*swap)]);
            lanes = self.made(form, &[source, Part::Use(swapped)]);
        }
        for swap in [0x4e, 0xb1] {
            let source = Part::Use(lanes);
            let swapped = self.made(Form::ShuffleDwords, &[source, Part::Immediate(swap)]);
            lanes = self.made(form, &[source, Part::Use(swapped)]);
        }
        // The others have the operands the other way round, which shows in the sign of a zero.
        let first = self.made(Form::BroadcastFirst, &[Part::Use(lanes)]);
        self.set(dst, first);
    }
}
