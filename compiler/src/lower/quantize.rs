//! The quantizing prologue: f32 activations to codes of 8 bits, for products in integers.
//!
//! Like the norm, every thread does it for itself: a row of a thin model is less work than a
//! barrier.

use super::norm::Rows;
use super::{Parts, codes::Count};
use crate::format::Group;
use crate::numerics::{LEAST_QUANTIZED, MAGIC};
use crate::pack::layout::BLOCK_COLUMNS;
use crate::vir::{
    Affine, BinaryOp, Bound, BufferId, Builder, CompareOp, Elem, IndexId, ReduceOp, UnaryOp,
    ValueId,
};

/// Quantized input of a product, a row for each token: codes, and for each *piece* (a run of
/// columns that share a scale on both sides of the product) what its sum needs: the scales of all
/// pieces, then minus the sums of their codes, then these sums scaled.
#[derive(Clone, Copy)]
pub struct QuantizedRows {
    /// K bytes for each token.
    pub(super) codes: BufferId,
    /// For each token a word for each piece, three times: see [`Param`].
    params: BufferId,
    /// K.
    columns: u32,
    /// Columns that share a scale.
    group: u32,
    /// Columns of a piece; divides a group.
    pub(super) piece: u32,
}

/// What there is for each piece.
#[derive(Clone, Copy)]
pub(super) enum Param {
    /// The scale d, f32.
    Scale,
    /// Minus the sum of the codes, i32.
    MinusSum,
    /// `d * sum of the codes`, f32.
    ScaledSum,
}

impl QuantizedRows {
    /// Working memory for the input of K columns; `number` tells several apart.
    pub(super) fn new(
        parts: &mut Parts,
        number: usize,
        columns: u32,
        (group, piece): (Group, u32),
        tokens: u32,
    ) -> Self {
        let pieces = columns / piece;
        let [codes, params] = QuantizedRows::names(number);
        let codes = parts.scratch(&codes, columns * tokens);
        let params = parts.scratch(&params, pieces * 3 * 4 * tokens);
        let group = group.columns(columns);
        QuantizedRows { codes, params, columns, group, piece }
    }

    /// Names of the buffers of codes and of pieces' parameters.
    pub fn names(number: usize) -> [String; 2] {
        ["codes", "pieces"].map(|name| match number {
            0 => name.to_owned(),
            more => format!("{name}{more}"),
        })
    }

    /// Byte offset of code 0 of `token`.
    pub(super) fn code(&self, token: u32) -> Affine {
        Affine::constant(i64::from(token) * i64::from(self.columns))
    }

    /// A parameter of piece 0 of `token` in every lane, `at` bytes further on.
    pub(super) fn splat(&self, b: &mut Builder, token: u32, param: Param, at: &Affine) -> ValueId {
        let elem = match param {
            Param::Scale | Param::ScaledSum => Elem::F32,
            Param::MinusSum => Elem::I32,
        };
        b.splat(elem, self.params, self.param(token, param).sum(at))
    }

    fn param(&self, token: u32, param: Param) -> Affine {
        let pieces = i64::from(self.columns / self.piece);
        let kind = match param {
            Param::Scale => 0,
            Param::MinusSum => 1,
            Param::ScaledSum => 2,
        };
        Affine::constant((i64::from(token) * 3 + kind) * pieces * 4)
    }

    /// Quantizes the rows of `x`, group by group.
    pub(super) fn emit(&self, b: &mut Builder, x: Rows, tokens: u32) {
        for token in 0..tokens {
            b.repeat(self.columns / self.group, |b, group| {
                let factors = self.factors(b, x, token, group);
                b.repeat(self.group / self.piece, |b, piece| {
                    self.piece(b, x, token, (group, piece), &factors);
                });
            });
        }
    }

