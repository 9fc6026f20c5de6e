//! Linear kernels: merge and norm prologues, products of a thread's panels, epilogue over the same
//! panels.

use super::append::{Append, CacheBuffers, Position, QuantizedBuffers};
use super::attention::{Merge, Merging};
use super::cache::CacheLayout;
use super::epilogue::{self, Output};
use super::hints::{Asks, asked, asks_of_operands, chunk_at_hand};
use super::maxima::{Maxima, maxima_bytes};
use super::norm::{Rows, rms_norm};
use super::product::Product;
use super::quantize::QuantizedRows;
use super::{CHUNK, Lowered, Parts, Role, vector_bytes};
use crate::fir::HeadShape;
use crate::format::{Activations, Format, Group, KvFormat};
use crate::pack::layout::{Layout, PANEL, TILE, panels};
use crate::vir::{Affine, Bound, BufferId, IndexId};
use deepthin_runtime::program::{Quotient, ScalarSource};

/// Panels of one storage format that follow one another in the kernel's range of panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Storage.
    pub format: Format,
    /// What it is multiplied with.
    pub activations: Activations,
    /// Panels.
    pub panels: u32,
}

/// What happens to the products of a linear kernel, with its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EpilogueKernel {
    /// The products are the output, logits, rows padded to whole panels; and of each panel the rank
    /// of the greatest.
    Logits {
        /// Tokens of the vocabulary.
        vocab: u32,
    },
    /// The products are added to the output vector in place.
    Residual,
    /// Tile A is gate, tile B is up: `silu(a) * b`, 16 elements a panel.
    Glu,
    /// Panels of q heads, k heads, then v heads: rotate, store q, append k and v.
    RopeAppend {
        /// Query heads.
        heads: u32,
        /// Key and value heads.
        kv_heads: u32,
        /// Elements of a head.
        head_dim: u32,
        /// Positions of the cache.
        context: u32,
        /// What the cache keeps.
        kv: KvFormat,
    },
}

impl EpilogueKernel {
    /// The heads, and the layout of the KV slot that the kernel appends to, if it does.
    pub const fn appends(&self) -> Option<(HeadShape, CacheLayout)> {
        match *self {
            EpilogueKernel::RopeAppend { heads, kv_heads, head_dim, context, kv } => {
                let shape = HeadShape { heads, kv_heads, head_dim };
                Some((shape, CacheLayout { kv, kv_heads, head_dim, context }))
            }
            EpilogueKernel::Logits { .. } | EpilogueKernel::Residual | EpilogueKernel::Glu => None,
        }
    }
}

/// Sizes of a linear kernel: kernels with equal descriptions are one kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearKernel {
    /// Lanes.
    pub lanes: u32,
    /// Tokens of the tile, 1 to 4.
    pub tokens: u32,
    /// K.
    pub columns: u32,
    /// Heads of attention that are merged before the product, in place of an input vector: K
    /// elements in all. For one token.
    pub merge: Option<Merge>,
    /// Epsilon of the norm before the product, if there is one.
    pub norm: Option<f32>,
    /// The panels.
    pub segments: Vec<Segment>,
    /// After the product.
    pub epilogue: EpilogueKernel,
    /// What is asked for with each line of a matrix that is read, where a token is by itself.
    pub asks: Asks,
}

impl LinearKernel {
    /// Panels in all: the units that threads share.
    pub fn panels(&self) -> u32 {
        self.segments.iter().map(|s| s.panels).sum()
    }

    /// The distinct ways in which the input is quantized: groups, and columns of a piece.
    fn quantizations(&self) -> Vec<(Group, u32)> {
        let mut all = Vec::new();
        for key in self.segments.iter().filter_map(|segment| self.quantization(segment)) {
            if !all.contains(&key) {
                all.push(key);
            }
        }
        all
    }

    fn quantization(&self, segment: &Segment) -> Option<(Group, u32)> {
        let Activations::Q8(group) = segment.activations else { return None };
        let piece = segment.activations.piece(segment.format, self.columns as usize);
        Some((group, u32::try_from(piece).ok()?))
    }

    /// Which quantized input a segment reads, and the columns of a piece there; `None` where it
    /// reads f32.
    pub fn quantized_input(&self, segment: &Segment) -> Option<(usize, u32)> {
        let own = self.quantization(segment)?;
        let number = self.quantizations().iter().position(|key| *key == own)?;
        Some((number, own.1))
    }

