//! The epilogue of q, k and v: q and k are rotated, q is stored, k and v go to the caches in what
//! those keep.
//!
//! A panel of q or k holds 16 pairs of a head, a panel of v 32 channels of one: what shares a scale
//! in a quantized cache are a panel's rows, so that one thread has all of it.

use super::cache::{CacheLayout, SCALE_BYTES, SCALE_ROW_BYTES, element};
use super::epilogue::Output;
use super::kv_codes::{code, magnitude, scale};
use super::linear::qkv_panels;
use super::norm::Rows;
use crate::fir::HeadShape;
use crate::format::KvFormat;
use crate::pack::layout::{PANEL, TILE};
use crate::vir::{
    Affine, BinaryOp, Bound, BufferId, Builder, CompareOp, Elem, IndexId, UnaryOp, ValueId,
};

/// The buffers of the rotary table and of a KV slot.
pub(super) struct CacheBuffers {
    pub(super) table: BufferId,
    pub(super) keys: BufferId,
    pub(super) values: BufferId,
    /// Of a quantized cache.
    pub(super) quantized: Option<QuantizedBuffers>,
}

/// What quantizing takes beside the codes.
#[derive(Clone, Copy)]
pub(super) struct QuantizedBuffers {
    pub(super) key_scales: BufferId,
    pub(super) value_scales: BufferId,
    /// Working memory: rotated keys, in the rows of the panels of k.
    pub(super) rotated: Rows,
}

/// The epilogue with all that it reads and writes.
pub(super) struct Append<'a> {
    pub(super) o: &'a Output,
    pub(super) shape: HeadShape,
    pub(super) cache: CacheLayout,
    pub(super) buffers: CacheBuffers,
    /// For each token, where its position lies in the cache.
    pub(super) places: &'a [Position],
}

/// Where a position lies in the cache.
#[derive(Clone, Copy)]
pub(super) struct Position {
    /// Its chunk.
    pub(super) chunk: IndexId,
    /// Its place there.
    pub(super) place: IndexId,
}

/// A panel of a head, of one token: panel `first + units * head + unit` of all.
#[derive(Clone, Copy)]
struct HeadPanel {
    head: IndexId,
    /// Panels of a head.
    units: u32,
    unit: u32,
    /// The first panel of head 0.
    first: u32,
    token: u32,
}

/// A vector of a panel's rows.
#[derive(Clone, Copy)]
struct RowVector {
    /// The first row, counted in its tile.
    row: u32,
    /// Tile A or B: 0 or 1.
    tile: u32,
    /// A loop over the vectors of a tile, which moves the row on.
    vector: Option<IndexId>,
    count: u32,
}

/// Where a vector of elements goes in a cache.
struct Place {
    buffer: BufferId,
    at: Affine,
    /// Bytes from one element to the next.
    stride: u32,
}

impl RowVector {
    /// `at`, moved on by the loop over vectors, where an element takes `bytes` bytes.
    fn along(self, b: &Builder, at: Affine, bytes: u32) -> Affine {
        match self.vector {
            Some(vector) => at.plus(vector, i64::from(b.lanes()) * i64::from(bytes)),
            None => at,
        }
    }
}

impl HeadPanel {
    /// Byte offset of some rows in vectors that hold the rows of the panels from `origin` on.
    fn rows(&self, b: &Builder, rows: Rows, origin: u32, of: RowVector) -> Affine {
        let panel = self.first - origin + self.unit;
        let at = rows.at(self.token, panel * PANEL + of.tile * TILE + of.row);
        of.along(b, at.plus(self.head, i64::from(self.units * PANEL) * 4), 4)
    }
}

