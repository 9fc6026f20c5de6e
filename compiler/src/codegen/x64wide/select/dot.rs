//! `dot4`: `vpdpbusd`, or without it the shortest way that is exact.
//!
//! `vpmaddubsw` sums two products of bytes in 16 bits and saturates there: 255 * -128 twice does
//! not fit, 127 * -128 twice does. So it serves codes that are known to be below 128. All others
//! go as 16-bit numbers, bytes 0 and 2 of each lane apart from bytes 1 and 3, through `vpmaddwd`,
//! whose sums of two are in 32 bits. What is made of a factor is kept for more products with it.

use super::Selector;
use crate::codegen::x64wide::code::Part;
use crate::codegen::x64wide::forms::Form;
use crate::vir::ValueId;
use regalloc2::VReg;

/// 1 in each of two words.
const ONES: u32 = 0x0001_0001;
/// The low byte of each of two words.
const LOW_BYTES: u32 = 0x00ff_00ff;

/// What is made of a factor: bytes of a register as words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DotPart {
    UnsignedEven(usize),
    UnsignedOdd(usize),
    SignedEven(usize),
    SignedOdd(usize),
}

impl Selector<'_> {
    pub(super) fn dot4(&mut self, dst: ValueId, u8s: ValueId, s8s: ValueId, acc: ValueId) {
        let made = if self.features.dot_products {
            let from = self.accumulator(acc);
            let u8s = self.get(u8s);
            let s8s = self.source(s8s);
            let def = self.lanes();
            let parts = [Part::Tied { def, from }, Part::Use(u8s), s8s];
            self.code.operation(Form::DotBytes, &parts);
            def
        } else if self.bits.bytes_are_below_128(u8s) {
            let u8s = self.get(u8s);
            let s8s = self.source(s8s);
            let pairs = self.made(Form::PairBytes, &[Part::Use(u8s), s8s]);
            let ones = self.constant_source(ONES);
            let sums = self.made(Form::PairWords, &[Part::Use(pairs), ones]);
            let acc = self.source(acc);
            self.made(Form::AddD, &[Part::Use(sums), acc])
        } else {
            let (u8s, s8s) = (self.get(u8s), self.get(s8s));
            let [even, odd] = [
                [DotPart::UnsignedEven(u8s.vreg()), DotPart::SignedEven(s8s.vreg())],
                [DotPart::UnsignedOdd(u8s.vreg()), DotPart::SignedOdd(s8s.vreg())],
            ]
            .map(|[u, s]| {
                let (u, s) = (self.dot_part(u, u8s), self.dot_part(s, s8s));
                self.made(Form::PairWords, &[Part::Use(u), Part::Use(s)])
            });
            let acc = self.source(acc);
            let sum = self.made(Form::AddD, &[Part::Use(even), acc]);
            self.made(Form::AddD, &[Part::Use(sum), Part::Use(odd)])
        };
        self.set(dst, made);
    }

    /// A part of a register, made here unless a scope around has it.
    fn dot_part(&mut self, part: DotPart, of: VReg) -> VReg {
        let known = self.scopes.iter().rev().find_map(|scope| scope.dot_parts.get(&part).copied());
        if let Some(known) = known {
            return known;
        }
        let made = match part {
            DotPart::UnsignedEven(_) => {
                let low = self.constant_source(LOW_BYTES);
                self.made(Form::And, &[Part::Use(of), low])
            }
            DotPart::UnsignedOdd(_) => self.shifted(Form::WordsRight, of, 8),
            DotPart::SignedEven(_) => {
                let high = self.shifted(Form::WordsLeft, of, 8);
                self.shifted(Form::WordsSigned, high, 8)
            }
            DotPart::SignedOdd(_) => self.shifted(Form::WordsSigned, of, 8),
        };
        if let Some(scope) = self.scopes.last_mut() {
            scope.dot_parts.insert(part, made);
        }
        made
    }
}
