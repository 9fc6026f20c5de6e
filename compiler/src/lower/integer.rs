//! Products of codes with quantized activations: exact integer sums over pieces of columns.
//!
//! A piece is a run of columns that share a scale on both sides. Its sum starts at minus the
//! codes' bias times the sum of x's codes, so that dots take codes as they are stored.
//!
//! Codes of 4 bits that are the high halves of bytes can be taken where they lie, sixteen times as
//! large, if they have sums of their own: a line is shifted no more, and the sum once for a piece.
//! Such sums are as exact: 16 * 15 is no more than the codes of 8 bits that a piece has room for.

use super::codes::{self, Count, widened};
use super::product::{Group, Product, RICH_IN_REGISTERS, SHORT_OF_REGISTERS};
use super::quantize::{Param, QuantizedRows};
use crate::format::{Bits, Codes, Scale};
use crate::pack::layout::{BLOCK_COLUMNS, TILE};
use crate::vir::{Affine, BinaryOp, Bound, Builder, Elem, IndexId, ShiftOp, UnaryOp, ValueId};
use std::ops::Range;

/// Where a piece lies.
#[derive(Clone, Copy)]
struct Piece {
    panel: IndexId,
    step: IndexId,
    /// Piece of the step.
    number: Count,
}

/// A product with its quantized input, for a group of row vectors of a panel.
struct Integer<'a> {
    product: &'a Product,
    codes: Codes,
    x: &'a QuantizedRows,
    group: &'a Group,
    /// Whether the high halves of bytes have sums of their own. They take registers, and bytes
    /// above 127, which only dot instructions multiply at once: such lanes come with both.
    highs_apart: bool,
}

impl Product {
    /// Sums over the steps of a panel.
    pub(super) fn integer(
        &self,
        b: &mut Builder,
        (codes, x): (Codes, &QuantizedRows),
        panel: IndexId,
        group: &Group,
        init: &[ValueId],
    ) -> Vec<ValueId> {
        let is_rich = b.lanes() == RICH_IN_REGISTERS && self.tokens == 1;
        let highs_apart = is_rich && codes.bits == Bits::Four;
        let integer = Integer { product: self, codes, x, group, highs_apart };
        let steps = Bound::Const(self.layout.steps());
        let pieces = self.layout.step_columns() / x.piece;
        b.for_range_vec(Bound::Const(0), steps, init, |b, step, sums| {
            self.ask_beside(b, panel, step);
            if pieces == 1 {
                return integer.piece(b, Piece { panel, step, number: Count::Of(0) }, sums);
            }
            b.for_range_vec(Bound::Const(0), Bound::Const(pieces), sums, |b, number, sums| {
                integer.piece(b, Piece { panel, step, number: Count::Index(number) }, sums)
            })
        })
    }
}

