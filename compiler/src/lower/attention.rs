//! The attention kernel: softmax attention of a thread's query heads for one token.
//!
//! Scores have lanes = positions (the key cache keeps 16 positions side by side), the weighted
//! sum of values has lanes = channels, so that no sum crosses lanes in either. Chunks of 64
//! absolute positions are merged in ascending order by a running maximum.

use super::exp::exp;
use super::reduce::{VIRTUAL_LANES, tree};
use super::{
    CHUNK, KEY_BLOCK, Lowered, Parts, Role, key_cache_bytes, padded_context, value_cache_bytes,
    value_row_bytes, vector_bytes,
};
use crate::fir::HeadShape;
use crate::numerics::attention_scale;
use crate::vir::{
    Affine, BinaryOp, Bound, BufferId, Builder, CompareOp, Elem, IndexId, ReduceOp, ValueId,
};
use deepthin_runtime::program::{Quotient, ScalarSource};

/// Sizes of an attention kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionKernel {
    /// Lanes.
    pub lanes: u32,
    /// Heads.
    pub shape: HeadShape,
    /// Positions of the cache.
    pub context: u32,
}

/// Independent chains of a loop.
const CHAINS: u32 = 8;

struct Attention {
    shape: HeadShape,
    context: u32,
    q: BufferId,
    keys: BufferId,
    values: BufferId,
    out: BufferId,
    /// Scores, then weights, of the chunk's 64 positions.
    weights: BufferId,
    /// Running sum of weighted values, `head_dim` elements.
    sums: BufferId,
    position: IndexId,
}

/// Lowers an attention kernel. Units are query heads.
pub fn lower_attention(name: &str, kernel: &AttentionKernel) -> Lowered {
    let AttentionKernel { lanes, shape, context } = *kernel;
    let HeadShape { heads, kv_heads, head_dim } = shape;
    let mut parts = Parts::new(name, lanes);
    let vector = vector_bytes(heads * head_dim);
    let limit = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let q = parts.buffer("q", Role::Input, vector);
    let keys = limit(key_cache_bytes(kv_heads, head_dim, context));
    let keys = parts.buffer("keys", Role::Keys, keys);
    let values = limit(value_cache_bytes(kv_heads, head_dim, context));
    let values = parts.buffer("values", Role::Values, values);
    let out = parts.buffer("out", Role::Output, vector);
    let weights = parts.scratch("weights", CHUNK * 4);
    let sums = parts.scratch("sums", vector_bytes(head_dim));
    let (begin, end) = parts.b.range("heads", heads);
    let last = i64::from(padded_context(context)) - 1;
    let position = parts.b.scalar("position", 0, last);
    let chunks = parts.b.scalar("chunks", 1, i64::from(padded_context(context) / CHUNK));
    parts.scalars.extend([
        ScalarSource::RangeBegin,
        ScalarSource::RangeEnd,
        ScalarSource::Position(Quotient::identity()),
        ScalarSource::Position(Quotient { add: 0, divide: CHUNK, modulo: 0, plus: 1 }),
    ]);
    let a = Attention { shape, context, q, keys, values, out, weights, sums, position };
    let group = heads / kv_heads;
    parts.b.repeat(kv_heads, |b, kv| {
        let share = |scalar| Bound::Clamp {
            scalar,
            minus: Affine::index(kv, i64::from(group)),
            lo: 0,
            hi: group,
        };
        b.for_range(share(begin), share(end), [], |b, member, []| {
            let head = Affine::index(kv, i64::from(group)).plus(member, 1);
            a.head(b, kv, &head, chunks);
            []
        });
    });
    parts.finish()
}

impl Attention {
    /// One query head: `head` is its number, `kv` the KV head that it reads.
    fn head(&self, b: &mut Builder, kv: IndexId, head: &Affine, chunks: IndexId) {
        let lanes = b.lanes();
        let head_dim = self.shape.head_dim;
        let zero = b.f32(0.0);
        for start in (0..head_dim).step_by(lanes as usize) {
            b.store(zero, Elem::F32, self.sums, Affine::constant(i64::from(start) * 4));
        }
        let lowest = b.f32(f32::NEG_INFINITY);
        let [_, total] = b.for_range(
            Bound::Const(0),
            Bound::Scalar(chunks),
            [lowest, zero],
            |b, chunk, [max, total]| self.chunk(b, kv, head, chunk, max, total),
        );
        for start in (0..head_dim).step_by(lanes as usize) {
            let sum = b.load(Elem::F32, self.sums, Affine::constant(i64::from(start) * 4));
            let mean = b.fdiv(sum, total);
            let at = self.element(head, start);
            b.store_part(mean, Elem::F32, self.out, at, lanes.min(head_dim - start));
        }
    }

