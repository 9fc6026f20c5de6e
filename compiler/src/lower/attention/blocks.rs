//! Which query heads go through a chunk together.
//!
//! The heads that share a KV head read the same keys and values. A block of them does so at once,
//! so that an element is read from the cache, and brought to f32, once for the block, and so that
//! there are enough independent sums to keep the units busy.

use super::Attention;
use crate::vir::{Affine, Builder, IndexId};

/// Most heads of a block: their sums, queries and a key have to fit in registers, the two factors of
/// each in a vector. Of the narrowest vectors 16 keys take four, each with a sum for every head.
const fn most_heads(lanes: u32) -> u32 {
    if lanes <= 4 { 2 } else { 4 }
}

/// Query heads side by side that share a KV head.
#[derive(Clone)]
pub(super) struct Block {
    pub(super) kv: IndexId,
    /// How many share it.
    group: u32,
    /// The number of the first among those that share the KV head.
    first: Affine,
    pub(super) heads: u32,
}

impl Block {
    /// The number of a head of the block among those that share the KV head.
    pub(super) fn member(&self, head: u32) -> Affine {
        self.first.clone().offset(i64::from(head))
    }

    /// The number of a head of the block among all.
    pub(super) fn number(&self, head: u32) -> Affine {
        self.member(head).plus(self.kv, i64::from(self.group))
    }
}

/// Heads of a block where `group` of them share a KV head: as many as divide them evenly.
pub(super) fn block_heads(group: u32, lanes: u32) -> u32 {
    (1..=most_heads(lanes).min(group)).rev().find(|heads| group.is_multiple_of(*heads)).unwrap_or(1)
}

impl Attention {
    /// The heads that share a KV head one by one.
    pub(super) fn over_heads(
        &self,
        b: &mut Builder,
        kv: IndexId,
        body: impl FnOnce(&mut Builder, &Block),
    ) {
        self.over_blocks_of(1, b, kv, body);
    }

    /// The heads that share a KV head in blocks.
    pub(super) fn over_blocks(
        &self,
        b: &mut Builder,
        kv: IndexId,
        body: impl FnOnce(&mut Builder, &Block),
    ) {
        self.over_blocks_of(block_heads(self.group, b.lanes()), b, kv, body);
    }

    fn over_blocks_of(
        &self,
        heads: u32,
        b: &mut Builder,
        kv: IndexId,
        body: impl FnOnce(&mut Builder, &Block),
    ) {
        let group = self.group;
        b.repeat(group / heads, |b, number| {
            body(b, &Block { kv, group, first: Affine::index(number, i64::from(heads)), heads });
        });
    }
}
