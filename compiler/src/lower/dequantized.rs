//! Products of codes with f32 activations: each weight is dequantized where it is used.

use super::codes::{self, Count, Numbers, widened};
use super::product::{Group, Product, RICH_IN_REGISTERS, SHORT_OF_REGISTERS};
use crate::format::{Bits, Codes, Scale};
use crate::pack::layout::{BLOCK_COLUMNS, PANEL, TILE};
use crate::vir::{Affine, Bound, Builder, Elem, IndexId, ValueId};
use std::ops::Range;

/// Row vectors whose codes are held at once: with one token the chains of a panel take turns, so
/// that its lines are read in their order in memory and all fits sixteen registers.
const HELD_VECTORS: usize = 4;

/// The f32 scales of a row vector, and its minima where codes have them.
type Scaling = (ValueId, Option<ValueId>);

/// Where the inner loop stands.
#[derive(Clone, Copy)]
struct Place {
    panel: IndexId,
    step: IndexId,
    /// Block of the step.
    block: Count,
    /// Unit of the block.
    unit: IndexId,
}

impl Product {
    /// Sums over the steps of a panel: the scales of a step to f32, in registers where there are
    /// enough of them and else in working memory, then its blocks.
    pub(super) fn dequantized(
        &self,
        b: &mut Builder,
        codes: Codes,
        panel: IndexId,
        group: &Group,
        init: &[ValueId],
    ) -> Vec<ValueId> {
        let steps = Bound::Const(self.layout.steps());
        b.for_range_vec(Bound::Const(0), steps, init, |b, step, sums| {
            self.ask_beside(b, panel, step);
            let scales = self.unpack_scales(b, codes, panel, step, group);
            let blocks = self.layout.blocks();
            if blocks == 1 {
                return self.block(b, codes, (panel, step, Count::Of(0)), group, &scales, sums);
            }
            b.for_range_vec(Bound::Const(0), Bound::Const(blocks), sums, |b, block, sums| {
                self.block(b, codes, (panel, step, Count::Index(block)), group, &scales, sums)
            })
        })
    }

    fn block(
        &self,
        b: &mut Builder,
        codes: Codes,
        (panel, step, block): (IndexId, IndexId, Count),
        group: &Group,
        scales: &[Scaling],
        sums: &[ValueId],
    ) -> Vec<ValueId> {
        let held = match codes.bits {
            _ if self.tokens > 1 => group.rows.len(),
            Bits::Six if b.lanes() == SHORT_OF_REGISTERS => 1,
            Bits::Four | Bits::Six | Bits::Eight => HELD_VECTORS,
        };
        let mut sums = sums.to_vec();
        for first in (0..group.rows.len()).step_by(held) {
            let vectors = first..group.rows.len().min(first + held);
            // Sums lie token by token; with several tokens all vectors are held.
            let own = if self.tokens == 1 { vectors.clone() } else { 0..sums.len() };
            let units = Bound::Const(codes::units(codes.bits));
            let next =
                b.for_range_vec(Bound::Const(0), units, &sums[own.clone()], |b, unit, sums| {
                    let mut sums = sums.to_vec();
                    let place = Place { panel, step, block, unit };
                    self.unit(b, codes, place, group, scales, vectors.clone(), &mut sums);
                    sums
                });
            sums[own].copy_from_slice(&next);
        }
        sums
    }

