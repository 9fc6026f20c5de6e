//! Attention to what is in a KV slot, whole, by chunks, and merged.

use std::ops::Range;

use deepthin_compiler::fir::HeadShape;
use deepthin_compiler::lower::{AttentionKernel, CHUNK, Merge, Role};

use super::super::{bounds, formulas};
use super::Call;
use crate::verify::partials::Records;

/// Beyond this a bound is none any more: it is of first order in the errors.
const MOST_RELATIVE: f64 = 0.1;

/// What a query head sees of some positions.
struct Seen {
    query: Vec<f64>,
    keys: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
    /// The bound of [`bounds::attention`].
    relative: f64,
}

impl Seen {
    /// The weighted mean of the values, element by element, and of their magnitudes.
    fn mean(&self) -> Vec<(f64, f64)> {
        let weights = formulas::softmax(&formulas::scores(&self.query, &self.keys));
        let sizes: Vec<Vec<f64>> =
            self.values.iter().map(|v| v.iter().copied().map(f64::abs).collect()).collect();
        let elements = self.query.len();
        let exact = formulas::weighted(&weights, &self.values, elements);
        exact.into_iter().zip(formulas::weighted(&weights, &sizes, elements)).collect()
    }
}

/// What is known of a chunk and a query head.
struct Partial {
    /// The greatest score.
    max: f64,
    /// The sum of the weights.
    total: f64,
    /// The sums of the weighted values.
    sums: Vec<f64>,
}

/// The partial results of a token's chunks.
struct Partials {
    words: Vec<f64>,
    records: Records,
}

impl Partials {
    fn of(&self, chunk: usize, head: usize) -> Partial {
        let records = self.records;
        let record = chunk * records.words();
        let word = |at: usize| self.words.get(record + at).copied().unwrap_or(f64::NAN);
        let sums = (0..records.head_dim).map(|d| word(records.sum(head, d))).collect();
        Partial { max: word(records.maximum(head)), total: word(records.total(head)), sums }
    }
}

impl Call<'_> {
    /// Attention of each KV head of the share.
    pub(super) fn attention(&mut self, kernel: &AttentionKernel) {
        let (head_dim, out) = (kernel.shape.head_dim as usize, self.after(Role::Output));
        for kv in self.share.0..self.share.1 {
            for head in group(kernel.shape, kv) {
                let seen = self.seen(kernel, kv, head, 0..self.place.position as usize + 1);
                if seen.relative > MOST_RELATIVE {
                    continue;
                }
                for (d, (exact, scale)) in seen.mean().into_iter().enumerate() {
                    let element = head * head_dim + d;
                    let found = out.get(element).copied().unwrap_or(f64::NAN);
                    self.see("attention", element, found, exact, seen.relative * scale + 1e-36);
                }
            }
        }
    }

    /// What each chunk and KV head of the share gives.
    pub(super) fn attention_chunks(&mut self, kernel: &AttentionKernel) {
        let HeadShape { heads, kv_heads, head_dim } = kernel.shape;
        let records = Records::new(heads, head_dim);
        let partials = Partials { words: self.after(Role::Partials), records };
        let end = self.place.position as usize + 1;
        for unit in self.share.0..self.share.1 {
            let (chunk, kv) = (unit / kv_heads as usize, unit % kv_heads as usize);
            let first = chunk * CHUNK as usize;
            for head in group(kernel.shape, kv) {
                let seen = self.seen(kernel, kv, head, first..end.min(first + CHUNK as usize));
                if seen.relative > MOST_RELATIVE {
                    continue;
                }
                let Partial { max, total, sums } = partials.of(chunk, head);
                let scores = formulas::scores(&seen.query, &seen.keys);
                let exact = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let bound = bounds::score(&seen.query, &seen.keys, kernel.kv) + bounds::LEAST;
                self.see("maximum", head, max, exact, bound);
                let exact: f64 = scores.iter().map(|score| (score - max).exp()).sum();
                self.see("total", head, total, exact, seen.relative * exact);
                for (d, (exact, scale)) in seen.mean().into_iter().enumerate() {
                    let found = sums.get(d).copied().unwrap_or(f64::NAN) / total;
                    let element = head * head_dim as usize + d;
                    self.see("attention", element, found, exact, seen.relative * scale + 1e-36);
                }
            }
        }
    }

    /// The heads that a product has merged of all chunks.
    pub(super) fn merge(&mut self, sizes: &Merge, merged: &[f64]) {
        let records = Records::new(sizes.heads, sizes.head_dim);
        let partials = Partials { words: self.before(Role::Partials), records };
        let head_dim = sizes.head_dim as usize;
        for head in 0..sizes.heads as usize {
            let chunks = 0..=(self.place.position / CHUNK) as usize;
            let chunks: Vec<_> = chunks.map(|chunk| partials.of(chunk, head)).collect();
            let maxima: Vec<f64> = chunks.iter().map(|chunk| chunk.max).collect();
            let top = maxima.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let relative = bounds::merge(&maxima);
            // A sum of one number of each chunk by its weight, and of the magnitudes; factors that
            // vanish leave an error of their own.
            let sum = |number: &dyn Fn(&Partial) -> f64| {
                chunks.iter().fold((0.0, 0.0), |(sum, error), chunk| {
                    let (weight, number) = ((chunk.max - top).exp(), number(chunk));
                    (sum + weight * number, error + (relative * weight + 1e-37) * number.abs())
                })
            };
            let (total, total_error) = sum(&|chunk| chunk.total);
            if total_error >= MOST_RELATIVE * total.abs() {
                continue; // totals of a session do not cancel
            }
            for d in 0..head_dim {
                let (value, error) = sum(&|chunk| chunk.sums.get(d).copied().unwrap_or(f64::NAN));
                let exact = value / total;
                let bound = (error + exact.abs() * total_error) / total.abs() * 1.25 + 1e-36;
                let element = head * head_dim + d;
                let found = merged.get(element).copied().unwrap_or(f64::NAN);
                self.see("merge", element, found, exact, bound);
            }
        }
    }

    fn seen(
        &self,
        kernel: &AttentionKernel,
        kv: usize,
        head: usize,
        positions: Range<usize>,
    ) -> Seen {
        let head_dim = kernel.shape.head_dim as usize;
        let slot = self.slot(kernel.cache());
        let q = self.before(Role::Input);
        let query = q.get(head * head_dim..(head + 1) * head_dim).unwrap_or_default().to_vec();
        let key = |p: usize| (0..head_dim).map(|d| slot.key(kv, p, d).value()).collect();
        let value = |p: usize| (0..head_dim).map(|d| slot.value(kv, p, d).value()).collect();
        let keys: Vec<Vec<f64>> = positions.clone().map(key).collect();
        let relative = bounds::attention(&query, &keys, kernel.kv);
        Seen { query, keys, values: positions.map(value).collect(), relative }
    }
}

/// The query heads that share a KV head.
fn group(shape: HeadShape, kv: usize) -> Range<usize> {
    let group = (shape.heads / shape.kv_heads.max(1)) as usize;
    kv * group..(kv + 1) * group
}
