//! Codes of packed blocks in lanes: from lines of dwords to bytes and to numbers.
//!
//! A block of 32 columns is cut in *units*, the least runs of columns whose lines belong to no
//! other, and a unit in *quads* of four columns, one for each byte of a dword:
//!
//! | bits | units | lines of a unit | quads of a unit |
//! |---|---|---|---|
//! | 8 | 8 | dword | 1 |
//! | 4 | 4 | dword of halves | 2 |
//! | 6 | 2 | two dwords of halves, one of pairs of bits | 4 |

use crate::format::{Bits, Codes};
use crate::pack::layout::{BLOCK_COLUMNS, LINE};
use crate::vir::{Affine, BinaryOp, Builder, IndexId, ShiftOp, UnaryOp, ValueId};

/// A number that is known, or the variable of a loop.
#[derive(Clone, Copy)]
pub(super) enum Count {
    /// Known.
    Of(u32),
    /// The loop's variable.
    Index(IndexId),
}

impl Count {
    /// `at`, so many times `bytes` further on.
    pub(super) fn along(self, at: Affine, bytes: u32) -> Affine {
        match self {
            Count::Of(count) => at.offset(i64::from(count) * i64::from(bytes)),
            Count::Index(index) => at.plus(index, i64::from(bytes)),
        }
    }
}

/// Units of a block.
pub(super) const fn units(bits: Bits) -> u32 {
    match bits {
        Bits::Four => 4,
        Bits::Six => 2,
        Bits::Eight => 8,
    }
}

/// Quads of a unit.
pub(super) const fn quads(bits: Bits) -> u32 {
    BLOCK_COLUMNS / 4 / units(bits)
}

/// The lines of a unit, loaded by `load` from so many bytes past the tile's part of the block.
pub(super) fn lines(
    b: &mut Builder,
    bits: Bits,
    unit: Count,
    mut load: impl FnMut(&mut Builder, Affine) -> ValueId,
) -> Vec<ValueId> {
    let start = Affine::constant(0);
    match bits {
        Bits::Four | Bits::Eight => vec![load(b, unit.along(start, LINE))],
        Bits::Six => {
            let low = unit.along(start.clone(), 2 * LINE);
            let high = unit.along(start.offset(4 * i64::from(LINE)), LINE);
            [low.clone(), low.offset(i64::from(LINE)), high].map(|at| load(b, at)).to_vec()
        }
    }
}

/// The four codes of a quad as the bytes of a dword, unsigned.
pub(super) fn bytes(b: &mut Builder, bits: Bits, lines: &[ValueId], quad: u32) -> ValueId {
    match bits {
        Bits::Eight => lines[0],
        Bits::Four => half(b, lines[0], quad),
        Bits::Six => {
            let low = half(b, lines[quad as usize / 2], quad % 2);
            let pairs = lines[2];
            // Bits 2 * quad go to bit 4 of each byte.
            let moved = match quad {
                0 => b.shift(ShiftOp::Shl, pairs, 4),
                1 => b.shift(ShiftOp::Shl, pairs, 2),
                2 => pairs,
                _ => b.shift(ShiftOp::Shr, pairs, 2),
            };
            let mask = b.i32(0x3030_3030);
            let high = b.binary(BinaryOp::IAnd, moved, mask);
            b.binary(BinaryOp::IOr, low, high)
        }
    }
}

/// The low or high half of each byte.
fn half(b: &mut Builder, line: ValueId, half: u32) -> ValueId {
    let line = if half == 0 { line } else { b.shift(ShiftOp::Shr, line, 4) };
    let mask = b.i32(0x0f0f_0f0f);
    b.binary(BinaryOp::IAnd, line, mask)
}

/// The high half of each byte of a line of 4-bit codes, sixteen times as large as the code.
pub(super) fn highs_in_place(b: &mut Builder, line: ValueId) -> ValueId {
    let mask = b.i32(0xf0f0_f0f0);
    b.binary(BinaryOp::IAnd, line, mask)
}

/// The codes of a unit, ready to be read one by one.
pub(super) struct Numbers {
    codes: Codes,
    /// For 4 and 8 bits the line; for 6 bits the bytes of each quad. Symmetric codes are two's
    /// complement inside their fields.
    fields: Vec<ValueId>,
}

impl Numbers {
    /// From the lines of a unit.
    pub(super) fn new(b: &mut Builder, codes: Codes, lines: &[ValueId]) -> Self {
        let fields = match codes.bits {
            Bits::Four | Bits::Eight => vec![lines[0]],
            Bits::Six => (0..quads(Bits::Six)).map(|q| bytes(b, Bits::Six, lines, q)).collect(),
        };
        if codes.minimum {
            return Numbers { codes, fields };
        }
        // The sign bit of each field.
        let bias = match codes.bits {
            Bits::Four => 0x8888_8888,
            Bits::Six => 0x2020_2020,
            Bits::Eight => 0x8080_8080,
        };
        let sign = |field| {
            let bias = b.i32(bias);
            b.binary(BinaryOp::IXor, field, bias)
        };
        Numbers { codes, fields: fields.into_iter().map(sign).collect() }
    }

    /// Column `i` of a quad as f32: the code less its bias.
    pub(super) fn number(&self, b: &mut Builder, quad: u32, i: u32) -> ValueId {
        let (field, low) = match self.codes.bits {
            Bits::Eight => (0, 8 * i),
            Bits::Four => (0, 8 * i + 4 * quad),
            Bits::Six => (quad as usize, 8 * i),
        };
        let width = self.codes.bits.count();
        let code = field_of(b, self.fields[field], self.codes.minimum, low, width);
        b.unary(UnaryOp::I32ToF32, code)
    }
}

/// Bits `low..low + width` of each lane, extended by zeros or by the sign. Two shifts, no mask: a
/// constant would take a register or a load at each use, and loads are what an inner loop is
/// short of.
fn field_of(b: &mut Builder, bits: ValueId, is_unsigned: bool, low: u32, width: u32) -> ValueId {
    let top = 32 - low - width;
    let raised = if top == 0 { bits } else { b.shift(ShiftOp::Shl, bits, top) };
    b.shift(if is_unsigned { ShiftOp::Shr } else { ShiftOp::Sar }, raised, 32 - width)
}

/// f32 of weights, scales or minima stored as f16 or bf16.
pub(super) fn widened(b: &mut Builder, is_bf16: bool, halves: ValueId) -> ValueId {
    if is_bf16 {
        let bits = b.shift(ShiftOp::Shl, halves, 16);
        b.unary(UnaryOp::AsF32, bits)
    } else {
        b.unary(UnaryOp::FiniteF16ToF32, halves)
    }
}
