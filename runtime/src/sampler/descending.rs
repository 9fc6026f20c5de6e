//! Candidates from the likeliest on, sorted only as far as they are looked at.
//!
//! Of a vocabulary of some ten thousand tokens a draw looks at the first few hundred, and sorting
//! all of them takes as long as computing their logits.

use crate::logits::rank;
use std::cmp::Reverse;

/// A token that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) id: u32,
    pub(super) logit: f32,
}

impl Candidate {
    /// Orders the higher logit first, and of equal logits (-0 is 0) the lower id.
    fn key(&self) -> (Reverse<i32>, u32) {
        (Reverse(rank(self.logit)), self.id)
    }
}

/// How many are sorted at first.
const FIRST: usize = 256;

/// How many times as many are sorted where these were not enough.
const MORE: usize = 8;

/// Candidates in descending order.
pub(super) struct Descending<'a> {
    candidates: &'a mut [Candidate],
    /// So many stand at their places, all others behind them.
    sorted: usize,
}

impl<'a> Descending<'a> {
    /// Of candidates in any order.
    pub(super) fn new(candidates: &'a mut [Candidate]) -> Self {
        Descending { candidates, sorted: 0 }
    }

    /// The candidate at a place, if there are so many.
    pub(super) fn get(&mut self, at: usize) -> Option<Candidate> {
        self.sort(at.saturating_add(1));
        self.candidates.get(at).copied()
    }

    /// Brings at least the first `count` to their places, or all if there are fewer.
    pub(super) fn sort(&mut self, count: usize) {
        while self.sorted < count.min(self.candidates.len()) {
            self.sort_more();
        }
    }

    /// All of them, in the order in which they are.
    pub(super) fn all(&self) -> &[Candidate] {
        self.candidates
    }

    fn sort_more(&mut self) {
        let goal = self.sorted.saturating_mul(MORE).clamp(FIRST, self.candidates.len().max(FIRST));
        let rest = self.candidates.get_mut(self.sorted..).unwrap_or_default();
        let count = (goal - self.sorted).min(rest.len());
        if count < rest.len() {
            rest.select_nth_unstable_by_key(count, Candidate::key);
        }
        rest.get_mut(..count).unwrap_or_default().sort_unstable_by_key(Candidate::key);
        self.sorted += count;
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, Descending, FIRST, MORE};

    #[test]
    fn candidates_come_in_the_order_of_a_whole_sort() {
        for count in [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST * MORE + 1, FIRST * MORE * MORE + 3]
        {
            let number = |at: usize| at * 7919 % 1009;
            let logit = |at: usize| f32::from(u16::try_from(number(at)).unwrap()) - 500.0;
            let ids = (0..count).zip(0..);
            let mut candidates: Vec<Candidate> =
                ids.map(|(at, id)| Candidate { id, logit: logit(at) }).collect();
            let mut sorted = candidates.clone();
            sorted.sort_by_key(Candidate::key);
            let mut descending = Descending::new(&mut candidates);
            let found: Vec<Candidate> = (0..).map_while(|at| descending.get(at)).collect();
            assert_eq!(found, sorted);
        }
    }
}
