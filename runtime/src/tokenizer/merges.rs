//! Byte pair merges: the table of a vocabulary, and how it joins the bytes of a word.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::error::TokenizerError;
use super::vocabulary::TokenIndex;
use crate::gguf::Strings;

/// One entry of the table: the pair `left`, `right` becomes `result`.
#[derive(Debug, Clone, Copy)]
struct Merge {
    right: u32,
    /// The entry's place in the file's list: the lower, the earlier it is applied.
    rank: u32,
    result: u32,
}

/// Which pairs of tokens join, in which order, to which token.
#[derive(Debug)]
pub(super) struct Merges {
    /// The merges of the tokens on the left, ascending, each by its token on the right.
    merges: Vec<Merge>,
    /// Where the merges of a token on the left begin; one more at the end.
    starts: Vec<u32>,
}

impl Merges {
    /// Reads the lines `left right`, most urgent first.
    pub(super) fn new(lines: &Strings, tokens: &TokenIndex<'_>) -> Result<Self, TokenizerError> {
        let mut rows = Vec::with_capacity(lines.len());
        let mut joined = String::new();
        for (index, line) in lines.iter().enumerate() {
            let form = || TokenizerError::MergeForm { index, line: line.to_owned() };
            let (left, right) = line.split_once(' ').ok_or_else(form)?;
            if left.is_empty() || right.is_empty() || right.contains(' ') {
                return Err(form());
            }
            joined.clear();
            joined.extend([left, right]);
            let id = |text: &str| {
                tokens
                    .id(text)
                    .ok_or_else(|| TokenizerError::MergeToken { index, token: text.to_owned() })
            };
            let (left, right, result) = (id(left)?, id(right)?, id(&joined)?);
            if tokens.is_control(result) {
                return Err(TokenizerError::MergeControl { index, token: joined });
            }
            let rank = u32::try_from(index).map_err(|_| form())?;
            rows.push((left, Merge { right, rank, result }));
        }
        rows.sort_unstable_by_key(|(left, merge)| (*left, merge.right, merge.rank));
        check_unique(&rows, lines)?;

        let mut starts = vec![0; tokens.len() + 1];
        let mut position = 0;
        let mut rest = rows.iter().peekable();
        for (left, start) in starts.iter_mut().enumerate() {
            while rest.next_if(|(id, _)| (*id as usize) < left).is_some() {
                position += 1;
            }
            *start = position;
        }
        Ok(Merges { merges: rows.into_iter().map(|(_, merge)| merge).collect(), starts })
    }

    /// The merge of two adjacent tokens, if there is one.
    fn find(&self, left: u32, right: u32) -> Option<Merge> {
        let left = left as usize;
        let (start, end) = (*self.starts.get(left)?, *self.starts.get(left + 1)?);
        let row = self.merges.get(start as usize..end as usize)?;
        let at = row.binary_search_by_key(&right, |merge| merge.right).ok()?;
        row.get(at).copied()
    }
}

/// Refuses the same pair twice, in rows sorted by pair and rank.
fn check_unique(rows: &[(u32, Merge)], lines: &Strings) -> Result<(), TokenizerError> {
    for pair in rows.windows(2) {
        if let [(left, merge), (next_left, next)] = pair
            && (left, merge.right) == (next_left, next.right)
        {
            let (first, second) = (merge.rank as usize, next.rank as usize);
            let line = lines.get(second).unwrap_or_default().to_owned();
            return Err(TokenizerError::DuplicateMerge { line, first, second });
        }
    }
    Ok(())
}

/// A token of the word at hand, linked to its neighbors.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    /// The token, or `None` once it has been joined to the one before it.
    id: Option<u32>,
    previous: Option<usize>,
    next: Option<usize>,
}

/// A pair that may be joined: the lowest rank first, of equal ranks the leftmost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    position: usize,
    left: u32,
    right: u32,
    result: u32,
}

/// Joins the tokens of one word after the other, in memory that it keeps.
///
/// The tokens are a linked list, and the pairs that may be joined wait in a heap. A pair that a
/// join before it has changed is recognized when its turn comes. So a word of n bytes takes
/// n log n steps, however long.
#[derive(Debug)]
pub(super) struct Merger<'a> {
    merges: &'a Merges,
    symbols: Vec<Symbol>,
    candidates: BinaryHeap<Reverse<Candidate>>,
}

impl<'a> Merger<'a> {
    /// A merger by this table.
    pub(super) fn new(merges: &'a Merges) -> Self {
        Merger { merges, symbols: Vec::new(), candidates: BinaryHeap::new() }
    }

    /// Appends the tokens of a word, given as the tokens of its bytes, to `out`.
    pub(super) fn merge(&mut self, bytes: &[u32], out: &mut Vec<u32>) {
        self.symbols.clear();
        self.candidates.clear();
        for (index, &id) in bytes.iter().enumerate() {
            let next = (index + 1 < bytes.len()).then_some(index + 1);
            self.symbols.push(Symbol { id: Some(id), previous: index.checked_sub(1), next });
        }
        for position in 0..bytes.len() {
            self.consider(position);
        }
        while let Some(Reverse(candidate)) = self.candidates.pop() {
            self.join(candidate);
        }
        out.extend(self.symbols.iter().filter_map(|symbol| symbol.id));
    }

    /// Adds the pair that begins at `position` to the candidates, if there is a merge for it.
    fn consider(&mut self, position: usize) {
        let first = self.symbols[position];
        let Some((left, next)) = first.id.zip(first.next) else { return };
        let Some(right) = self.symbols[next].id else { return };
        if let Some(Merge { rank, result, .. }) = self.merges.find(left, right) {
            self.candidates.push(Reverse(Candidate { rank, position, left, right, result }));
        }
    }

    /// Joins a pair, unless one of its tokens is no longer there.
    fn join(&mut self, candidate: Candidate) {
        let position = candidate.position;
        let first = self.symbols[position];
        let Some(next) = first.next else { return };
        let second = self.symbols[next];
        if (first.id, second.id) != (Some(candidate.left), Some(candidate.right)) {
            return;
        }
        self.symbols[position].id = Some(candidate.result);
        self.symbols[position].next = second.next;
        self.symbols[next].id = None;
        if let Some(after) = second.next {
            self.symbols[after].previous = Some(position);
        }
        self.consider(position);
        if let Some(previous) = first.previous {
            self.consider(previous);
        }
    }
}
