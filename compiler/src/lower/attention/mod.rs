//! The attention kernel: softmax attention of a thread's query heads for one token.
//!
//! Scores have lanes = positions (the key cache keeps 16 positions side by side), the weighted
//! sum of values has lanes = channels, so that no sum crosses lanes in either. Chunks of 64
//! absolute positions are merged in ascending order by a running maximum.
//!
//! The query heads that share a KV head go through a chunk together ([`blocks`]): first the scores
//! of each and their weights, then the weighted values. So a chunk is read from the cache once.
//! Where it is not kept in f32 its elements are brought to f32 as they are read or, where that
//! takes many instructions, once for all heads in working memory ([`stage`]).

mod blocks;
mod scores;
mod softmax;
mod stage;
mod values;

use super::cache::CacheLayout;
use super::{CHUNK, Lowered, Parts, Role, vector_bytes};
use crate::fir::HeadShape;
use crate::format::KvFormat;
use crate::vir::{Affine, Bound, BufferId, Builder, Elem, IndexId, ValueId};
use blocks::{Block, Group};
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
    /// What the cache keeps.
    pub kv: KvFormat,
}

impl AttentionKernel {
    /// The layout of the KV slot.
    pub const fn cache(&self) -> CacheLayout {
        let HeadShape { kv_heads, head_dim, .. } = self.shape;
        CacheLayout { kv: self.kv, kv_heads, head_dim, context: self.context }
    }
}

/// Most lanes of a back end with sixteen registers; with more lanes there are 32.
const NARROW_LANES: u32 = 8;
/// Sums that a loop carries at once: half of the registers.
const NARROW_SUMS: u32 = 8;
const WIDE_SUMS: u32 = 16;

struct Attention {
    cache: CacheLayout,
    /// Query heads that share a KV head.
    group: u32,
    q: BufferId,
    keys: BufferId,
    values: BufferId,
    /// Scales of keys and of values, and the weights of a block's heads times the latter,
    /// `[heads][groups][64]`.
    scales: Option<Scales>,
    out: BufferId,
    /// Scores, then weights, of the chunk's 64 positions, for each head of the group.
    weights: BufferId,
    /// Running sums of weighted values, `head_dim` elements for each head of the group.
    sums: BufferId,
    /// Two numbers for each head of the group: see [`State`].
    state: BufferId,
    /// For each head of the group what the sums so far are multiplied with at a merge, and what the
    /// chunk's own.
    factors: BufferId,
    /// The chunk's keys, then its values, as f32; none where they are read from the cache.
    staged: Option<BufferId>,
    position: IndexId,
}

#[derive(Clone, Copy)]
struct Scales {
    keys: BufferId,
    values: BufferId,
    weights: BufferId,
}

/// What is kept of a head from chunk to chunk.
#[derive(Clone, Copy)]
enum State {
    /// Running maximum of the scores.
    Maximum,
    /// Running sum of the weights.
    Total,
}

/// Bytes of the state of a head, and of its factors.
const STATE_BYTES: u32 = 8;

/// Lowers an attention kernel. Units are query heads.
pub fn lower_attention(name: &str, kernel: &AttentionKernel) -> Lowered {
    let HeadShape { heads, kv_heads, head_dim } = kernel.shape;
    let (cache, group) = (kernel.cache(), heads / kv_heads);
    let mut parts = Parts::new(name, kernel.lanes);
    let vector = vector_bytes(heads * head_dim);
    let q = parts.buffer("q", Role::Input, vector);
    let keys = parts.cache("keys", Role::Keys, cache.key_bytes());
    let values = parts.cache("values", Role::Values, cache.value_bytes());
    let is_quantized = cache.kv == KvFormat::Q8;
    let key_scales =
        is_quantized.then(|| parts.cache("key_scales", Role::KeyScales, cache.key_scale_bytes()));
    let value_scales = is_quantized
        .then(|| parts.cache("value_scales", Role::ValueScales, cache.value_scale_bytes()));
    let out = parts.buffer("out", Role::Output, vector);
    let weights = parts.scratch("weights", group * CHUNK * 4);
    let sums = parts.scratch("sums", group * vector_bytes(head_dim));
    let state = parts.scratch("state", group * STATE_BYTES);
    let factors = parts.scratch("factors", group * STATE_BYTES);
    let staged = stage::pays(cache.kv, kernel.lanes)
        .then(|| parts.scratch("staged", CHUNK * stage::row_bytes(head_dim)));
    let scales = key_scales.zip(value_scales).map(|(keys, values)| {
        let rows = blocks::block_heads(group, kernel.lanes) * cache.value_groups();
        let weights = parts.scratch("scaled_weights", rows * CHUNK * 4);
        Scales { keys, values, weights }
    });
    let share = parts.b.range("heads", heads);
    let positions = cache.positions();
    let position = parts.b.scalar("position", 0, i64::from(positions) - 1);
    let chunks = parts.b.scalar("chunks", 1, i64::from(positions / CHUNK));
    parts.scalars.extend([
        ScalarSource::RangeBegin,
        ScalarSource::RangeEnd,
        ScalarSource::Position(Quotient::identity()),
        ScalarSource::Position(Quotient { add: 0, divide: CHUNK, modulo: 0, plus: 1 }),
    ]);
    let a = Attention {
        cache,
        group,
        q,
        keys,
        values,
        scales,
        out,
        weights,
        sums,
        state,
        factors,
        staged,
        position,
    };
    parts.b.repeat(kv_heads, |b, kv| a.group(b, Group { kv, share }, chunks));
    parts.finish()
}

