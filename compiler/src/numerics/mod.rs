//! The scalar functions of `specs/numerics.md`, literally: what FIR ops mean, in plain Rust.
//!
//! The FIR interpreter is made of these, VIR lowering spells the same operations out in lanes, and
//! tests hold both against each other with `==`. Nothing here is written for speed. `mul_add` is
//! the fused `fma`; every other operation rounds on its own, and no order may be changed.

mod attention;
pub mod kv;

pub use attention::{CHUNK, attention, attention_scale};

use crate::dequant::StoredGroup;
use crate::format::Codes;
use std::f32::consts::LOG2_E;

/// Virtual lanes of a reduction across a row.
pub const LANES: usize = 16;

/// 1.5 * 2^23: adding it rounds to an integer in the low bits.
pub(crate) const MAGIC: f32 = 12_582_912.0;
/// The least magnitude that is quantized.
pub(crate) const LEAST_QUANTIZED: f32 = f32::from_bits((127 - 100) << 23);
/// Below, e^x is 0 in f32; above, infinity.
pub(crate) const EXP_CLAMP: (f32, f32) = (-104.0, 89.0);
/// The high part of ln 2: its product with an exponent is exact.
pub(crate) const LN2_HI: f32 = 355.0 / 512.0;
/// ln 2 - [`LN2_HI`].
pub(crate) const LN2_LO: f32 = -2.121_944_4e-4;
/// Coefficients of `(e^r - 1 - r) / r²` on |r| <= ln 2 / 2, highest power first.
pub(crate) const EXP_POLYNOMIAL: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// `a > b ? a : b`: the rule of one machine instruction; a NaN in `b` passes.
pub fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// `a < b ? a : b`: the rule of one machine instruction; a NaN in `b` passes.
pub fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// e^x: 1.02 ulp at most over all f32, 0 from -104 down, infinity from 88.73 up, 1 at 0, NaN of
/// NaN. 2^n is applied in two factors, both normal, so that subnormal results round once.
pub fn exp(x: f32) -> f32 {
    let x = max(EXP_CLAMP.0, min(EXP_CLAMP.1, x));
    let t = x.mul_add(LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = n.mul_add(-LN2_HI, x);
    let r = n.mul_add(-LN2_LO, r);
    let [first, rest @ ..] = EXP_POLYNOMIAL;
    let p = rest.into_iter().fold(first, |p, c| p.mul_add(r, c));
    let p = p.mul_add(r * r, r) + 1.0;
    let n = t.to_bits().wrapping_sub(MAGIC.to_bits()).cast_signed();
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2^n for -127 < n < 128, by writing the exponent; other n give some float.
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(n.wrapping_add(127).cast_unsigned() << 23)
}

/// `g / (1 + exp(0 - g))`.
pub fn silu(g: f32) -> f32 {
    g / (1.0 + exp(0.0 - g))
}

/// Folds 16 lanes: lanes j and j + 8, then j + 4, j + 2, j + 1; the lower lane is the first
/// operand.
pub fn tree(mut lanes: [f32; LANES], op: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            lanes[j] = op(lanes[j], lanes[j + half]);
        }
    }
    lanes[0]
}

/// `1 / sqrt(sum(x²) / n + eps)`, the sum over 16 virtual lanes by fma.
pub fn rms_scale(x: &[f32], eps: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for row in x.chunks(LANES) {
        for (lane, x) in lanes.iter_mut().zip(row) {
            *lane = x.mul_add(*x, *lane);
        }
    }
    let mean = tree(lanes, |a, b| a + b) / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

/// `(x[i] * rms_scale) * gain[i]`.
pub fn rms_norm(x: &[f32], gain: &[f32], eps: f32) -> Vec<f32> {
    let r = rms_scale(x, eps);
    x.iter().zip(gain).map(|(x, gain)| x * r * gain).collect()
}

/// The sum of `w[k] * x[k]` by fma in ascending k from +0.0.
pub fn dot(w: &[f32], x: &[f32]) -> f32 {
    w.iter().zip(x).fold(0.0, |acc, (w, x)| w.mul_add(*x, acc))
}

/// A vector of activations as codes of 8 bits in groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// -127 to 127, one for each element.
    pub codes: Vec<i8>,
    /// One for each group.
    pub scales: Vec<f32>,
}

