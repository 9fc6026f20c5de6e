//! What the head leaves beside the logits: of each panel the rank of the greatest, as long as they
//! are in registers or the nearest cache, so that a choice looks at few of them again.
//!
//! A rank orders finite logits as they are, -0 and 0 as one; of what is not finite it is the
//! greatest there is ([`deepthin_runtime::logits`], which reads them).

use super::norm::Rows;
use crate::pack::layout::PANEL;
use crate::vir::{
    Affine, BinaryOp, BufferId, Builder, CompareOp, Elem, IndexId, ReduceOp, ShiftOp, UnaryOp,
    ValueId,
};
use deepthin_runtime::logits::BLOCK;

const _: () = assert!(PANEL as usize == BLOCK, "a panel's maximum is that of a block");

/// Bytes of the maxima of so many panels.
pub const fn maxima_bytes(panels: u32) -> u32 {
    panels * 4
}

/// The maxima of a tile's tokens.
#[derive(Clone, Copy)]
pub(super) struct Maxima {
    /// The logits, a row for each token.
    pub(super) logits: Rows,
    /// Tokens of the vocabulary: rows of the last panel past them do not count.
    pub(super) vocab: u32,
    pub(super) tokens: u32,
    /// A rank for each panel, for each token.
    pub(super) out: BufferId,
}

impl Maxima {
    /// Stores those of a panel, counted from panel `first` on, whose logits have been stored.
    pub(super) fn emit(&self, b: &mut Builder, panel: IndexId, first: u32) {
        let lanes = b.lanes();
        let bytes = maxima_bytes(self.vocab.div_ceil(PANEL));
        for token in 0..self.tokens {
            let ranks: Vec<ValueId> = (0..PANEL)
                .step_by(lanes as usize)
                .map(|row| {
                    let row = first * PANEL + row;
                    let at = self.logits.at(token, row).plus(panel, i64::from(PANEL) * 4);
                    let logit = b.load(Elem::F32, self.logits.buffer, at);
                    let rank = rank(b, logit);
                    self.counted(b, panel, row, rank)
                })
                .collect();
            let greatest = ranks.into_iter().reduce(|a, r| b.binary(BinaryOp::IMax, a, r));
            let Some(greatest) = greatest else { continue };
            let greatest = b.reduce(ReduceOp::IMax, greatest);
            let at = Affine::index(panel, 4).offset(i64::from(token * bytes + first * 4));
            b.store_part(greatest, Elem::I32, self.out, at, 1);
        }
    }

    /// The ranks of the rows from `row` on, the least there is for those that are no token.
    fn counted(&self, b: &mut Builder, panel: IndexId, row: u32, rank: ValueId) -> ValueId {
        if self.vocab.is_multiple_of(PANEL) {
            return rank;
        }
        let first = b.index(Affine::index(panel, i64::from(PANEL)).offset(i64::from(row)));
        let lane = b.iota();
        let row = b.binary(BinaryOp::IAdd, first, lane);
        let vocab = b.i32(self.vocab);
        let is_token = b.compare(CompareOp::ILt, row, vocab);
        let least = b.i32(i32::MIN.cast_unsigned());
        b.select(is_token, rank, least)
    }
}

/// The rank of each logit.
fn rank(b: &mut Builder, logit: ValueId) -> ValueId {
    let zero = b.f32(0.0);
    let logit = b.fadd(logit, zero);
    let bits = b.unary(UnaryOp::AsI32, logit);
    let most = b.i32(i32::MAX.cast_unsigned());
    // The bits of negative numbers ascend as the numbers descend.
    let sign = b.shift(ShiftOp::Sar, bits, 31);
    let flipped = b.binary(BinaryOp::IAnd, sign, most);
    let rank = b.binary(BinaryOp::IXor, bits, flipped);
    let magnitude = b.binary(BinaryOp::IAnd, bits, most);
    let infinity = b.i32(f32::INFINITY.to_bits());
    let is_finite = b.compare(CompareOp::ILt, magnitude, infinity);
    b.select(is_finite, rank, most)
}
