//! Epilogues of linear kernels: from the products of a thread's panels to what is kept.

use super::exp::silu;
use super::linear::{qkv_panels, window};
use super::norm::Rows;
use super::{KEY_BLOCK, padded_context, value_row_bytes};
use crate::fir::HeadShape;
use crate::pack::layout::{PANEL, TILE};
use crate::vir::{Affine, Bound, BufferId, Builder, Elem, IndexId, ValueId};

/// Products and output of a kernel.
pub(super) struct Output {
    /// Products, 32 elements for each panel.
    pub(super) y: Rows,
    /// Output vector.
    pub(super) out: Rows,
    /// Tokens of the tile.
    pub(super) tokens: u32,
    /// The thread's panels.
    pub(super) range: (IndexId, IndexId),
}

/// `out += y`.
pub(super) fn residual(b: &mut Builder, o: &Output) {
    let lanes = b.lanes();
    over_panels(b, o, |b, panel| {
        b.repeat(PANEL / lanes, |b, v| {
            for token in 0..o.tokens {
                let place = |rows: Rows| {
                    rows.at(token, 0)
                        .plus(panel, i64::from(PANEL) * 4)
                        .plus(v, i64::from(lanes) * 4)
                };
                let product = b.load(Elem::F32, o.y.buffer, place(o.y));
                let residual = b.load(Elem::F32, o.out.buffer, place(o.out));
                let sum = b.fadd(product, residual);
                b.store(sum, Elem::F32, o.out.buffer, place(o.out));
            }
        });
    });
}

/// `out[16p + r] = silu(y[32p + r]) * y[32p + 16 + r]`.
pub(super) fn glu(b: &mut Builder, o: &Output) {
    let lanes = b.lanes();
    over_panels(b, o, |b, panel| {
        b.repeat(TILE / lanes, |b, v| {
            for token in 0..o.tokens {
                let place = |rows: Rows, first: u32, panel_rows: u32| {
                    rows.at(token, first)
                        .plus(panel, i64::from(panel_rows) * 4)
                        .plus(v, i64::from(lanes) * 4)
                };
                let gate = b.load(Elem::F32, o.y.buffer, place(o.y, 0, PANEL));
                let up = b.load(Elem::F32, o.y.buffer, place(o.y, TILE, PANEL));
                let activated = silu(b, gate);
                let product = b.fmul(activated, up);
                b.store(product, Elem::F32, o.out.buffer, place(o.out, 0, TILE));
            }
        });
    });
}

fn over_panels(b: &mut Builder, o: &Output, body: impl FnOnce(&mut Builder, IndexId)) {
    let (begin, end) = o.range;
    b.for_range(Bound::Scalar(begin), Bound::Scalar(end), [], |b, panel, []| {
        body(b, panel);
        []
    });
}

/// Where rotated elements go.
enum Sink {
    /// The output vector, heads side by side.
    Query,
    /// The key cache: `[kv head][block][dim][16]`.
    Key { cache: BufferId, context: u32 },
}

/// Rotates q and k, stores q, and appends k and v at the tokens' positions.
/// `cache` is rotary table, key cache, value rows; `places` block and lane of each token.
pub(super) fn rope_append(
    b: &mut Builder,
    o: &Output,
    shape: HeadShape,
    context: u32,
    [table, keys, values]: [BufferId; 3],
    places: &[(IndexId, IndexId)],
) {
    let [q_panels, k_panels, _] = qkv_panels(shape);
    let rope = Rope { o, head_dim: shape.head_dim, table, places };
    rope.heads(b, shape.heads, 0, &Sink::Query);
    rope.heads(b, shape.kv_heads, q_panels, &Sink::Key { cache: keys, context });
    append_values(b, o, shape, q_panels + k_panels, values);
}

struct Rope<'a> {
    o: &'a Output,
    head_dim: u32,
    table: BufferId,
    places: &'a [(IndexId, IndexId)],
}

