//! The attention kernel: softmax attention of a thread's query heads for one token.
//!
//! Scores have lanes = positions (the key cache keeps 16 positions side by side), the weighted
//! sum of values has lanes = channels, so that no sum crosses lanes in either. Chunks of 64
//! absolute positions are merged in ascending order by a running maximum.
//!
//! The query heads that share a KV head go through a chunk together: first the scores of each,
//! then the weighted values of each. So a chunk is read from the cache once, and where it is not
//! kept in f32 it is brought to f32 once, in working memory ([`stage`]).

mod scores;
mod stage;
mod values;

use super::cache::CacheLayout;
use super::exp::exp;
use super::{CHUNK, Lowered, Parts, Role, vector_bytes};
use crate::fir::HeadShape;
use crate::format::KvFormat;
use crate::vir::{Affine, BinaryOp, Bound, BufferId, Builder, Elem, IndexId, ValueId};
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

/// Independent chains of a loop.
const CHAINS: u32 = 8;

struct Attention {
    cache: CacheLayout,
    /// Query heads that share a KV head.
    group: u32,
    q: BufferId,
    keys: BufferId,
    values: BufferId,
    /// Scales of keys and of values, and the weights of a head times the latter, `[groups][64]`.
    scales: Option<Scales>,
    out: BufferId,
    /// Scores, then weights, of the chunk's 64 positions, for each head of the group.
    weights: BufferId,
    /// Running sums of weighted values, `head_dim` elements for each head of the group.
    sums: BufferId,
    /// Four numbers for each head of the group: see [`State`].
    state: BufferId,
    /// The chunk's keys, then its values, as f32; none where the cache itself is f32.
    staged: Option<BufferId>,
    position: IndexId,
}

#[derive(Clone, Copy)]
struct Scales {
    keys: BufferId,
    values: BufferId,
    weights: BufferId,
}

/// What is kept of a head from chunk to chunk, and between the two parts of a chunk.
#[derive(Clone, Copy)]
enum State {
    /// Running maximum of the scores.
    Maximum,
    /// Running sum of the weights.
    Total,
    /// What the sums so far are multiplied with.
    OldFactor,
    /// What the chunk's own are multiplied with.
    NewFactor,
}

/// Bytes of the state of a head.
const STATE_BYTES: u32 = 16;

/// The heads at hand: a KV head, and the part of the thread's share that reads it.
#[derive(Clone, Copy)]
struct Heads {
    kv: IndexId,
    share: (IndexId, IndexId),
}

/// One of the heads at hand, counted from the first that reads its KV head.
#[derive(Clone, Copy)]
struct Head {
    kv: IndexId,
    member: IndexId,
}

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
    let staged = (cache.kv != KvFormat::F32)
        .then(|| parts.scratch("staged", CHUNK * stage::row_bytes(head_dim)));
    let scales = key_scales.zip(value_scales).map(|(keys, values)| {
        let weights = parts.scratch("scaled_weights", cache.value_groups() * CHUNK * 4);
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
        staged,
        position,
    };
    parts.b.repeat(kv_heads, |b, kv| a.heads(b, Heads { kv, share }, chunks));
    parts.finish()
}

impl Attention {
    /// The thread's query heads of one KV head, if there are any.
    fn heads(&self, b: &mut Builder, heads: Heads, chunks: IndexId) {
        let first =
            |offset: u32| Affine::index(heads.kv, i64::from(self.group)).offset(i64::from(offset));
        // One round where the share begins before the group's end and ends behind its beginning.
        let one = |scalar, minus| Bound::Clamp { scalar, minus, lo: 0, hi: 1 };
        let begin = one(heads.share.0, first(self.group - 1));
        let end = one(heads.share.1, first(0));
        b.for_range(begin, end, [], |b, _, []| {
            self.over_heads(b, heads, |b, head| self.begin(b, head));
            b.for_range(Bound::Const(0), Bound::Scalar(chunks), [], |b, chunk, []| {
                self.stage_keys(b, heads.kv, chunk);
                self.over_heads(b, heads, |b, head| self.weigh(b, head, chunk));
                self.stage_values(b, heads.kv, chunk);
                self.over_heads(b, heads, |b, head| self.weighted_values(b, head, chunk));
                []
            });
            self.over_heads(b, heads, |b, head| self.end(b, head));
            []
        });
    }