    /// Byte offset of element `dim` of a head in the query or output vector.
    fn element(&self, head: &Affine, dim: u32) -> Affine {
        let mut at = Affine::constant(i64::from(dim) * 4);
        for (index, factor) in &head.terms {
            at = at.plus(*index, factor * i64::from(self.shape.head_dim) * 4);
        }
        at
    }

    /// One chunk: the new running maximum and total.
    fn chunk(
        &self,
        b: &mut Builder,
        kv: IndexId,
        head: &Affine,
        chunk: IndexId,
        max: ValueId,
        total: ValueId,
    ) -> [ValueId; 2] {
        self.scores(b, kv, head, chunk);
        let chunk_max = self.maximum(b);
        let chunk_total = self.exponentials(b, chunk_max);
        let new_max = b.binary(BinaryOp::FMax, max, chunk_max);
        let old_distance = b.fsub(max, new_max);
        let old_factor = exp(b, old_distance);
        let new_distance = b.fsub(chunk_max, new_max);
        let new_factor = exp(b, new_distance);
        let old_total = b.fmul(total, old_factor);
        let new_total = b.fma(chunk_total, new_factor, old_total);
        self.weighted_values(b, kv, chunk, old_factor, new_factor);
        [new_max, new_total]
    }

    /// Whether positions are visible: `64 * chunk + first + offset <= position`, lane by lane.
    fn visible(&self, b: &mut Builder, first: Affine, offset: Option<ValueId>) -> ValueId {
        let first = b.index(first);
        let at = match offset {
            Some(offset) => b.binary(BinaryOp::IAdd, first, offset),
            None => first,
        };
        let position = b.index(Affine::index(self.position, 1));
        b.compare(CompareOp::ILe, at, position)
    }

    /// Scaled scores of the chunk's positions, -inf where invisible.
    fn scores(&self, b: &mut Builder, kv: IndexId, head: &Affine, chunk: IndexId) {
        let lanes = b.lanes();
        let chains = CHAINS.min(CHUNK / lanes);
        let passes = CHUNK / (chains * lanes);
        let head_dim = self.shape.head_dim;
        let line = i64::from(KEY_BLOCK) * 4;
        let block_bytes = i64::from(head_dim) * line;
        let head_bytes = i64::from(padded_context(self.context) / KEY_BLOCK) * block_bytes;
        let pass_positions = i64::from(chains * lanes);
        b.repeat(passes, |b, pass| {
            let zero = b.f32(0.0);
            let init = vec![zero; chains as usize];
            let dots =
                b.for_range_vec(Bound::Const(0), Bound::Const(head_dim), &init, |b, dim, dots| {
                    let q = b.splat(Elem::F32, self.q, self.element(head, 0).plus(dim, 4));
                    (0..chains)
                        .zip(dots)
                        .map(|(v, &dot)| {
                            let place = i64::from(v * lanes);
                            let (block, lane) =
                                (place / i64::from(KEY_BLOCK), place % i64::from(KEY_BLOCK));
                            let at = Affine::constant(block * block_bytes + lane * 4)
                                .plus(kv, head_bytes)
                                .plus(chunk, i64::from(CHUNK / KEY_BLOCK) * block_bytes)
                                .plus(pass, pass_positions / i64::from(KEY_BLOCK) * block_bytes)
                                .plus(dim, line);
                            let key = b.load(Elem::F32, self.keys, at);
                            b.fma(key, q, dot)
                        })
                        .collect()
                });
            let lane_numbers = b.iota();
            for (v, dot) in (0..chains).zip(dots) {
                let first = Affine::constant(i64::from(v * lanes)).plus(pass, pass_positions);
                let visible = self.visible(
                    b,
                    first.clone().plus(chunk, i64::from(CHUNK)),
                    Some(lane_numbers),
                );
                let scale = b.f32(attention_scale(head_dim));
                let score = b.fmul(dot, scale);
                let hidden = b.f32(f32::NEG_INFINITY);
                let score = b.select(visible, score, hidden);
                let at = Affine::constant(first.base * 4).plus(pass, pass_positions * 4);
                b.store(score, Elem::F32, self.weights, at);
            }
        });
    }