impl Rope<'_> {
    /// Rotates `heads` heads whose panels begin at `first`.
    fn heads(&self, b: &mut Builder, heads: u32, first: u32, sink: &Sink) {
        let units = (self.head_dim / 2).div_ceil(TILE);
        b.repeat(heads, |b, head| {
            for unit in 0..units {
                // One iteration where this panel is in the thread's share, else none.
                let (begin, end) = self.o.range;
                let here = |scalar| Bound::Clamp {
                    scalar,
                    minus: Affine::index(head, i64::from(units)).offset(i64::from(first + unit)),
                    lo: 0,
                    hi: 1,
                };
                b.for_range(here(begin), here(end), [], |b, _, []| {
                    for token in 0..self.o.tokens {
                        self.unit(b, head, first, unit, token, sink);
                    }
                    []
                });
            }
        });
    }

    /// One panel of one token: pairs `16 * unit ..` of a head.
    fn unit(&self, b: &mut Builder, head: IndexId, first: u32, unit: u32, token: u32, sink: &Sink) {
        let (lanes, half) = (b.lanes(), self.head_dim / 2);
        let row = (first + unit) * PANEL;
        let pairs = Pairs { head, row, pair: unit * TILE, vector: None, token, count: lanes };
        if pairs.pair + TILE <= half {
            b.repeat(TILE / lanes, |b, vector| {
                self.rotate(b, &Pairs { vector: Some(vector), ..pairs }, sink);
            });
            return;
        }
        for pair in (pairs.pair..half).step_by(lanes as usize) {
            let row = row + pair - pairs.pair;
            self.rotate(b, &Pairs { row, pair, count: lanes.min(half - pair), ..pairs }, sink);
        }
    }

    fn rotate(&self, b: &mut Builder, pairs: &Pairs, sink: &Sink) {
        let half = self.head_dim / 2;
        let units = half.div_ceil(TILE);
        let product = |b: &mut Builder, row: u32| {
            let at = self
                .o
                .y
                .at(pairs.token, pairs.row + row)
                .plus(pairs.head, i64::from(units * PANEL) * 4);
            let at = pairs.along(b, at, 4);
            b.load(Elem::F32, self.o.y.buffer, at)
        };
        let (x0, x1) = (product(b, 0), product(b, TILE));
        let angle = |b: &mut Builder, element: u32| {
            let element = pairs.token * self.head_dim + element;
            let at = pairs.along(b, Affine::constant(i64::from(element) * 4), 4);
            b.load_part(Elem::F32, self.table, at, pairs.count)
        };
        let (cos, sin) = (angle(b, pairs.pair), angle(b, half + pairs.pair));
        let (x0c, x1s) = (b.fmul(x0, cos), b.fmul(x1, sin));
        let (x1c, x0s) = (b.fmul(x1, cos), b.fmul(x0, sin));
        let r0 = b.fsub(x0c, x1s);
        let r1 = b.fadd(x1c, x0s);
        self.store(b, r0, pairs, pairs.pair, sink);
        self.store(b, r1, pairs, half + pairs.pair, sink);
    }

    /// Stores rotated elements `dim ..` of a head.
    fn store(&self, b: &mut Builder, value: ValueId, pairs: &Pairs, dim: u32, sink: &Sink) {
        match sink {
            Sink::Query => {
                let head_bytes = i64::from(self.head_dim) * 4;
                let at = self.o.out.at(pairs.token, dim).plus(pairs.head, head_bytes);
                let at = pairs.along(b, at, 4);
                b.store_part(value, Elem::F32, self.o.out.buffer, at, pairs.count);
            }
            Sink::Key { cache, context } => {
                let line = i64::from(KEY_BLOCK) * 4;
                let block_bytes = i64::from(self.head_dim) * line;
                let blocks = i64::from(padded_context(*context) / KEY_BLOCK);
                let (block, lane) = self.places[pairs.token as usize];
                let at = Affine::constant(i64::from(dim) * line)
                    .plus(pairs.head, blocks * block_bytes)
                    .plus(block, block_bytes)
                    .plus(lane, 4);
                let at = pairs.along(b, at, line);
                b.store_strided(value, Elem::F32, *cache, at, KEY_BLOCK * 4, pairs.count);
            }
        }
    }
}

/// A vector of pairs of one head and token.
#[derive(Clone, Copy)]
struct Pairs {
    head: IndexId,
    /// Row of the products of head 0, tile A.
    row: u32,
    /// First pair.
    pair: u32,
    /// A loop over the vectors of a tile, which moves row and pair on.
    vector: Option<IndexId>,
    token: u32,
    /// Pairs in the vector.
    count: u32,
}

impl Pairs {
    /// `at`, moved on by the loop over vectors, where an element takes `bytes` bytes.
    fn along(&self, b: &Builder, at: Affine, bytes: i64) -> Affine {
        match self.vector {
            Some(vector) => at.plus(vector, i64::from(b.lanes()) * bytes),
            None => at,
        }
    }
}

/// Copies the v products of the thread's panels to the tokens' rows of the value cache.
fn append_values(b: &mut Builder, o: &Output, shape: HeadShape, first: u32, values: BufferId) {
    let rows = shape.kv_heads * shape.head_dim;
    let row_bytes = value_row_bytes(shape.kv_heads, shape.head_dim);
    let copy = |b: &mut Builder, panel: Option<IndexId>, start: u32, count: u32| {
        for token in 0..o.tokens {
            let step = i64::from(PANEL) * 4;
            let from = o.y.at(token, first * PANEL + start);
            let to = Affine::constant((i64::from(token * row_bytes)) + i64::from(start) * 4);
            let (from, to) = match panel {
                Some(p) => (from.plus(p, step), to.plus(p, step)),
                None => (from, to),
            };
            let value = b.load(Elem::F32, o.y.buffer, from);
            b.store_part(value, Elem::F32, values, to, count);
        }
    };
    let lanes = b.lanes();
    let whole = rows / PANEL;
    let (begin, end) = window(o.range, first, whole);
    b.for_range(begin, end, [], |b, panel, []| {
        for v in 0..PANEL / lanes {
            copy(b, Some(panel), v * lanes, lanes);
        }
        []
    });
    if !rows.is_multiple_of(PANEL) {
        let (begin, end) = window(o.range, first + whole, 1);
        b.for_range(begin, end, [], |b, _, []| {
            for start in (whole * PANEL..rows).step_by(lanes as usize) {
                copy(b, None, start, lanes.min(rows - start));
            }
            []
        });
    }
}
