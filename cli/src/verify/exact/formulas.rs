//! The formulas of a model in f64, and what the bytes of weights mean.

use deepthin_compiler::format::{Format, Scale};

/// All weights that the stored bytes of a row of `columns` mean, exactly.
pub fn decode(format: Format, columns: usize, bytes: &[u8]) -> Vec<f64> {
    let single = |bits: u32| f64::from(f32::from_bits(bits));
    let brain = |b: &[u8]| single(u32::from_le_bytes([0, 0, b[0], b[1]]));
    let half = |b: &[u8]| half_to_f64(u16::from_le_bytes([b[0], b[1]]));
    let codes = match format {
        Format::F32 => {
            let words = bytes.chunks_exact(4);
            return words.map(|b| single(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
        }
        Format::F16 => return bytes.chunks_exact(2).map(half).collect(),
        Format::Bf16 => return bytes.chunks_exact(2).map(brain).collect(),
        Format::Codes(codes) => codes,
    };
    let bits = codes.bits.count() as usize;
    let group = codes.group.elements(columns);
    let heads = if codes.minimum { 4 } else { 2 };
    let scale = |b: &[u8]| if codes.scale == Scale::F16 { half(b) } else { brain(b) };
    let mut weights = Vec::new();
    for group in bytes.chunks_exact(heads + group * bits / 8) {
        let (d, m) = (scale(group), if codes.minimum { scale(&group[2..]) } else { 0.0 });
        for block in group[heads..].chunks_exact(4 * bits) {
            weights.extend((0..32).map(|i| d * code(bits, codes.minimum, block, i) + m));
        }
    }
    weights
}

/// Code i of a block of 32, without its bias.
fn code(bits: usize, minimum: bool, block: &[u8], i: usize) -> f64 {
    let nibble = f64::from(block[i % 16] >> (4 * (i / 16)) & 15);
    match (bits, minimum) {
        (8, false) => f64::from(block[i].cast_signed()),
        (8, true) => f64::from(block[i]),
        (4, false) => nibble - 8.0,
        (4, true) => nibble,
        (_, minimum) => {
            let pair = f64::from(block[16 + i % 8] >> (2 * (i / 8)) & 3);
            nibble + 16.0 * pair - if minimum { 0.0 } else { 32.0 }
        }
    }
}

/// The value of an IEEE half by its definition: sign, 5 bits of exponent, 10 of fraction.
pub fn half_to_f64(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    sign * magnitude
}

/// The inner product.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `x / sqrt(mean(x²) + eps) * gain`.
pub fn rms_norm(x: &[f64], gain: &[f64], eps: f64) -> Vec<f64> {
    let root = (dot(x, x) / x.len() as f64 + eps).sqrt();
    x.iter().zip(gain).map(|(x, gain)| x / root * gain).collect()
}

/// `g / (1 + e^-g)`.
pub fn silu(g: f64) -> f64 {
    g / (1.0 + (-g).exp())
}

/// Every head of `x` turned: pair (i, i + head_dim/2) by `position * theta^(-2i/head_dim)`.
pub fn rope(x: &[f64], position: usize, head_dim: usize, theta: f64) -> Vec<f64> {
    let mut turned = x.to_vec();
    for head in turned.chunks_exact_mut(head_dim) {
        for i in 0..head_dim / 2 {
            let angle = position as f64 * theta.powf(-2.0 * i as f64 / head_dim as f64);
            let pair = (head[i], head[i + head_dim / 2]);
            (head[i], head[i + head_dim / 2]) = rotate(pair, (angle.cos(), angle.sin()));
        }
    }
    turned
}

/// The pair `(a, b)` turned by an angle of this cosine and sine.
pub fn rotate((a, b): (f64, f64), (cos, sin): (f64, f64)) -> (f64, f64) {
    (a * cos - b * sin, b * cos + a * sin)
}

/// Softmax of the scaled scores, and the sum of values that it weighs.
pub fn attention(query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
    weighted(&softmax(&scores(query, keys)), values, query.len())
}

/// The sum of `values`, each of `elements` numbers, by their weights.
pub fn weighted(weights: &[f64], values: &[Vec<f64>], elements: usize) -> Vec<f64> {
    let mut out = vec![0.0; elements];
    for (weight, value) in weights.iter().zip(values) {
        out.iter_mut().zip(value).for_each(|(o, v)| *o += weight * v);
    }
    out
}

/// `q · k / sqrt(head_dim)` for each key.
pub fn scores(query: &[f64], keys: &[Vec<f64>]) -> Vec<f64> {
    let root = (query.len() as f64).sqrt();
    keys.iter().map(|key| dot(query, key) / root).collect()
}

/// `e^s / sum(e^s)`.
pub fn softmax(scores: &[f64]) -> Vec<f64> {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}
