//! Which query heads go through a chunk together.
//!
//! The heads that share a KV head read the same keys and values. A block of them does so at once,
//! so that an element is read from the cache, and brought to f32, once for the block, and so that
//! there are enough independent sums to keep the units busy. A thread's share may end anywhere in a
//! group: heads of a block that is cut go one by one.

use super::Attention;
use crate::vir::{Affine, Bound, Builder, IndexId};

/// Most heads of a block: their sums, queries and a key have to fit in registers, the two factors of
/// each in a vector. Of the narrowest vectors 16 keys take four, each with a sum for every head.
const fn most_heads(lanes: u32) -> u32 {
    if lanes <= 4 { 2 } else { 4 }
}

/// A KV head, and the thread's share of all query heads.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) kv: IndexId,
    pub(super) share: (IndexId, IndexId),
}

/// Query heads side by side that share a KV head.
#[derive(Clone)]
pub(super) struct Block {
    pub(super) kv: IndexId,
    /// The number of the first among those that share the KV head.
    first: Affine,
    pub(super) heads: u32,
}

impl Block {
    /// The number of a head of the block among those that share the KV head.
    pub(super) fn member(&self, head: u32) -> Affine {
        self.first.clone().offset(i64::from(head))
    }
}

/// Heads of a block where `group` of them share a KV head: as many as divide them evenly.
pub(super) fn block_heads(group: u32, lanes: u32) -> u32 {
    (1..=most_heads(lanes).min(group)).rev().find(|heads| group.is_multiple_of(*heads)).unwrap_or(1)
}

impl Attention {
    /// A body that runs once where the thread has any of a group's heads.
    pub(super) fn where_any(&self, b: &mut Builder, group: Group, body: impl FnOnce(&mut Builder)) {
        let first = |member: u32| self.head_number(group, &Affine::constant(i64::from(member)));
        let begin = at_least(group.share.0, first(self.group));
        let end = at_least(group.share.1, first(1));
        once(b, begin, end, body);
    }

    /// The thread's heads of a group one by one.
    pub(super) fn over_heads(
        &self,
        b: &mut Builder,
        group: Group,
        body: impl Fn(&mut Builder, &Block),
    ) {
        self.one_by_one(b, group, &Affine::constant(0), self.group, &body);
    }

    /// The thread's heads of a group in blocks.
    pub(super) fn over_blocks(
        &self,
        b: &mut Builder,
        group: Group,
        body: impl Fn(&mut Builder, &Block),
    ) {
        let heads = block_heads(self.group, b.lanes());
        if heads == 1 {
            return self.over_heads(b, group, body);
        }
        b.repeat(self.group / heads, |b, number| {
            let first = Affine::index(number, i64::from(heads));
            let start = self.head_number(group, &first);
            let end = start.clone().offset(i64::from(heads));
            let (share_begin, share_end) = group.share;
            let reaches_end = || at_least(share_end, end.clone());
            let begins_inside = || at_least(share_begin, start.clone().offset(1));
            once(b, begins_inside(), reaches_end(), |b| {
                body(b, &Block { kv: group.kv, first: first.clone(), heads });
            });
            // Cut at its end, at its beginning or at both: one of the two.
            once(b, reaches_end(), Bound::Const(1), |b| {
                self.one_by_one(b, group, &first, heads, &body);
            });
            once(b, Bound::Const(0), begins_inside(), |b| {
                once(b, Bound::Const(0), reaches_end(), |b| {
                    self.one_by_one(b, group, &first, heads, &body);
                });
            });
        });
    }

    /// Those of `count` heads that are the thread's, each as a block.
    fn one_by_one(
        &self,
        b: &mut Builder,
        group: Group,
        first: &Affine,
        count: u32,
        body: &impl Fn(&mut Builder, &Block),
    ) {
        let bound = |scalar| {
            let minus = self.head_number(group, first);
            Bound::Clamp { scalar, minus, lo: 0, hi: count }
        };
        let (begin, end) = group.share;
        b.for_range(bound(begin), bound(end), [], |b, head, []| {
            let first = first.clone().plus(head, 1);
            body(b, &Block { kv: group.kv, first, heads: 1 });
            []
        });
    }

    /// The number among all query heads of one of those that share a KV head.
    fn head_number(&self, group: Group, member: &Affine) -> Affine {
        member.clone().plus(group.kv, i64::from(self.group))
    }
}

/// 1 where a scalar is at least a number, else 0.
fn at_least(scalar: IndexId, number: Affine) -> Bound {
    Bound::Clamp { scalar, minus: number.offset(-1), lo: 0, hi: 1 }
}

/// A body that runs where `begin` is 0 and `end` is 1.
fn once(b: &mut Builder, begin: Bound, end: Bound, body: impl FnOnce(&mut Builder)) {
    b.for_range(begin, end, [], |b, _, []| {
        body(b);
        []
    });
}
