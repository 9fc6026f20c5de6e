//! Partial results: what threads found of a token's chunks, and leave for the merge.
//!
//! A record for each chunk of positions: of each query head the greatest score, then of each head
//! the sum of the weights, then the heads' sums of weighted values. The first two are rows of whole
//! vectors of any number of lanes, the last are padded as activations are.

use super::keep::State;
use super::{Keep, Parts, Place, Role, vector_bytes};
use crate::vir::{Affine, BufferId, Builder, Elem, IndexId, ValueId};

/// Most lanes there are.
const LANES: u32 = 16;

/// Where they lie.
pub(super) struct Partials {
    heads: u32,
    head_dim: u32,
    buffer: BufferId,
}

impl Partials {
    pub(super) fn new(parts: &mut Parts, heads: u32, head_dim: u32, chunks: u32) -> Self {
        let bytes = u64::from(chunks) * record_bytes(heads, head_dim);
        Partials { heads, head_dim, buffer: parts.cache("partials", Role::Partials, bytes) }
    }

    /// The greatest scores of a chunk, or the sums of its weights, of `count` heads from `first`.
    pub(super) fn state(
        &self,
        b: &mut Builder,
        chunk: IndexId,
        what: State,
        first: &Affine,
        count: u32,
    ) -> ValueId {
        let at = self.state_at(chunk, what, first);
        b.load_part(Elem::F32, self.buffer, at, count)
    }

    /// The sums of a chunk's weighted values, of the channels of a head from `start` on.
    pub(super) fn sum(
        &self,
        b: &mut Builder,
        chunk: IndexId,
        head: &Affine,
        start: u32,
    ) -> ValueId {
        let at = self.sum_at(chunk, head, start);
        b.load_part(Elem::F32, self.buffer, at, b.lanes().min(self.head_dim - start))
    }

    fn state_at(&self, chunk: IndexId, what: State, head: &Affine) -> Affine {
        let row = match what {
            State::Maximum => 0,
            State::Total => row_bytes(self.heads),
        };
        self.record(chunk).sum(&head.times(4)).offset(row.into())
    }

    fn sum_at(&self, chunk: IndexId, head: &Affine, start: u32) -> Affine {
        let vector = i64::from(vector_bytes(self.head_dim));
        let at = self.record(chunk).sum(&head.times(vector));
        at.offset(i64::from(2 * row_bytes(self.heads)) + i64::from(start) * 4)
    }

    /// Byte offset of a chunk's record.
    fn record(&self, chunk: IndexId) -> Affine {
        let bytes = record_bytes(self.heads, self.head_dim);
        Affine::index(chunk, i64::try_from(bytes).unwrap_or(i64::MAX))
    }
}

/// Bytes of a number for each head.
const fn row_bytes(heads: u32) -> u32 {
    heads.next_multiple_of(LANES) * 4
}

fn record_bytes(heads: u32, head_dim: u32) -> u64 {
    2 * u64::from(row_bytes(heads)) + u64::from(heads) * u64::from(vector_bytes(head_dim))
}

impl Keep for Partials {
    fn weights(&self, b: &mut Builder, at: &Place<'_>, maxima: &[ValueId], totals: &[ValueId]) {
        for (what, all) in [(State::Maximum, maxima), (State::Total, totals)] {
            for (head, value) in (0..).zip(all) {
                let at = self.state_at(at.chunk, what, &at.block.number(head));
                b.store_part(*value, Elem::F32, self.buffer, at, 1);
            }
        }
    }

    fn values(&self, b: &mut Builder, at: &Place<'_>, head: u32, start: u32, sum: ValueId) {
        let at = self.sum_at(at.chunk, &at.block.number(head), start);
        let count = b.lanes().min(self.head_dim - start);
        b.store_part(sum, Elem::F32, self.buffer, at, count);
    }
}
