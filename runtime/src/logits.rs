//! Questions about all logits of a token, answered block by block with whole vectors.
//!
//! A vocabulary has some ten thousand tokens: looked at one by one, with a branch for each, the
//! logits of a small model take as long as several of its layers.

/// Logits that are looked at together: their greatest is found without a branch.
const BLOCK: usize = 64;

/// A number that orders finite logits as they are: -0 is 0.
pub(crate) fn rank(logit: f32) -> i32 {
    let bits = (logit + 0.0).to_bits().cast_signed();
    // The bits of negative numbers ascend as the numbers descend.
    bits ^ ((bits >> 31) & i32::MAX)
}

/// The first logit that is infinite or NaN.
pub(crate) fn first_non_finite(logits: &[f32]) -> Option<usize> {
    let magnitude = |logit: &f32| logit.abs().to_bits().cast_signed();
    let finite = |block: &[f32]| {
        let greatest = block.iter().fold(0, |greatest, logit| magnitude(logit).max(greatest));
        greatest < f32::INFINITY.to_bits().cast_signed()
    };
    let block = logits.chunks(BLOCK).position(|block| !finite(block))?;
    let within = |block: &[f32]| block.iter().position(|logit| !logit.is_finite());
    let first = block * BLOCK;
    logits.get(first..).and_then(within).map(|at| first + at)
}

/// The highest of finite logits, the first of equal ones.
pub(crate) fn highest(logits: &[f32]) -> Option<usize> {
    let mut best = (0, i32::MIN);
    for (number, block) in logits.chunks(BLOCK).enumerate() {
        let greatest = greatest(block);
        if greatest > best.1 {
            best = (number, greatest);
        }
    }
    let first = best.0 * BLOCK;
    let block = logits.get(first..)?;
    block.iter().position(|logit| rank(*logit) == best.1).map(|at| first + at)
}

/// Some of finite logits, ascending, among which are the `count` highest and all that equal the
/// lowest of these.
pub(crate) fn among_highest(logits: &[f32], count: usize) -> Vec<usize> {
    let mut ranks: Vec<i32> = logits.chunks(BLOCK).map(greatest).collect();
    // As many blocks have a logit of at least this rank; with fewer blocks, or none asked for, all
    // logits are taken.
    let least = match count.checked_sub(1) {
        Some(last) if last < ranks.len() => {
            let descending = |a: &i32, b: &i32| b.cmp(a);
            *ranks.select_nth_unstable_by(last, descending).1
        }
        _ => i32::MIN,
    };
    from_rank(logits, least)
}

/// The finite logits of this rank or more, ascending by place.
pub(crate) fn from_rank(logits: &[f32], least: i32) -> Vec<usize> {
    let mut found = Vec::new();
    for (number, block) in logits.chunks(BLOCK).enumerate() {
        if greatest(block) >= least {
            let numbered = (number * BLOCK..).zip(block);
            found.extend(numbered.filter(|(_, logit)| rank(**logit) >= least).map(|(at, _)| at));
        }
    }
    found
}

fn greatest(block: &[f32]) -> i32 {
    block.iter().fold(i32::MIN, |greatest, logit| rank(*logit).max(greatest))
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, among_highest, first_non_finite, highest, rank};

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
            assert_eq!(first_non_finite(&finite), None);
            for at in 0..count {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
                    let mut logits = finite.clone();
                    logits[at..].iter_mut().step_by(70).for_each(|logit| *logit = bad);
                    assert_eq!(first_non_finite(&logits), Some(at));
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
            assert_eq!(highest(&logits), order.first().copied());
            for kept in 0..=count {
                let found = among_highest(&logits, kept);
                assert!(found.is_sorted());
                assert!(order[..kept].iter().all(|at| found.binary_search(at).is_ok()));
            }
        }
    }

    #[test]
    fn few_are_taken_where_few_are_asked_for() {
        let logits: Vec<f32> =
            (0_u16..4096).map(|i| f32::from(i % 64) + f32::from(i) / 1e4).collect();
        assert!(among_highest(&logits, 3).len() < 64);
    }
}
