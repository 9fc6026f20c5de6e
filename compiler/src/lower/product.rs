//! The product phase of a linear kernel: `y[row] = Σ_k w[row][k] * x[k]`, k ascending.
//!
//! A lane holds one output row, so that a sum never crosses lanes. A group of row vectors and a
//! tile of tokens share the broadcasts and the dequantized weights; the group is as large as the
//! registers allow: with one token all 32 rows of a panel at 4 lanes (8 chains), with four
//! tokens two vectors (8 chains again).

use super::norm::Rows;
use crate::format::Format;
use crate::pack::layout::{Layout, PANEL, TILE};
use crate::vir::{
    Affine, BinaryOp, Bound, BufferId, Builder, Elem, IndexId, ShiftOp, UnaryOp, ValueId,
};
use std::ops::Range;

/// Independent chains that hide the latency of a fused multiply-add.
const CHAINS: u32 = 8;
/// Row vectors whose codes are held at once: with one token the chains of a panel take turns, so
/// that its lines are read in their order in memory and all fits sixteen registers.
const HELD_VECTORS: usize = 4;
/// Columns per iteration of an unquantized loop.
const UNROLL: u32 = 8;

/// One packed matrix and what it is multiplied with.
pub(super) struct Product {
    /// Packed weights: `panels` panels.
    pub(super) weights: BufferId,
    /// Layout of a panel.
    pub(super) layout: Layout,
    /// Input rows, one for each token.
    pub(super) x: Rows,
    /// Tokens of the tile.
    pub(super) tokens: u32,
    /// Working memory for the scales and minima of one step as f32: 64 elements.
    pub(super) scales: BufferId,
    /// Results: 32 elements for each panel, one row for each token.
    pub(super) y: Rows,
}

/// A group of row vectors inside a panel: their first rows, relative to loop variables.
struct Group {
    /// First rows of the vectors, without the loops' part.
    rows: Vec<u32>,
    /// Loop over tiles or parts of tiles: index, and rows that one iteration is further on.
    loops: Vec<(IndexId, u32)>,
}

impl Group {
    /// `at`, further on by the loops' part, where so many rows are so many `bytes`.
    fn looped(&self, at: Affine, bytes: impl Fn(u32) -> u32) -> Affine {
        let further =
            |at: Affine, (index, rows): &(IndexId, u32)| at.plus(*index, i64::from(bytes(*rows)));
        self.loops.iter().fold(at, further)
    }
}

impl Product {
    /// Products of the panels `begin..end` of this matrix, which are panels `first + ..` of `y`.
    pub(super) fn emit(&self, b: &mut Builder, begin: Bound, end: Bound, first: u32) {
        let lanes = b.lanes();
        // A power of two for 1 to 4 tokens (three tokens: two vectors, six chains).
        let vectors = (CHAINS / self.tokens).clamp(1, PANEL / lanes);
        b.for_range(begin, end, [], |b, panel, []| {
            let rows = (0..vectors).map(|v| v * lanes).collect();
            let group = Group { rows, loops: Vec::new() };
            self.groups(b, panel, vectors * lanes, group, first);
            []
        });
    }

    /// Loops over the groups of `height` rows of a panel: first tiles, then parts of a tile.
    fn groups(&self, b: &mut Builder, panel: IndexId, height: u32, group: Group, first: u32) {
        let tiles = if height < PANEL { PANEL / height.max(TILE) } else { 1 };
        let parts = if height < TILE { TILE / height } else { 1 };
        let looped =
            |b: &mut Builder, count, rows, mut group: Group, next: &dyn Fn(&mut Builder, Group)| {
                if count == 1 {
                    next(b, group);
                } else {
                    b.repeat(count, |b, i| {
                        group.loops.push((i, rows));
                        next(b, group);
                    });
                }
            };
        looped(b, tiles, TILE, group, &|b, group| {
            looped(b, parts, height, group, &|b, group| self.group(b, panel, &group, first));
        });
    }

    fn group(&self, b: &mut Builder, panel: IndexId, group: &Group, first: u32) {
        let zero = b.f32(0.0);
        let init = vec![zero; group.rows.len() * self.tokens as usize];
        let sums = match self.layout.format {
            Format::F32 | Format::F16 | Format::Bf16 => self.plain(b, panel, group, &init),
            Format::Q8_0 | Format::Q4_0 | Format::Q4_1 => self.quantized(b, panel, group, &init),
        };
        for token in 0..self.tokens {
            for (v, row) in group.rows.iter().enumerate() {
                let sum = sums[token as usize * group.rows.len() + v];
                let at = self.y.at(token, first * PANEL + row).plus(panel, i64::from(PANEL) * 4);
                b.store(sum, Elem::F32, self.y.buffer, group.looped(at, |rows| rows * 4));
            }
        }
    }

