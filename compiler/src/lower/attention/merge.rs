//! The merge of a token's chunks, which threads went through apart: in ascending order, by the
//! formula that a thread merges its chunks with as they come.
//!
//! Running maxima, and with them the factors of each merge, have lanes = heads; the sums of values
//! have lanes = channels.

use super::partials::{Partials, State};
use super::{CHUNK, Lowered, Parts, Role, chunks, most_sums, vector_bytes};
use crate::lower::exp::exp;
use crate::lower::padded_context;
use crate::vir::{Affine, BinaryOp, Bound, BufferId, Builder, Elem, IndexId, ValueId};

/// Sizes of a kernel that merges chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeKernel {
    /// Lanes.
    pub lanes: u32,
    /// Query heads.
    pub heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Positions of the cache.
    pub context: u32,
}

struct Merge {
    partials: Partials,
    head_dim: u32,
    out: BufferId,
    /// For each chunk, what the sums so far are multiplied with, then what the chunk's own: a vector
    /// of heads each.
    factors: BufferId,
    /// Sums of all weights, a vector of heads.
    totals: BufferId,
    chunks: IndexId,
}

/// Lowers the merge of a token's chunks. Units are query heads.
pub fn lower_merge(name: &str, kernel: &MergeKernel) -> Lowered {
    let MergeKernel { lanes, heads, head_dim, context } = *kernel;
    let mut parts = Parts::new(name, lanes);
    let (begin, end) = parts.range("heads", heads);
    let vector = lanes * 4;
    let most = padded_context(context) / CHUNK;
    let merge = Merge {
        partials: Partials::new(&mut parts, heads, head_dim, context),
        head_dim,
        out: parts.buffer("out", Role::Output, vector_bytes(heads * head_dim)),
        factors: parts.scratch("factors", most * 2 * vector),
        totals: parts.scratch("totals", vector),
        chunks: chunks(&mut parts, most),
    };
    for first in (0..heads).step_by(lanes as usize) {
        let minus = i64::from(first);
        let inside =
            |scalar, minus, hi| Bound::Clamp { scalar, minus: Affine::constant(minus), lo: 0, hi };
        let count = lanes.min(heads - first);
        // Once where the thread has any of these heads: it begins before their end, and ends behind
        // their begin.
        let is_behind = inside(begin, minus + i64::from(count) - 1, 1);
        parts.b.for_range(is_behind, inside(end, minus, 1), [], |b, _, []| {
            merge.factors(b, first);
            b.for_range(
                inside(begin, minus, count),
                inside(end, minus, count),
                [],
                |b, lane, []| {
                    merge.head(b, first, lane);
                    []
                },
            );
            []
        });
    }
    parts.finish()
}

impl Merge {
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
    fn factors(&self, b: &mut Builder, first: u32) {
        let (lowest, zero) = (b.f32(f32::NEG_INFINITY), b.f32(0.0));
        let merged = self.over_chunks(b, &[lowest, zero], |b, chunk, merged| {
            let (max, total) = (merged[0], merged[1]);
            let chunk_max = self.partials.state(b, chunk, State::Maximum, first);
            let chunk_total = self.partials.state(b, chunk, State::Total, first);
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
    fn head(&self, b: &mut Builder, first: u32, lane: IndexId) {
        let (lanes, head_dim) = (b.lanes(), self.head_dim);
        let head = Affine::index(lane, 1).offset(first.into());
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
                b.store_part(mean, Elem::F32, self.out, at, lanes.min(head_dim - start));
            }
        }
    }
}

/// Byte offset of the factors of a chunk's merge: those of the sums so far (0) or of its own (1).
fn factors_at(b: &Builder, chunk: IndexId, which: u32) -> Affine {
    let vector = i64::from(b.lanes()) * 4;
    Affine::constant(i64::from(which) * vector).plus(chunk, 2 * vector)
}
