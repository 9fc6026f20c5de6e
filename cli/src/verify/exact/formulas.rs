//! The formulas of a model in f64, and what the bytes of weights mean.

use deepthin_compiler::format::Format;

/// All weights that stored bytes mean, exactly.
pub fn decode(format: Format, bytes: &[u8]) -> Vec<f64> {
    let half = |at: &[u8]| half_to_f64(u16::from_le_bytes([at[0], at[1]]));
    let nibble = |group: &[u8], i: usize| f64::from(group[i % 16] >> (4 * (i / 16)) & 15);
    let single = |bits: u32| f64::from(f32::from_bits(bits));
    match format {
        Format::F32 => bytes
            .chunks_exact(4)
            .map(|b| single(u32::from_le_bytes([b[0], b[1], b[2], b[3]])))
            .collect(),
        Format::F16 => bytes.chunks_exact(2).map(half).collect(),
        Format::Bf16 => {
            bytes.chunks_exact(2).map(|b| single(u32::from_le_bytes([0, 0, b[0], b[1]]))).collect()
        }
        Format::Q8_0 => bytes
            .chunks_exact(34)
            .flat_map(|g| (0..32).map(move |i| half(g) * f64::from(g[2 + i].cast_signed())))
            .collect(),
        Format::Q4_0 => bytes
            .chunks_exact(18)
            .flat_map(|g| (0..32).map(move |i| half(g) * (nibble(&g[2..], i) - 8.0)))
            .collect(),
        Format::Q4_1 => bytes
            .chunks_exact(20)
            .flat_map(|g| (0..32).map(move |i| half(g) * nibble(&g[4..], i) + half(&g[2..])))
            .collect(),
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