    fn unpack_scales(
        &self,
        b: &mut Builder,
        codes: Codes,
        panel: IndexId,
        step: IndexId,
        group: &Group,
    ) -> Vec<Scaling> {
        let is_rich = b.lanes() == RICH_IN_REGISTERS;
        let mut unpack = |byte: u32, vector: usize, slot: u32| {
            let at = self.step(panel, step).offset(i64::from(byte));
            let at = group.looped(at, |rows| rows * 2);
            if vector == 0 {
                self.ask_ahead(b, &at);
            }
            let half = b.load(Elem::U16, self.weights, at);
            let scale = widened(b, codes.scale == Scale::Bf16, half);
            if !is_rich {
                let place = scale_place(b.lanes(), vector, slot);
                b.store(scale, Elem::F32, self.scales, place);
            }
            scale
        };
        let mut all = Vec::with_capacity(group.rows.len());
        for (v, row) in group.rows.iter().enumerate() {
            let scale = unpack(self.layout.scale(*row), v, 0);
            let minimum = codes.minimum.then(|| unpack(self.layout.minimum(*row), v, PANEL));
            all.push((scale, minimum));
        }
        if is_rich { all } else { Vec::new() }
    }

    fn unit(
        &self,
        b: &mut Builder,
        codes: Codes,
        place: Place,
        group: &Group,
        scales: &[Scaling],
        vectors: Range<usize>,
        sums: &mut [ValueId],
    ) {
        let numbers: Vec<Numbers> = vectors
            .clone()
            .map(|v| {
                let lines = self.lines(b, codes.bits, place, group, group.rows[v]);
                Numbers::new(b, codes, &lines)
            })
            .collect();
        let quads = codes::quads(codes.bits);
        for quad in 0..quads {
            // Column by column, so that neighboring instructions belong to different chains.
            for i in 0..4 {
                let weights: Vec<ValueId> = vectors
                    .clone()
                    .zip(&numbers)
                    .map(|(v, numbers)| {
                        let scaling = self.scaling(b, codes, scales, v);
                        dequantize(b, numbers, (quad, i), scaling)
                    })
                    .collect();
                self.accumulate(b, &weights, sums, |p, token| {
                    let at = p.x.at(token, quad * 4 + i);
                    let step = p.layout.step_columns();
                    let at = Count::Index(place.step).along(at, step * 4);
                    let at = place.block.along(at, BLOCK_COLUMNS * 4);
                    Count::Index(place.unit).along(at, quads * 4 * 4)
                });
            }
        }
    }

    /// The scales of a row vector: held, or from working memory.
    fn scaling(&self, b: &mut Builder, codes: Codes, held: &[Scaling], vector: usize) -> Scaling {
        if let Some(held) = held.get(vector) {
            return *held;
        }
        let mut load = |slot| {
            let place = scale_place(b.lanes(), vector, slot);
            b.load(Elem::F32, self.scales, place)
        };
        let scale = load(0);
        (scale, codes.minimum.then(|| load(PANEL)))
    }

    /// The lines of a unit of the rows from `row` on.
    fn lines(
        &self,
        b: &mut Builder,
        bits: Bits,
        place: Place,
        group: &Group,
        row: u32,
    ) -> Vec<ValueId> {
        let start = self.step(place.panel, place.step).offset(i64::from(self.layout.code(row, 0)));
        let start = place.block.along(start, self.layout.block_bytes());
        let start = group.looped(start, |rows| self.layout.code(rows, 0));
        codes::lines(b, bits, Count::Index(place.unit), |b, at| {
            let at = start.clone().sum(&at);
            if row.is_multiple_of(TILE) {
                self.ask_ahead(b, &at);
            }
            b.load(Elem::I32, self.weights, at)
        })
    }
}

/// Where the f32 scale (slot 0) or minimum (slot 32) of a row vector lies.
fn scale_place(lanes: u32, vector: usize, slot: u32) -> Affine {
    let vector = i64::try_from(vector).unwrap_or(i64::MAX);
    Affine::constant((i64::from(slot) + vector * i64::from(lanes)) * 4)
}

/// The weights of column `i` of a quad: `d * code`, or `fma(code, d, m)`.
fn dequantize(
    b: &mut Builder,
    numbers: &Numbers,
    (quad, i): (u32, u32),
    (scale, minimum): Scaling,
) -> ValueId {
    let code = numbers.number(b, quad, i);
    match minimum {
        Some(minimum) => b.fma(code, scale, minimum),
        None => b.fmul(code, scale),
    }
}