    /// One row of weights per k: f32, f16, bf16.
    fn plain(
        &self,
        b: &mut Builder,
        panel: IndexId,
        group: &Group,
        init: &[ValueId],
    ) -> Vec<ValueId> {
        let k = self.layout.columns;
        let whole = k / UNROLL;
        let sums = b.for_range_vec(Bound::Const(0), Bound::Const(whole), init, |b, i, sums| {
            let mut sums = sums.to_vec();
            for u in 0..UNROLL {
                self.plain_column(b, panel, group, Some(i), u, &mut sums);
            }
            sums
        });
        let mut sums = sums;
        for u in whole * UNROLL..k {
            self.plain_column(b, panel, group, None, u, &mut sums);
        }
        sums
    }

    fn plain_column(
        &self,
        b: &mut Builder,
        panel: IndexId,
        group: &Group,
        block: Option<IndexId>,
        k: u32,
        sums: &mut [ValueId],
    ) {
        let bytes = self.layout.step_bytes();
        let element = bytes / PANEL;
        let mut weights = Vec::with_capacity(group.rows.len());
        for row in &group.rows {
            let first = i64::from(k) * i64::from(bytes) + i64::from(*row) * i64::from(element);
            let mut at = group.looped(self.panel(panel).offset(first), |rows| rows * element);
            if let Some(i) = block {
                at = at.plus(i, i64::from(UNROLL) * i64::from(bytes));
            }
            weights.push(self.plain_weight(b, at));
        }
        self.accumulate(b, &weights, sums, |p, token| {
            let at = p.x.at(token, k);
            block.map_or(at.clone(), |i| at.plus(i, i64::from(UNROLL) * 4))
        });
    }

    fn plain_weight(&self, b: &mut Builder, at: Affine) -> ValueId {
        if self.layout.format == Format::F32 {
            return b.load(Elem::F32, self.weights, at);
        }
        let half = b.load(Elem::U16, self.weights, at);
        if self.layout.format == Format::F16 {
            b.unary(UnaryOp::FiniteF16ToF32, half)
        } else {
            let bits = b.shift(ShiftOp::Shl, half, 16);
            b.unary(UnaryOp::AsF32, bits)
        }
    }

    /// `sum += w * x` for every row vector and token of one column.
    fn accumulate(
        &self,
        b: &mut Builder,
        weights: &[ValueId],
        sums: &mut [ValueId],
        place: impl Fn(&Self, u32) -> Affine,
    ) {
        for token in 0..self.tokens {
            let x = b.splat(Elem::F32, self.x.buffer, place(self, token));
            for (v, &w) in weights.iter().enumerate() {
                let sum = &mut sums[token as usize * weights.len() + v];
                // The factor that is used once comes first: it shares the result's register.
                *sum = if self.tokens == 1 { b.fma(w, x, *sum) } else { b.fma(x, w, *sum) };
            }
        }
    }

    /// Groups of 32 columns: the scales of a step to f32, then its lines of codes.
    fn quantized(
        &self,
        b: &mut Builder,
        panel: IndexId,
        group: &Group,
        init: &[ValueId],
    ) -> Vec<ValueId> {
        let steps = Bound::Const(self.layout.steps());
        b.for_range_vec(Bound::Const(0), steps, init, |b, step, sums| {
            self.unpack_scales(b, panel, step, group);
            let lines = Bound::Const(self.layout.tile_lines());
            let halves = if self.layout.format == Format::Q8_0 { 1 } else { 2 };
            let held = if self.tokens == 1 { HELD_VECTORS } else { group.rows.len() };
            let mut sums = sums.to_vec();
            for first in (0..group.rows.len()).step_by(held) {
                let vectors = first..group.rows.len().min(first + held);
                // Sums lie token by token; with several tokens all vectors are held.
                let own = if self.tokens == 1 { vectors.clone() } else { 0..sums.len() };
                let next = b.for_range_vec(
                    Bound::Const(0),
                    lines.clone(),
                    &sums[own.clone()],
                    |b, line, sums| {
                        let mut sums = sums.to_vec();
                        for half in 0..halves {
                            let place = (panel, step, line);
                            self.quad(b, place, group, vectors.clone(), half, &mut sums);
                        }
                        sums
                    },
                );
                sums[own].copy_from_slice(&next);
            }
            sums
        })
    }

    fn unpack_scales(&self, b: &mut Builder, panel: IndexId, step: IndexId, group: &Group) {
        for (v, row) in group.rows.iter().enumerate() {
            self.unpack_one(b, panel, step, group, self.layout.scale(*row), v, 0);
            if self.layout.format == Format::Q4_1 {
                self.unpack_one(b, panel, step, group, self.layout.minimum(*row), v, PANEL);
            }
        }
    }

    fn unpack_one(
        &self,
        b: &mut Builder,
        panel: IndexId,
        step: IndexId,
        group: &Group,
        byte: u32,
        vector: usize,
        slot: u32,
    ) {
        let at = self.step(panel, step).offset(i64::from(byte));
        let at = group.looped(at, |rows| rows * 2);
        let half = b.load(Elem::U16, self.weights, at);
        let scale = b.unary(UnaryOp::FiniteF16ToF32, half);
        let place = self.scale_place(b.lanes(), vector, slot);
        b.store(scale, Elem::F32, self.scales, place);
    }

