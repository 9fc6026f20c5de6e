//! Scores of some heads and a chunk of positions.

use super::blocks::Block;
use super::stage::Plane;
use super::{Attention, CHUNK};
use crate::lower::cache::{SCALE_BYTES, SCALE_ROW_BYTES};
use crate::numerics::attention_scale;
use crate::pack::layout::TILE;
use crate::vir::{
    Affine, BinaryOp, Bound, BufferId, Builder, CompareOp, Elem, IndexId, ShiftOp, UnaryOp, ValueId,
};

/// Pairs of a group of keys: those of a panel.
const PAIRS: u32 = TILE;

/// The products of a block's heads with some positions of a chunk: those of a pass, a chain a
/// vector of one head.
struct Products<'a> {
    attention: &'a Attention,
    block: &'a Block,
    chunk: IndexId,
    keys: Plane,
    pass: IndexId,
    chains: u32,
}

/// Dims from `first` on, or as many times `each` further as a loop's variable says.
#[derive(Clone, Copy)]
struct Dims {
    first: u32,
    count: u32,
    group: Option<(IndexId, u32)>,
}

impl Attention {
    /// Scaled scores of the chunk's positions, -inf where invisible.
    pub(super) fn scores(&self, b: &mut Builder, block: &Block, chunk: IndexId) {
        let lanes = b.lanes();
        let chains = Self::chains(b, block).min(CHUNK / lanes);
        let head_dim = self.cache.head_dim;
        let positions = i64::from(chains * lanes);
        b.repeat(CHUNK / (chains * lanes), |b, pass| {
            let keys = self.key_plane(block.kv, chunk);
            let products = Products { attention: self, block, chunk, keys, pass, chains };
            let dots = match self.scales {
                None => products.plain(b),
                Some(scales) => products.grouped(b, scales.keys),
            };
            let lane_numbers = b.iota();
            let position = b.index(Affine::index(self.position, 1));
            let scale = b.f32(attention_scale(head_dim));
            let hidden = b.f32(f32::NEG_INFINITY);
            for v in 0..chains {
                let first = Affine::constant(i64::from(v * lanes)).plus(pass, positions);
                let first_position = b.index(first.plus(chunk, i64::from(CHUNK)));
                let at = b.binary(BinaryOp::IAdd, first_position, lane_numbers);
                let visible = b.compare(CompareOp::ILe, at, position);
                for head in 0..block.heads {
                    let score = b.fmul(dots[(head * chains + v) as usize], scale);
                    let score = b.select(visible, score, hidden);
                    let at = Self::weight(block, head, v * lanes).plus(pass, positions * 4);
                    b.store(score, Elem::F32, self.weights, at);
                }
            }
        });
    }
}

impl Products<'_> {
    /// Over all dims in ascending order.
    fn plain(&self, b: &mut Builder) -> Vec<ValueId> {
        let init = self.zeros(b);
        let count = self.attention.cache.head_dim;
        self.over_dims(b, Dims { first: 0, count, group: None }, &init)
    }

    /// Group by group, each sum times the group's scale.
    fn grouped(&self, b: &mut Builder, scales: BufferId) -> Vec<ValueId> {
        let half = self.attention.cache.head_dim / 2;
        let (whole, rest) = (half / PAIRS, half % PAIRS);
        let init = self.zeros(b);
        let group = |b: &mut Builder, sums: &[ValueId], first: u32, count, group| {
            let low = Dims { first, count, group };
            let zeros = self.zeros(b);
            let products = self.over_dims(b, low, &zeros);
            let products = self.over_dims(b, Dims { first: half + first, ..low }, &products);
            self.scaled(b, scales, low, &products, sums)
        };
        let mut sums =
            b.for_range_vec(Bound::Const(0), Bound::Const(whole), &init, |b, u, sums| {
                group(b, sums, 0, PAIRS, Some((u, PAIRS)))
            });
        if rest > 0 {
            sums = group(b, &sums, whole * PAIRS, rest, None);
        }
        sums
    }

    fn zeros(&self, b: &mut Builder) -> Vec<ValueId> {
        let zero = b.f32(0.0);
        vec![zero; (self.block.heads * self.chains) as usize]
    }

    /// `sum = fma(key[d], q[d], sum)` over some dims in ascending order.
    fn over_dims(&self, b: &mut Builder, dims: Dims, init: &[ValueId]) -> Vec<ValueId> {
        let Attention { q, .. } = *self.attention;
        let row = i64::from(CHUNK * self.keys.kv.element_bytes());
        let along = |at: Affine, dim: IndexId, bytes: i64| match dims.group {
            Some((group, each)) => at.plus(group, i64::from(each) * bytes).plus(dim, bytes),
            None => at.plus(dim, bytes),
        };
        b.for_range_vec(Bound::Const(0), Bound::Const(dims.count), init, |b, dim, sums| {
            let query = |head| {
                let at = along(self.attention.element(self.block, head, dims.first), dim, 4);
                b.splat(Elem::F32, q, at)
            };
            let queries: Vec<ValueId> = (0..self.block.heads).map(query).collect();
            let mut next = sums.to_vec();
            for v in 0..self.chains {
                let at = self.place(b, v).offset(i64::from(dims.first) * row);
                let key = self.keys.read(b, along(at, dim, row), b.lanes());
                for (query, sums) in queries.iter().zip(next.chunks_mut(self.chains as usize)) {
                    let sum = &mut sums[v as usize];
                    *sum = b.fma(key, *query, *sum);
                }
            }
            next
        })
    }

    /// Byte offset of dim 0 of a chain's positions.
    fn place(&self, b: &Builder, chain: u32) -> Affine {
        let vector = i64::from(b.lanes() * self.keys.kv.element_bytes());
        let origin = self.keys.origin.clone().offset(i64::from(chain) * vector);
        origin.plus(self.pass, i64::from(self.chains) * vector)
    }

    /// `sum = fma(product, scale, sum)` with the scales of a group.
    fn scaled(
        &self,
        b: &mut Builder,
        scales: BufferId,
        dims: Dims,
        products: &[ValueId],
        sums: &[ValueId],
    ) -> Vec<ValueId> {
        let (lanes, cache) = (b.lanes(), self.attention.cache);
        let number = dims.first / PAIRS;
        let mut next = sums.to_vec();
        for v in 0..self.chains {
            let mut at = cache
                .scales_at(self.block.kv, self.chunk, cache.key_groups())
                .offset(i64::from(number * SCALE_ROW_BYTES + v * lanes * SCALE_BYTES))
                .plus(self.pass, i64::from(self.chains * lanes * SCALE_BYTES));
            if let Some((group, _)) = dims.group {
                at = at.plus(group, SCALE_ROW_BYTES.into());
            }
            let scale = load_scale(b, scales, at);
            for head in 0..self.block.heads {
                let i = (head * self.chains + v) as usize;
                next[i] = b.fma(products[i], scale, sums[i]);
            }
        }
        next
    }
}

/// The bf16 scales of a vector of positions.
pub(super) fn load_scale(b: &mut Builder, scales: BufferId, at: Affine) -> ValueId {
    let half = b.load(Elem::U16, scales, at);
    let bits = b.shift(ShiftOp::Shl, half, 16);
    b.unary(UnaryOp::AsF32, bits)
}