    /// Elements of the output vector.
    fn output_width(&self) -> u32 {
        match self.epilogue {
            EpilogueKernel::Logits { .. } | EpilogueKernel::Residual => self.panels() * PANEL,
            EpilogueKernel::Glu => self.panels() * TILE,
            EpilogueKernel::RopeAppend { heads, head_dim, .. } => heads * head_dim,
        }
    }
}

/// Where a kernel's input comes from.
enum Input {
    /// A vector for each token.
    Given(Rows),
    /// The heads that the kernel merges.
    Merged(Merging),
}

/// Working memory for the input as codes, for each distinct way of quantizing it.
fn quantized_inputs(parts: &mut Parts, kernel: &LinearKernel) -> Vec<QuantizedRows> {
    let all = kernel.quantizations().into_iter().enumerate();
    all.map(|(number, key)| QuantizedRows::new(parts, number, kernel.columns, key, kernel.tokens))
        .collect()
}

/// Panels of `heads` rotated heads: halves are padded to whole tiles.
const fn rope_panels(heads: u32, head_dim: u32) -> u32 {
    heads * (head_dim / 2).div_ceil(TILE)
}

/// Panels of a q, k, v projection: `[q, k, v]`; a head begins a new one.
pub(crate) const fn qkv_panels(shape: HeadShape) -> [u32; 3] {
    [
        rope_panels(shape.heads, shape.head_dim),
        rope_panels(shape.kv_heads, shape.head_dim),
        shape.kv_heads * panels(shape.head_dim),
    ]
}

/// Lowers a linear kernel.
pub fn lower_linear(name: &str, kernel: &LinearKernel) -> Lowered {
    let mut parts = Parts::new(name, kernel.lanes);
    let tokens = kernel.tokens;
    let range = parts.range("panels", kernel.panels());
    let input = match &kernel.merge {
        Some(sizes) => Input::Merged(Merging::new(&mut parts, sizes)),
        None => Input::Given(vector(&mut parts, "x", Role::Input, kernel.columns, tokens)),
    };
    let weights: Vec<BufferId> =
        (0..kernel.segments.len()).map(|i| weight_buffer(&mut parts, kernel, i)).collect();
    let ahead = asked(&mut parts, kernel, &weights);
    let gain = kernel.norm.map(|eps| {
        let gain = parts.buffer("gain", Role::Gain, vector_bytes(kernel.columns));
        let bytes = vector_bytes(kernel.columns);
        let buffer = parts.scratch("normed", bytes * tokens);
        (gain, eps, Rows { buffer, width: kernel.columns, stride: bytes })
    });
    let scales = parts.scratch("scales", 2 * PANEL * 4);
    let quantized_inputs = quantized_inputs(&mut parts, kernel);
    let out_width = kernel.output_width();
    let out = vector(&mut parts, "out", Role::Output, out_width, tokens);
    let (y, maxima) = products(&mut parts, kernel, out);
    let buffers = kernel.epilogue.appends().map(|(shape, cache)| {
        let buffers = cache_buffers(&mut parts, tokens, shape, cache);
        (shape, cache, buffers)
    });
    let places = match &buffers {
        Some((_, cache, _)) => cache_places(&mut parts, tokens, cache),
        None => Vec::new(),
    };

    let input = match input {
        Input::Given(rows) => rows,
        Input::Merged(merging) => merging.emit(&mut parts.b),
    };
    let x = match gain {
        Some((gain, eps, normed)) => {
            rms_norm(&mut parts.b, input, gain, eps, normed, tokens);
            normed
        }
        None => input,
    };
    for rows in &quantized_inputs {
        rows.emit(&mut parts.b, x, tokens);
    }
    let mut first = 0;
    for ((segment, weights), ahead) in kernel.segments.iter().zip(weights).zip(ahead) {
        let layout = Layout { format: segment.format, columns: kernel.columns };
        let quantized = kernel.quantized_input(segment);
        let quantized = quantized.and_then(|(number, _)| quantized_inputs.get(number).copied());
        let beside = match &buffers {
            Some((_, cache, buffers)) if asks_of_operands(kernel) => {
                chunk_at_hand(cache, buffers, places[0].chunk, first, kernel.panels())
            }
            _ => Vec::new(),
        };
        let product =
            Product { weights, ahead, beside, layout, x, quantized, tokens, scales, y, maxima };
        let (begin, end) = window(range, first, segment.panels);
        product.emit(&mut parts.b, begin, end, first);
        first += segment.panels;
    }
    let output = Output { y, out, tokens, range };
    match (kernel.epilogue, buffers) {
        (EpilogueKernel::Residual, _) => epilogue::residual(&mut parts.b, &output),
        (EpilogueKernel::Glu, _) => epilogue::glu(&mut parts.b, &output),
        (EpilogueKernel::RopeAppend { .. }, Some((shape, cache, buffers))) => {
            Append { o: &output, shape, cache, buffers, places: &places }.emit(&mut parts.b);
        }
        (EpilogueKernel::Logits { .. } | EpilogueKernel::RopeAppend { .. }, _) => {}
    }
    parts.finish()
}

