//! Makes a failing call smaller: least scalars, shortest shares, zeros wherever they will do.

use std::borrow::Cow;
use std::sync::Arc;

use deepthin_compiler::vir::{Index, check_scalars};

use super::case::Case;

/// Bytes that are never cut: an f32.
const WORD: usize = 4;

/// A smaller call that still `fails`, found in at most `runs` tries.
pub fn minimize(
    case: &Case<'_>,
    runs: u32,
    fails: impl FnMut(&Case<'static>) -> bool,
) -> Case<'static> {
    let mut minimizer = Minimizer { case: case.owned(), fails, runs };
    minimizer.scalars();
    minimizer.buffers();
    minimizer.case
}

struct Minimizer<F> {
    /// The smallest call that failed so far.
    case: Case<'static>,
    fails: F,
    /// Tries left.
    runs: u32,
}

impl<F: FnMut(&Case<'static>) -> bool> Minimizer<F> {
    /// Keeps a change where the call still fails with it.
    fn keeps(&mut self, change: impl FnOnce(&mut Case<'static>)) -> bool {
        if self.runs == 0 {
            return false;
        }
        let mut changed = self.case.clone();
        change(&mut changed);
        if check_scalars(&changed.kernel, &changed.scalars).is_err() {
            return false;
        }
        self.runs -= 1;
        let fails = (self.fails)(&changed);
        if fails {
            self.case = changed;
        }
        fails
    }

    fn scalars(&mut self) {
        let kernel = Arc::clone(&self.case.kernel);
        for (i, index) in kernel.indices.values().enumerate() {
            match index {
                Index::Scalar { lo, .. } => self.lower(i, *lo),
                Index::RangeBegin { .. } => self.shorten(i),
                Index::RangeEnd { .. } => {}
                Index::Loop => break,
            }
        }
    }

    fn scalar(&self, i: usize) -> i64 {
        self.case.scalars.get(i).copied().unwrap_or(0)
    }

    fn set(&mut self, values: &[(usize, i64)]) -> bool {
        self.keeps(|case| {
            for (i, value) in values {
                if let Some(scalar) = case.scalars.get_mut(*i) {
                    *scalar = *value;
                }
            }
        })
    }

    /// Halves the distance of a scalar from its least value as long as that fails.
    fn lower(&mut self, i: usize, least: i64) {
        let mut distance = self.scalar(i) - least;
        while distance > 0 {
            let smaller = if self.set(&[(i, least)]) { 0 } else { distance / 2 };
            if smaller == 0 || !self.set(&[(i, least + smaller)]) {
                return;
            }
            distance = smaller;
        }
    }

    /// Empties a share, or halves it as long as one of its halves fails; then moves it to 0.
    fn shorten(&mut self, begin: usize) {
        while !self.set(&[(begin, 0), (begin + 1, 0)]) {
            let (first, last) = (self.scalar(begin), self.scalar(begin + 1));
            let middle = first + (last - first) / 2;
            let front = middle > first && self.set(&[(begin + 1, middle)]);
            if !front && (middle == first || !self.set(&[(begin, middle)])) {
                self.set(&[(begin, 0), (begin + 1, last - first)]);
                return;
            }
        }
    }

    /// Zeros whole buffers, then halves, quarters, .. of those that must not be zero whole.
    fn buffers(&mut self) {
        for i in 0..self.case.buffers.len() {
            let bytes = self.case.buffers.get(i).map_or(0, |buffer| buffer.len());
            let mut size = bytes;
            while size >= WORD && self.runs > 0 {
                for first in (0..bytes).step_by(size) {
                    self.zero(i, first, (first + size).min(bytes));
                }
                size = match size {
                    WORD => 0,
                    size => (size / 2).next_multiple_of(WORD),
                };
            }
        }
    }

    fn zero(&mut self, i: usize, first: usize, end: usize) {
        let part = self.case.buffers.get(i).and_then(|buffer| buffer.get(first..end));
        if part.is_none_or(|part| part.iter().all(|byte| *byte == 0)) {
            return;
        }
        self.keeps(|case| {
            let buffer = case.buffers.get_mut(i).map(Cow::to_mut);
            if let Some(part) = buffer.and_then(|buffer| buffer.get_mut(first..end)) {
                part.fill(0);
            }
        });
    }
}
