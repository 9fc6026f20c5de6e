//! Softmax attention of one query head, chunk by chunk, in the normative order.

use super::kv::Stored;
use super::{LANES, exp, max, round_to_f32, tree};

/// Absolute positions of one attention chunk.
pub const CHUNK: usize = 64;

/// What scores are multiplied with: `1 / sqrt(head_dim)` in f64, rounded to f32.
pub fn attention_scale(head_dim: u32) -> f32 {
    round_to_f32(1.0 / f64::from(head_dim).sqrt())
}

/// Attention of one query head over the visible positions 0, 1, .., given their keys and values as
/// the cache keeps them (as many values as keys, each as long as `query`).
pub fn attention(query: &[f32], keys: &[&Stored], values: &[&Stored]) -> Vec<f32> {
    let mut merged = Softmax { m: f32::NEG_INFINITY, l: 0.0, o: vec![0.0; query.len()] };
    for (keys, values) in keys.chunks(CHUNK).zip(values.chunks(CHUNK)) {
        merged = merged.merge(&attention_chunk(query, keys, values));
    }
    merged.o.iter().map(|o| o / merged.l).collect()
}

/// A softmax-weighted sum before its division: maximum, sum of weights, sum of weighted values.
struct Softmax {
    m: f32,
    l: f32,
    o: Vec<f32>,
}

impl Softmax {
    /// Both sums brought to the greater maximum.
    fn merge(&self, chunk: &Softmax) -> Softmax {
        let m = max(self.m, chunk.m);
        let (a, b) = (exp(self.m - m), exp(chunk.m - m));
        let join = |own: f32, new: f32| new.mul_add(b, own * a);
        let o = self.o.iter().zip(&chunk.o).map(|(own, new)| join(*own, *new)).collect();
        Softmax { m, l: join(self.l, chunk.l), o }
    }
}

/// One chunk: `keys` and `values` of its visible positions, at most [`CHUNK`] and at least one.
fn attention_chunk(query: &[f32], keys: &[&Stored], values: &[&Stored]) -> Softmax {
    let scale = attention_scale(u32::try_from(query.len()).unwrap_or(u32::MAX));
    let mut scores = [f32::NEG_INFINITY; CHUNK];
    for (score, key) in scores.iter_mut().zip(keys) {
        *score = key.dot(query) * scale;
    }
    let m = lanes_then_tree(&scores, max);
    let weights = scores.map(|s| exp(s - m));
    let l = lanes_then_tree(&weights, |a, b| a + b);
    let mut o = vec![0.0_f32; query.len()];
    let invisible = Stored::Numbers(vec![0.0; query.len()]);
    let all = values.iter().copied().chain(std::iter::repeat(&invisible));
    for (weight, value) in weights.iter().zip(all) {
        value.add_weighted(*weight, &mut o);
    }
    Softmax { m, l, o }
}

/// Reduces a chunk: lane i mod 16 starts with its first element and takes the others in ascending
/// order (the lane is the first operand), then the tree.
fn lanes_then_tree(all: &[f32; CHUNK], op: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    let mut rows = all.as_chunks::<LANES>().0.iter();
    let first = rows.next().copied().unwrap_or_default();
    let lanes = rows.fold(first, |mut lanes, row| {
        for (lane, x) in lanes.iter_mut().zip(row) {
            *lane = op(*lane, *x);
        }
        lanes
    });
    tree(lanes, op)
}