/// The part of a thread's `range` inside the window `first..first + count`, counted from `first`.
pub(super) fn window((begin, end): (IndexId, IndexId), first: u32, count: u32) -> (Bound, Bound) {
    let bound = |scalar| Bound::Clamp {
        scalar,
        minus: Affine::constant(i64::from(first)),
        lo: 0,
        hi: count,
    };
    (bound(begin), bound(end))
}

fn vector(parts: &mut Parts, name: &str, role: Role, width: u32, tokens: u32) -> Rows {
    let stride = vector_bytes(width);
    let buffer = parts.buffer(name, role, stride * tokens);
    Rows { buffer, width, stride }
}

/// Where products go, and what is left beside those that are logits.
fn products(parts: &mut Parts, kernel: &LinearKernel, out: Rows) -> (Rows, Option<Maxima>) {
    let (tokens, panels) = (kernel.tokens, kernel.panels());
    match kernel.epilogue {
        EpilogueKernel::Logits { vocab } => {
            let maxima = parts.buffer("maxima", Role::Maxima, maxima_bytes(panels) * tokens);
            (out, Some(Maxima { logits: out, vocab, tokens, out: maxima }))
        }
        EpilogueKernel::Residual | EpilogueKernel::Glu | EpilogueKernel::RopeAppend { .. } => {
            let width = panels * PANEL;
            let buffer = parts.scratch("products", width * 4 * tokens);
            (Rows { buffer, width, stride: width * 4 }, None)
        }
    }
}

fn weight_buffer(parts: &mut Parts, kernel: &LinearKernel, segment: usize) -> BufferId {
    let Segment { format, panels, .. } = kernel.segments[segment];
    let layout = Layout { format, columns: kernel.columns };
    let bytes = layout.panel_bytes() * u64::from(panels);
    // A matrix past 4 GiB fails verification (its panels pass the end of the buffer).
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    parts.buffer(&format!("w{segment}"), Role::Weights(segment), bytes)
}

/// Rotary table, key and value cache and, where the cache is quantized, what that takes.
fn cache_buffers(
    parts: &mut Parts,
    tokens: u32,
    shape: HeadShape,
    cache: CacheLayout,
) -> CacheBuffers {
    let table = parts.buffer("rope", Role::RopeTable, cache.head_dim * 4 * tokens);
    let keys = parts.cache("keys", Role::Keys, cache.key_bytes());
    let values = parts.cache("values", Role::Values, cache.value_bytes());
    let quantized = (cache.kv == KvFormat::Q8).then(|| {
        let [_, k_panels, _] = qkv_panels(shape);
        let width = k_panels * PANEL;
        QuantizedBuffers {
            key_scales: parts.cache("key_scales", Role::KeyScales, cache.key_scale_bytes()),
            value_scales: parts.cache("value_scales", Role::ValueScales, cache.value_scale_bytes()),
            rotated: Rows {
                buffer: parts.scratch("rotated", width * 4 * tokens),
                width,
                stride: width * 4,
            },
        }
    });
    CacheBuffers { table, keys, values, quantized }
}

/// For each token, where its position lies in the cache.
fn cache_places(parts: &mut Parts, tokens: u32, cache: &CacheLayout) -> Vec<Position> {
    (0..tokens)
        .map(|token| {
            let mut part = |name: &str, count: u32, divide: u32, modulo: u32| {
                let quotient = Quotient { add: token, divide, modulo, plus: 0 };
                parts.scalars.push(ScalarSource::Position(quotient));
                parts.b.scalar(&format!("{name}{token}"), 0, i64::from(count) - 1)
            };
            Position {
                chunk: part("chunk", cache.chunks(), CHUNK, 0),
                place: part("place", CHUNK, 1, CHUNK),
            }
        })
        .collect()
}
