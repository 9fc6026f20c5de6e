//! The rows of the table of bounds in specs/numerics.md, which derives them.

use deepthin_compiler::format::{Format, KvFormat};

use super::formulas::scores;

/// Unit roundoff of f32: half the distance from 1 to the next number.
pub const U: f64 = 1.0 / 16_777_216.0;

/// The least subnormal f32: what a rounding may cost where results are subnormal, twice over.
pub const LEAST: f64 = 1.401_298_464_324_817e-45;

/// Positions of a chunk of attention.
const CHUNK: usize = 64;

/// `n u / (1 - n u)`: the relative error of n roundings in a row, at most.
pub fn gamma(n: usize) -> f64 {
    let nu = n as f64 * U;
    nu / (1.0 - nu)
}

/// The distance of `found` from `exact` in units of the last place of an f32 near `exact`.
pub fn ulp_error(found: f32, exact: f64) -> f64 {
    let exponent = exact.abs().log2().floor().max(-126.0);
    (f64::from(found) - exact).abs() / (exponent - 23.0).exp2()
}

/// A product of K columns; `magnitude` is the sum of `abs(w_k x_k)` over the exact weights, which
/// quantized formats round once before.
pub fn product(format: Format, columns: usize, magnitude: f64) -> f64 {
    let roundings = columns + usize::from(format.codes().is_some());
    gamma(roundings) * magnitude + columns as f64 * LEAST
}

/// A product of codes with codes in `sums` steps of the accumulator; `magnitude` is the sum of
/// `(abs(d code) + abs(m)) * abs(x_k)` over the exact values of the codes. Before its step a term
/// is rounded as a sum and as a product of scales; a product of scales may be subnormal.
pub fn product_of_codes(sums: usize, columns: usize, magnitude: f64) -> f64 {
    gamma(sums + 2) * magnitude + columns as f64 * 255.0 * 127.0 * LEAST
}

/// An activation by its code, whose group has the scale `d`.
pub fn quantized(d: f64) -> f64 {
    d * (0.5 + 127.0 * gamma(4)) + f64::exp2(-100.0)
}

/// A dequantized weight.
pub fn weight(exact: f64) -> f64 {
    U * exact.abs() + LEAST
}

/// One element of an RMS norm of n.
pub fn rms_norm(n: usize, exact: f64) -> f64 {
    gamma(n.div_ceil(32) + 8) * exact.abs() + 1e-40
}

/// `silu`.
pub fn silu(exact: f64) -> f64 {
    4.2 * U * exact.abs() + 3e-37
}

/// `silu(g) * up`.
pub fn glu(exact: f64, up: f64) -> f64 {
    5.3 * U * exact.abs() + 3e-37 * up.abs() + LEAST
}

/// A sum of two numbers.
pub fn sum(exact: f64) -> f64 {
    U * exact.abs()
}

/// A rotated element, of two products by cosine and sine as they are stored.
pub fn rotation(products: [f64; 2]) -> f64 {
    gamma(2) * (products[0].abs() + products[1].abs()) + 2.0 * LEAST
}

/// Numbers that an f16 rounds to a finite one are below this.
pub const MOST_HALF: f64 = 65_504.0;

/// A number rounded to f16: half of its last place, which is that of subnormals at the least.
pub fn half(exact: f64) -> f64 {
    exact.abs() / 2048.0 + 2.0_f64.powi(-25)
}

/// The scale of a group: a quotient rounded to f32, then to bf16, with subnormals.
pub fn scale(exact: f64) -> f64 {
    exact.abs() * (1.0 / 256.0 + 2.0 * U) + 2.0_f64.powi(-134)
}

/// A code times its scale: half a step, and two roundings of up to 127 steps. Groups below 2^-100
/// are all 0.
pub fn code(scale: f64) -> f64 {
    scale.abs() * (0.5 + 256.0 * U) + 2.0_f64.powi(-100)
}

/// The relative bound of attention on these inputs, as stored: how far the result may be from the
/// truth, over the sum of `abs(v_j)` by their true weights. It is a bound where it is small against
/// 1.
pub fn attention(query: &[f64], keys: &[Vec<f64>], kv: KvFormat) -> f64 {
    let range = range(&scores(query, keys));
    // What a weight passes before it meets its value.
    let scaled = match kv {
        KvFormat::F32 | KvFormat::F16 => 0,
        KvFormat::Q8 => 1,
    };
    let chunks = keys.len().div_ceil(CHUNK);
    let weight_error = 2.0 * score(query, keys, kv) + 2.0 * U * range + gamma(3 * (chunks + 1));
    2.0 * weight_error + gamma(CHUNK + 8 + scaled + 6 * chunks)
}

/// A score of any of these keys, as stored.
pub fn score(query: &[f64], keys: &[Vec<f64>], kv: KvFormat) -> f64 {
    let magnitude = |key: &Vec<f64>| -> f64 {
        query.iter().zip(key).map(|(q, k)| (q * k).abs()).sum::<f64>() / (query.len() as f64).sqrt()
    };
    let chain = match kv {
        KvFormat::F32 | KvFormat::F16 => query.len(),
        KvFormat::Q8 => query.len().min(32) + (query.len() / 2).div_ceil(16),
    };
    keys.iter().map(magnitude).fold(0.0, f64::max) * gamma(chain + 2)
}

/// The relative bound of sums over chunks that are merged, of these greatest scores: how far a sum
/// may be from the truth, over the sum of the magnitudes by their true weights.
pub fn merge(maxima: &[f64]) -> f64 {
    2.0 * U * range(maxima) + gamma(6 * maxima.len())
}

/// The distance of the greatest number from the least.
fn range(numbers: &[f64]) -> f64 {
    let most = numbers.iter().copied().fold(f64::MIN, f64::max);
    most - numbers.iter().copied().fold(f64::MAX, f64::min)
}
