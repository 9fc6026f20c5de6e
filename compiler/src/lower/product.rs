//! The product phase of a linear kernel: `y[row] = Σ_k w[row][k] * x[k]`, k ascending.
//!
//! A lane holds one output row, so that a sum never crosses lanes. A group of row vectors and a
//! tile of tokens share the broadcasts and the dequantized weights; the group is as large as the
//! registers allow: with one token all 32 rows of a panel at 4 lanes (8 chains), with four
//! tokens two vectors (8 chains again).

use super::codes::widened;
use super::hints::{Ahead, Beside};
use super::maxima::Maxima;
use super::norm::Rows;
use super::quantize::QuantizedRows;
use crate::format::{Bits, Format};
use crate::pack::layout::{LINE, Layout, PANEL, TILE};
use crate::vir::{Affine, Bound, BufferId, Builder, Elem, IndexId, Locality, ValueId};

/// Independent chains that hide the latency of a fused multiply-add.
const CHAINS: u32 = 8;
/// Lanes of vectors of which there are no more than sixteen, and every move to the stack counts.
pub(super) const SHORT_OF_REGISTERS: u32 = 8;
/// Lanes of vectors of which there are thirty-two: what a step needs again and again stays in them.
pub(super) const RICH_IN_REGISTERS: u32 = 16;
/// Columns per iteration of an unquantized loop.
const UNROLL: u32 = 8;

/// One packed matrix and what it is multiplied with.
pub(super) struct Product {
    /// Packed weights: `panels` panels.
    pub(super) weights: BufferId,
    /// What is asked for with each line of the weights.
    pub(super) ahead: Vec<Ahead>,
    /// What else is asked for: a part of it with each step, where weights are codes.
    pub(super) beside: Vec<Beside>,
    /// Layout of a panel.
    pub(super) layout: Layout,
    /// Input rows, one for each token.
    pub(super) x: Rows,
    /// The same as codes, where weights are codes that are multiplied with codes.
    pub(super) quantized: Option<QuantizedRows>,
    /// Tokens of the tile.
    pub(super) tokens: u32,
    /// Working memory for the scales and minima of one step as f32: 64 elements.
    pub(super) scales: BufferId,
    /// Results: 32 elements for each panel, one row for each token.
    pub(super) y: Rows,
    /// What is left of each panel beside them, where they are logits.
    pub(super) maxima: Option<Maxima>,
}

/// A group of row vectors inside a panel: their first rows, relative to loop variables.
pub(super) struct Group {
    /// First rows of the vectors, without the loops' part.
    pub(super) rows: Vec<u32>,
    /// Loop over tiles or parts of tiles: index, and rows that one iteration is further on.
    loops: Vec<(IndexId, u32)>,
}

impl Group {
    /// `at`, further on by the loops' part, where so many rows are so many `bytes`.
    pub(super) fn looped(&self, at: Affine, bytes: impl Fn(u32) -> u32) -> Affine {
        let further =
            |at: Affine, (index, rows): &(IndexId, u32)| at.plus(*index, i64::from(bytes(*rows)));
        self.loops.iter().fold(at, further)
    }
}

impl Product {
    /// Products of the panels `begin..end` of this matrix, which are panels `first + ..` of `y`.
    pub(super) fn emit(&self, b: &mut Builder, begin: Bound, end: Bound, first: u32) {
        let lanes = b.lanes();
        let vectors = self.vectors(lanes);
        b.for_range(begin, end, [], |b, panel, []| {
            let rows = (0..vectors).map(|v| v * lanes).collect();
            let group = Group { rows, loops: Vec::new() };
            self.groups(b, panel, vectors * lanes, group, first);
            if let Some(maxima) = &self.maxima {
                maxima.emit(b, panel, first);
            }
            []
        });
    }

    /// Row vectors of a group: as many as give enough chains, and as registers hold. A power of
    /// two for 1 to 4 tokens (three tokens: two vectors, six chains).
    fn vectors(&self, lanes: u32) -> u32 {
        let vectors = (CHAINS / self.tokens).clamp(1, PANEL / lanes);
        let is_short = lanes == SHORT_OF_REGISTERS && self.tokens > 1;
        match self.layout.format {
            // Two sums for each chain, or the bytes of every quad.
            Format::Codes(_) if is_short && self.quantized.is_some() => 1,
            Format::Codes(codes) if is_short && codes.bits == Bits::Six => 1,
            Format::Codes(_) | Format::F32 | Format::F16 | Format::Bf16 => vectors,
        }
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
            Format::Codes(codes) => match &self.quantized {
                Some(x) => self.integer(b, (codes, x), panel, group, &init),
                None => self.dequantized(b, codes, panel, group, &init),
            },
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
            if (row * element).is_multiple_of(LINE) {
                self.ask_ahead(b, &at);
            }
            weights.push(self.plain_weight(b, at));
        }
        self.accumulate(b, &weights, sums, |p, token| {
            let at = p.x.at(token, k);
            block.map_or(at.clone(), |i| at.plus(i, i64::from(UNROLL) * 4))
        });
    }

    /// Asks for the lines ahead that belong to the line of weights at `at`. To be called once for
    /// each line, where it is read: requests in bursts are dropped.
    pub(super) fn ask_ahead(&self, b: &mut Builder, at: &Affine) {
        self.ahead.iter().for_each(|ahead| ahead.ask(b, at));
    }

    /// Asks for a step's part of what is asked for beside the weights.
    pub(super) fn ask_beside(&self, b: &mut Builder, panel: IndexId, step: IndexId) {
        for Beside { buffer, start, lines } in &self.beside {
            let part = lines.div_ceil(self.layout.steps());
            let at =
                start.clone().plus(panel, (lines * LINE).into()).plus(step, (part * LINE).into());
            for line in 0..part {
                b.prefetch(Locality::L2, *buffer, at.clone().offset((line * LINE).into()));
            }
        }
    }

    fn plain_weight(&self, b: &mut Builder, at: Affine) -> ValueId {
        if self.layout.format == Format::F32 {
            return b.load(Elem::F32, self.weights, at);
        }
        let half = b.load(Elem::U16, self.weights, at);
        widened(b, self.layout.format == Format::Bf16, half)
    }

    /// `sum += w * x` for every row vector and token of one column.
    pub(super) fn accumulate(
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

    fn panel(&self, panel: IndexId) -> Affine {
        let bytes = i64::try_from(self.layout.panel_bytes()).unwrap_or(i64::MAX);
        Affine::index(panel, bytes)
    }

    pub(super) fn step(&self, panel: IndexId, step: IndexId) -> Affine {
        self.panel(panel).plus(step, i64::from(self.layout.step_bytes()))
    }
}
