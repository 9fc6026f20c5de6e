//! The merge of a token's chunks, which threads went through apart: in ascending order, by the
//! formula that a thread merges its chunks with as they come.
//!
//! Running maxima, and with them the factors of each merge, have lanes = heads; the sums of values
//! have lanes = channels.

use super::keep::State;
use super::partials::Partials;
use super::{Lowered, Parts, Role, chunks, most_sums, vector_bytes};
use crate::lower::exp::exp;
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
    /// Chunks that the cache has room for.
    pub chunks: u32,
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

/// A vector of query heads.
struct Heads<'a> {
    /// The number of the first.
    first: &'a Affine,
    /// How many there are.
    count: u32,
}

/// Lowers the merge of a token's chunks. Units are query heads.
pub fn lower_merge(name: &str, kernel: &MergeKernel) -> Lowered {
    let MergeKernel { lanes, heads, head_dim, chunks: most } = *kernel;
    let mut parts = Parts::new(name, lanes);
    let share = parts.range("heads", heads);
    let vector = lanes * 4;
    let merge = Merge {
        partials: Partials::new(&mut parts, heads, head_dim, most),
        head_dim,
        out: parts.buffer("out", Role::Output, vector_bytes(heads * head_dim)),
        factors: parts.scratch("factors", most * 2 * vector),
        totals: parts.scratch("totals", vector),
        chunks: chunks(&mut parts, most),
    };
    let whole = heads / lanes;
    if whole > 0 {
        parts.b.repeat(whole, |b, number| {
            let first = Affine::index(number, lanes.into());
            merge.vector(b, share, &Heads { first: &first, count: lanes });
        });
    }
    if heads > whole * lanes {
        let first = Affine::constant((whole * lanes).into());
        merge.vector(&mut parts.b, share, &Heads { first: &first, count: heads - whole * lanes });
    }
    parts.finish()
}

impl Merge {
    /// The share's heads of a vector, if there are any.
    fn vector(&self, b: &mut Builder, (begin, end): (IndexId, IndexId), heads: &Heads<'_>) {
        let inside = |scalar, before: u32, hi| {
            let minus = heads.first.clone().offset(before.into());
            Bound::Clamp { scalar, minus, lo: 0, hi }
        };
        // Once where the share begins before the vector's end, and ends behind its begin.
        let is_behind = inside(begin, heads.count - 1, 1);
        b.for_range(is_behind, inside(end, 0, 1), [], |b, _, []| {
            self.factors(b, heads);
            let (from, to) = (inside(begin, 0, heads.count), inside(end, 0, heads.count));
            b.for_range(from, to, [], |b, lane, []| {
                self.head(b, heads, lane);
                []
            });
            []
        });
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
