//! The embedding kernel: one row of the packed table, dequantized.
//!
//! The table is stored once, in the layout of the head's product, so that a row is one lane of
//! its panel: element by element, each splat and cut out of its lines.

use super::codes::{self, Count, Numbers, widened};
use super::{Lowered, Parts, Role, vector_bytes};
use crate::format::{Codes, Format, Scale};
use crate::pack::layout::{BLOCK_COLUMNS, LINE, Layout, PANEL, TILE, panels};
use crate::vir::{Affine, Bound, BufferId, Builder, Elem, IndexId, ValueId};
use deepthin_runtime::program::{Quotient, ScalarSource};

/// Sizes of an embedding kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedKernel {
    /// Lanes.
    pub lanes: u32,
    /// Storage of the table.
    pub format: Format,
    /// Rows of the table.
    pub vocab: u32,
    /// Elements of a row.
    pub width: u32,
}

struct Embed {
    layout: Layout,
    table: BufferId,
    out: BufferId,
    /// The row's panel, its tile there, and its lane there.
    panel: IndexId,
    tile: IndexId,
    lane: IndexId,
}

/// Lowers an embedding kernel. One unit a token; the share says whether it is this thread's.
pub fn lower_embed(name: &str, kernel: &EmbedKernel) -> Lowered {
    let mut parts = Parts::new(name, kernel.lanes);
    let layout = Layout { format: kernel.format, columns: kernel.width };
    let panels = panels(kernel.vocab);
    let bytes = layout.panel_bytes() * u64::from(panels);
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let table = parts.buffer("table", Role::Weights(0), bytes);
    let out = parts.buffer("out", Role::Output, vector_bytes(kernel.width));
    let (begin, end) = parts.range("tokens", 1);
    let panel = parts.b.scalar("panel", 0, i64::from(panels) - 1);
    let tile = parts.b.scalar("tile", 0, i64::from(PANEL / TILE) - 1);
    let lane = parts.b.scalar("lane", 0, i64::from(TILE) - 1);
    let part = |divide, modulo| ScalarSource::TokenId(Quotient { add: 0, divide, modulo, plus: 0 });
    parts.scalars.extend([part(PANEL, 0), part(TILE, PANEL / TILE), part(1, TILE)]);
    let embed = Embed { layout, table, out, panel, tile, lane };
    parts.b.for_range(Bound::Scalar(begin), Bound::Scalar(end), [], |b, _, []| {
        let steps = layout.steps();
        b.repeat(steps, |b, step| embed.step(b, step));
        []
    });
    parts.finish()
}

impl Embed {
    fn step(&self, b: &mut Builder, step: IndexId) {
        match self.layout.format {
            Format::F32 | Format::F16 | Format::Bf16 => {
                let value = self.plain(b, step);
                b.store_part(value, Elem::F32, self.out, Affine::index(step, 4), 1);
            }
            Format::Codes(codes) => self.group(b, codes, step),
        }
    }

    /// Byte offset in the table of a step, with the row's tile and lane at the given sizes.
    fn at(&self, step: IndexId, base: u32, tile_bytes: u32, lane_bytes: u32) -> Affine {
        let panel_bytes = i64::try_from(self.layout.panel_bytes()).unwrap_or(i64::MAX);
        Affine::constant(i64::from(base))
            .plus(self.panel, panel_bytes)
            .plus(step, i64::from(self.layout.step_bytes()))
            .plus(self.tile, i64::from(tile_bytes))
            .plus(self.lane, i64::from(lane_bytes))
    }

    fn plain(&self, b: &mut Builder, step: IndexId) -> ValueId {
        let element = self.layout.step_bytes() / PANEL;
        let at = self.at(step, 0, TILE * element, element);
        if self.layout.format == Format::F32 {
            return b.splat(Elem::F32, self.table, at);
        }
        let half = b.splat(Elem::U16, self.table, at);
        widened(b, self.layout.format == Format::Bf16, half)
    }

    /// A group of codes: scale, minimum, then a unit at a time.
    fn group(&self, b: &mut Builder, codes: Codes, step: IndexId) {
        let scale = self.half(b, codes, step, self.layout.scale(0));
        let minimum = codes.minimum.then(|| self.half(b, codes, step, self.layout.minimum(0)));
        let columns = codes::quads(codes.bits) * 4;
        b.repeat(self.layout.blocks(), |b, block| {
            b.repeat(codes::units(codes.bits), |b, unit| {
                let start = self
                    .at(step, 0, self.layout.tile_lines() * LINE, 4)
                    .plus(block, i64::from(self.layout.block_bytes()));
                let lines = codes::lines(b, codes.bits, Count::Index(unit), |b, at| {
                    b.splat(Elem::I32, self.table, start.clone().sum(&at))
                });
                let numbers = Numbers::new(b, codes, &lines);
                for column in 0..columns {
                    let code = numbers.number(b, column / 4, column % 4);
                    let value = match minimum {
                        Some(minimum) => b.fma(code, scale, minimum),
                        None => b.fmul(code, scale),
                    };
                    let at = Affine::constant(i64::from(column) * 4)
                        .plus(step, i64::from(self.layout.step_columns()) * 4)
                        .plus(block, i64::from(BLOCK_COLUMNS) * 4)
                        .plus(unit, i64::from(columns) * 4);
                    b.store_part(value, Elem::F32, self.out, at, 1);
                }
            });
        });
    }

    fn half(&self, b: &mut Builder, codes: Codes, step: IndexId, base: u32) -> ValueId {
        let half = b.splat(Elem::U16, self.table, self.at(step, base, TILE * 2, 2));
        widened(b, codes.scale == Scale::Bf16, half)
    }
}
