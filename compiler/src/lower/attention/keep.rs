//! What becomes of what a chunk gives: it is merged with what came before, or left for a merge.

use super::blocks::Block;
use crate::vir::{Builder, IndexId, ValueId};

/// What becomes of what a chunk gives.
pub(super) trait Keep {
    /// Takes the greatest score of each of a block's heads, and the sum of its weights.
    fn weights(&self, b: &mut Builder, at: &Place<'_>, maxima: &[ValueId], totals: &[ValueId]);

    /// Takes the weighted values of one of a block's heads, a vector of channels from `start` on.
    fn values(&self, b: &mut Builder, at: &Place<'_>, head: u32, start: u32, sum: ValueId);
}

/// What is kept of a head beside the sums of its weighted values: of one chunk, or of all so far.
#[derive(Clone, Copy)]
pub(super) enum State {
    /// The greatest score.
    Maximum,
    /// The sum of the weights.
    Total,
}

/// Some heads in a chunk.
pub(super) struct Place<'a> {
    pub(super) block: &'a Block,
    pub(super) chunk: IndexId,
}
