//! Scores of a chunk to weights, and the running maximum and total of each head.

use super::blocks::Block;
use super::{Attention, CHUNK, STATE_BYTES, State};
use crate::lower::exp::exp;
use crate::lower::reduce::{VIRTUAL_LANES, tree};
use crate::vir::{Affine, BinaryOp, Bound, Builder, CompareOp, Elem, IndexId, ReduceOp, ValueId};

impl Attention {
    /// The weights of a chunk; the running maximum and total, and the factors of the merge.
    pub(super) fn weigh(&self, b: &mut Builder, block: &Block, chunk: IndexId) {
        self.scores(b, block, chunk);
        let heads = 0..block.heads;
        let lowest = b.f32(f32::NEG_INFINITY);
        let chunk_maxima = self.folded(b, block, lowest, ReduceOp::FMax, |_, _, score, _| score);
        let chunk_totals = self.exponentials(b, block, &chunk_maxima);
        let mut distances = Vec::new();
        for (head, chunk_max) in heads.clone().zip(&chunk_maxima) {
            let max = self.get(b, block, head, State::Maximum);
            let new_max = b.binary(BinaryOp::FMax, max, *chunk_max);
            self.set(b, block, head, State::Maximum, new_max);
            distances.push(b.fsub(max, new_max));
            distances.push(b.fsub(*chunk_max, new_max));
        }
        self.factors(b, block, &distances);
        for (head, chunk_total) in heads.zip(chunk_totals) {
            let [old_factor, new_factor] = self.factors_of(b, block, head);
            let total = self.get(b, block, head, State::Total);
            let old_total = b.fmul(total, old_factor);
            let new_total = b.fma(chunk_total, new_factor, old_total);
            self.set(b, block, head, State::Total, new_total);
        }
    }

    /// What the sums so far are multiplied with at a merge, and what the chunk's own.
    pub(super) fn factors_of(&self, b: &mut Builder, block: &Block, head: u32) -> [ValueId; 2] {
        [0, 1].map(|which| {
            let at = block.member(head).times(STATE_BYTES.into()).offset(which * 4);
            b.splat(Elem::F32, self.factors, at)
        })
    }

    /// `exp` of numbers that every lane of a value has, all of them at once: no block has more heads
    /// than half as many as there are lanes.
    fn factors(&self, b: &mut Builder, block: &Block, distances: &[ValueId]) {
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

    /// Scores to `exp(score - max)`; their sums.
    fn exponentials(&self, b: &mut Builder, block: &Block, maxima: &[ValueId]) -> Vec<ValueId> {
        let zero = b.f32(0.0);
        let weights = self.weights;
        self.folded(b, block, zero, ReduceOp::FAdd, |b, at, score, head| {
            let distance = b.fsub(score, maxima[head as usize]);
            let weight = exp(b, distance);
            b.store(weight, Elem::F32, weights, at);
            weight
        })
    }

    /// For each head the chunk's 64 elements, changed by `step`, folded into 16 virtual lanes,
    /// ascending, and these by the tree.
    fn folded(
        &self,
        b: &mut Builder,
        block: &Block,
        init: ValueId,
        op: ReduceOp,
        step: impl Fn(&mut Builder, Affine, ValueId, u32) -> ValueId,
    ) -> Vec<ValueId> {
        let lanes = b.lanes();
        let vectors = VIRTUAL_LANES / lanes;
        let binary = op.of_lanes();
        let init = vec![init; (block.heads * vectors) as usize];
        let rounds = Bound::Const(CHUNK / VIRTUAL_LANES);
        let folded = b.for_range_vec(Bound::Const(0), rounds, &init, |b, round, folded| {
            (0..block.heads * vectors)
                .zip(folded)
                .map(|(i, &folded)| {
                    let (head, v) = (i / vectors, i % vectors);
                    let at = Self::weight(block, head, v * lanes)
                        .plus(round, i64::from(VIRTUAL_LANES) * 4);
                    let element = b.load(Elem::F32, self.weights, at.clone());
                    let element = step(b, at, element, head);
                    b.binary(binary, folded, element)
                })
                .collect()
        });
        folded.chunks(vectors as usize).map(|vectors| tree(b, op, vectors)).collect()
    }
}