    /// Where the f32 scale (slot 0) or minimum (slot 32) of a row vector lies.
    fn scale_place(&self, lanes: u32, vector: usize, slot: u32) -> Affine {
        let vector = i64::try_from(vector).unwrap_or(i64::MAX);
        Affine::constant((i64::from(slot) + vector * i64::from(lanes)) * 4)
    }

    /// Four columns: one half of the nibbles of a line, or the bytes of a line.
    fn quad(
        &self,
        b: &mut Builder,
        (panel, step, line): (IndexId, IndexId, IndexId),
        group: &Group,
        vectors: Range<usize>,
        half: u32,
        sums: &mut [ValueId],
    ) {
        let line_columns = self.layout.step_columns() / self.layout.tile_lines();
        let column = |p: &Self, token: u32, i: u32| {
            let step_bytes = i64::from(p.layout.step_columns()) * 4;
            p.x.at(token, half * 4 + i)
                .plus(step, step_bytes)
                .plus(line, i64::from(line_columns) * 4)
        };
        let codes = |b: &mut Builder, row: u32| {
            let at = self.step(panel, step).offset(i64::from(self.layout.code(row, 0)));
            let at = at.plus(line, i64::from(crate::pack::layout::LINE));
            let at = group.looped(at, |rows| self.layout.code(rows, 0));
            let codes = b.load(Elem::I32, self.weights, at);
            self.signed(b, codes)
        };
        let codes: Vec<ValueId> = vectors.clone().map(|v| codes(b, group.rows[v])).collect();
        // Column by column, so that neighboring instructions belong to different chains.
        for i in 0..4 {
            let weights: Vec<ValueId> = vectors
                .clone()
                .zip(&codes)
                .map(|(v, &codes)| self.dequantize(b, codes, half, i, v))
                .collect();
            self.accumulate(b, &weights, sums, |p, token| column(p, token, i));
        }
    }

    fn scale(&self, b: &mut Builder, vector: usize) -> (ValueId, Option<ValueId>) {
        let lanes = b.lanes();
        let scale = b.load(Elem::F32, self.scales, self.scale_place(lanes, vector, 0));
        let minimum = (self.layout.format == Format::Q4_1)
            .then(|| b.load(Elem::F32, self.scales, self.scale_place(lanes, vector, PANEL)));
        (scale, minimum)
    }

    /// Biased codes to two's complement inside their fields; q4_1 codes are unsigned.
    fn signed(&self, b: &mut Builder, codes: ValueId) -> ValueId {
        let bias = match self.layout.format {
            Format::Q8_0 => 0x8080_8080,
            Format::Q4_0 => 0x8888_8888,
            Format::F32 | Format::F16 | Format::Bf16 | Format::Q4_1 => return codes,
        };
        let bias = b.i32(bias);
        b.binary(BinaryOp::IXor, codes, bias)
    }

    /// The weights of column `i` of a quad: `d * code`, or `fma(code, d, m)`.
    fn dequantize(
        &self,
        b: &mut Builder,
        codes: ValueId,
        half: u32,
        i: u32,
        vector: usize,
    ) -> ValueId {
        let (scale, minimum) = self.scale(b, vector);
        let code = match self.layout.format {
            Format::Q4_1 => unsigned_field(b, codes, 8 * i + 4 * half, 4),
            Format::Q4_0 => signed_field(b, codes, 8 * i + 4 * half, 4),
            Format::Q8_0 | Format::F32 | Format::F16 | Format::Bf16 => {
                signed_field(b, codes, 8 * i, 8)
            }
        };
        let code = b.unary(UnaryOp::I32ToF32, code);
        match minimum {
            Some(minimum) => b.fma(code, scale, minimum),
            None => b.fmul(code, scale),
        }
    }

    fn panel(&self, panel: IndexId) -> Affine {
        let bytes = i64::try_from(self.layout.panel_bytes()).unwrap_or(i64::MAX);
        Affine::index(panel, bytes)
    }

    fn step(&self, panel: IndexId, step: IndexId) -> Affine {
        self.panel(panel).plus(step, i64::from(self.layout.step_bytes()))
    }
}

/// Bits `low..low + width` of each lane, zero-extended. Two shifts, no mask: a constant would
/// take a register or a load at each use, and loads are what an inner loop is short of.
pub(super) fn unsigned_field(b: &mut Builder, bits: ValueId, low: u32, width: u32) -> ValueId {
    field(b, ShiftOp::Shr, bits, low, width)
}

/// Bits `low..low + width` of each lane, sign-extended.
pub(super) fn signed_field(b: &mut Builder, bits: ValueId, low: u32, width: u32) -> ValueId {
    field(b, ShiftOp::Sar, bits, low, width)
}

fn field(b: &mut Builder, down: ShiftOp, bits: ValueId, low: u32, width: u32) -> ValueId {
    let top = 32 - low - width;
    let raised = if top == 0 { bits } else { b.shift(ShiftOp::Shl, bits, top) };
    b.shift(down, raised, 32 - width)
}
