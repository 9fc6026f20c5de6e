//! What a group is stored as: of scales and minima as they are stored, the pair with the least
//! error, and the codes that are nearest for it.
//!
//! Two pairs are compared: what the sweep found, rounded to what is stored, and what just covers the
//! group, as rounding to nearest has it. From the better one the scale goes to a neighboring stored
//! value as long as that lowers the error. So no group is stored worse than by rounding to nearest,
//! and none has a better scale next to its own.

use super::search;
use crate::codes::{self, Block};
use crate::dequant;
use crate::format::{BLOCK, Codes, Format, Scale};

/// 1.5 * 2^52: behind the sum with it, a double of ordinary size has no fraction.
const WHOLE: f64 = 6_755_399_441_055_744.0;

/// A group of weights (whole blocks), and how much the square of each error counts.
#[derive(Clone, Copy)]
pub(super) struct Weighted<'w> {
    pub(super) weights: &'w [f32],
    pub(super) importance: &'w [f32],
}

/// A scale and a minimum as they are stored.
#[derive(Debug, Clone, Copy)]
struct Pair {
    scale: [u8; 2],
    minimum: [u8; 2],
}

/// How a pair makes codes, and weights of them: in f64, where neither overflows nor vanishes.
#[derive(Debug, Clone, Copy)]
struct Grid {
    scale: f64,
    minimum: f64,
    /// Least and greatest code, less the bias.
    range: (f64, f64),
}

impl Grid {
    fn new(codes: Codes, pair: Pair) -> Grid {
        let minimum = if codes.minimum { codes.scale.read(pair.minimum) } else { 0.0 };
        let (least, most) = codes.range();
        Grid {
            scale: codes.scale.read(pair.scale).into(),
            minimum: minimum.into(),
            range: (least.into(), most.into()),
        }
    }

    /// The nearest code of a weight, less the bias; the code of 0 where the scale is 0.
    fn code(self, weight: f32) -> f64 {
        let q = (f64::from(weight) - self.minimum) / self.scale;
        let q = if self.scale == 0.0 { 0.0 } else { q };
        let q = if q > self.range.0 { q } else { self.range.0 };
        let q = if q < self.range.1 { q } else { self.range.1 };
        q + WHOLE - WHOLE
    }

    /// What a stored code means, less what it stands for.
    #[expect(clippy::cast_possible_truncation, reason = "a stored weight is an f32")]
    fn distance(self, weight: f32) -> f64 {
        let stored = (self.code(weight) * self.scale + self.minimum) as f32;
        f64::from(stored) - f64::from(weight)
    }
}

/// Appends the stored bytes of a group. Its weighted squared error comes back.
///
/// A weight that is not finite gives a scale that is not finite, which whoever packs the group
/// refuses. In a group without any importance all weights count alike, so that they keep a value.
pub(super) fn group(codes: Codes, group: Weighted<'_>, bytes: &mut Vec<u8>) -> f64 {
    let Weighted { weights, importance } = group;
    if !weights.iter().all(|w| w.is_finite()) {
        let end = bytes.len() + Format::Codes(codes).group_bytes(weights.len());
        bytes.extend(codes.scale.write(f32::NAN));
        bytes.resize(end, 0);
        return f64::NAN;
    }
    let even = vec![1.0; weights.len()];
    let counts = importance.iter().any(|i| *i != 0.0);
    let pair =
        least(codes, Weighted { weights, importance: if counts { importance } else { &even } });
    bytes.extend(pair.scale);
    if codes.minimum {
        bytes.extend(pair.minimum);
    }
    let grid = Grid::new(codes, pair);
    let bias = f64::from(codes.bias());
    for block in weights.as_chunks::<BLOCK>().0 {
        let block: Block = block.map(|w| whole(grid.code(w) + bias));
        codes::pack(codes, &block, bytes);
    }
    group.error(grid)
}

/// The pair with the least error.
fn least(codes: Codes, group: Weighted<'_>) -> Pair {
    let stored = |(scale, minimum)| Pair {
        scale: codes.scale.write(scale),
        minimum: codes.scale.write(minimum),
    };
    let tried = |pair| (group.error(Grid::new(codes, pair)), pair);
    let swept = tried(stored(search::sweep(codes, &group)));
    let covering = tried(stored(dequant::covering(codes, group.weights)));
    let mut best = if covering.0 < swept.0 { covering } else { swept };
    loop {
        let neighbors = neighbors(codes.scale, best.1.scale).into_iter().flatten();
        let neighbors = neighbors.map(|scale| tried(Pair { scale, ..best.1 }));
        match neighbors.min_by(|a, b| a.0.total_cmp(&b.0)) {
            Some(next) if next.0 < best.0 => best = next,
            Some(_) | None => return best.1,
        }
    }
}

/// The finite values that are stored next to one, below and above.
fn neighbors(scale: Scale, bytes: [u8; 2]) -> [Option<[u8; 2]>; 2] {
    const SIGN: u16 = 1 << 15;
    let bits = u16::from_le_bytes(bytes);
    let (magnitude, sign) = (bits & !SIGN, bits & SIGN);
    let below = match magnitude.checked_sub(1) {
        Some(less) => less | sign,
        None => 1 | (sign ^ SIGN), // across zero
    };
    let above = (magnitude + 1) | sign;
    [below, above].map(|bits| Some(bits.to_le_bytes()).filter(|b| scale.read(*b).is_finite()))
}

/// A whole number of 0 to 255.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number of the range; `as` saturates"
)]
fn whole(code: f64) -> u8 {
    code as u8
}

/// Independent sums of a group, so that they are computed in vectors.
const SUMS: usize = 8;

impl Weighted<'_> {
    /// The weighted squared error of codes of this grid; infinite where a stored weight is.
    fn error(&self, grid: Grid) -> f64 {
        let mut sums = [0.0; SUMS];
        let importance = self.importance.as_chunks::<SUMS>().0;
        for (weights, importance) in self.weights.as_chunks::<SUMS>().0.iter().zip(importance) {
            for ((sum, w), importance) in sums.iter_mut().zip(weights).zip(importance) {
                let distance = grid.distance(*w);
                *sum += f64::from(*importance) * distance * distance;
            }
        }
        let error: f64 = sums.iter().sum();
        // Importance 0 of an infinite error is no number.
        if error.is_nan() { f64::INFINITY } else { error }
    }
}
