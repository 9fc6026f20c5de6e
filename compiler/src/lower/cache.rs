//! The KV slot of one block application: where each key, value and scale lies.
//!
//! Keys have lanes = positions and values lanes = channels, as attention reads them. The scales of
//! both are bf16, lanes = positions, and lie in buffers of their own. Each buffer is written chunk
//! by chunk, in a chunk head by head, so that attention reads it from its begin to the position at
//! hand without a gap.

use super::CHUNK;
use crate::format::KvFormat;
use crate::pack::layout::{PANEL, TILE};
use crate::vir::{Affine, Elem, IndexId};

/// Bytes of a scale.
pub(super) const SCALE_BYTES: u32 = 2;
/// Bytes of a group's scales of a chunk: one for each position.
pub(super) const SCALE_ROW_BYTES: u32 = CHUNK * SCALE_BYTES;

/// The layout of a KV slot. Sizes are those of one application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheLayout {
    /// What is kept.
    pub kv: KvFormat,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Positions of the model's context.
    pub context: u32,
}

/// Positions that caches hold for a context: whole chunks.
pub const fn padded_context(context: u32) -> u32 {
    context.next_multiple_of(CHUNK)
}

impl CacheLayout {
    /// Positions that there is room for: whole chunks.
    pub const fn positions(self) -> u32 {
        padded_context(self.context)
    }

    /// Chunks of positions.
    pub const fn chunks(self) -> u32 {
        self.positions() / CHUNK
    }

    /// Bytes of the keys: `[chunks][kv_heads][head_dim][64]` elements.
    pub const fn key_bytes(self) -> u64 {
        self.chunks() as u64 * self.kv_heads as u64 * self.key_chunk_bytes() as u64
    }

    /// Bytes of one head's keys of a chunk.
    pub const fn key_chunk_bytes(self) -> u32 {
        self.head_dim * self.key_row_bytes()
    }

    /// Bytes of one element of the keys of a chunk.
    pub const fn key_row_bytes(self) -> u32 {
        CHUNK * self.kv.element_bytes()
    }

    /// Bytes of the values: `[chunks][kv_heads][64][head_dim]` elements.
    pub const fn value_bytes(self) -> u64 {
        self.chunks() as u64 * self.kv_heads as u64 * self.value_chunk_bytes() as u64
    }

    /// Bytes of one head's values of a chunk.
    pub const fn value_chunk_bytes(self) -> u32 {
        CHUNK * self.value_row_bytes()
    }

    /// Bytes of one head's value of a position.
    pub const fn value_row_bytes(self) -> u32 {
        self.head_dim * self.kv.element_bytes()
    }

    /// Groups of a key head that have a scale each: its panels' pairs.
    pub const fn key_groups(self) -> u32 {
        match self.kv {
            KvFormat::F32 | KvFormat::F16 => 0,
            KvFormat::Q8 => (self.head_dim / 2).div_ceil(TILE),
        }
    }

    /// Groups of a value head that have a scale each: its panels' channels.
    pub const fn value_groups(self) -> u32 {
        match self.kv {
            KvFormat::F32 | KvFormat::F16 => 0,
            KvFormat::Q8 => self.head_dim.div_ceil(PANEL),
        }
    }

    /// Bytes of the keys' scales: `[chunks][kv_heads][groups][64]`; 0 where there are none.
    pub const fn key_scale_bytes(self) -> u64 {
        self.scale_bytes(self.key_groups())
    }

    /// Bytes of the values' scales: `[chunks][kv_heads][groups][64]`; 0 where there are none.
    pub const fn value_scale_bytes(self) -> u64 {
        self.scale_bytes(self.value_groups())
    }

    const fn scale_bytes(self, groups: u32) -> u64 {
        self.chunks() as u64 * self.kv_heads as u64 * groups as u64 * SCALE_ROW_BYTES as u64
    }

    /// Bytes of everything: keys, values, scales of keys, scales of values, in this order.
    pub const fn bytes(self) -> u64 {
        self.key_bytes() + self.value_bytes() + self.key_scale_bytes() + self.value_scale_bytes()
    }

    /// Bytes of the largest of the four: what a kernel must be able to address.
    pub fn largest_bytes(self) -> u64 {
        let scales = self.key_scale_bytes().max(self.value_scale_bytes());
        self.key_bytes().max(self.value_bytes()).max(scales)
    }

    /// Bytes of one position, all heads.
    pub const fn position_bytes(self) -> u64 {
        self.bytes() / self.positions() as u64
    }

    /// Byte offset of a chunk's keys of all heads, and their bytes.
    pub(super) fn chunk_keys(self, chunk: IndexId) -> (Affine, u32) {
        self.all_heads(chunk, self.key_chunk_bytes())
    }

    /// Byte offset of a chunk's values of all heads, and their bytes.
    pub(super) fn chunk_values(self, chunk: IndexId) -> (Affine, u32) {
        self.all_heads(chunk, self.value_chunk_bytes())
    }

    /// Byte offset of a head's keys of a chunk.
    pub(super) fn keys_at(self, head: IndexId, chunk: IndexId) -> Affine {
        self.part(head, chunk, self.key_chunk_bytes())
    }

    /// Byte offset of a head's values of a chunk.
    pub(super) fn values_at(self, head: IndexId, chunk: IndexId) -> Affine {
        self.part(head, chunk, self.value_chunk_bytes())
    }

    /// Byte offset of a head's scales of a chunk, of which a position has `groups`: those of keys or
    /// of values.
    pub(super) fn scales_at(self, head: IndexId, chunk: IndexId, groups: u32) -> Affine {
        self.part(head, chunk, groups * SCALE_ROW_BYTES)
    }

    /// Byte offset of a head's part of a chunk, of so many bytes.
    fn part(self, head: IndexId, chunk: IndexId, bytes: u32) -> Affine {
        self.all_heads(chunk, bytes).0.plus(head, bytes.into())
    }

    /// Byte offset of a chunk, of which a head has so many bytes, and the bytes of all heads.
    fn all_heads(self, chunk: IndexId, bytes: u32) -> (Affine, u32) {
        let all = self.kv_heads * bytes;
        (Affine::index(chunk, all.into()), all)
    }
}

/// The memory element of a format.
pub(super) const fn element(kv: KvFormat) -> Elem {
    match kv {
        KvFormat::F32 => Elem::F32,
        KvFormat::F16 => Elem::U16,
        KvFormat::Q8 => Elem::S8,
    }
}
