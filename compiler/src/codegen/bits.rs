//! Which bits of a lane can be set: how a back end learns that bytes are small.
//!
//! Codes of few bits are cut out of words by shifts and masks, so following those is enough;
//! whatever else makes a value is taken to set any bit.

use crate::id::Id;
use crate::vir::{BinaryOp, Elem, Inst, Kernel, ShiftOp, ValueId};

/// The highest bit of each byte.
const HIGHEST: u32 = 0x8080_8080;

/// The bits that can be set in some lane of each value of a kernel.
pub(super) struct PossibleBits(Vec<u32>);

impl PossibleBits {
    /// Those of a kernel that verifies.
    pub(super) fn of(kernel: &Kernel) -> Self {
        let mut bits = PossibleBits(vec![u32::MAX; kernel.values.len()]);
        bits.follow(&kernel.body);
        bits
    }

    /// Whether every byte of every lane is below 128: the same number with a sign and without.
    pub(super) fn bytes_are_below_128(&self, value: ValueId) -> bool {
        self.get(value) & HIGHEST == 0
    }

    fn get(&self, value: ValueId) -> u32 {
        self.0.get(value.index()).copied().unwrap_or(u32::MAX)
    }

    fn set(&mut self, value: ValueId, bits: u32) {
        if let Some(entry) = self.0.get_mut(value.index()) {
            *entry = bits;
        }
    }

    /// Operands come before their uses. Params of loops, which do not, keep every bit.
    fn follow(&mut self, body: &[Inst]) {
        for inst in body {
            match inst {
                Inst::Const { dst, bits } => self.set(*dst, *bits),
                Inst::Load { dst, elem: Elem::U16, .. }
                | Inst::Splat { dst, elem: Elem::U16, .. } => self.set(*dst, 0xffff),
                Inst::Binary { dst, op, lhs, rhs } => {
                    let bits = binary(*op, self.get(*lhs), self.get(*rhs));
                    self.set(*dst, bits);
                }
                Inst::Shift { dst, op, src, amount } => {
                    let bits = shift(*op, self.get(*src), *amount);
                    self.set(*dst, bits);
                }
                Inst::Select { dst, mask: _, on, off } => {
                    let bits = self.get(*on) | self.get(*off);
                    self.set(*dst, bits);
                }
                Inst::Loop { body, .. } => self.follow(body),
                Inst::Iota { .. }
                | Inst::Index { .. }
                | Inst::Load { .. }
                | Inst::Splat { .. }
                | Inst::Store { .. }
                | Inst::Prefetch { .. }
                | Inst::Unary { .. }
                | Inst::Fma { .. }
                | Inst::Dot4 { .. }
                | Inst::Compare { .. }
                | Inst::Reduce { .. } => {}
            }
        }
    }
}

fn binary(op: BinaryOp, lhs: u32, rhs: u32) -> u32 {
    match op {
        BinaryOp::IAnd => lhs & rhs,
        BinaryOp::IOr | BinaryOp::IXor => lhs | rhs,
        BinaryOp::FAdd
        | BinaryOp::FSub
        | BinaryOp::FMul
        | BinaryOp::FDiv
        | BinaryOp::FMax
        | BinaryOp::FMin
        | BinaryOp::IAdd
        | BinaryOp::ISub
        | BinaryOp::IMax => u32::MAX,
    }
}

/// A sign that can be set can be shifted in.
fn shift(op: ShiftOp, src: u32, amount: u32) -> u32 {
    match op {
        ShiftOp::Shl => src << amount,
        ShiftOp::Shr => src >> amount,
        ShiftOp::Sar => (src.cast_signed() >> amount).cast_unsigned(),
    }
}