    /// Maximum of the chunk's scores.
    fn maximum(&self, b: &mut Builder) -> ValueId {
        let lowest = b.f32(f32::NEG_INFINITY);
        let maxima =
            self.over_blocks(b, lowest, |b, _, score, max| b.binary(BinaryOp::FMax, max, score));
        tree(b, ReduceOp::FMax, &maxima)
    }

    /// Scores to `exp(score - max)`; their sum.
    fn exponentials(&self, b: &mut Builder, max: ValueId) -> ValueId {
        let zero = b.f32(0.0);
        let weights = self.weights;
        let sums = self.over_blocks(b, zero, |b, at, score, sum| {
            let distance = b.fsub(score, max);
            let weight = exp(b, distance);
            b.store(weight, Elem::F32, weights, at);
            b.fadd(sum, weight)
        });
        tree(b, ReduceOp::FAdd, &sums)
    }

    /// Folds the chunk's 64 elements into 16 virtual lanes, ascending.
    fn over_blocks(
        &self,
        b: &mut Builder,
        init: ValueId,
        step: impl Fn(&mut Builder, Affine, ValueId, ValueId) -> ValueId,
    ) -> Vec<ValueId> {
        let lanes = b.lanes();
        let vectors = VIRTUAL_LANES / lanes;
        let init = vec![init; vectors as usize];
        let blocks = Bound::Const(CHUNK / VIRTUAL_LANES);
        b.for_range_vec(Bound::Const(0), blocks, &init, |b, block, folded| {
            (0..vectors)
                .zip(folded)
                .map(|(v, &folded)| {
                    let at = Affine::constant(i64::from(v * lanes) * 4)
                        .plus(block, i64::from(VIRTUAL_LANES) * 4);
                    let value = b.load(Elem::F32, self.weights, at.clone());
                    step(b, at, value, folded)
                })
                .collect()
        })
    }

    /// `sums = o * new_factor + sums * old_factor` with `o[d] = Σ_j weight_j * value_j[d]`.
    fn weighted_values(
        &self,
        b: &mut Builder,
        kv: IndexId,
        chunk: IndexId,
        old_factor: ValueId,
        new_factor: ValueId,
    ) {
        let lanes = b.lanes();
        let HeadShape { kv_heads, head_dim, .. } = self.shape;
        let row = i64::from(value_row_bytes(kv_heads, head_dim));
        let starts: Vec<u32> = (0..head_dim).step_by(lanes as usize).collect();
        for starts in starts.chunks(CHAINS as usize) {
            let zero = b.f32(0.0);
            let init = vec![zero; starts.len()];
            let outs =
                b.for_range_vec(Bound::Const(0), Bound::Const(CHUNK), &init, |b, j, outs| {
                    let weight = b.splat(Elem::F32, self.weights, Affine::index(j, 4));
                    let here = Affine::index(j, 1).plus(chunk, i64::from(CHUNK));
                    let visible = self.visible(b, here, None);
                    let hidden = b.f32(0.0);
                    starts
                        .iter()
                        .zip(outs)
                        .map(|(&start, &out)| {
                            let at = Affine::constant(i64::from(start) * 4)
                                .plus(kv, i64::from(head_dim) * 4)
                                .plus(chunk, i64::from(CHUNK) * row)
                                .plus(j, row);
                            let count = lanes.min(head_dim - start);
                            let value = b.load_part(Elem::F32, self.values, at, count);
                            let value = b.select(visible, value, hidden);
                            b.fma(value, weight, out)
                        })
                        .collect()
                });
            for (&start, out) in starts.iter().zip(outs) {
                let at = Affine::constant(i64::from(start) * 4);
                let sum = b.load(Elem::F32, self.sums, at.clone());
                let old = b.fmul(sum, old_factor);
                let merged = b.fma(out, new_factor, old);
                b.store(merged, Elem::F32, self.sums, at);
            }
        }
    }
}
