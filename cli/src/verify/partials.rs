//! Where partial results of attention lie: what is known of each chunk of positions.
//!
//! Said here a second time, as those who read the numbers have to believe the layout.

use deepthin_compiler::lower::vector_bytes;

/// The record of a chunk, in words of f32: greatest scores, sums of weights, sums of values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Records {
    /// Query heads.
    heads: usize,
    /// Elements of a head.
    pub(super) head_dim: usize,
}

impl Records {
    /// The records of so many query heads.
    pub(super) fn new(heads: u32, head_dim: u32) -> Self {
        Records { heads: heads as usize, head_dim: head_dim as usize }
    }

    /// From a row with a number for each head to the next.
    fn row(self) -> usize {
        self.heads.next_multiple_of(16)
    }

    /// From a head's sums to the next one's.
    fn vector(self) -> usize {
        vector_bytes(u32::try_from(self.head_dim).unwrap_or(0)) as usize / 4
    }

    /// From a record to the next.
    pub(super) fn words(self) -> usize {
        2 * self.row() + self.heads * self.vector()
    }

    /// The place of a head's greatest score in its record.
    pub(super) fn maximum(self, head: usize) -> usize {
        debug_assert!(head < self.heads);
        head
    }

    /// The place of a head's sum of weights.
    pub(super) fn total(self, head: usize) -> usize {
        self.row() + head
    }

    /// The place of one of a head's sums of values.
    pub(super) fn sum(self, head: usize, element: usize) -> usize {
        2 * self.row() + head * self.vector() + element
    }

    /// Makes sums of weights such as attention gives: the weight of the greatest score is 1, that of
    /// no position more.
    pub(super) fn make_possible(self, words: &mut [f32]) {
        for record in words.chunks_exact_mut(self.words()) {
            for total in &mut record[self.total(0)..self.total(self.heads)] {
                *total = 1.0 + total.abs().min(63.0);
            }
        }
    }
}
