//! The attention kernels: softmax attention of one token, of a thread's share of the work.
//!
//! Scores have lanes = positions (the key cache keeps those of a chunk side by side), the weighted
//! sum of values has lanes = channels, so that no sum crosses lanes in either. Chunks of 64
//! absolute positions are merged in ascending order by a running maximum.
//!
//! The query heads that share a KV head go through a chunk together ([`blocks`]): first the scores
//! of each and their weights, then the weighted values. So a chunk is read from the cache once.
//! Where it is not kept in f32 its elements are brought to f32 as they are read or, where that
//! takes many instructions, once for all heads in working memory ([`stage`]).
//!
//! There are two ways through the chunks, with the same bits for a result. Of many tokens each
//! thread takes some, and merges each chunk as it comes ([`running`]). A token that is by itself is
//! shared by the threads chunk by chunk: each leaves what it found of its chunks ([`partials`]), and the
//! product behind it begins by merging them ([`merge`]).

mod blocks;
mod keep;
mod merge;
mod partials;
mod running;
mod scores;
mod softmax;
mod stage;
mod values;

pub use merge::Merge;
pub(super) use merge::Merging;

use super::cache::CacheLayout;
use super::{CHUNK, Lowered, Parts, Role, vector_bytes};
use crate::fir::HeadShape;
use crate::format::KvFormat;
use crate::vir::{Affine, Bound, BufferId, Builder, IndexId};
use blocks::Block;
use deepthin_runtime::program::{Quotient, ScalarSource};
use keep::{Keep, Place};
use partials::Partials;
use running::Running;

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
const fn most_sums(lanes: u32) -> u32 {
    if lanes <= NARROW_LANES { 8 } else { 16 }
}

/// What both ways through the chunks have in common.
struct Attention {
    cache: CacheLayout,
    /// Query heads that share a KV head.
    group: u32,
    q: BufferId,
    keys: BufferId,
    values: BufferId,
    scales: Option<Scales>,
    /// Scores, then weights, of the chunk's 64 positions, for each head of the group.
    weights: BufferId,
    /// The chunk's keys, then its values, as f32; none where they are read from the cache.
    staged: Option<BufferId>,
    /// Where the token stands, and the chunks that it sees a position of.
    position: IndexId,
    chunks: IndexId,
}

/// Scales of keys and of values, and the weights of a block's heads times the latter,
/// `[heads][groups][64]`.
#[derive(Clone, Copy)]
struct Scales {
    keys: BufferId,
    values: BufferId,
    weights: BufferId,
}

/// Lowers attention of a token all of whose chunks one thread goes through. Units are KV heads, each
/// with the query heads that share it.
pub fn lower_attention(name: &str, kernel: &AttentionKernel) -> Lowered {
    let mut parts = Parts::new(name, kernel.lanes);
    let (begin, end) = parts.range("kv_heads", kernel.shape.kv_heads);
    let kept = |parts: &mut Parts| Running::new(parts, kernel.shape);
    let (a, running) = Attention::new(&mut parts, kernel, kept);
    parts.b.for_range(Bound::Scalar(begin), Bound::Scalar(end), [], |b, kv, []| {
        a.over_heads(b, kv, |b, head| running.begin(b, head));
        b.for_range(Bound::Const(0), Bound::Scalar(a.chunks), [], |b, chunk, []| {
            a.chunk(b, kv, chunk, &running);
            []
        });
        a.over_heads(b, kv, |b, head| running.end(b, head));
        []
    });
    parts.finish()
}

/// Lowers attention of a token whose chunks are shared by the threads, up to what each chunk gives.
/// Units are pairs of a chunk and a KV head, number `chunk * kv_heads + head`, in the order in which
/// they lie in the cache.
pub fn lower_attention_chunks(name: &str, kernel: &AttentionKernel) -> Lowered {
    let mut parts = Parts::new(name, kernel.lanes);
    let HeadShape { heads, kv_heads, head_dim } = kernel.shape;
    let (begin, end) = parts.range("chunk_heads", kernel.cache().chunks() * kv_heads);
    let kept = |parts: &mut Parts| Partials::new(parts, heads, head_dim, kernel.cache().chunks());
    let (a, partials) = Attention::new(&mut parts, kernel, kept);
    parts.b.for_range(Bound::Const(0), Bound::Scalar(a.chunks), [], |b, chunk, []| {
        let inside = |scalar| {
            let minus = Affine::index(chunk, i64::from(kv_heads));
            Bound::Clamp { scalar, minus, lo: 0, hi: kv_heads }
        };
        b.for_range(inside(begin), inside(end), [], |b, kv, []| {
            a.chunk(b, kv, chunk, &partials);
            []
        });
        []
    });
    parts.finish()
}

