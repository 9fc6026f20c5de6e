//! The model's formulas in f64, written from the page and not from the compiler: the judge of
//! accuracy. It shares no code with the compiler but the trait through which weights come, and
//! reads their bytes by itself.

use deepthin_compiler::fir::Role;
use deepthin_compiler::format::Format;
use deepthin_compiler::weights::WeightSource;
use deepthin_dsl::model::Model;

/// Unit roundoff of f32: half the distance from 1 to the next number.
pub const U: f64 = 1.0 / 16_777_216.0;

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

/// Vectors by position.
type Sequence = Vec<Vec<f64>>;

/// A matrix of f64, row by row.
#[derive(Debug, Clone)]
pub struct Matrix {
    rows: Vec<Vec<f64>>,
}

impl Matrix {
    /// The tensor of a source, decoded in f64.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn read(weights: &dyn WeightSource, block: Option<u32>, role: Role) -> Self {
        let tensor = weights.tensor(block, role).unwrap_or_else(|| panic!("no {block:?} {role}"));
        let values = decode(tensor.format, &tensor.bytes);
        Matrix { rows: values.chunks(tensor.columns as usize).map(<[f64]>::to_vec).collect() }
    }

    fn times(&self, x: &[f64]) -> Vec<f64> {
        self.rows.iter().map(|row| dot(row, x)).collect()
    }
}

/// All weights that stored bytes mean, exactly.
pub fn decode(format: Format, bytes: &[u8]) -> Vec<f64> {
    let half = |at: &[u8]| half_to_f64(u16::from_le_bytes([at[0], at[1]]));
    let nibble = |group: &[u8], i: usize| f64::from(group[i % 16] >> (4 * (i / 16)) & 15);
    let single = |bits: u32| f64::from(f32::from_bits(bits));
    match format {
        Format::F32 => {
            bytes.chunks(4).map(|b| single(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
        }
        Format::F16 => bytes.chunks(2).map(half).collect(),
        Format::Bf16 => {
            bytes.chunks(2).map(|b| single(u32::from_le_bytes([0, 0, b[0], b[1]]))).collect()
        }
        Format::Q8_0 => bytes
            .chunks(34)
            .flat_map(|g| (0..32).map(move |i| half(g) * f64::from(g[2 + i].cast_signed())))
            .collect(),
        Format::Q4_0 => bytes
            .chunks(18)
            .flat_map(|g| (0..32).map(move |i| half(g) * (nibble(&g[2..], i) - 8.0)))
            .collect(),
        Format::Q4_1 => bytes
            .chunks(20)
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

/// The weights of one stored block.
struct Block {
    attention_norm: Matrix,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    attention_output: Matrix,
    ffn_norm: Matrix,
    ffn_gate: Matrix,
    ffn_up: Matrix,
    ffn_down: Matrix,
}

/// A whole model in f64.
pub struct Reference<'m> {
    model: &'m Model,
    table: Matrix,
    output_norm: Matrix,
    head: Matrix,
    blocks: Vec<Block>,
}

impl<'m> Reference<'m> {
    /// Reads all weights of `model`.
    ///
    /// # Panics
    /// If a tensor is missing.
    pub fn new(model: &'m Model, weights: &dyn WeightSource) -> Self {
        let whole = |role| Matrix::read(weights, None, role);
        let block = |b: u32| {
            let read = |role| Matrix::read(weights, Some(b), role);
            Block {
                attention_norm: read(Role::AttentionNorm),
                query: read(Role::Query),
                key: read(Role::Key),
                value: read(Role::Value),
                attention_output: read(Role::AttentionOutput),
                ffn_norm: read(Role::FfnNorm),
                ffn_gate: read(Role::FfnGate),
                ffn_up: read(Role::FfnUp),
                ffn_down: read(Role::FfnDown),
            }
        };
        Reference {
            model,
            table: whole(Role::TokenEmbedding),
            output_norm: whole(Role::OutputNorm),
            head: whole(if model.tied { Role::TokenEmbedding } else { Role::Output }),
            blocks: (0..model.depth).map(block).collect(),
        }
    }

    /// Logits after each token, layer by layer over the whole sequence.
    pub fn logits(&self, tokens: &[u32]) -> Sequence {
        let eps = f64::from(self.model.block.norm_eps);
        let mut x: Sequence = tokens.iter().map(|t| self.table.rows[*t as usize].clone()).collect();
        for index in self.model.schedule() {
            let block = &self.blocks[index as usize];
            self.attend(block, &mut x, eps);
            for x in &mut x {
                let normed = rms_norm(x, &block.ffn_norm.rows[0], eps);
                let gate = block.ffn_gate.times(&normed).into_iter().map(silu);
                let up = block.ffn_up.times(&normed);
                let product: Vec<f64> = gate.zip(up).map(|(g, u)| g * u).collect();
                add(x, &block.ffn_down.times(&product));
            }
        }
        let output = |x: &Vec<f64>| self.head.times(&rms_norm(x, &self.output_norm.rows[0], eps));
        x.iter().map(output).collect()
    }

    fn attend(&self, block: &Block, x: &mut Sequence, eps: f64) {
        let shape = &self.model.block;
        let head_dim = shape.head_dim as usize;
        let sharers = (shape.heads / shape.kv_heads) as usize;
        let normed = x.iter().map(|x| rms_norm(x, &block.attention_norm.rows[0], eps));
        let normed: Sequence = normed.collect();
        let turned = |matrix: &Matrix| -> Sequence {
            let vectors = normed.iter().map(|x| matrix.times(x)).enumerate();
            vectors.map(|(p, v)| rope(&v, p, head_dim, shape.rope_theta)).collect()
        };
        let (q, k) = (turned(&block.query), turned(&block.key));
        let v: Sequence = normed.iter().map(|x| block.value.times(x)).collect();
        for (position, x) in x.iter_mut().enumerate() {
            let mut heads = Vec::new();
            for (head, query) in q[position].chunks(head_dim).enumerate() {
                let at = head / sharers * head_dim;
                let part = |all: &Sequence| -> Sequence {
                    all[..=position].iter().map(|v| v[at..at + head_dim].to_vec()).collect()
                };
                heads.extend(attention(query, &part(&k), &part(&v)));
            }
            add(x, &block.attention_output.times(&heads));
        }
    }
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
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
    for head in turned.chunks_mut(head_dim) {
        for i in 0..head_dim / 2 {
            let angle = position as f64 * theta.powf(-2.0 * i as f64 / head_dim as f64);
            let (a, b) = (head[i], head[i + head_dim / 2]);
            head[i] = a * angle.cos() - b * angle.sin();
            head[i + head_dim / 2] = b * angle.cos() + a * angle.sin();
        }
    }
    turned
}

/// Softmax of the scaled scores, and the sum of values that it weighs.
pub fn attention(query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
    let weights = softmax(&scores(query, keys));
    let mut out = vec![0.0; query.len()];
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
