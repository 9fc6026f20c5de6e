//! Each step of a kernel against f64, on that step's own inputs.
//!
//! A fused kernel leaves what its steps gave each other in its working memory: the normed input
//! and the products. So every step is held to its own row of the table, and no error of one step
//! is counted as another's.

use deepthin_compiler::format::Format;
use deepthin_compiler::lower::{
    EmbedKernel, EpilogueKernel, LinearKernel, QuantizedRows, Role, Segment, vector_bytes,
};
use deepthin_compiler::pack::layout::{Layout, PANEL, TILE};
use deepthin_compiler::plan::Spec;

mod attention;
mod cached;

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
            Spec::AttentionChunks(kernel) => call.attention_chunks(kernel),
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

    fn bytes_after(&self, role: Role) -> &'c [u8] {
        self.number(role).and_then(|i| self.after.get(i)).copied().unwrap_or_default()
    }

    fn after(&self, role: Role) -> Vec<f64> {
        floats(self.bytes_after(role))
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
        let x = match &kernel.merge {
            Some(sizes) => {
                let merged = self.scratch("merged");
                self.merge(sizes, &merged);
                merged
            }
            None => self.before(Role::Input),
        };
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
            EpilogueKernel::Logits { .. } => self.after(Role::Output),
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
            EpilogueKernel::Logits { .. } => {}
            EpilogueKernel::Residual => self.residual(&products, rows),
            EpilogueKernel::Glu => self.glu(&products, rows / 2),
            EpilogueKernel::RopeAppend { .. } => {
                if let Some((shape, layout)) = kernel.epilogue.appends() {
                    self.rope_append(&products, shape, layout);
                }
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
}

/// The f32 numbers of a buffer.
fn floats(bytes: &[u8]) -> Vec<f64> {
    let words = bytes.as_chunks::<4>().0;
    words.iter().map(|word| f64::from(f32::from_le_bytes(*word))).collect()
}
