//! Scores of a chunk to weights, their greatest and their sum.

use super::blocks::Block;
use super::{Attention, CHUNK, Place};
use crate::lower::exp::exp;
use crate::lower::reduce::{VIRTUAL_LANES, tree};
use crate::vir::{Affine, Bound, Builder, Elem, ReduceOp, ValueId};

impl Attention {
    /// The weights of a chunk's positions; of each head the greatest score and their sum.
    pub(super) fn weigh(&self, b: &mut Builder, at: &Place<'_>) -> (Vec<ValueId>, Vec<ValueId>) {
        self.scores(b, at.block, at.chunk);
        let lowest = b.f32(f32::NEG_INFINITY);
        let maxima = self.folded(b, at.block, lowest, ReduceOp::FMax, |_, _, score, _| score);
        let totals = self.exponentials(b, at.block, &maxima);
        (maxima, totals)
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
