//! Bringing a chunk of the cache to f32 in working memory, once for all heads that read it.

use super::{Attention, CHUNK};
use crate::format::KvFormat;
use crate::lower::KEY_BLOCK;
use crate::lower::cache::element;
use crate::vir::{Affine, Bound, BufferId, Builder, Elem, IndexId, UnaryOp, ValueId};

/// Vectors of one round of a loop.
const UNROLL: u32 = 4;

/// Bytes of a position's staged values: whole vectors of any number of lanes.
pub(super) const fn row_bytes(head_dim: u32) -> u32 {
    head_dim.next_multiple_of(16) * 4
}

/// Where a chunk lies in f32: the cache itself, or working memory.
pub(super) struct Plane {
    pub(super) buffer: BufferId,
    /// Byte offset of its first element.
    pub(super) origin: Affine,
}

impl Attention {
    /// Keys of a chunk as `[4][head_dim][16]` f32.
    pub(super) fn key_plane(&self, kv: IndexId, chunk: IndexId) -> Plane {
        match self.staged {
            Some(buffer) => Plane { buffer, origin: Affine::constant(0) },
            None => Plane { buffer: self.keys, origin: self.key_chunk(kv, chunk) },
        }
    }

    /// Values of a chunk as rows of f32, and the bytes of a row.
    pub(super) fn value_plane(&self, kv: IndexId, chunk: IndexId) -> (Plane, i64) {
        match self.staged {
            Some(buffer) => {
                let row = i64::from(row_bytes(self.cache.head_dim));
                (Plane { buffer, origin: Affine::constant(0) }, row)
            }
            None => {
                let row = i64::from(self.cache.value_row_bytes());
                (Plane { buffer: self.values, origin: self.value_chunk(kv, chunk) }, row)
            }
        }
    }

    /// Byte offset of a KV head's keys of a chunk in the cache; they lie one behind the other.
    fn key_chunk(&self, kv: IndexId, chunk: IndexId) -> Affine {
        let blocks = i64::from(CHUNK / KEY_BLOCK);
        let head = i64::try_from(self.cache.key_head_bytes()).unwrap_or(i64::MAX);
        Affine::index(kv, head).plus(chunk, blocks * i64::from(self.cache.key_block_bytes()))
    }

    /// Byte offset of a KV head's values of a chunk in the cache.
    fn value_chunk(&self, kv: IndexId, chunk: IndexId) -> Affine {
        let head = i64::from(self.cache.head_dim * self.cache.kv.element_bytes());
        Affine::index(kv, head)
            .plus(chunk, i64::from(CHUNK) * i64::from(self.cache.value_row_bytes()))
    }

    /// Brings a chunk's keys to f32, those of invisible positions too: whatever they are, their
    /// scores are replaced.
    pub(super) fn stage_keys(&self, b: &mut Builder, kv: IndexId, chunk: IndexId) {
        let Some(staged) = self.staged else { return };
        let (lanes, bytes) = (b.lanes(), self.cache.kv.element_bytes());
        let first = self.key_chunk(kv, chunk);
        // `CHUNK` elements for each of `head_dim` divide into whole rounds for up to 16 lanes.
        b.repeat(self.cache.head_dim * CHUNK / (lanes * UNROLL), |b, round| {
            for v in 0..UNROLL {
                let along = |at: Affine, bytes: u32| {
                    let vector = i64::from(lanes * bytes);
                    at.offset(i64::from(v) * vector).plus(round, i64::from(UNROLL) * vector)
                };
                let key = self.read(b, self.keys, along(first.clone(), bytes), lanes);
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
        b.for_range(Bound::Const(0), self.visible(chunk, 0), [], |b, j, []| {
            let copy = |b: &mut Builder, round: Option<IndexId>, start: u32| {
                let from = self.value_chunk(kv, chunk).offset(i64::from(start * bytes));
                let (mut from, mut to) =
                    (from.plus(j, row), Affine::constant(i64::from(start) * 4).plus(j, staged_row));
                if let Some(round) = round {
                    let elements = i64::from(UNROLL * lanes);
                    from = from.plus(round, elements * i64::from(bytes));
                    to = to.plus(round, elements * 4);
                }
                let count = lanes.min(head_dim - start);
                let value = self.read(b, self.values, from, count);
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

    /// Elements of the cache as f32 numbers: halves exactly, codes as they are.
    fn read(&self, b: &mut Builder, buffer: BufferId, at: Affine, count: u32) -> ValueId {
        let loaded = b.load_part(element(self.cache.kv), buffer, at, count);
        match self.cache.kv {
            KvFormat::F32 => loaded,
            KvFormat::F16 => b.unary(UnaryOp::F16ToF32, loaded),
            KvFormat::Q8 => b.unary(UnaryOp::I32ToF32, loaded),
        }
    }
}
