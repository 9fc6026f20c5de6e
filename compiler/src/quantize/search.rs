//! The sweep: scales around the one that just covers a group of weights, and the best of them.
//!
//! Codes follow from scale and minimum by rounding, and the best scale for given codes follows from
//! them by least squares. Neither is the best pair. So some scales around the one that just
//! covers the group are tried: each gives codes, these give the least error that any scale could
//! reach with them, and the best try is kept.

use super::settle::Weighted;
use crate::format::Codes;

/// Tries on each side of the scale that just covers a group, and the step between them in codes.
const TRIES: i8 = 10;
const STEP: f32 = 0.1;

/// Independent sums of a group, so that they are computed in vectors.
const SUMS: usize = 8;

/// 1.5 * 2^23: behind the sum with it, a float of this size has no fraction.
const WHOLE: f32 = 12_582_912.0;

/// Sums over a group, each weighted: of the codes q less their bias, and the weights w.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    one: f32,
    w: f32,
    q: f32,
    wq: f32,
    qq: f32,
}

/// How codes are made: `q = (w - minimum) / scale`, brought into the range.
#[derive(Debug, Clone, Copy)]
struct Grid {
    scale: f32,
    minimum: f32,
    /// Least and greatest code, less the bias.
    range: (f32, f32),
}

impl Grid {
    /// The nearest code of a weight, less the bias.
    fn code(self, weight: f32, inverse: f32) -> f32 {
        let q = (weight - self.minimum) * inverse;
        // A comparison that fails on NaN: a group of zeros has no inverse.
        let q = if q > self.range.0 { q } else { self.range.0 };
        let q = if q < self.range.1 { q } else { self.range.1 };
        q + WHOLE - WHOLE
    }

    fn inverse(self) -> f32 {
        if self.scale == 0.0 { 0.0 } else { 1.0 / self.scale }
    }
}

/// The scale and minimum that the sweep finds for a group of weights (whole blocks), each of whose
/// squared errors counts as its importance says. They are not rounded to what is stored.
pub(super) fn sweep(codes: Codes, group: &Weighted<'_>) -> (f32, f32) {
    let (size, weights) = normalized(group.weights);
    let (_, importance) = normalized(group.importance);
    let group = Group { weights: &weights, importance: &importance };
    let grid = if codes.minimum { group.with_minimum(codes) } else { group.symmetric(codes) };
    (scaled(grid.scale, size), scaled(grid.minimum, size))
}

/// Numbers times the power of two that brings the greatest magnitude to 1 to 2, so that no product
/// of a sum leaves the range of f32, and the power that undoes it.
fn normalized(numbers: &[f32]) -> (f64, Vec<f32>) {
    let most = numbers.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    if most == 0.0 {
        return (1.0, numbers.to_vec());
    }
    // No f32 but 0 is as small as the subnormal numbers of f64, so that all have an exponent there.
    let size = f64::from_bits(f64::from(most).to_bits() >> 52 << 52);
    (size, numbers.iter().map(|x| scaled(*x, 1.0 / size)).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to nearest is what is meant")]
fn scaled(x: f32, power: f64) -> f32 {
    (f64::from(x) * power) as f32
}

/// A group of weights of ordinary size, and how much the square of each error counts.
struct Group<'w> {
    weights: &'w [f32],
    importance: &'w [f32],
}

impl Group<'_> {
    /// Symmetric codes: the weight of greatest magnitude lies at one end of them.
    fn symmetric(&self, codes: Codes) -> Grid {
        let most = self.weights.iter().copied();
        let extreme = most.fold(0.0, |best: f32, w| if w.abs() > best.abs() { w } else { best });
        let (least, most) = codes.range();
        let range = (f32::from(least), f32::from(most));
        let mut best = (f32::NEG_INFINITY, Grid { scale: 0.0, minimum: 0.0, range });
        for end in [range.0, range.1] {
            for shift in tries() {
                let scale = extreme / (end + shift);
                let sums = self.sums(Grid { scale, minimum: 0.0, range });
                // What the best scale for these codes takes off the sum of squares.
                let gain = sums.wq * sums.wq / sums.qq;
                if gain > best.0 {
                    best = (gain, Grid { scale: sums.wq / sums.qq, minimum: 0.0, range });
                }
            }
        }
        best.1
    }

    /// Codes from a minimum up.
    fn with_minimum(&self, codes: Codes) -> Grid {
        let most = f32::from(codes.bits.most());
        let range = (0.0, most);
        let least = self.weights.iter().copied().fold(f32::INFINITY, f32::min);
        let greatest = self.weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let flat = Grid { scale: 0.0, minimum: least, range };
        let mut best = (f32::NEG_INFINITY, flat);
        for shift in tries() {
            let scale = (greatest - least) / (most + shift);
            let sums = self.sums(Grid { scale, minimum: least, range });
            let Sums { one, w, q, wq, qq } = sums;
            let determinant = one * qq - q * q;
            let scale = (one * wq - w * q) / determinant;
            let minimum = codes.scale.read(codes.scale.write((qq * w - q * wq) / determinant));
            // The best scale for the minimum that is stored.
            let scale_there = (wq - minimum * q) / qq;
            let gain = 2.0 * (scale_there * wq + minimum * w)
                - scale_there * scale_there * qq
                - 2.0 * scale_there * minimum * q
                - minimum * minimum * one;
            if gain > best.0 && scale.is_finite() {
                best = (gain, Grid { scale: scale_there, minimum, range });
            }
        }
        best.1
    }

    fn sums(&self, grid: Grid) -> Sums {
        let inverse = grid.inverse();
        let mut lanes = [Sums::default(); SUMS];
        let weights = self.weights.as_chunks::<SUMS>().0;
        let importance = self.importance.as_chunks::<SUMS>().0;
        for (weights, importance) in weights.iter().zip(importance) {
            for i in 0..SUMS {
                let (w, weight) = (weights[i], importance[i]);
                let q = grid.code(w, inverse);
                let lane = &mut lanes[i];
                lane.one += weight;
                lane.w += weight * w;
                lane.q += weight * q;
                lane.wq += weight * w * q;
                lane.qq += weight * q * q;
            }
        }
        lanes.iter().fold(Sums::default(), |a, b| Sums {
            one: a.one + b.one,
            w: a.w + b.w,
            q: a.q + b.q,
            wq: a.wq + b.wq,
            qq: a.qq + b.qq,
        })
    }
}

/// What is added to the greatest code to get the scales that are tried.
fn tries() -> impl Iterator<Item = f32> {
    (-TRIES..=TRIES).map(|step| f32::from(step) * STEP)
}
