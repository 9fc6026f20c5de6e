//! What hints offer: the nearest known name, the nearest fitting numbers.

use crate::number::grouped;

/// Longest name that is compared: longer ones are no slip of the finger.
const MAX_NAME: usize = 32;

/// The known name that `name` is most likely a slip of, if it is near to any.
pub fn nearest_name<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > MAX_NAME {
        return None;
    }
    let near = known.iter().map(|&k| (distance(name, k), k));
    let (edits, best) = near.min_by_key(|&(edits, _)| edits)?;
    // A name of one letter has nothing in common with a slip of it.
    (edits <= name.len().div_ceil(3) && edits < name.len()).then_some(best)
}

/// Insertions, deletions, substitutions and swaps of neighbors that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase().into_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let edit = last[j] + usize::from(x != y);
            let mut best = edit.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// All divisors of a positive `n`, ascending.
pub(crate) fn divisors(n: u32) -> Vec<u32> {
    let small: Vec<u32> = (1..=n)
        .take_while(|d| d.checked_mul(*d).is_some_and(|s| s <= n))
        .filter(|d| n.is_multiple_of(*d))
        .collect();
    let large = small.iter().rev().map(|d| n / d).filter(|d| !small.contains(d));
    small.iter().copied().chain(large).collect()
}

/// The `most` numbers of `list` nearest to `wanted` by ratio, ascending.
pub(crate) fn nearest(list: &[u32], wanted: u32, most: usize) -> Vec<u32> {
    let ratio = |&n: &u32| (f64::from(n.max(1)) / f64::from(wanted.max(1))).ln().abs();
    let mut near = list.to_vec();
    near.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    near.truncate(most);
    near.sort_unstable();
    near
}

/// `1, 3 and 9`, with the last link as given.
pub(crate) fn join(parts: &[String], link: &str) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {link} {last}", first.join(", ")),
    }
}

/// [`join`] of numbers.
pub(crate) fn join_numbers(numbers: &[u32], link: &str) -> String {
    let parts: Vec<String> = numbers.iter().map(|&n| grouped(n.into())).collect();
    join(&parts, link)
}

/// [`join`] of names, each in backquotes.
pub(crate) fn join_names(names: &[&str], link: &str) -> String {
    let parts: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    join(&parts, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["vocab", "hidden", "heads", "kv_heads"];
        let near = |name| nearest_name(name, &known);
        assert_eq!(
            [near("hiden"), near("haeds"), near("KV_heads")].map(Option::unwrap),
            ["hidden", "heads", "kv_heads"]
        );
        assert_eq!([near("layers"), near("x"), near(&"heads".repeat(9))], [None; 3]);
    }

    #[test]
    fn divisors_are_complete_and_ascending() {
        assert_eq!(divisors(36), [1, 2, 3, 4, 6, 9, 12, 18, 36]);
        assert_eq!(divisors(1), [1]);
        assert_eq!(divisors(13), [1, 13]);
        assert_eq!(nearest(&divisors(576), 10, 2), [9, 12]);
    }
}