    /// The scale of a group, and what its elements are multiplied with.
    fn factors(&self, b: &mut Builder, x: Rows, token: u32, group: IndexId) -> Factors {
        let zero = b.i32(0);
        let start = Count::Index(group).along(x.at(token, 0), self.group * 4);
        let lanes = b.lanes();
        let init = vec![zero; (BLOCK_COLUMNS / lanes) as usize];
        let blocks = Bound::Const(self.group / BLOCK_COLUMNS);
        let most = b.for_range_vec(Bound::Const(0), blocks, &init, |b, block, most| {
            let at = Count::Index(block).along(start.clone(), BLOCK_COLUMNS * 4);
            let magnitude = b.i32(0x7fff_ffff);
            (0..)
                .step_by(lanes as usize)
                .zip(most)
                .map(|(k, &most)| {
                    let at = at.clone().offset(i64::from(k) * 4_i64);
                    let bits = b.load(Elem::I32, x.buffer, at);
                    let bits = b.binary(BinaryOp::IAnd, bits, magnitude);
                    b.binary(BinaryOp::IMax, most, bits)
                })
                .collect()
        });
        let most = combined(b, ReduceOp::IMax, &most);
        let infinity = b.i32(f32::INFINITY.to_bits());
        let is_finite = b.compare(CompareOp::ILt, most, infinity);
        let most = b.unary(UnaryOp::AsF32, most);
        let limit = b.f32(127.0);
        let scale = b.fdiv(most, limit);
        let nan = b.f32(f32::NAN);
        let scale = b.select(is_finite, scale, nan);
        let inverse = b.fdiv(limit, most);
        let least = b.f32(LEAST_QUANTIZED);
        let is_small = b.compare(CompareOp::FLt, most, least);
        let nothing = b.f32(0.0);
        let inverse = b.select(is_small, nothing, inverse);
        let inverse = b.select(is_finite, inverse, nothing);
        Factors { is_finite, scale, inverse }
    }

    /// Codes and parameters of one piece.
    fn piece(
        &self,
        b: &mut Builder,
        x: Rows,
        token: u32,
        (group, piece): (IndexId, IndexId),
        factors: &Factors,
    ) {
        let along = |at: Affine, bytes: u32| {
            let at = Count::Index(group).along(at, self.group * bytes);
            Count::Index(piece).along(at, self.piece * bytes)
        };
        let (from, to) = (along(x.at(token, 0), 4), along(self.code(token), 1));
        let lanes = b.lanes();
        let zero = b.i32(0);
        let init = vec![zero; (BLOCK_COLUMNS / lanes) as usize];
        let blocks = Bound::Const(self.piece / BLOCK_COLUMNS);
        let sums = b.for_range_vec(Bound::Const(0), blocks, &init, |b, block, sums| {
            let from = Count::Index(block).along(from.clone(), BLOCK_COLUMNS * 4);
            let to = Count::Index(block).along(to.clone(), BLOCK_COLUMNS);
            (0..)
                .step_by(lanes as usize)
                .zip(sums)
                .map(|(k, &sum)| {
                    let x = b.load(Elem::F32, x.buffer, from.clone().offset(k * 4));
                    let code = factors.code(b, x);
                    b.store(code, Elem::S8, self.codes, to.clone().offset(k));
                    b.binary(BinaryOp::IAdd, sum, code)
                })
                .collect()
        });
        let sum = combined(b, ReduceOp::IAdd, &sums);
        let zero = b.i32(0);
        let minus = b.binary(BinaryOp::ISub, zero, sum);
        let sum = b.unary(UnaryOp::I32ToF32, sum);
        let scaled = b.fmul(factors.scale, sum);
        let pieces = self.group / self.piece;
        for (param, elem, value) in [
            (Param::Scale, Elem::F32, factors.scale),
            (Param::MinusSum, Elem::I32, minus),
            (Param::ScaledSum, Elem::F32, scaled),
        ] {
            let at = Count::Index(group).along(self.param(token, param), pieces * 4);
            let at = Count::Index(piece).along(at, 4);
            b.store_part(value, elem, self.params, at, 1);
        }
    }
}

/// What a group's elements become codes with.
struct Factors {
    is_finite: ValueId,
    scale: ValueId,
    inverse: ValueId,
}

impl Factors {
    /// `x * inverse` brought to -127..=127 and rounded; 0 where the group is not finite.
    fn code(&self, b: &mut Builder, x: ValueId) -> ValueId {
        let zero = b.f32(0.0);
        let x = b.select(self.is_finite, x, zero);
        let x = b.fmul(x, self.inverse);
        let (most, least) = (b.f32(127.0), b.f32(-127.0));
        let x = b.binary(BinaryOp::FMin, most, x);
        let x = b.binary(BinaryOp::FMax, least, x);
        let magic = b.f32(MAGIC);
        let x = b.fadd(x, magic);
        let x = b.unary(UnaryOp::AsI32, x);
        let magic = b.i32(MAGIC.to_bits());
        b.binary(BinaryOp::ISub, x, magic)
    }
}

/// All lanes of some vectors of i32 combined: exact, in any order.
fn combined(b: &mut Builder, op: ReduceOp, vectors: &[ValueId]) -> ValueId {
    let all = vectors.iter().copied().reduce(|a, v| b.binary(op.of_lanes(), a, v));
    b.reduce(op, all.unwrap_or(vectors[0]))
}
