//! Joins adjacent symbols of a text, the most urgent pair first, in n log n steps.
//!
//! Both kinds of byte pair encoding do this; they differ in what a symbol is at first, and in
//! which pairs join. The symbols are a linked list, and the pairs that may be joined wait in a
//! heap. A pair that a join before it has changed is recognized when its turn comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A symbol: some bytes of the text, linked to its neighbors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    /// Where it begins.
    pub(super) start: usize,
    /// Its bytes; 0 once it has been joined to the symbol before it.
    len: usize,
    /// The token of these bytes, if there is one.
    pub(super) id: Option<u32>,
    previous: Option<usize>,
    next: Option<usize>,
}

impl Symbol {
    /// Where it ends.
    pub(super) fn end(&self) -> usize {
        self.start + self.len
    }
}

/// What a pair becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Join {
    /// The lower, the earlier it is done; of equal ranks the leftmost.
    pub(super) rank: u32,
    /// The token of both.
    pub(super) id: u32,
}

/// A pair that may be joined, in the order in which pairs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    position: usize,
    /// The lengths of both symbols. A symbol only grows, and what follows it changes only with
    /// it: symbols of these lengths are those that were considered.
    lens: (usize, usize),
    id: u32,
}

/// Joins the symbols of one text after the other, in memory that it keeps.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    candidates: BinaryHeap<Reverse<Candidate>>,
}

impl Merger {
    /// Most bytes of memory that a symbol takes: itself and two candidates at a time, in lists that
    /// grow by doubling.
    pub(super) const SYMBOL_BYTES: usize =
        2 * (size_of::<Symbol>() + 2 * size_of::<Reverse<Candidate>>());

    /// Forgets all symbols.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.candidates.clear();
    }

    /// Appends a symbol of `len` bytes, not 0.
    pub(super) fn push(&mut self, len: usize, id: Option<u32>) {
        let position = self.symbols.len();
        let start = match self.symbols.last_mut() {
            Some(last) => {
                last.next = Some(position);
                last.end()
            }
            None => 0,
        };
        let previous = position.checked_sub(1);
        self.symbols.push(Symbol { start, len, id, previous, next: None });
    }

    /// Joins until `join` names no pair any more.
    pub(super) fn merge(&mut self, join: impl Fn(&Symbol, &Symbol) -> Option<Join>) {
        for position in 0..self.symbols.len() {
            self.consider(position, &join);
        }
        while let Some(Reverse(candidate)) = self.candidates.pop() {
            self.join(candidate, &join);
        }
    }

    /// The symbols that are left, in the order of the text.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }

    /// Adds the pair that begins at `position` to the candidates, if it may be joined.
    fn consider(&mut self, position: usize, join: &impl Fn(&Symbol, &Symbol) -> Option<Join>) {
        let left = self.symbols[position];
        let Some(right) = left.next.map(|next| self.symbols[next]) else { return };
        if let Some(Join { rank, id }) = join(&left, &right) {
            let lens = (left.len, right.len);
            self.candidates.push(Reverse(Candidate { rank, position, lens, id }));
        }
    }

    /// Joins a pair, unless it is no longer there.
    fn join(&mut self, candidate: Candidate, join: &impl Fn(&Symbol, &Symbol) -> Option<Join>) {
        let position = candidate.position;
        let left = self.symbols[position];
        let Some(next) = left.next else { return };
        let right = self.symbols[next];
        if (left.len, right.len) != candidate.lens {
            return;
        }
        self.symbols[position] =
            Symbol { len: left.len + right.len, id: Some(candidate.id), next: right.next, ..left };
        self.symbols[next].len = 0;
        if let Some(after) = right.next {
            self.symbols[after].previous = Some(position);
        }
        self.consider(position, join);
        if let Some(previous) = left.previous {
            self.consider(previous, join);
        }
    }
}