impl Attention {
    /// The parameters of a kernel that goes through chunks, and those of what it gives, `kept`.
    fn new<K>(
        parts: &mut Parts,
        kernel: &AttentionKernel,
        kept: impl FnOnce(&mut Parts) -> K,
    ) -> (Self, K) {
        let HeadShape { heads, kv_heads, head_dim } = kernel.shape;
        let (cache, group) = (kernel.cache(), heads / kv_heads);
        let q = parts.buffer("q", Role::Input, vector_bytes(heads * head_dim));
        let keys = parts.cache("keys", Role::Keys, cache.key_bytes());
        let values = parts.cache("values", Role::Values, cache.value_bytes());
        let scales = (cache.kv == KvFormat::Q8).then(|| {
            let keys = parts.cache("key_scales", Role::KeyScales, cache.key_scale_bytes());
            let values = parts.cache("value_scales", Role::ValueScales, cache.value_scale_bytes());
            (keys, values)
        });
        let kept = kept(parts);
        let weights = parts.scratch("weights", group * CHUNK * 4);
        let scales = scales.map(|(keys, values)| {
            let rows = blocks::block_heads(group, kernel.lanes) * cache.value_groups();
            let weights = parts.scratch("scaled_weights", rows * CHUNK * 4);
            Scales { keys, values, weights }
        });
        let staged = stage::pays(cache.kv, kernel.lanes)
            .then(|| parts.scratch("staged", CHUNK * stage::row_bytes(head_dim)));
        let position = parts.b.scalar("position", 0, i64::from(cache.positions()) - 1);
        parts.scalars.push(ScalarSource::Position(Quotient::identity()));
        let chunks = chunks(parts, cache.chunks());
        let attention =
            Attention { cache, group, q, keys, values, scales, weights, staged, position, chunks };
        (attention, kept)
    }

    /// What the query heads that share a KV head find in a chunk.
    fn chunk(&self, b: &mut Builder, kv: IndexId, chunk: IndexId, keep: &impl Keep) {
        let weigh = |b: &mut Builder, block: &Block| {
            let at = Place { block, chunk };
            let (maxima, totals) = self.weigh(b, &at);
            keep.weights(b, &at, &maxima, &totals);
        };
        let values = |b: &mut Builder, block: &Block| {
            self.weighted_values(b, &Place { block, chunk }, keep);
        };
        if self.staged.is_some() {
            self.stage_keys(b, kv, chunk);
            self.over_blocks(b, kv, weigh);
            self.stage_values(b, kv, chunk);
            self.over_blocks(b, kv, values);
        } else {
            self.over_blocks(b, kv, |b, block| {
                weigh(b, block);
                values(b, block);
            });
        }
    }

    /// Vectors of each of a block's heads that a loop sums at once.
    fn chains(b: &Builder, block: &Block) -> u32 {
        1 << (most_sums(b.lanes()) / block.heads).ilog2()
    }

    /// Byte offset of element `dim` of a head in the query.
    fn element(&self, block: &Block, head: u32, dim: u32) -> Affine {
        block.number(head).times(i64::from(self.cache.head_dim) * 4).offset(i64::from(dim) * 4)
    }

    /// Byte offset of a head's weight of a chunk's position.
    fn weight(block: &Block, head: u32, position: u32) -> Affine {
        block.member(head).times(i64::from(CHUNK) * 4).offset(i64::from(position) * 4)
    }

    /// How many positions of a chunk the token sees, brought into `lo..=64`.
    fn visible(&self, chunk: IndexId, lo: u32) -> Bound {
        let minus = Affine::index(chunk, i64::from(CHUNK)).offset(-1);
        Bound::Clamp { scalar: self.position, minus, lo, hi: CHUNK }
    }
}

/// The scalar parameter that says how many chunks the token sees a position of, of so many.
fn chunks(parts: &mut Parts, most: u32) -> IndexId {
    let quotient = Quotient { add: 0, divide: CHUNK, modulo: 0, plus: 1 };
    parts.scalars.push(ScalarSource::Position(quotient));
    parts.b.scalar("chunks", 1, i64::from(most))
}