impl Append<'_> {
    /// Emits the epilogue.
    pub(super) fn emit(&self, b: &mut Builder) {
        let HeadShape { heads, kv_heads, head_dim } = self.shape;
        let [q_panels, k_panels, _] = qkv_panels(self.shape);
        let units = (head_dim / 2).div_ceil(TILE);
        self.over_panels(b, heads, units, 0, |b, panel| self.query(b, &panel));
        self.over_panels(b, kv_heads, units, q_panels, |b, panel| self.key(b, &panel));
        let (units, first) = (head_dim.div_ceil(PANEL), q_panels + k_panels);
        self.over_panels(b, kv_heads, units, first, |b, panel| self.value(b, &panel));
    }

    /// Runs `body` for every token and every panel of `heads` heads that is in the thread's share.
    fn over_panels(
        &self,
        b: &mut Builder,
        heads: u32,
        units: u32,
        first: u32,
        body: impl Fn(&mut Builder, HeadPanel),
    ) {
        b.repeat(heads, |b, head| {
            for unit in 0..units {
                // One round where this panel is in the thread's share, else none.
                let (begin, end) = self.o.range;
                let here = |scalar| Bound::Clamp {
                    scalar,
                    minus: Affine::index(head, i64::from(units)).offset(i64::from(first + unit)),
                    lo: 0,
                    hi: 1,
                };
                b.for_range(here(begin), here(end), [], |b, _, []| {
                    for token in 0..self.o.tokens {
                        body(b, HeadPanel { head, units, unit, first, token });
                    }
                    []
                });
            }
        });
    }

    /// Rows of tile A and of tile B in a panel of pairs.
    fn pairs(&self, panel: &HeadPanel) -> [u32; 2] {
        [(self.shape.head_dim / 2 - panel.unit * TILE).min(TILE); 2]
    }

    /// Rows of tile A and of tile B in a panel of channels.
    fn channels(&self, panel: &HeadPanel) -> [u32; 2] {
        let rows = (self.shape.head_dim - panel.unit * PANEL).min(PANEL);
        [rows.min(TILE), rows.saturating_sub(TILE)]
    }

    fn query(&self, b: &mut Builder, panel: &HeadPanel) {
        over_rows(b, self.pairs(panel), [], |b, both, []| {
            for (of, x) in both.into_iter().zip(self.rotated(b, panel, both)) {
                let at = self.o.out.at(panel.token, self.pair_element(panel, of));
                let at = at.plus(panel.head, i64::from(self.shape.head_dim) * 4);
                b.store_part(x, Elem::F32, self.o.out.buffer, of.along(b, at, 4), of.count);
            }
            []
        });
    }

    fn key(&self, b: &mut Builder, panel: &HeadPanel) {
        let rows = self.pairs(panel);
        over_rows(b, rows, [], |b, both, []| {
            for (of, x) in both.into_iter().zip(self.rotated(b, panel, both)) {
                if let Some(QuantizedBuffers { rotated, .. }) = self.buffers.quantized {
                    let at = panel.rows(b, rotated, panel.first, of);
                    b.store_part(x, Elem::F32, rotated.buffer, at, of.count);
                } else {
                    let place = self.key_place(b, panel, of);
                    self.put(b, x, &place, of.count);
                }
            }
            []
        });
        if let Some(QuantizedBuffers { rotated, key_scales, .. }) = self.buffers.quantized {
            let source = (rotated, panel.first);
            self.quantize(b, panel, rows, source, key_scales, |b, of| self.key_place(b, panel, of));
        }
    }

    fn value(&self, b: &mut Builder, panel: &HeadPanel) {
        let rows = self.channels(panel);
        if let Some(QuantizedBuffers { value_scales, .. }) = self.buffers.quantized {
            let source = (self.o.y, 0);
            let place = |b: &Builder, of| self.value_place(b, panel, of);
            return self.quantize(b, panel, rows, source, value_scales, place);
        }
        over_rows(b, rows, [], |b, both, []| {
            for of in both.into_iter().filter(|of| of.count > 0) {
                let at = panel.rows(b, self.o.y, 0, of);
                let x = b.load(Elem::F32, self.o.y.buffer, at);
                let place = self.value_place(b, panel, of);
                self.put(b, x, &place, of.count);
            }
            []
        });
    }

    /// The rotated products of some rows of both tiles of a panel of pairs.
    fn rotated(&self, b: &mut Builder, panel: &HeadPanel, both: [RowVector; 2]) -> [ValueId; 2] {
        let [x0, x1] = both.map(|of| {
            let at = panel.rows(b, self.o.y, 0, of);
            b.load(Elem::F32, self.o.y.buffer, at)
        });
        // The cosines of a position's pairs, then their sines, as the elements of a head.
        let [cos, sin] = both.map(|of| {
            let element = panel.token * self.shape.head_dim + self.pair_element(panel, of);
            let at = of.along(b, Affine::constant(i64::from(element) * 4), 4);
            b.load_part(Elem::F32, self.buffers.table, at, of.count)
        });
        let (x0c, x1s) = (b.fmul(x0, cos), b.fmul(x1, sin));
        let (x1c, x0s) = (b.fmul(x1, cos), b.fmul(x0, sin));
        [b.fsub(x0c, x1s), b.fadd(x1c, x0s)]
    }

    /// Quantizes the rows of a panel that lie in `source`, vectors whose first panel is given: the
    /// scale to `scales`, the codes to their places.
    fn quantize(
        &self,
        b: &mut Builder,
        panel: &HeadPanel,
        rows: [u32; 2],
        (source, origin): (Rows, u32),
        scales: BufferId,
        place_of: impl Fn(&Builder, RowVector) -> Place,
    ) {
        let load = |b: &mut Builder, of: RowVector| {
            let at = panel.rows(b, source, origin, of);
            b.load_part(Elem::F32, source.buffer, at, of.count)
        };
        let zero = b.i32(0);
        let [greatest] = over_rows(b, rows, [zero], |b, both, [mut greatest]| {
            for of in both.into_iter().filter(|of| of.count > 0) {
                let x = load(b, of);
                let magnitude = magnitude(b, x);
                greatest = b.binary(BinaryOp::IMax, greatest, magnitude);
            }
            [greatest]
        });
        let scale = scale(b, greatest);
        let Position { chunk, place } = self.places[panel.token as usize];
        let at = self
            .cache
            .scales_at(panel.head, chunk, panel.units)
            .offset(i64::from(panel.unit * SCALE_ROW_BYTES))
            .plus(place, SCALE_BYTES.into());
        b.store_part(scale.bits, Elem::U16, scales, at, 1);
        over_rows(b, rows, [], |b, both, []| {
            for of in both.into_iter().filter(|of| of.count > 0) {
                let x = load(b, of);
                let code = code(b, x, &scale);
                let Place { buffer, at, stride } = place_of(b, of);
                b.store_strided(code, element(self.cache.kv), buffer, at, stride, of.count);
            }
            []
        });
    }

    /// Stores numbers in a cache that has no scales.
    fn put(&self, b: &mut Builder, x: ValueId, place: &Place, count: u32) {
        let stored = match self.cache.kv {
            KvFormat::F16 => f16_bits(b, x),
            KvFormat::F32 | KvFormat::Q8 => x,
        };
        let Place { buffer, at, stride } = place;
        let elem = element(self.cache.kv);
        b.store_strided(stored, elem, *buffer, at.clone(), *stride, count);
    }

    /// The element of a head that a row of a panel of pairs is.
    fn pair_element(&self, panel: &HeadPanel, of: RowVector) -> u32 {
        of.tile * (self.shape.head_dim / 2) + panel.unit * TILE + of.row
    }

    fn key_place(&self, b: &Builder, panel: &HeadPanel, of: RowVector) -> Place {
        let cache = self.cache;
        let row = cache.key_row_bytes();
        let Position { chunk, place } = self.places[panel.token as usize];
        let at = cache
            .keys_at(panel.head, chunk)
            .offset(i64::from(self.pair_element(panel, of) * row))
            .plus(place, cache.kv.element_bytes().into());
        Place { buffer: self.buffers.keys, at: of.along(b, at, row), stride: row }
    }

    fn value_place(&self, b: &Builder, panel: &HeadPanel, of: RowVector) -> Place {
        let bytes = self.cache.kv.element_bytes();
        let element = panel.unit * PANEL + of.tile * TILE + of.row;
        let Position { chunk, place } = self.places[panel.token as usize];
        let at = self
            .cache
            .values_at(panel.head, chunk)
            .offset(i64::from(element * bytes))
            .plus(place, self.cache.value_row_bytes().into());
        Place { buffer: self.buffers.values, at: of.along(b, at, bytes), stride: bytes }
    }
}

