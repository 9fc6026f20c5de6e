//! Scalars of calls: inside the declared bounds, and as often as not at their ends.

use deepthin_compiler::vir::{Index, Kernel};
use deepthin_runtime::program::ScalarSource;

use super::choices::Choices;

/// Scalars within the declared bounds, each for itself: often at their ends, ranges empty, whole,
/// or in between.
pub fn any_scalars(kernel: &Kernel, choices: &mut Choices) -> Vec<i64> {
    let mut scalars = Vec::new();
    for index in kernel.indices.values() {
        let (lo, hi) = match index {
            Index::Scalar { lo, hi, .. } => (*lo, *hi),
            Index::RangeBegin { count, .. } => (0, i64::from(*count)),
            Index::RangeEnd { count } => (scalars.last().copied().unwrap_or(0), i64::from(*count)),
            Index::Loop => break,
        };
        let inside = choices.within(lo, hi);
        scalars.push(choices.pick(&[lo, hi, inside, inside]));
    }
    scalars
}

/// The least scalars with which a kernel has something to do: shares of one unit.
pub fn one_unit(kernel: &Kernel) -> Vec<i64> {
    let least = |index: &Index| match index {
        Index::Scalar { lo, .. } => Some(*lo),
        Index::RangeBegin { .. } => Some(0),
        Index::RangeEnd { count } => Some(i64::from(*count).min(1)),
        Index::Loop => None,
    };
    kernel.indices.values().map_while(least).collect()
}

/// Halves every share of more than one unit; where there is none, the distance of each scalar from
/// its least value. `false` where nothing is left to halve.
pub fn narrow(kernel: &Kernel, scalars: &mut [i64]) -> bool {
    let mut narrowed = false;
    for (i, index) in kernel.indices.values().enumerate() {
        if let (Index::RangeBegin { .. }, Some([begin, end])) = (index, scalars.get_mut(i..i + 2)) {
            let half = (*end - *begin) / 2;
            narrowed |= half > 0;
            *end = if half > 0 { *begin + half } else { *end };
        }
    }
    if narrowed {
        return true;
    }
    for (index, scalar) in kernel.indices.values().zip(scalars) {
        if let Index::Scalar { lo, .. } = index {
            narrowed |= *scalar > *lo;
            *scalar = lo + (*scalar - lo) / 2;
        }
    }
    narrowed
}

/// A place in a sequence: what a session derives scalars from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Absolute position of the call's first token.
    pub position: u32,
    /// Id of the call's first token.
    pub token: u32,
}

/// Scalars that a session would pass at a place of the program, where there are `whole` units, with
/// a share of at most `units` units: all, those of one of two or three threads, one, now and then
/// none; at the beginning, at the end, in between.
pub fn session_scalars(
    kernel: &Kernel,
    sources: &[ScalarSource],
    place: Place,
    [whole, units]: [u32; 2],
    choices: &mut Choices,
) -> Vec<i64> {
    let mut scalars: Vec<i64> = Vec::new();
    let mut units = units;
    for (index, source) in kernel.indices.values().zip(sources) {
        let value = match (index, source) {
            (Index::RangeBegin { .. }, _) => {
                let shares = [whole, whole, whole.div_ceil(2), whole.div_ceil(3), 1];
                units = units.min(choices.pick(&shares));
                let last = i64::from(whole.saturating_sub(units));
                let inside = choices.within(0, last);
                choices.pick(&[0, last, inside, inside])
            }
            (Index::RangeEnd { .. }, _) => {
                let begin = scalars.last().copied().unwrap_or(0);
                let most = i64::from(whole).min(begin + i64::from(units));
                let inside = choices.within(begin, most);
                choices.pick(&[most, most, most, inside])
            }
            (Index::Scalar { .. }, ScalarSource::Position(quotient)) => quotient.of(place.position),
            (Index::Scalar { .. }, ScalarSource::TokenId(quotient)) => quotient.of(place.token),
            (Index::Scalar { lo, .. }, ScalarSource::RangeBegin | ScalarSource::RangeEnd) => *lo,
            (Index::Loop, _) => break,
        };
        scalars.push(value);
    }
    scalars
}

/// Every combination of least and greatest scalars, and of whole, empty and partial ranges, up
/// to `limit` of them.
pub fn corner_scalars(kernel: &Kernel, limit: usize) -> Vec<Vec<i64>> {
    let mut corners: Vec<Vec<i64>> = vec![Vec::new()];
    for index in kernel.indices.values() {
        let mut longer = Vec::new();
        for corner in &corners {
            let mut ends = match index {
                Index::Scalar { lo, hi, .. } => vec![*lo, *hi],
                Index::RangeBegin { count, .. } => {
                    vec![0, i64::from(*count) / 2, i64::from(*count)]
                }
                Index::RangeEnd { count } => {
                    vec![corner.last().copied().unwrap_or(0), i64::from(*count)]
                }
                Index::Loop => return corners,
            };
            ends.dedup();
            longer.extend(ends.into_iter().map(|end| [corner.as_slice(), &[end]].concat()));
        }
        // An even sample keeps both ends of the later parameters.
        let step = longer.len().div_ceil(limit.max(1));
        corners = longer.into_iter().step_by(step.max(1)).collect();
    }
    corners
}