impl Integer<'_> {
    fn tokens(&self) -> u32 {
        self.product.tokens
    }

    /// Row vectors that take turns: with one token those of a tile, so that its lines are read in
    /// their order in memory and their sums fit the registers.
    fn turns(&self, b: &Builder) -> Vec<Range<usize>> {
        let all = self.group.rows.len();
        let held = if self.tokens() == 1 { (TILE / b.lanes()) as usize } else { all };
        (0..all).step_by(held).map(|first| first..all.min(first + held)).collect()
    }

    /// One piece: the new sums. Sums lie token by token.
    fn piece(&self, b: &mut Builder, piece: Piece, sums: &[ValueId]) -> Vec<ValueId> {
        let mut sums = sums.to_vec();
        let blocks = self.x.piece / BLOCK_COLUMNS;
        let turns = self.turns(b);
        if blocks == 1 {
            // All codes before any scale, as they lie in memory: what fetches lines ahead by itself
            // is misled by a line of scales between the tiles. Four lanes lack the registers.
            let at_once = if b.lanes() < SHORT_OF_REGISTERS { 1 } else { turns.len() };
            for turns in turns.chunks(at_once) {
                let mut dots = Vec::with_capacity(turns.len());
                for vectors in turns {
                    let start = self.starts(b, piece, vectors);
                    dots.push(self.block(b, piece, Count::Of(0), vectors, start));
                }
                for (vectors, dots) in turns.iter().zip(&dots) {
                    self.scale(b, piece, vectors, dots, &mut sums);
                }
            }
            return sums;
        }
        let starts: Vec<Vec<ValueId>> =
            turns.iter().map(|vectors| self.starts(b, piece, vectors)).collect();
        let dots = b.for_range_vec(
            Bound::Const(0),
            Bound::Const(blocks),
            &starts.concat(),
            |b, block, dots| {
                let mut rest = dots;
                let mut next = Vec::with_capacity(dots.len());
                for (vectors, start) in turns.iter().zip(&starts) {
                    let (own, others) = rest.split_at(start.len());
                    rest = others;
                    next.extend(self.block(b, piece, Count::Index(block), vectors, own.to_vec()));
                }
                next
            },
        );
        let mut rest = dots.as_slice();
        for (vectors, start) in turns.iter().zip(&starts) {
            let (own, others) = rest.split_at(start.len());
            rest = others;
            self.scale(b, piece, vectors, own, &mut sums);
        }
        sums
    }

    /// What the integer sums of some vectors start with, token by token; behind them those of
    /// high halves.
    fn starts(&self, b: &mut Builder, piece: Piece, vectors: &Range<usize>) -> Vec<ValueId> {
        let mut starts = Vec::new();
        for token in 0..self.tokens() {
            let start = match self.codes.bias() {
                0 => b.i32(0),
                bias => {
                    let at = self.piece_at(piece, 4);
                    let minus = self.x.splat(b, token, Param::MinusSum, &at);
                    b.shift(ShiftOp::Shl, minus, bias.trailing_zeros())
                }
            };
            starts.extend(vectors.clone().map(|_| start));
        }
        if self.highs_apart {
            let zero = b.i32(0);
            starts.resize(2 * starts.len(), zero);
        }
        starts
    }

    /// Offset of a piece where each takes `bytes`.
    fn piece_at(&self, piece: Piece, bytes: u32) -> Affine {
        let pieces = self.product.layout.step_columns() / self.x.piece;
        let at = Count::Index(piece.step).along(Affine::constant(0), pieces * bytes);
        piece.number.along(at, bytes)
    }

    /// Dots over a block of 32 columns.
    fn block(
        &self,
        b: &mut Builder,
        piece: Piece,
        block: Count,
        vectors: &Range<usize>,
        mut dots: Vec<ValueId>,
    ) -> Vec<ValueId> {
        // The three lines that codes of 6 bits are put together from, of one vector after the other
        // where registers are few: x is read once more for it, instead of a sum from the stack.
        let is_short = self.codes.bits == Bits::Six && b.lanes() == SHORT_OF_REGISTERS;
        let at_once = if is_short { 1 } else { vectors.len() };
        for unit in 0..codes::units(self.codes.bits) {
            for first in vectors.clone().step_by(at_once) {
                let some = first..vectors.end.min(first + at_once);
                self.unit(b, (piece, block, unit), vectors, some, &mut dots);
            }
        }
        dots
    }

    /// Dots over a unit of a block, for `some` of the vectors that `dots` are of.
    fn unit(
        &self,
        b: &mut Builder,
        (piece, block, unit): (Piece, Count, u32),
        vectors: &Range<usize>,
        some: Range<usize>,
        dots: &mut [ValueId],
    ) {
        let Codes { bits, .. } = self.codes;
        let quads = codes::quads(bits);
        let lines: Vec<Vec<ValueId>> =
            some.clone().map(|v| self.lines(b, piece, block, unit, v)).collect();
        for quad in 0..quads {
            let is_apart = self.highs_apart && quad == 1;
            let bytes = lines.iter().map(|lines| match is_apart {
                true => codes::highs_in_place(b, lines[0]),
                false => codes::bytes(b, bits, lines, quad),
            });
            let bytes: Vec<ValueId> = bytes.collect();
            let highs = if is_apart { dots.len() / 2 } else { 0 };
            for token in 0..self.tokens() {
                let k = (unit * quads + quad) * 4;
                let at = self.x.code(token).sum(&self.piece_at(piece, self.x.piece));
                let at = block.along(at, BLOCK_COLUMNS).offset(i64::from(k));
                let x = b.splat(Elem::I32, self.x.codes, at);
                for (v, &bytes) in some.clone().zip(&bytes) {
                    let own = token as usize * vectors.len() + (v - vectors.start);
                    let dot = &mut dots[highs + own];
                    *dot = b.dot4(bytes, x, *dot);
                }
            }
        }
    }

    /// The lines of a unit of one row vector.
    fn lines(
        &self,
        b: &mut Builder,
        piece: Piece,
        block: Count,
        unit: u32,
        vector: usize,
    ) -> Vec<ValueId> {
        let Product { layout, weights, .. } = self.product;
        let row = self.group.rows[vector];
        let start = self.product.step(piece.panel, piece.step);
        let blocks = self.x.piece / BLOCK_COLUMNS;
        let start = piece.number.along(start, blocks * layout.block_bytes());
        let start = block.along(start, layout.block_bytes());
        let start = start.offset(i64::from(layout.code(row, 0)));
        let start = self.group.looped(start, |rows| layout.code(rows, 0));
        codes::lines(b, self.codes.bits, Count::Of(unit), |b, at| {
            let at = start.clone().sum(&at);
            if row.is_multiple_of(TILE) {
                self.product.ask_ahead(b, &at);
            }
            b.load(Elem::I32, *weights, at)
        })
    }

    /// `sum = fma(dot, d * dx, sum)`, and with a minimum `sum = fma(m, dx * Σx, sum)`.
    fn scale(
        &self,
        b: &mut Builder,
        piece: Piece,
        vectors: &Range<usize>,
        dots: &[ValueId],
        sums: &mut [ValueId],
    ) {
        let at = self.piece_at(piece, 4);
        let layout = self.product.layout;
        let tokens = 0..self.tokens();
        let mut splats = |param| -> Vec<ValueId> {
            tokens.clone().map(|token| self.x.splat(b, token, param, &at)).collect()
        };
        let scales = splats(Param::Scale);
        let sums_of_x = if self.codes.minimum { splats(Param::ScaledSum) } else { Vec::new() };
        for (i, v) in vectors.clone().enumerate() {
            let row = self.group.rows[v];
            let scale = self.half(b, piece, row, layout.scale(row));
            let minimum = self.codes.minimum.then(|| self.half(b, piece, row, layout.minimum(row)));
            for (token, dx) in scales.iter().enumerate() {
                let mut dot = dots[token * vectors.len() + i];
                if self.highs_apart {
                    let high = dots[dots.len() / 2 + token * vectors.len() + i];
                    let high = b.shift(ShiftOp::Sar, high, 4);
                    dot = b.binary(BinaryOp::IAdd, dot, high);
                }
                let dot = b.unary(UnaryOp::I32ToF32, dot);
                let scale = b.fmul(scale, *dx);
                let sum = &mut sums[token * self.group.rows.len() + v];
                *sum = b.fma(dot, scale, *sum);
                if let (Some(minimum), Some(x)) = (minimum, sums_of_x.get(token)) {
                    *sum = b.fma(minimum, *x, *sum);
                }
            }
        }
    }

    /// The scales or minima, from `byte` of the step on, of the vector of rows from `row` on, as f32.
    fn half(&self, b: &mut Builder, piece: Piece, row: u32, byte: u32) -> ValueId {
        let at = self.product.step(piece.panel, piece.step).offset(i64::from(byte));
        let at = self.group.looped(at, |rows| rows * 2);
        if row == 0 {
            self.product.ask_ahead(b, &at);
        }
        let half = b.load(Elem::U16, self.product.weights, at);
        widened(b, self.codes.scale == Scale::Bf16, half)
    }
}
