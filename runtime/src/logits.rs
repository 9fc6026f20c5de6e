//! The logits of a token, and questions about all of them, answered block by block.
//!
//! A vocabulary has some ten thousand tokens: looked at one by one, with a branch for each, the
//! logits of a small model take as long as several of its layers. So each block comes with its
//! greatest, which the kernel that computes the logits leaves beside them.

use std::borrow::Cow;
use std::ops::Deref;

/// Logits whose greatest is known.
pub const BLOCK: usize = 32;

/// The rank of what is not finite: greater than that of any number.
const NOT_FINITE: i32 = i32::MAX;

/// One logit for each token of the vocabulary, with the greatest rank of each block.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits<'a> {
    values: &'a [f32],
    maxima: Cow<'a, [i32]>,
}

/// A copy of logits, some of which are changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changed {
    values: Vec<f32>,
    maxima: Vec<i32>,
}

/// A number that orders finite logits as they are: -0 is 0. Of what is not finite, the greatest.
pub(crate) fn rank(logit: f32) -> i32 {
    let bits = (logit + 0.0).to_bits().cast_signed();
    // The bits of negative numbers ascend as the numbers descend.
    let rank = bits ^ ((bits >> 31) & i32::MAX);
    let is_finite = bits & i32::MAX < f32::INFINITY.to_bits().cast_signed();
    if is_finite { rank } else { NOT_FINITE }
}

impl<'a, T: AsRef<[f32]> + ?Sized> From<&'a T> for Logits<'a> {
    fn from(values: &'a T) -> Self {
        let values = values.as_ref();
        Logits { values, maxima: values.chunks(BLOCK).map(greatest).collect() }
    }
}

fn greatest(block: &[f32]) -> i32 {
    block.iter().fold(i32::MIN, |most, logit| rank(*logit).max(most))
}

impl Changed {
    /// Takes these logits in place of those before.
    pub(crate) fn copy(&mut self, logits: &Logits<'_>) {
        self.values.clear();
        self.values.extend_from_slice(logits);
        self.maxima.clear();
        self.maxima.extend_from_slice(&logits.maxima);
    }

    /// Changes a logit, if there is one at this place.
    pub(crate) fn change(&mut self, at: usize, change: impl FnOnce(f32) -> f32) {
        let Some(logit) = self.values.get_mut(at) else { return };
        *logit = change(*logit);
        let block = at / BLOCK;
        if let Some((maximum, block)) =
            self.maxima.get_mut(block).zip(self.values.chunks(BLOCK).nth(block))
        {
            *maximum = greatest(block);
        }
    }

    /// The logits as they are now.
    pub(crate) fn logits(&self) -> Logits<'_> {
        Logits { values: &self.values, maxima: Cow::Borrowed(&self.maxima) }
    }
}

impl Deref for Logits<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.values
    }
}

impl<'a> Logits<'a> {
    /// Logits whose maxima were computed with them.
    pub(crate) fn with_maxima(values: &'a [f32], maxima: &'a [i32]) -> Self {
        debug_assert_eq!(maxima, &*Logits::from(values).maxima, "the kernel's maxima");
        Logits { values, maxima: Cow::Borrowed(maxima) }
    }

    /// The logits by themselves.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The first logit that is infinite or NaN.
    pub(crate) fn first_non_finite(&self) -> Option<usize> {
        self.first_of(|greatest| greatest == NOT_FINITE)
    }

    /// The highest of finite logits, the first of equal ones.
    pub(crate) fn highest(&self) -> Option<usize> {
        let highest = *self.maxima.iter().max()?;
        self.first_of(|greatest| greatest == highest)
    }

    /// The first logit that is the greatest of the first such block.
    fn first_of(&self, is_meant: impl Fn(i32) -> bool) -> Option<usize> {
        let block = self.maxima.iter().position(|greatest| is_meant(*greatest))?;
        let first = block * BLOCK;
        let within = self.values.get(first..)?.iter().position(|logit| is_meant(rank(*logit)))?;
        Some(first + within)
    }

