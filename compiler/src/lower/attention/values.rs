//! The sum of a chunk's values by their weights.

use super::blocks::Block;
use super::scores::load_scale;
use super::{Attention, CHUNK, Keep, Place, Scales};
use crate::lower::cache::{SCALE_BYTES, SCALE_ROW_BYTES};
use crate::pack::layout::PANEL;
use crate::vir::{Affine, Bound, Builder, Elem, IndexId, ValueId};

/// Channels of a group of values: those of a panel.
const CHANNELS: u32 = PANEL;

impl Attention {
    /// `o[d] = Σ_j weight_j * value_j[d]` of each head.
    pub(super) fn weighted_values(&self, b: &mut Builder, at: &Place<'_>, keep: &impl Keep) {
        let &Place { block, chunk } = at;
        if let Some(scales) = self.scales {
            for head in 0..block.heads {
                self.scale_weights(b, block, head, chunk, scales);
            }
        }
        let starts: Vec<u32> = (0..self.cache.head_dim).step_by(b.lanes() as usize).collect();
        for starts in starts.chunks(Self::chains(b, block) as usize) {
            let sums = self.weighted_part(b, block, chunk, starts);
            for (head, sums) in (0..).zip(sums.chunks(starts.len())) {
                for (start, sum) in starts.iter().zip(sums) {
                    keep.values(b, at, head, *start, *sum);
                }
            }
        }
    }

    /// The weighted sums of the channels from each of `starts` on, a vector of them, for each head.
    fn weighted_part(
        &self,
        b: &mut Builder,
        block: &Block,
        chunk: IndexId,
        starts: &[u32],
    ) -> Vec<ValueId> {
        let (lanes, head_dim) = (b.lanes(), self.cache.head_dim);
        let (plane, row) = self.value_plane(block.kv, chunk);
        let zero = b.f32(0.0);
        let init = vec![zero; starts.len() * block.heads as usize];
        let visible = self.visible(chunk, 0);
        let outs = b.for_range_vec(Bound::Const(0), visible, &init, |b, j, outs| {
            let weights: Vec<Vec<ValueId>> = (0..block.heads)
                .map(|head| self.splat_weights(b, block, head, j, starts))
                .collect();
            let mut next = outs.to_vec();
            for (i, start) in starts.iter().enumerate() {
                let at = plane.origin.clone().offset(i64::from(start * plane.kv.element_bytes()));
                // Staged rows are whole vectors; those of the cache end with the head.
                let count = if self.staged.is_some() { lanes } else { lanes.min(head_dim - start) };
                let value = plane.read(b, at.plus(j, row.into()), count);
                for (weights, outs) in weights.iter().zip(next.chunks_mut(starts.len())) {
                    outs[i] = b.fma(value, weights[i], outs[i]);
                }
            }
            next
        });
        if self.scales.is_some() {
            return outs; // codes times weights never give the -0 that adding +0 would change
        }
        // All invisible positions have the same weight and add it times +0: one stands for all.
        let last = self.visible(chunk, CHUNK - 1);
        b.for_range_vec(last, Bound::Const(CHUNK), &outs, |b, j, outs| {
            let hidden = b.f32(0.0);
            let mut next = outs.to_vec();
            for (head, outs) in (0..).zip(next.chunks_mut(starts.len())) {
                let at = Self::weight(block, head, 0).plus(j, 4);
                let weight = b.splat(Elem::F32, self.weights, at);
                outs.iter_mut().for_each(|out| *out = b.fma(hidden, weight, *out));
            }
            next
        })
    }

    /// A head's weight of position `j` for the channels from each of `starts` on.
    fn splat_weights(
        &self,
        b: &mut Builder,
        block: &Block,
        head: u32,
        j: IndexId,
        starts: &[u32],
    ) -> Vec<ValueId> {
        let Some(scales) = self.scales else {
            let at = Self::weight(block, head, 0).plus(j, 4);
            let weight = b.splat(Elem::F32, self.weights, at);
            return vec![weight; starts.len()];
        };
        let mut weights: Vec<ValueId> = Vec::with_capacity(starts.len());
        for (i, start) in starts.iter().enumerate() {
            let group = start / CHANNELS;
            let weight = match i.checked_sub(1).filter(|before| starts[*before] / CHANNELS == group)
            {
                Some(before) => weights[before],
                None => {
                    let row = i64::from(self.cache.value_groups() * head + group);
                    let at = Affine::constant(row * i64::from(CHUNK) * 4).plus(j, 4);
                    b.splat(Elem::F32, scales.weights, at)
                }
            };
            weights.push(weight);
        }
        weights
    }

    /// The head's weights times the scales of each group of values. What invisible positions have
    /// for a scale does not matter: nobody reads their product.
    fn scale_weights(
        &self,
        b: &mut Builder,
        block: &Block,
        head: u32,
        chunk: IndexId,
        scales: Scales,
    ) {
        let lanes = b.lanes();
        let groups = self.cache.value_groups();
        b.repeat(CHUNK / lanes, |b, v| {
            let at = Self::weight(block, head, 0).plus(v, i64::from(lanes) * 4);
            let weight = b.load(Elem::F32, self.weights, at);
            b.repeat(groups, |b, group| {
                let at = self
                    .cache
                    .scales_at(block.kv, chunk, groups)
                    .plus(group, SCALE_ROW_BYTES.into())
                    .plus(v, i64::from(lanes * SCALE_BYTES));
                let scale = load_scale(b, scales.values, at);
                let scaled = b.fmul(weight, scale);
                let at = Affine::constant(i64::from(head * groups) * i64::from(CHUNK) * 4)
                    .plus(group, i64::from(CHUNK) * 4)
                    .plus(v, i64::from(lanes) * 4);
                b.store(scaled, Elem::F32, scales.weights, at);
            });
        });
    }
}
