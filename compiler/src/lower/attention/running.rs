//! Chunks merged as they come, by one thread: a running maximum, a running sum of the weights and
//! running sums of the weighted values of each head.

use super::blocks::Block;
use super::keep::State;
use super::{Keep, Parts, Place, Role, vector_bytes};
use crate::fir::HeadShape;
use crate::lower::exp::exp;
use crate::vir::{Affine, BinaryOp, BufferId, Builder, CompareOp, Elem, ValueId};

/// Where they lie.
pub(super) struct Running {
    head_dim: u32,
    out: BufferId,
    /// Running sums of weighted values, a vector for each head of the group.
    sums: BufferId,
    /// Two numbers for each head of the group: see [`State`].
    state: BufferId,
    /// For each head of the group what the sums so far are multiplied with at a merge, and what the
    /// chunk's own.
    factors: BufferId,
}

/// Bytes of the state of a head, and of its factors.
const STATE_BYTES: u32 = 8;

impl Running {
    pub(super) fn new(parts: &mut Parts, shape: HeadShape) -> Self {
        let HeadShape { heads, kv_heads, head_dim } = shape;
        let group = heads / kv_heads;
        Running {
            head_dim,
            out: parts.buffer("out", Role::Output, vector_bytes(heads * head_dim)),
            sums: parts.scratch("sums", group * vector_bytes(head_dim)),
            state: parts.scratch("state", group * STATE_BYTES),
            factors: parts.scratch("factors", group * STATE_BYTES),
        }
    }

    /// Nothing seen yet of a head.
    pub(super) fn begin(&self, b: &mut Builder, head: &Block) {
        let lanes = b.lanes();
        let zero = b.f32(0.0);
        for start in (0..self.head_dim).step_by(lanes as usize) {
            b.store(zero, Elem::F32, self.sums, self.sum(head, 0, start));
        }
        let lowest = b.f32(f32::NEG_INFINITY);
        self.set(b, head, 0, State::Maximum, lowest);
        self.set(b, head, 0, State::Total, zero);
    }

    /// The mean of the values by a head's weights.
    pub(super) fn end(&self, b: &mut Builder, head: &Block) {
        let (lanes, head_dim) = (b.lanes(), self.head_dim);
        let total = self.get(b, head, 0, State::Total);
        let out = head.number(0).times(i64::from(head_dim) * 4);
        for start in (0..head_dim).step_by(lanes as usize) {
            let sum = b.load(Elem::F32, self.sums, self.sum(head, 0, start));
            let mean = b.fdiv(sum, total);
            let at = out.clone().offset(i64::from(start) * 4);
            b.store_part(mean, Elem::F32, self.out, at, lanes.min(head_dim - start));
        }
    }

    /// `exp` of numbers that every lane of a value has, all of them at once: no block has more heads
    /// than half as many as there are lanes.
    fn exponentials(&self, b: &mut Builder, block: &Block, distances: &[ValueId]) {
        let lane = b.iota();
        let mut together = distances[0];
        for (number, distance) in (0..).zip(distances).skip(1) {
            let number = b.i32(number);
            let is_behind = b.compare(CompareOp::ILe, number, lane);
            together = b.select(is_behind, *distance, together);
        }
        let factors = exp(b, together);
        let at = block.member(0).times(STATE_BYTES.into());
        b.store_part(factors, Elem::F32, self.factors, at, 2 * block.heads);
    }

    /// What the sums so far are multiplied with at a merge, and what the chunk's own.
    fn factors(&self, b: &mut Builder, block: &Block, head: u32) -> [ValueId; 2] {
        [0, 1].map(|which| {
            let at = block.member(head).times(STATE_BYTES.into()).offset(which * 4);
            b.splat(Elem::F32, self.factors, at)
        })
    }

    /// Byte offset of element `dim` of a head's running sums.
    fn sum(&self, block: &Block, head: u32, dim: u32) -> Affine {
        let row = i64::from(vector_bytes(self.head_dim));
        block.member(head).times(row).offset(i64::from(dim) * 4)
    }

    fn state(block: &Block, head: u32, what: State) -> Affine {
        let number = match what {
            State::Maximum => 0,
            State::Total => 1,
        };
        block.member(head).times(i64::from(STATE_BYTES)).offset(number * 4)
    }

    fn get(&self, b: &mut Builder, block: &Block, head: u32, what: State) -> ValueId {
        b.splat(Elem::F32, self.state, Self::state(block, head, what))
    }

    fn set(&self, b: &mut Builder, block: &Block, head: u32, what: State, value: ValueId) {
        b.store_part(value, Elem::F32, self.state, Self::state(block, head, what), 1);
    }
}

impl Keep for Running {
    fn weights(&self, b: &mut Builder, at: &Place<'_>, maxima: &[ValueId], totals: &[ValueId]) {
        let block = at.block;
        let mut distances = Vec::new();
        for (head, chunk_max) in (0..).zip(maxima) {
            let max = self.get(b, block, head, State::Maximum);
            let new_max = b.binary(BinaryOp::FMax, max, *chunk_max);
            self.set(b, block, head, State::Maximum, new_max);
            distances.push(b.fsub(max, new_max));
            distances.push(b.fsub(*chunk_max, new_max));
        }
        self.exponentials(b, block, &distances);
        for (head, chunk_total) in (0..).zip(totals) {
            let [old_factor, new_factor] = self.factors(b, block, head);
            let total = self.get(b, block, head, State::Total);
            let old_total = b.fmul(total, old_factor);
            let new_total = b.fma(*chunk_total, new_factor, old_total);
            self.set(b, block, head, State::Total, new_total);
        }
    }

    fn values(&self, b: &mut Builder, at: &Place<'_>, head: u32, start: u32, sum: ValueId) {
        let [old_factor, new_factor] = self.factors(b, at.block, head);
        let at = self.sum(at.block, head, start);
        let so_far = b.load(Elem::F32, self.sums, at.clone());
        let old = b.fmul(so_far, old_factor);
        let merged = b.fma(sum, new_factor, old);
        b.store(merged, Elem::F32, self.sums, at);
    }
}
