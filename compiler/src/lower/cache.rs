//! The KV slot of one block application: where each key, value and scale lies.
//!
//! Keys have lanes = positions and values lanes = channels, as attention reads them. The scales of
//! both are bf16, lanes = positions, and lie in buffers of their own.

use super::{CHUNK, KEY_BLOCK};
use crate::format::KvFormat;
use crate::pack::layout::{PANEL, TILE};
use crate::vir::Elem;

/// Bytes of a scale.
const SCALE_BYTES: u32 = 2;

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

    /// Bytes of the keys: `[kv_heads][positions / 16][head_dim][16]` elements.
    pub const fn key_bytes(self) -> u64 {
        self.kv_heads as u64 * self.key_head_bytes()
    }

    /// Bytes of one head's keys.
    pub const fn key_head_bytes(self) -> u64 {
        (self.positions() / KEY_BLOCK) as u64 * self.key_block_bytes() as u64
    }

    /// Bytes of one head's keys of a block of positions: `[head_dim][16]` elements.
    pub const fn key_block_bytes(self) -> u32 {
        self.head_dim * self.key_line_bytes()
    }

    /// Bytes of one element of the keys of a block of positions.
    pub const fn key_line_bytes(self) -> u32 {
        KEY_BLOCK * self.kv.element_bytes()
    }

    /// Bytes of the values of a position: the heads side by side, then room up to a multiple of 16
    /// elements.
    pub const fn value_row_bytes(self) -> u32 {
        (self.kv_heads * self.head_dim).next_multiple_of(16) * self.kv.element_bytes()
    }

    /// Bytes of the values: a row for each position.
    pub const fn value_bytes(self) -> u64 {
        self.positions() as u64 * self.value_row_bytes() as u64
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

    /// Bytes of one group's scales: one for each position.
    pub const fn scale_row_bytes(self) -> u64 {
        self.positions() as u64 * SCALE_BYTES as u64
    }

    /// Bytes of the keys' scales: `[kv_heads][groups][positions]`; 0 where there are none.
    pub const fn key_scale_bytes(self) -> u64 {
        self.kv_heads as u64 * self.key_groups() as u64 * self.scale_row_bytes()
    }

    /// Bytes of the values' scales: `[kv_heads][groups][positions]`; 0 where there are none.
    pub const fn value_scale_bytes(self) -> u64 {
        self.kv_heads as u64 * self.value_groups() as u64 * self.scale_row_bytes()
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
        let groups = self.key_groups() + self.value_groups();
        let keys = self.kv_heads as u64 * self.head_dim as u64 * self.kv.element_bytes() as u64;
        keys + self.value_row_bytes() as u64
            + self.kv_heads as u64 * groups as u64 * SCALE_BYTES as u64
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