    fn over_heads(&self, b: &mut Builder, heads: Heads, body: impl FnOnce(&mut Builder, Head)) {
        let Heads { kv, share: (begin, end) } = heads;
        let group = self.group;
        let bound = |scalar| Bound::Clamp {
            scalar,
            minus: Affine::index(kv, i64::from(group)),
            lo: 0,
            hi: group,
        };
        b.for_range(bound(begin), bound(end), [], |b, member, []| {
            body(b, Head { kv, member });
            []
        });
    }

    /// Nothing seen yet.
    fn begin(&self, b: &mut Builder, head: Head) {
        let lanes = b.lanes();
        let zero = b.f32(0.0);
        for start in (0..self.cache.head_dim).step_by(lanes as usize) {
            b.store(zero, Elem::F32, self.sums, self.sum(head, start));
        }
        let lowest = b.f32(f32::NEG_INFINITY);
        self.set(b, head, State::Maximum, lowest);
        self.set(b, head, State::Total, zero);
    }

    /// The mean of the values by their weights.
    fn end(&self, b: &mut Builder, head: Head) {
        let (lanes, head_dim) = (b.lanes(), self.cache.head_dim);
        let total = self.get(b, head, State::Total);
        for start in (0..head_dim).step_by(lanes as usize) {
            let sum = b.load(Elem::F32, self.sums, self.sum(head, start));
            let mean = b.fdiv(sum, total);
            let at = self.element(head, start);
            b.store_part(mean, Elem::F32, self.out, at, lanes.min(head_dim - start));
        }
    }

    /// One head's weights of a chunk; the running maximum and total, and the factors of the merge.
    fn weigh(&self, b: &mut Builder, head: Head, chunk: IndexId) {
        self.scores(b, head, chunk);
        let max = self.get(b, head, State::Maximum);
        let total = self.get(b, head, State::Total);
        let chunk_max = self.maximum(b, head);
        let chunk_total = self.exponentials(b, head, chunk_max);
        let new_max = b.binary(BinaryOp::FMax, max, chunk_max);
        let old_distance = b.fsub(max, new_max);
        let old_factor = exp(b, old_distance);
        let new_distance = b.fsub(chunk_max, new_max);
        let new_factor = exp(b, new_distance);
        let old_total = b.fmul(total, old_factor);
        let new_total = b.fma(chunk_total, new_factor, old_total);
        self.set(b, head, State::Maximum, new_max);
        self.set(b, head, State::Total, new_total);
        self.set(b, head, State::OldFactor, old_factor);
        self.set(b, head, State::NewFactor, new_factor);
    }

    /// Byte offset of element `dim` of a head in the query or output vector.
    fn element(&self, head: Head, dim: u32) -> Affine {
        let head_bytes = i64::from(self.cache.head_dim) * 4;
        Affine::constant(i64::from(dim) * 4)
            .plus(head.kv, i64::from(self.group) * head_bytes)
            .plus(head.member, head_bytes)
    }

    /// Byte offset of element `dim` of a head's running sums.
    fn sum(&self, head: Head, dim: u32) -> Affine {
        let row = i64::from(vector_bytes(self.cache.head_dim));
        Affine::constant(i64::from(dim) * 4).plus(head.member, row)
    }

    /// Byte offset of a head's weight of a chunk's position.
    fn weight(head: Head, position: u32) -> Affine {
        Affine::constant(i64::from(position) * 4).plus(head.member, i64::from(CHUNK) * 4)
    }

    fn state(head: Head, what: State) -> Affine {
        let number = match what {
            State::Maximum => 0,
            State::Total => 1,
            State::OldFactor => 2,
            State::NewFactor => 3,
        };
        Affine::constant(number * 4).plus(head.member, i64::from(STATE_BYTES))
    }

    fn get(&self, b: &mut Builder, head: Head, what: State) -> ValueId {
        b.splat(Elem::F32, self.state, Self::state(head, what))
    }

    fn set(&self, b: &mut Builder, head: Head, what: State, value: ValueId) {
        b.store_part(value, Elem::F32, self.state, Self::state(head, what), 1);
    }

    /// How many positions of a chunk the token sees, brought into `lo..=64`.
    fn visible(&self, chunk: IndexId, lo: u32) -> Bound {
        let minus = Affine::index(chunk, i64::from(CHUNK)).offset(-1);
        Bound::Clamp { scalar: self.position, minus, lo, hi: CHUNK }
    }
}
