//! Each step of a kernel against f64, on that step's own inputs.
//!
//! A fused kernel leaves what its steps gave each other in its working memory: the normed input
//! and the products. So every step is held to its own row of the table, and no error of one step
//! is counted as another's.

use deepthin_compiler::format::Format;
use deepthin_compiler::lower::{
    AttentionKernel, EmbedKernel, EpilogueKernel, LinearKernel, QuantizedRows, Role, Segment,
    padded_context, value_row_bytes, vector_bytes,
};
use deepthin_compiler::pack::layout::{Layout, PANEL, TILE};
use deepthin_compiler::plan::Spec;

use super::packed::{self, Weight};
use super::{bounds, formulas};
use crate::verify::planned::{Drawn, Planned};
use crate::verify::scalars::Place;

/// How far results are from the truth, as shares of what is allowed: 1 is the bound itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Distance {
    /// The greatest share.
    pub share: f64,
    /// Where: the step and the element.
    pub place: String,
}

/// The greatest distance of a call's results from f64, by what its buffers hold `after` it.
///
/// `None` where the call is not one whose accuracy is bounded: contents that overflow, scalars
/// that no session passes, an empty share.
pub fn distance(
    planned: &Planned<'_>,
    drawn: &Drawn<'_>,
    after: &[impl AsRef<[u8]>],
) -> Option<Distance> {
    let place = drawn.place.filter(|_| drawn.is_tame)?;
    let (begin, end) = match *drawn.case.scalars.as_slice() {
        [begin, end, ..] => (usize::try_from(begin).ok()?, usize::try_from(end).ok()?),
        _ => return None,
    };
    let mut call = Call {
        planned,
        before: drawn.case.buffers.iter().map(AsRef::as_ref).collect(),
        after: after.iter().map(AsRef::as_ref).collect(),
        place,
        share: (begin, end),
        worst: None,
    };
    if begin < end {
        match planned.spec {
            Spec::Embed(kernel) => call.embed(kernel),
            Spec::Linear(kernel) => call.linear(kernel),
            Spec::Attention(kernel) => call.attention(kernel),
        }
    }
    call.worst
}

/// A call that was made.
struct Call<'c> {
    planned: &'c Planned<'c>,
    before: Vec<&'c [u8]>,
    after: Vec<&'c [u8]>,
    place: Place,
    /// Units from here to there.
    share: (usize, usize),
    worst: Option<Distance>,
}

impl<'c> Call<'c> {
    fn number(&self, role: Role) -> Option<usize> {
        self.planned.roles().iter().position(|r| *r == role)
    }