impl Attention {
    /// The thread's query heads of one KV head, if there are any.
    fn group(&self, b: &mut Builder, group: Group, chunks: IndexId) {
        self.where_any(b, group, |b| {
            self.over_heads(b, group, |b, head| self.begin(b, head));
            b.for_range(Bound::Const(0), Bound::Scalar(chunks), [], |b, chunk, []| {
                if self.staged.is_some() {
                    self.stage_keys(b, group.kv, chunk);
                    self.over_blocks(b, group, |b, block| self.weigh(b, block, chunk));
                    self.stage_values(b, group.kv, chunk);
                    self.over_blocks(b, group, |b, block| self.weighted_values(b, block, chunk));
                } else {
                    self.over_blocks(b, group, |b, block| {
                        self.weigh(b, block, chunk);
                        self.weighted_values(b, block, chunk);
                    });
                }
                []
            });
            self.over_heads(b, group, |b, head| self.end(b, head));
        });
    }

    /// Vectors of each of a block's heads that a loop sums at once.
    fn chains(b: &Builder, block: &Block) -> u32 {
        let sums = if b.lanes() <= NARROW_LANES { NARROW_SUMS } else { WIDE_SUMS };
        1 << (sums / block.heads).ilog2()
    }

    /// Nothing seen yet of a head.
    fn begin(&self, b: &mut Builder, head: &Block) {
        let lanes = b.lanes();
        let zero = b.f32(0.0);
        for start in (0..self.cache.head_dim).step_by(lanes as usize) {
            b.store(zero, Elem::F32, self.sums, self.sum(head, 0, start));
        }
        let lowest = b.f32(f32::NEG_INFINITY);
        self.set(b, head, 0, State::Maximum, lowest);
        self.set(b, head, 0, State::Total, zero);
    }

    /// The mean of the values by a head's weights.
    fn end(&self, b: &mut Builder, head: &Block) {
        let (lanes, head_dim) = (b.lanes(), self.cache.head_dim);
        let total = self.get(b, head, 0, State::Total);
        for start in (0..head_dim).step_by(lanes as usize) {
            let sum = b.load(Elem::F32, self.sums, self.sum(head, 0, start));
            let mean = b.fdiv(sum, total);
            let at = self.element(head, 0, start);
            b.store_part(mean, Elem::F32, self.out, at, lanes.min(head_dim - start));
        }
    }

    /// Byte offset of element `dim` of a head in the query or output vector.
    fn element(&self, block: &Block, head: u32, dim: u32) -> Affine {
        let head_bytes = i64::from(self.cache.head_dim) * 4;
        let member = block.member(head).times(head_bytes);
        member.plus(block.kv, i64::from(self.group) * head_bytes).offset(i64::from(dim) * 4)
    }

    /// Byte offset of element `dim` of a head's running sums.
    fn sum(&self, block: &Block, head: u32, dim: u32) -> Affine {
        let row = i64::from(vector_bytes(self.cache.head_dim));
        block.member(head).times(row).offset(i64::from(dim) * 4)
    }

    /// Byte offset of a head's weight of a chunk's position.
    fn weight(block: &Block, head: u32, position: u32) -> Affine {
        block.member(head).times(i64::from(CHUNK) * 4).offset(i64::from(position) * 4)
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

    /// How many positions of a chunk the token sees, brought into `lo..=64`.
    fn visible(&self, chunk: IndexId, lo: u32) -> Bound {
        let minus = Affine::index(chunk, i64::from(CHUNK)).offset(-1);
        Bound::Clamp { scalar: self.position, minus, lo, hi: CHUNK }
    }
}
