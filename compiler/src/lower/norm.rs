//! The norm prologue: RMS-normalizes the input tokens of a product into working memory.
//!
//! Every thread does it for itself: a row of a thin model is less work than a barrier.

use super::reduce::{VIRTUAL_LANES, tree};
use crate::vir::{Affine, Bound, BufferId, Builder, Elem, ReduceOp, UnaryOp, ValueId};

/// A vector of f32 for each token of a tile.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// Where they lie.
    pub(super) buffer: BufferId,
    /// Elements of a row.
    pub(super) width: u32,
    /// Bytes from one token's row to the next.
    pub(super) stride: u32,
}

impl Rows {
    /// Byte offset of element `k` of `token`.
    pub(super) fn at(self, token: u32, k: u32) -> Affine {
        Affine::constant(i64::from(token) * i64::from(self.stride) + i64::from(k) * 4)
    }
}

/// `out[i] = (x[i] * r) * gain[i]`, `r = 1 / sqrt(sum(x²) / n + eps)`, for each token.
pub(super) fn rms_norm(b: &mut Builder, x: Rows, gain: BufferId, eps: f32, out: Rows, tokens: u32) {
    for token in 0..tokens {
        let squares = sum_of_squares(b, x, token);
        let count = b.f32(count_as_f32(x.width));
        let mean = b.fdiv(squares, count);
        let eps = b.f32(eps);
        let shifted = b.fadd(mean, eps);
        let root = b.unary(UnaryOp::Sqrt, shifted);
        let one = b.f32(1.0);
        let r = b.fdiv(one, root);
        let lanes = b.lanes();
        b.repeat(x.width / lanes, |b, i| {
            let step = i64::from(lanes) * 4;
            scale_one(b, x, gain, out, r, Affine::index(i, step), token, lanes);
        });
        let rest = x.width % lanes;
        if rest > 0 {
            let done = i64::from(x.width - rest) * 4;
            scale_one(b, x, gain, out, r, Affine::constant(done), token, rest);
        }
    }
}

/// A count below 2^24 as f32: exact.
#[expect(clippy::cast_precision_loss, reason = "row widths are far below 2^24")]
pub(super) fn count_as_f32(count: u32) -> f32 {
    count as f32
}

fn scale_one(
    b: &mut Builder,
    x: Rows,
    gain: BufferId,
    out: Rows,
    r: ValueId,
    at: Affine,
    token: u32,
    count: u32,
) {
    let token = i64::from(token);
    let value =
        b.load_part(Elem::F32, x.buffer, at.clone().offset(token * i64::from(x.stride)), count);
    let scaled = b.fmul(value, r);
    let gain = b.load_part(Elem::F32, gain, at.clone(), count);
    let normed = b.fmul(scaled, gain);
    let place = at.offset(token * i64::from(out.stride));
    b.store_part(normed, Elem::F32, out.buffer, place, count);
}

/// Sum over 16 virtual lanes, ascending; lanes past the end add the square of +0.0.
fn sum_of_squares(b: &mut Builder, x: Rows, token: u32) -> ValueId {
    let lanes = b.lanes();
    let vectors = VIRTUAL_LANES / lanes;
    let zero = b.f32(0.0);
    let init = vec![zero; vectors as usize];
    let whole = x.width / VIRTUAL_LANES;
    let mut sums = b.for_range_vec(Bound::Const(0), Bound::Const(whole), &init, |b, i, sums| {
        let step = i64::from(VIRTUAL_LANES) * 4;
        (0..vectors)
            .zip(sums)
            .map(|(v, &sum)| {
                let at = x.at(token, v * lanes).plus(i, step);
                let value = b.load(Elem::F32, x.buffer, at);
                b.fma(value, value, sum)
            })
            .collect()
    });
    for (v, sum) in (0..vectors).zip(&mut sums) {
        let start = whole * VIRTUAL_LANES + v * lanes;
        let count = x.width.saturating_sub(start).min(lanes);
        if count > 0 {
            let value = b.load_part(Elem::F32, x.buffer, x.at(token, start), count);
            *sum = b.fma(value, value, *sum);
        }
    }
    tree(b, ReduceOp::FAdd, &sums)
}