/// The f16 nearest to a number; one NaN for all NaN, so that the cache's bits are always the same.
fn f16_bits(b: &mut Builder, x: ValueId) -> ValueId {
    let half = b.unary(UnaryOp::F32ToF16, x);
    let magnitude = magnitude(b, x);
    let infinity = b.i32(f32::INFINITY.to_bits());
    let is_nan = b.compare(CompareOp::ILt, infinity, magnitude);
    let nan = b.i32(0x7e00);
    b.select(is_nan, nan, half)
}

/// Runs `body` for the vectors of a panel's rows, `rows` of each tile (of the second no more than
/// of the first), those of both tiles together: in a loop where the tiles are full.
fn over_rows<const N: usize>(
    b: &mut Builder,
    rows: [u32; 2],
    init: [ValueId; N],
    body: impl Fn(&mut Builder, [RowVector; 2], [ValueId; N]) -> [ValueId; N],
) -> [ValueId; N] {
    let lanes = b.lanes();
    if rows == [TILE; 2] {
        let vectors = Bound::Const(TILE / lanes);
        return b.for_range(Bound::Const(0), vectors, init, |b, vector, carried| {
            let vector = Some(vector);
            let both = [0, 1].map(|tile| RowVector { row: 0, tile, vector, count: lanes });
            body(b, both, carried)
        });
    }
    let mut carried = init;
    for row in (0..rows[0]).step_by(lanes as usize) {
        let count = |tile: u32| rows[tile as usize].saturating_sub(row).min(lanes);
        let both = [0, 1].map(|tile| RowVector { row, tile, vector: None, count: count(tile) });
        carried = body(b, both, carried);
    }
    carried
}
