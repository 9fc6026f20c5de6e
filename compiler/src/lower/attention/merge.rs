//! The merge of a token's chunks, which threads went through apart: in ascending order, by the
//! formula that a thread merges its chunks with as they come.
//!
//! It begins the kernel of the product that reads the heads. As with the norm, every thread does it
//! for itself: the heads of a thin model are less work than a barrier.
//!
//! Running maxima, and with them the factors of each merge, have lanes = heads; the sums of values
//! have lanes = channels.

use super::keep::State;
use super::partials::Partials;
use super::{Parts, chunks, most_sums, vector_bytes};
use crate::lower::exp::exp;
use crate::lower::norm::Rows;
use crate::vir::{Affine, BinaryOp, Bound, BufferId, Builder, Elem, IndexId, ValueId};

/// Sizes of what a token's chunks gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// Query heads.
    pub heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Chunks that the cache has room for.
    pub chunks: u32,
}

/// A merge with its memory.
pub(in crate::lower) struct Merging {
    partials: Partials,
    heads: u32,
    head_dim: u32,
    /// The heads side by side.
    out: Rows,
    /// For each chunk, what the sums so far are multiplied with, then what the chunk's own: a vector
    /// of heads each.
    factors: BufferId,
    /// Sums of all weights, a vector of heads.
    totals: BufferId,
    chunks: IndexId,
}

/// A vector of query heads.
struct Heads<'a> {
    /// The number of the first.
    first: &'a Affine,
    /// How many there are.
    count: u32,
}

impl Merging {
    /// The parameters of a kernel that merges.
    pub(in crate::lower) fn new(parts: &mut Parts, sizes: &Merge) -> Self {
        let Merge { heads, head_dim, chunks: most } = *sizes;
        let vector = parts.b.lanes() * 4;
        let width = heads * head_dim;
        let stride = vector_bytes(width);
        Merging {
            partials: Partials::new(parts, heads, head_dim, most),
            heads,
            head_dim,
            out: Rows { buffer: parts.scratch("merged", stride), width, stride },
            factors: parts.scratch("factors", most * 2 * vector),
            totals: parts.scratch("totals", vector),
            chunks: chunks(parts, most),
        }
    }

    /// Merges all heads; the vector of them.
    pub(in crate::lower) fn emit(&self, b: &mut Builder) -> Rows {
        let lanes = b.lanes();
        let whole = self.heads / lanes;
        if whole > 0 {
            b.repeat(whole, |b, number| {
                let first = Affine::index(number, lanes.into());
                self.vector(b, &Heads { first: &first, count: lanes });
            });
        }
        if self.heads > whole * lanes {
            let first = Affine::constant((whole * lanes).into());
            self.vector(b, &Heads { first: &first, count: self.heads - whole * lanes });
        }
        self.out
    }

    /// The heads of a vector.
    fn vector(&self, b: &mut Builder, heads: &Heads<'_>) {
        self.factors(b, heads);
        b.repeat(heads.count, |b, lane| self.head(b, heads, lane));
    }

    /// A loop over all chunks, ascending.
    fn over_chunks(
        &self,
        b: &mut Builder,
        init: &[ValueId],
        body: impl FnOnce(&mut Builder, IndexId, &[ValueId]) -> Vec<ValueId>,
    ) -> Vec<ValueId> {
        b.for_range_vec(Bound::Const(0), Bound::Scalar(self.chunks), init, body)
    }

    /// The factors of each merge, and the sums of all weights, of a vector of heads.
    fn factors(&self, b: &mut Builder, heads: &Heads<'_>) {
        let (lowest, zero) = (b.f32(f32::NEG_INFINITY), b.f32(0.0));
        let merged = self.over_chunks(b, &[lowest, zero], |b, chunk, merged| {
            let (max, total) = (merged[0], merged[1]);
            let [chunk_max, chunk_total] = [State::Maximum, State::Total]
                .map(|what| self.partials.state(b, chunk, what, heads.first, heads.count));
            let new_max = b.binary(BinaryOp::FMax, max, chunk_max);
            let factors = [max, chunk_max].map(|max| {
                let distance = b.fsub(max, new_max);
                exp(b, distance)
            });
            for (which, factor) in (0..).zip(factors) {
                b.store(factor, Elem::F32, self.factors, factors_at(b, chunk, which));
            }
            let old_total = b.fmul(total, factors[0]);
            vec![new_max, b.fma(chunk_total, factors[1], old_total)]
        });
        b.store(merged[1], Elem::F32, self.totals, Affine::constant(0));
    }

    /// The mean of the values by the weights of one of the vector's heads.
    fn head(&self, b: &mut Builder, heads: &Heads<'_>, lane: IndexId) {
        let (lanes, head_dim) = (b.lanes(), self.head_dim);
        let head = heads.first.clone().plus(lane, 1);
        let starts: Vec<u32> = (0..head_dim).step_by(lanes as usize).collect();
        for starts in starts.chunks(most_sums(lanes) as usize) {
            let init = vec![b.f32(0.0); starts.len()];
            let sums = self.over_chunks(b, &init, |b, chunk, sums| {
                let [old_factor, new_factor] = [0, 1].map(|which| {
                    let at = factors_at(b, chunk, which).plus(lane, 4);
                    b.splat(Elem::F32, self.factors, at)
                });
                let merged = sums.iter().zip(starts).map(|(so_far, start)| {
                    let sum = self.partials.sum(b, chunk, &head, *start);
                    let old = b.fmul(*so_far, old_factor);
                    b.fma(sum, new_factor, old)
                });
                merged.collect()
            });
            let total = b.splat(Elem::F32, self.totals, Affine::index(lane, 4));
            for (sum, start) in sums.into_iter().zip(starts) {
                let mean = b.fdiv(sum, total);
                let at = head.times(i64::from(head_dim) * 4).offset(i64::from(*start) * 4);
                b.store_part(mean, Elem::F32, self.out.buffer, at, lanes.min(head_dim - start));
            }
        }
    }
}

/// Byte offset of the factors of a chunk's merge: those of the sums so far (0) or of its own (1).
fn factors_at(b: &Builder, chunk: IndexId, which: u32) -> Affine {
    let vector = i64::from(b.lanes()) * 4;
    Affine::constant(i64::from(which) * vector).plus(chunk, 2 * vector)
}
