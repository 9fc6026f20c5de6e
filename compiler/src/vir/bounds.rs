//! Interval arithmetic: which values an index expression can take.
//!
//! Every index has an interval (a scalar its declared bounds, a loop variable the span of its
//! loop), and the indices are taken as independent of each other. The least and the greatest
//! value of a linear expression are then exact over that box, so the verifier refuses no more
//! than the independence costs.

use super::{Affine, IndexId};

/// The largest magnitude of an index expression, counting each term by itself: rule V-11.
/// Below it any order of summing in 64 bits is free of overflow.
pub const MAX_MAGNITUDE: i128 = 1 << 62;

/// The integers `lo..=hi`; `lo <= hi` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Least member.
    pub lo: i128,
    /// Greatest member.
    pub hi: i128,
}

impl Interval {
    /// One number.
    pub fn point(at: impl Into<i128>) -> Self {
        let at = at.into();
        Interval { lo: at, hi: at }
    }

    /// `lo..=hi`, or `None` where that is empty.
    pub fn new(lo: impl Into<i128>, hi: impl Into<i128>) -> Option<Self> {
        let (lo, hi) = (lo.into(), hi.into());
        (lo <= hi).then_some(Interval { lo, hi })
    }

    /// The products of the members with `factor`.
    #[must_use]
    pub fn times(self, factor: i64) -> Self {
        let (a, b) = (self.lo.saturating_mul(factor.into()), self.hi.saturating_mul(factor.into()));
        Interval { lo: a.min(b), hi: a.max(b) }
    }

    /// The sums of a member of each.
    #[must_use]
    pub fn plus(self, other: Interval) -> Self {
        Interval { lo: self.lo.saturating_add(other.lo), hi: self.hi.saturating_add(other.hi) }
    }

    /// The differences of a member of each.
    #[must_use]
    pub fn minus(self, other: Interval) -> Self {
        Interval { lo: self.lo.saturating_sub(other.hi), hi: self.hi.saturating_sub(other.lo) }
    }

    /// The members brought into `lo..=hi`; `lo` where that is empty.
    #[must_use]
    pub fn clamped(self, lo: u32, hi: u32) -> Self {
        let (lo, hi) = (i128::from(lo), i128::from(hi.max(lo)));
        Interval { lo: self.lo.clamp(lo, hi), hi: self.hi.clamp(lo, hi) }
    }

    /// The greatest distance from zero.
    pub fn magnitude(self) -> i128 {
        self.lo.saturating_abs().max(self.hi.saturating_abs())
    }

    /// Whether every member is one of `lo..=hi`.
    pub fn within(self, lo: impl Into<i128>, hi: impl Into<i128>) -> bool {
        lo.into() <= self.lo && self.hi <= hi.into()
    }
}

/// What an affine expression can be, given what each index can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Least and greatest value.
    pub interval: Interval,
    /// Sum of the magnitudes of the constant and every term.
    pub magnitude: i128,
}

/// The range of `affine`, or the first index that `interval_of` does not know.
///
/// Sums saturate; whoever keeps [`Range::magnitude`] within [`MAX_MAGNITUDE`] has exact ones.
pub fn range_of(
    affine: &Affine,
    interval_of: impl Fn(IndexId) -> Option<Interval>,
) -> Result<Range, IndexId> {
    let mut interval = Interval::point(affine.base);
    let mut magnitude = interval.magnitude();
    for &(index, factor) in &affine.terms {
        let term = interval_of(index).ok_or(index)?.times(factor);
        interval = interval.plus(term);
        magnitude = magnitude.saturating_add(term.magnitude());
    }
    Ok(Range { interval, magnitude })
}