/// Codes of `x` in groups of `group` elements: the scale is the greatest magnitude by 127, and
/// magnitudes below 2^-100 are 0. A group that is not finite has NaN for its scale and codes 0.
pub fn quantize(x: &[f32], group: usize) -> Quantized {
    let mut quantized = Quantized { codes: Vec::with_capacity(x.len()), scales: Vec::new() };
    for group in x.chunks(group.max(1)) {
        let bits = group.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
        let most = f32::from_bits(bits);
        if !most.is_finite() {
            quantized.scales.push(f32::NAN);
            quantized.codes.extend(group.iter().map(|_| 0));
            continue;
        }
        let inverse = if most < LEAST_QUANTIZED { 0.0 } else { 127.0 / most };
        quantized.scales.push(most / 127.0);
        quantized.codes.extend(group.iter().map(|x| rounded(x * inverse)));
    }
    quantized
}

/// The nearest integer of -127 to 127, ties to even.
#[expect(clippy::cast_possible_truncation, reason = "an integer within the range")]
fn rounded(x: f32) -> i8 {
    (max(-127.0, min(127.0, x)) + MAGIC - MAGIC) as i8
}

/// The product of a stored row of codes with quantized activations, piece by piece of `piece`
/// columns: an exact sum of codes, then `acc = fma(sum, d * dx, acc)`, and where groups have a
/// minimum `acc = fma(m, dx * sum of x's codes, acc)`.
pub fn dot_codes(codes: Codes, w: &[StoredGroup], x: &Quantized, piece: usize) -> f32 {
    let columns = x.codes.len();
    let own = columns / w.len().max(1);
    let theirs = columns / x.scales.len().max(1);
    let mut acc = 0.0_f32;
    for start in (0..columns).step_by(piece.max(1)) {
        let group = &w[start / own];
        let end = start + piece;
        let x_codes = x.codes[start..end].iter().map(|code| i32::from(*code));
        let w_codes = group.codes[start % own..][..piece].iter();
        let bias = i32::from(codes.bias());
        let products = w_codes.zip(x_codes.clone()).map(|(w, x)| (i32::from(*w) - bias) * x);
        let dx = x.scales[start / theirs];
        acc = (products.sum::<i32>() as f32).mul_add(group.scale * dx, acc);
        if codes.minimum {
            acc = group.minimum.mul_add(dx * x_codes.sum::<i32>() as f32, acc);
        }
    }
    acc
}

/// Cosine and sine of pair `pair` of a head at `position`: the angle
/// `position * theta^(-2 pair / head_dim)` in f64, the results rounded to f32.
pub fn rope_angle(position: u32, pair: u32, head_dim: u32, theta: f64) -> (f32, f32) {
    rope_turn(position, rope_frequency(pair, head_dim, theta))
}

/// What pair `pair` of a head turns by from one position to the next, in f64.
pub fn rope_frequency(pair: u32, head_dim: u32, theta: f64) -> f64 {
    libm::pow(theta, -2.0 * f64::from(pair) / f64::from(head_dim))
}

/// The part of [`rope_angle`] that depends on the position.
pub fn rope_turn(position: u32, frequency: f64) -> (f32, f32) {
    let angle = f64::from(position) * frequency;
    (round_to_f32(libm::cos(angle)), round_to_f32(libm::sin(angle)))
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to nearest is what is meant")]
fn round_to_f32(x: f64) -> f32 {
    x as f32
}

/// Turns the pair `(a, b)` by an angle: four products and two sums, each rounded.
pub fn rotate((a, b): (f32, f32), (cos, sin): (f32, f32)) -> (f32, f32) {
    (a * cos - b * sin, b * cos + a * sin)
}
