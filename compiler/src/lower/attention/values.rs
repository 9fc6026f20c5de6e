//! The sum of a chunk's values by their weights, merged into the running sums.

use super::scores::load_scale;
use super::{Attention, CHAINS, CHUNK, Head, State};
use crate::pack::layout::PANEL;
use crate::vir::{Affine, Bound, BufferId, Builder, Elem, IndexId, ValueId};

/// Channels of a group of values: those of a panel.
const CHANNELS: u32 = PANEL;

impl Attention {
    /// `sums = o * new_factor + sums * old_factor` with `o[d] = Σ_j weight_j * value_j[d]`, of one
    /// head.
    pub(super) fn weighted_values(&self, b: &mut Builder, head: Head, chunk: IndexId) {
        if let Some(scales) = self.scales {
            self.scale_weights(b, head, chunk, scales.values, scales.weights);
        }
        let old_factor = self.get(b, head, State::OldFactor);
        let new_factor = self.get(b, head, State::NewFactor);
        let lanes = b.lanes();
        let starts: Vec<u32> = (0..self.cache.head_dim).step_by(lanes as usize).collect();
        for starts in starts.chunks(CHAINS as usize) {
            let outs = self.weighted_part(b, head, chunk, starts);
            for (&start, out) in starts.iter().zip(outs) {
                let at = self.sum(head, start);
                let sum = b.load(Elem::F32, self.sums, at.clone());
                let old = b.fmul(sum, old_factor);
                let merged = b.fma(out, new_factor, old);
                b.store(merged, Elem::F32, self.sums, at);
            }
        }
    }

    /// The weighted sums of the channels from each of `starts` on, a vector of them.
    fn weighted_part(
        &self,
        b: &mut Builder,
        head: Head,
        chunk: IndexId,
        starts: &[u32],
    ) -> Vec<ValueId> {
        let (lanes, head_dim) = (b.lanes(), self.cache.head_dim);
        let (plane, row) = self.value_plane(head.kv, chunk);
        let zero = b.f32(0.0);
        let init = vec![zero; starts.len()];
        let visible = self.visible(chunk, 0);
        let outs = b.for_range_vec(Bound::Const(0), visible, &init, |b, j, outs| {
            let weights = self.splat_weights(b, head, j, starts);
            let vectors = starts.iter().zip(outs).zip(weights);
            vectors
                .map(|((&start, &out), weight)| {
                    let at = plane.origin.clone().offset(i64::from(start) * 4).plus(j, row);
                    // Staged rows are whole vectors; those of the cache end with the head.
                    let count =
                        if self.staged.is_some() { lanes } else { lanes.min(head_dim - start) };
                    let value = b.load_part(Elem::F32, plane.buffer, at, count);
                    b.fma(value, weight, out)
                })
                .collect()
        });
        if self.scales.is_some() {
            return outs; // codes times weights never give the -0 that adding +0 would change
        }
        // All invisible positions have the same weight and add it times +0: one stands for all.
        let last = self.visible(chunk, CHUNK - 1);
        b.for_range_vec(last, Bound::Const(CHUNK), &outs, |b, j, outs| {
            let weight = b.splat(Elem::F32, self.weights, Self::weight(head, 0).plus(j, 4));
            let hidden = b.f32(0.0);
            outs.iter().map(|&out| b.fma(hidden, weight, out)).collect()
        })
    }

    /// The weight of position `j` for the channels from each of `starts` on.
    fn splat_weights(
        &self,
        b: &mut Builder,
        head: Head,
        j: IndexId,
        starts: &[u32],
    ) -> Vec<ValueId> {
        let Some(scales) = self.scales else {
            let weight = b.splat(Elem::F32, self.weights, Self::weight(head, 0).plus(j, 4));
            return vec![weight; starts.len()];
        };
        let mut weights: Vec<ValueId> = Vec::with_capacity(starts.len());
        for (i, start) in starts.iter().enumerate() {
            let group = start / CHANNELS;
            let weight = match i.checked_sub(1).filter(|before| starts[*before] / CHANNELS == group)
            {
                Some(before) => weights[before],
                None => {
                    let at = Affine::constant(i64::from(group * CHUNK) * 4).plus(j, 4);
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
        head: Head,
        chunk: IndexId,
        scales: BufferId,
        out: BufferId,
    ) {
        let lanes = b.lanes();
        let groups = self.cache.value_groups();
        let row = i64::try_from(self.cache.scale_row_bytes()).unwrap_or(i64::MAX);
        b.repeat(CHUNK / lanes, |b, v| {
            let at = Self::weight(head, 0).plus(v, i64::from(lanes) * 4);
            let weight = b.load(Elem::F32, self.weights, at);
            b.repeat(groups, |b, group| {
                let at = Affine::index(head.kv, i64::from(groups) * row)
                    .plus(group, row)
                    .plus(chunk, i64::from(CHUNK) * 2)
                    .plus(v, i64::from(lanes) * 2);
                let scale = load_scale(b, scales, at);
                let scaled = b.fmul(weight, scale);
                let at = Affine::index(group, i64::from(CHUNK) * 4).plus(v, i64::from(lanes) * 4);
                b.store(scaled, Elem::F32, out, at);
            });
        });
    }
}
