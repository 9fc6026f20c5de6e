//! Sums and maxima over 16 virtual lanes: the same bits for 4, 8 and 16 machine lanes.

use crate::vir::{Builder, ReduceOp, ValueId};

/// Virtual lanes of every reduction.
pub(super) const VIRTUAL_LANES: u32 = 16;

/// Combines 16 virtual lanes, given as 16/lanes vectors of ascending lanes: j with j + 8, + 4,
/// + 2, + 1. The result is in every lane.
pub(super) fn tree(b: &mut Builder, op: ReduceOp, vectors: &[ValueId]) -> ValueId {
    let binary = op.of_lanes();
    let mut level = vectors.to_vec();
    while level.len() > 1 {
        let (low, high) = level.split_at(level.len() / 2);
        level = low.iter().zip(high).map(|(&l, &h)| b.binary(binary, l, h)).collect();
    }
    b.reduce(op, level[0])
}