    /// Some of finite logits, ascending, among which are the `count` highest and all that equal the
    /// lowest of these.
    pub(crate) fn among_highest(&self, count: usize) -> Vec<usize> {
        // As many blocks have a logit of at least this rank; with fewer blocks, or none asked for,
        // all logits are taken.
        let least = match count.checked_sub(1) {
            Some(last) if last < self.maxima.len() => {
                let descending = |a: &i32, b: &i32| b.cmp(a);
                *self.maxima.to_vec().select_nth_unstable_by(last, descending).1
            }
            _ => i32::MIN,
        };
        self.of_rank(least)
    }

    /// The finite logits of this rank or more, ascending by place.
    pub(crate) fn of_rank(&self, least: i32) -> Vec<usize> {
        let mut found = Vec::new();
        let blocks = self.maxima.iter().zip(self.values.chunks(BLOCK));
        for (number, (greatest, block)) in blocks.enumerate() {
            if *greatest >= least {
                let numbered = (number * BLOCK..).zip(block);
                found
                    .extend(numbered.filter(|(_, logit)| rank(**logit) >= least).map(|(at, _)| at));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Changed, Logits, rank};

    /// Numbers with many equals, both zeros among them.
    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let values = [-0.0, 0.0, 1.5, -2.5, f32::MAX, f32::MIN];
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            values[(state >> 33) as u32 as usize % values.len()]
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn ranks_ascend_with_the_numbers() {
        let ascending =
            [f32::MIN, -1.5, -f32::MIN_POSITIVE, -f32::from_bits(1), 0.0, 1e-40, 1.0, f32::MAX];
        assert!(ascending.windows(2).all(|two| rank(two[0]) < rank(two[1])));
        assert_eq!(rank(-0.0), rank(0.0));
    }

    #[test]
    fn the_first_that_is_not_finite_is_found() {
        for count in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7] {
            let finite = numbers(count, 3);
            assert_eq!(Logits::from(&finite).first_non_finite(), None);
            for at in 0..count {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
                    let mut logits = finite.clone();
                    logits[at..].iter_mut().step_by(70).for_each(|logit| *logit = bad);
                    assert_eq!(Logits::from(&logits).first_non_finite(), Some(at));
                }
            }
        }
    }

    #[test]
    fn the_highest_are_those_of_all_in_order() {
        for (seed, count) in [0, 1, 2, BLOCK, BLOCK + 1, 9 * BLOCK + 5].into_iter().enumerate() {
            let logits = numbers(count, seed as u64);
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by_key(|at| (std::cmp::Reverse(rank(logits[*at])), *at));
            let logits = Logits::from(&logits);
            assert_eq!(logits.highest(), order.first().copied());
            for kept in 0..=count {
                let found = logits.among_highest(kept);
                assert!(found.is_sorted());
                assert!(order[..kept].iter().all(|at| found.binary_search(at).is_ok()));
            }
        }
    }

    #[test]
    fn changed_logits_are_as_if_they_had_been_so() {
        let mut logits = numbers(3 * BLOCK + 5, 7);
        let mut changed = Changed::default();
        changed.copy(&Logits::from(&logits));
        for at in [0, BLOCK - 1, BLOCK, 3 * BLOCK + 4, 3 * BLOCK + 5] {
            changed.change(at, |logit| -2.0 * logit.abs().min(1e3));
            if let Some(logit) = logits.get_mut(at) {
                *logit = -2.0 * logit.abs().min(1e3);
            }
            assert_eq!(changed.logits(), Logits::from(&logits));
        }
        changed.copy(&Logits::from(&[1.0]));
        assert_eq!(changed.logits(), Logits::from(&[1.0]));
    }

    #[test]
    fn few_are_taken_where_few_are_asked_for() {
        let logits: Vec<f32> =
            (0_u16..4096).map(|i| f32::from(i % 64) + f32::from(i) / 1e4).collect();
        assert!(Logits::from(&logits).among_highest(3).len() < 64);
    }
}
