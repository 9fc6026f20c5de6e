//! What the KV cache keeps of a key or a value, and what attention reads of it.
//!
//! `f32` keeps every number, `f16` rounds each once. `q8` keeps a signed byte for each element and
//! a bf16 scale for each group of at most 32, whose elements one thread computes: of a key the
//! pairs that a panel of rows holds, of a value neighboring channels.

use half::{bf16, f16};

use super::{MAGIC, dot, max};
use crate::format::KvFormat;

/// Pairs of a group of a key, at most: each is an element i and its partner i + head_dim/2.
pub const KEY_PAIRS: usize = 16;
/// Channels of a group of a value, at most.
pub const VALUE_CHANNELS: usize = 32;
/// The code of a group's greatest magnitude.
pub const MAX_CODE: f32 = 127.0;
/// A group whose magnitudes are all below 2^-100 has no codes but 0.
pub const LEAST_MAGNITUDE: f32 = f32::from_bits(27 << 23);

/// One head of a key or a value as the cache keeps it.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// Numbers, as they were or rounded to f16.
    Numbers(Vec<f32>),
    /// Groups of codes; each element of the head is in one.
    Groups(Vec<Group>),
}

/// Elements that share a scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The scale, a bf16.
    pub scale: f32,
    /// Number of the element and its code, in the order in which scores sum them up.
    pub codes: Vec<(usize, i8)>,
}

impl Stored {
    /// A head of a key, rotated, in the cache.
    pub fn key(head: &[f32], format: KvFormat) -> Stored {
        Stored::new(head, format, &key_groups(head.len()))
    }

    /// A head of a value in the cache.
    pub fn value(head: &[f32], format: KvFormat) -> Stored {
        Stored::new(head, format, &value_groups(head.len()))
    }

    fn new(head: &[f32], format: KvFormat, groups: &[Vec<usize>]) -> Stored {
        match format {
            KvFormat::F32 => Stored::Numbers(head.to_vec()),
            KvFormat::F16 => {
                Stored::Numbers(head.iter().map(|x| f16::from_f32(*x).to_f32()).collect())
            }
            KvFormat::Q8 => {
                Stored::Groups(groups.iter().map(|group| Group::quantized(head, group)).collect())
            }
        }
    }

    /// The numbers that are kept, in the order of the head's elements.
    pub fn numbers(&self) -> Vec<f32> {
        match self {
            Stored::Numbers(numbers) => numbers.clone(),
            Stored::Groups(groups) => {
                let of = |group: &Group| {
                    let numbers = group.numbers().collect::<Vec<f32>>();
                    group.codes.iter().map(|(i, _)| *i).zip(numbers).collect::<Vec<_>>()
                };
                let mut elements: Vec<(usize, f32)> = groups.iter().flat_map(of).collect();
                elements.sort_unstable_by_key(|(i, _)| *i);
                elements.into_iter().map(|(_, number)| number).collect()
            }
        }
    }

    /// The product with a query, before it is scaled: each group's for itself in the order of its
    /// codes, then the groups' in ascending order, each times its scale.
    pub fn dot(&self, query: &[f32]) -> f32 {
        match self {
            Stored::Numbers(numbers) => dot(numbers, query),
            Stored::Groups(groups) => groups.iter().fold(0.0, |sum, group| {
                let product = group
                    .codes
                    .iter()
                    .fold(0.0, |acc, (i, code)| f32::from(*code).mul_add(query[*i], acc));
                f32::mul_add(product, group.scale, sum)
            }),
        }
    }

    /// Adds the head times `weight`; a group's scale is multiplied with the weight first.
    pub fn add_weighted(&self, weight: f32, sums: &mut [f32]) {
        match self {
            Stored::Numbers(numbers) => {
                for (sum, number) in sums.iter_mut().zip(numbers) {
                    *sum = weight.mul_add(*number, *sum);
                }
            }
            Stored::Groups(groups) => {
                for group in groups {
                    let weight = weight * group.scale;
                    for (i, code) in &group.codes {
                        sums[*i] = f32::from(*code).mul_add(weight, sums[*i]);
                    }
                }
            }
        }
    }
}

impl Group {
    /// Each code times the scale, which f32 has room for.
    pub fn numbers(&self) -> impl Iterator<Item = f32> {
        self.codes.iter().map(|(_, code)| f32::from(*code) * self.scale)
    }

    /// The elements of `head` that `group` lists, quantized together.
    fn quantized(head: &[f32], group: &[usize]) -> Group {
        let magnitude = group.iter().map(|i| magnitude(head[*i])).fold(0.0, max);
        let is_finite = magnitude < f32::INFINITY;
        let scale = match is_finite {
            true => bf16::from_f32(magnitude / MAX_CODE).to_f32(),
            false => f32::NAN,
        };
        let inverse = if magnitude < LEAST_MAGNITUDE || !is_finite { 0.0 } else { 1.0 / scale };
        let code = |x: f32| if is_finite { round(x * inverse) } else { 0 };
        Group { scale, codes: group.iter().map(|i| (*i, code(head[*i]))).collect() }
    }
}

/// The magnitude of a number; infinity where it is none.
fn magnitude(x: f32) -> f32 {
    if x.is_finite() { x.abs() } else { f32::INFINITY }
}

/// The nearest code of a number, the even one of two. No number is past 127.5: a bf16 is at least
/// 256/257 of what it was rounded from.
fn round(x: f32) -> i8 {
    (x + MAGIC).to_bits().to_le_bytes()[0].cast_signed()
}

/// The groups of a key of `head_dim` elements: a panel's pairs, their first elements in ascending
/// order, then their second ones.
pub fn key_groups(head_dim: usize) -> Vec<Vec<usize>> {
    let half = head_dim / 2;
    let firsts = (0..half).step_by(KEY_PAIRS);
    firsts
        .map(|first| {
            let pairs = first..(first + KEY_PAIRS).min(half);
            pairs.clone().chain(pairs.map(|i| half + i)).collect()
        })
        .collect()
}

/// The groups of a value of `head_dim` elements: neighboring channels.
pub fn value_groups(head_dim: usize) -> Vec<Vec<usize>> {
    let firsts = (0..head_dim).step_by(VALUE_CHANNELS);
    firsts.map(|first| (first..(first + VALUE_CHANNELS).min(head_dim)).collect()).collect()
}