    fn bytes_before(&self, role: Role) -> &'c [u8] {
        self.number(role).and_then(|i| self.before.get(i)).copied().unwrap_or_default()
    }

    fn before(&self, role: Role) -> Vec<f64> {
        floats(self.bytes_before(role))
    }

    fn after(&self, role: Role) -> Vec<f64> {
        self.number(role).and_then(|i| self.after.get(i)).map_or(Vec::new(), |b| floats(b))
    }

    /// The working memory of a name.
    fn scratch(&self, name: &str) -> Vec<f64> {
        floats(self.scratch_bytes(name))
    }

    fn scratch_bytes(&self, name: &str) -> &'c [u8] {
        let number = self.planned.kernel.buffers.values().position(|b| b.name == name);
        number.and_then(|i| self.after.get(i)).copied().unwrap_or_default()
    }

    /// Holds one number against the truth.
    fn see(&mut self, step: &str, element: usize, found: f64, exact: f64, bound: f64) {
        let error = (found - exact).abs();
        let share = match (error == 0.0, bound > 0.0) {
            (true, _) => 0.0,
            (false, true) if !error.is_nan() => error / bound,
            (false, _) => f64::INFINITY,
        };
        if self.worst.as_ref().is_none_or(|worst| share > worst.share) {
            let place = format!("{step}, element {element}: {found:e} for {exact:e}");
            self.worst = Some(Distance { share, place });
        }
    }

    fn embed(&mut self, kernel: &EmbedKernel) {
        let layout = Layout { format: kernel.format, columns: kernel.width };
        let token = self.place.token;
        let table = self.bytes_before(Role::Weights(0));
        let exact = packed::row(layout, table, (token / PANEL) as usize, token % PANEL);
        for (i, (found, exact)) in self.after(Role::Output).into_iter().zip(exact).enumerate() {
            let exact = exact.scaled + exact.minimum;
            self.see("row", i, found, exact, bounds::weight(exact));
        }
    }

    fn linear(&mut self, kernel: &LinearKernel) {
        let columns = kernel.columns as usize;
        let stride = vector_bytes(kernel.columns) as usize / 4;
        let x = self.before(Role::Input);
        let x = match kernel.norm {
            Some(eps) => {
                let gain = self.before(Role::Gain);
                let normed = self.scratch("normed");
                let vectors = x.chunks_exact(stride).zip(normed.chunks_exact(stride));
                for (x, normed) in vectors {
                    let x = x.get(..columns).unwrap_or_default();
                    let exact = formulas::rms_norm(x, &gain, f64::from(eps));
                    for (i, (found, exact)) in normed.iter().zip(exact).enumerate() {
                        self.see("norm", i, *found, exact, bounds::rms_norm(columns, exact));
                    }
                }
                normed
            }
            None => x,
        };
        let y = match kernel.epilogue {
            EpilogueKernel::Store => self.after(Role::Output),
            EpilogueKernel::Residual | EpilogueKernel::Glu | EpilogueKernel::RopeAppend { .. } => {
                self.scratch("products")
            }
        };
        let tokens = kernel.tokens as usize;
        let vectors: Vec<&[f64]> =
            x.chunks_exact(stride).take(tokens).filter_map(|x| x.get(..columns)).collect();
        let rows = (kernel.panels() * PANEL) as usize;
        let products: Vec<&[f64]> = y.chunks_exact(rows.max(1)).take(tokens).collect();
        self.products(kernel, &vectors, &products);
        match kernel.epilogue {
            EpilogueKernel::Store => {}
            EpilogueKernel::Residual => self.residual(&products, rows),
            EpilogueKernel::Glu => self.glu(&products, rows / 2),
            EpilogueKernel::RopeAppend { heads, kv_heads, head_dim, .. } => {
                self.rope_append(&products, [heads, kv_heads, head_dim].map(|n| n as usize));
            }
        }
    }

    /// Every row of the share's panels, for every token.
    fn products(&mut self, kernel: &LinearKernel, x: &[&[f64]], y: &[&[f64]]) {
        let (begin, end) = self.share;
        let mut first = 0;
        for (i, segment) in kernel.segments.iter().enumerate() {
            let layout = Layout { format: segment.format, columns: kernel.columns };
            let weights = self.bytes_before(Role::Weights(i));
            let last = first + segment.panels as usize;
            let codes = self.codes(kernel, segment, x);
            for panel in begin.max(first)..end.min(last) {
                for lane in 0..PANEL {
                    let row = packed::row(layout, weights, panel - first, lane);
                    let element = panel * PANEL as usize + lane as usize;
                    match &codes {
                        Some(codes) => self.row_of_codes(segment, &row, codes, y, element),
                        None => self.row(segment.format, &row, x, y, element),
                    }
                }
            }
            first = last;
        }
    }

    fn row(&mut self, format: Format, w: &[Weight], x: &[&[f64]], y: &[&[f64]], element: usize) {
        for (x, y) in x.iter().zip(y) {
            let terms = w.iter().zip(*x).map(|(w, x)| (w.scaled + w.minimum) * x);
            let (exact, magnitude) =
                terms.fold((0.0, 0.0), |(sum, all), term| (sum + term, all + term.abs()));
            let found = y.get(element).copied().unwrap_or(f64::NAN);
            let bound = bounds::product(format, w.len(), magnitude);
            self.see("product", element, found, exact, bound);
        }
    }

    /// What the kernel has made of the input of a segment: the value of each code, held against
    /// the input. `None` where it is multiplied as it is.
    fn codes(
        &mut self,
        kernel: &LinearKernel,
        segment: &Segment,
        x: &[&[f64]],
    ) -> Option<Vec<Vec<f64>>> {
        let (number, piece) = kernel.quantized_input(segment)?;
        let piece = piece as usize;
        let [codes, pieces] = QuantizedRows::names(number);
        let codes = self.scratch_bytes(&codes);
        let scales = self.scratch(&pieces);
        let columns = kernel.columns as usize;
        let count = columns / piece;
        let mut all = Vec::new();
        for (token, x) in x.iter().enumerate() {
            let codes = codes.get(token * columns..)?;
            let scales = scales.get(token * 3 * count..)?;
            let mut values = Vec::with_capacity(columns);
            for (k, (code, x)) in codes.iter().zip(*x).enumerate() {
                let d = *scales.get(k / piece)?;
                let value = d * f64::from(code.cast_signed());
                self.see("activation", k, value, *x, bounds::quantized(d));
                values.push(value);
            }
            all.push(values);
        }
        Some(all)
    }

    fn row_of_codes(
        &mut self,
        segment: &Segment,
        w: &[Weight],
        x: &[Vec<f64>],
        y: &[&[f64]],
        element: usize,
    ) {
        let piece = segment.activations.piece(segment.format, w.len());
        let steps = if segment.format.codes().is_some_and(|codes| codes.minimum) { 2 } else { 1 };
        for (x, y) in x.iter().zip(y) {
            let (mut exact, mut magnitude) = (0.0, 0.0);
            for (w, x) in w.iter().zip(x) {
                exact += (w.scaled + w.minimum) * x;
                magnitude += (w.scaled.abs() + w.minimum.abs()) * x.abs();
            }
            let found = y.get(element).copied().unwrap_or(f64::NAN);
            let sums = w.len() / piece.max(1) * steps;
            let bound = bounds::product_of_codes(sums, w.len(), magnitude);
            self.see("product", element, found, exact, bound);
        }
    }

    fn residual(&mut self, y: &[&[f64]], stride: usize) {
        let (before, after) = (self.before(Role::Output), self.after(Role::Output));
        let (begin, end) = self.share;
        let panels = begin * PANEL as usize..end * PANEL as usize;
        let both = before.chunks_exact(stride).zip(after.chunks_exact(stride));
        for ((before, after), y) in both.zip(y) {
            for i in panels.clone() {
                let [Some(y), Some(r), Some(found)] = [*y, before, after].map(|v| v.get(i)) else {
                    continue;
                };
                self.see("residual", i, *found, y + r, bounds::sum(y + r));
            }
        }
    }

    fn glu(&mut self, y: &[&[f64]], width: usize) {
        let out = self.after(Role::Output);
        let tile = TILE as usize;
        let stride = width.next_multiple_of(32);
        for (out, y) in out.chunks_exact(stride).zip(y) {
            for panel in self.share.0..self.share.1 {
                for lane in 0..tile {
                    let gate = y.get(2 * tile * panel + lane);
                    let up = y.get(2 * tile * panel + tile + lane);
                    let (Some(g), Some(up)) = (gate, up) else { continue };
                    let element = tile * panel + lane;
                    let found = out.get(element).copied().unwrap_or(f64::NAN);
                    let exact = formulas::silu(*g) * up;
                    self.see("gated product", element, found, exact, bounds::glu(exact, *up));
                }
            }
        }
    }

    /// Rotated queries and keys, and values as they are.
    fn rope_append(&mut self, y: &[&[f64]], [heads, kv_heads, head_dim]: [usize; 3]) {
        let [h, kv, d] = [heads, kv_heads, head_dim].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let units = (head_dim / 2).div_ceil(TILE as usize); // panels of a head
        let out = self.after(Role::Output);
        let keys = self.after(Role::Keys);
        let blocks = padded_context(self.planned.context()) as usize / 16;
        let table = self.before(Role::RopeTable);
        let stride = vector_bytes(h * d) as usize / 4;
        for (t, y) in y.iter().enumerate() {
            let angles = table.get(t * head_dim..).unwrap_or_default();
            for head in 0..heads {
                let at = |i: usize| out.get(t * stride + head * head_dim + i).copied();
                self.rotated("query", y, (head, head * units), head_dim, angles, at);
            }
            let position = self.place.position as usize + t;
            for head in 0..kv_heads {
                let at = |i: usize| {
                    let block = (head * blocks + position / 16) * head_dim + i;
                    keys.get(block * 16 + position % 16).copied()
                };
                let first = (heads + head) * units;
                self.rotated("key", y, (head, first), head_dim, angles, at);
            }
        }
        let rows = value_row_bytes(kv, d) as usize / 4;
        let values = self.after(Role::ValueRows);
        let first = (heads + kv_heads) * units * PANEL as usize;
        for (values, y) in values.chunks_exact(rows.max(1)).zip(y) {
            for i in 0..kv_heads * head_dim {
                let panel = (first + i) / PANEL as usize;
                let in_share = (self.share.0..self.share.1).contains(&panel);
                if let Some((found, exact)) = values.get(i).zip(y.get(first + i))
                    && in_share
                {
                    self.see("value", i, *found, *exact, 0.0);
                }
            }
        }
    }

    /// One head: its number for messages, and its first panel.
    fn rotated(
        &mut self,
        step: &str,
        y: &[f64],
        (head, first): (usize, usize),
        head_dim: usize,
        angles: &[f64],
        found: impl Fn(usize) -> Option<f64>,
    ) {
        let (half, tile) = (head_dim / 2, TILE as usize);
        for i in 0..half {
            let panel = first + i / tile;
            if !(self.share.0..self.share.1).contains(&panel) {
                continue;
            }
            let at = panel * PANEL as usize + i % tile;
            let [Some(a), Some(b)] = [at, at + tile].map(|at| y.get(at).copied()) else { continue };
            let [Some(c), Some(s)] = [i, half + i].map(|i| angles.get(i).copied()) else {
                continue;
            };
            let (r0, r1) = formulas::rotate((a, b), (c, s));
            let elements = [(i, r0, [a * c, b * s]), (half + i, r1, [b * c, a * s])];
            for (element, exact, products) in elements {
                let found = found(element).unwrap_or(f64::NAN);
                let element = head * head_dim + element;
                self.see(step, element, found, exact, bounds::rotation(products));
            }
        }
    }

    fn attention(&mut self, kernel: &AttentionKernel) {
        let shape = kernel.shape;
        let [heads, kv_heads, head_dim] =
            [shape.heads, shape.kv_heads, shape.head_dim].map(|n| n as usize);
        let (q, out) = (self.before(Role::Input), self.after(Role::Output));
        let (keys, values) = (self.before(Role::Keys), self.before(Role::Values));
        let blocks = padded_context(kernel.context) as usize / 16;
        let row = value_row_bytes(shape.kv_heads, shape.head_dim) as usize / 4;
        let positions = 0..=self.place.position as usize;
        for head in self.share.0..self.share.1 {
            let kv = head / (heads / kv_heads.max(1)).max(1);
            let key = |p: usize| {
                let block = (kv * blocks + p / 16) * head_dim;
                let at = |d| keys.get((block + d) * 16 + p % 16).copied().unwrap_or(f64::NAN);
                (0..head_dim).map(at).collect::<Vec<f64>>()
            };
            let value = |p: usize| {
                let value = values.get(p * row + kv * head_dim..).unwrap_or_default();
                value.iter().copied().take(head_dim).collect::<Vec<f64>>()
            };
            let keys: Vec<Vec<f64>> = positions.clone().map(key).collect();
            let values: Vec<Vec<f64>> = positions.clone().map(value).collect();
            let query = q.get(head * head_dim..).unwrap_or_default();
            let query = query.get(..head_dim).unwrap_or(query);
            let relative = bounds::attention(query, &keys);
            if relative > 0.1 {
                continue; // first order in the errors, it is no bound any more
            }
            let weights = formulas::softmax(&formulas::scores(query, &keys));
            let exact = formulas::weighted(&weights, &values, head_dim);
            let sizes: Vec<Vec<f64>> =
                values.iter().map(|v| v.iter().copied().map(f64::abs).collect()).collect();
            let scale = formulas::weighted(&weights, &sizes, head_dim);
            for (d, (exact, scale)) in exact.into_iter().zip(scale).enumerate() {
                let element = head * head_dim + d;
                let found = out.get(element).copied().unwrap_or(f64::NAN);
                self.see("attention", element, found, exact, relative * scale + 1e-36);
            }
        }
    }
}

/// The f32 numbers of a buffer.
fn floats(bytes: &[u8]) -> Vec<f64> {
    let words = bytes.as_chunks::<4>().0;
    words.iter().map(|word| f64::from(f32::from_le_bytes(*word))).collect()
}
