//! Elements of the cache as f32 numbers: as they are read, or a chunk of them in working memory,
//! once for all heads that read it.

use super::{Attention, CHUNK};
use crate::format::KvFormat;
use crate::lower::cache::element;
use crate::vir::{Affine, Bound, BufferId, Builder, Elem, IndexId, UnaryOp, ValueId};

/// Vectors of one round of a loop.
const UNROLL: u32 = 4;

/// Bytes of a position's staged values: whole vectors of any number of lanes.
pub(super) const fn row_bytes(head_dim: u32) -> u32 {
    head_dim.next_multiple_of(16) * 4
}

/// Lanes of the back ends that bring halves to f32 in several instructions.
const STAGING_LANES: u32 = 4;

/// Whether chunks are brought to f32 in working memory.
pub(super) fn pays(kv: KvFormat, lanes: u32) -> bool {
    kv != KvFormat::F32 && lanes <= STAGING_LANES
}

/// Where a chunk lies: in the cache itself, or in f32 in working memory.
pub(super) struct Plane {
    pub(super) buffer: BufferId,
    /// What its elements are.
    pub(super) kv: KvFormat,
    /// Byte offset of its first element.
    pub(super) origin: Affine,
}

impl Plane {
    /// Elements from `at` on as f32 numbers: halves exactly, codes as they are.
    pub(super) fn read(&self, b: &mut Builder, at: Affine, count: u32) -> ValueId {
        let loaded = b.load_part(element(self.kv), self.buffer, at, count);
        match self.kv {
            KvFormat::F32 => loaded,
            KvFormat::F16 => b.unary(UnaryOp::F16ToF32, loaded),
            KvFormat::Q8 => b.unary(UnaryOp::I32ToF32, loaded),
        }
    }
}

impl Attention {
    /// Keys of a chunk, `[head_dim][64]`.
    pub(super) fn key_plane(&self, kv: IndexId, chunk: IndexId) -> Plane {
        self.staged.map_or_else(|| self.cached_keys(kv, chunk), staged)
    }

    /// Values of a chunk as rows, and the bytes of a row.
    pub(super) fn value_plane(&self, kv: IndexId, chunk: IndexId) -> (Plane, u32) {
        match self.staged {
            Some(buffer) => (staged(buffer), row_bytes(self.cache.head_dim)),
            None => (self.cached_values(kv, chunk), self.cache.value_row_bytes()),
        }
    }

    /// A KV head's keys of a chunk in the cache; they lie one behind the other.
    fn cached_keys(&self, kv: IndexId, chunk: IndexId) -> Plane {
        Plane { buffer: self.keys, kv: self.cache.kv, origin: self.cache.keys_at(kv, chunk) }
    }

    /// A KV head's values of a chunk in the cache; they lie one behind the other.
    fn cached_values(&self, kv: IndexId, chunk: IndexId) -> Plane {
        Plane { buffer: self.values, kv: self.cache.kv, origin: self.cache.values_at(kv, chunk) }
    }

    /// Brings a chunk's keys to f32, those of invisible positions too: whatever they are, their
    /// scores are replaced.
    pub(super) fn stage_keys(&self, b: &mut Builder, kv: IndexId, chunk: IndexId) {
        let Some(staged) = self.staged else { return };
        let (lanes, bytes) = (b.lanes(), self.cache.kv.element_bytes());
        let keys = self.cached_keys(kv, chunk);
        // `CHUNK` elements for each of `head_dim` divide into whole rounds for up to 16 lanes.
        b.repeat(self.cache.head_dim * CHUNK / (lanes * UNROLL), |b, round| {
            for v in 0..UNROLL {
                let along = |at: Affine, bytes: u32| {
                    let vector = i64::from(lanes * bytes);
                    at.offset(i64::from(v) * vector).plus(round, i64::from(UNROLL) * vector)
                };
                let key = keys.read(b, along(keys.origin.clone(), bytes), lanes);
                b.store(key, Elem::F32, staged, along(Affine::constant(0), 4));
            }
        });
    }

    /// Brings the values of a chunk's visible positions to f32; those of others are not looked at.
    pub(super) fn stage_values(&self, b: &mut Builder, kv: IndexId, chunk: IndexId) {
        let Some(staged) = self.staged else { return };
        let (lanes, bytes) = (b.lanes(), self.cache.kv.element_bytes());
        let head_dim = self.cache.head_dim;
        let row = i64::from(self.cache.value_row_bytes());
        let staged_row = i64::from(row_bytes(head_dim));
        let values = self.cached_values(kv, chunk);
        b.for_range(Bound::Const(0), self.visible(chunk, 0), [], |b, j, []| {
            let copy = |b: &mut Builder, round: Option<IndexId>, start: u32| {
                let from = values.origin.clone().offset(i64::from(start * bytes));
                let (mut from, mut to) =
                    (from.plus(j, row), Affine::constant(i64::from(start) * 4).plus(j, staged_row));
                if let Some(round) = round {
                    let elements = i64::from(UNROLL * lanes);
                    from = from.plus(round, elements * i64::from(bytes));
                    to = to.plus(round, elements * 4);
                }
                let count = lanes.min(head_dim - start);
                let value = values.read(b, from, count);
                b.store(value, Elem::F32, staged, to);
            };
            let rounds = head_dim / (UNROLL * lanes);
            if rounds > 0 {
                b.repeat(rounds, |b, round| {
                    for v in 0..UNROLL {
                        copy(b, Some(round), v * lanes);
                    }
                });
            }
            for start in (rounds * UNROLL * lanes..head_dim).step_by(lanes as usize) {
                copy(b, None, start);
            }
            []
        });
    }
}

/// A chunk in working memory.
fn staged(buffer: BufferId) -> Plane {
    Plane { buffer, kv: KvFormat::F32, origin: Affine::constant(0) }
}
