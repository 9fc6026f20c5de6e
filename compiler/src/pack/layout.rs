//! Packed layouts of weight matrices: where the code of a row and column lies.
//!
//! Rows are cut in panels of 32, a panel in two tiles of 16 rows; lanes are rows. A panel is a
//! sequence of steps along K. Everything is in whole 64-byte lines:
//!
//! | format | K of a step | bytes of a step | content |
//! |---|---|---|---|
//! | f32 | 1 | 128 | 32 rows |
//! | f16, bf16 | 1 | 64 | 32 rows |
//! | q8_0 | 32 | 1088 | tile A, tile B (8 lines each), scales |
//! | q4_0 | 32 | 576 | tile A, tile B (4 lines each), scales |
//! | q4_1 | 32 | 640 | tile A, tile B (4 lines each), scales, minima |
//!
//! A line of codes holds one dword for each of the 16 rows of its tile. q8: dword j has the
//! bytes k = 4j..4j+3, biased by 128. q4: dword j has the low nibbles k = 8j..8j+3 and the high
//! nibbles k = 8j+4..8j+7. Scales and minima are f16, 32 rows side by side.

use crate::format::Format;

/// Rows of a panel.
pub const PANEL: u32 = 32;
/// Rows of a tile.
pub const TILE: u32 = 16;
/// Bytes of a line.
pub const LINE: u32 = 64;

/// The packed layout of a matrix of one format with K columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Storage format.
    pub format: Format,
    /// K.
    pub columns: u32,
}

impl Layout {
    /// Columns of a step; divides K wherever the format is possible for K.
    pub const fn step_columns(self) -> u32 {
        match self.format {
            Format::F32 | Format::F16 | Format::Bf16 => 1,
            Format::Q8_0 | Format::Q4_0 | Format::Q4_1 => 32,
        }
    }

    /// Steps of a panel.
    pub const fn steps(self) -> u32 {
        self.columns / self.step_columns()
    }

    /// Lines of codes of one tile and step (quantized formats).
    pub const fn tile_lines(self) -> u32 {
        match self.format {
            Format::F32 | Format::F16 | Format::Bf16 => 0,
            Format::Q8_0 => 8,
            Format::Q4_0 | Format::Q4_1 => 4,
        }
    }

    /// Bytes of a step.
    pub const fn step_bytes(self) -> u32 {
        match self.format {
            Format::F32 => 2 * LINE,
            Format::F16 | Format::Bf16 => LINE,
            Format::Q8_0 | Format::Q4_0 => (2 * self.tile_lines() + 1) * LINE,
            Format::Q4_1 => (2 * self.tile_lines() + 2) * LINE,
        }
    }

    /// Bytes of a panel.
    pub const fn panel_bytes(self) -> u64 {
        self.steps() as u64 * self.step_bytes() as u64
    }

    /// Byte of dword `line` of `row` (0 to 31) inside a step (quantized formats).
    pub const fn code(self, row: u32, line: u32) -> u32 {
        (row / TILE * self.tile_lines() + line) * LINE + row % TILE * 4
    }

    /// Byte of the f16 scale of `row` inside a step (quantized formats).
    pub const fn scale(self, row: u32) -> u32 {
        2 * self.tile_lines() * LINE + row * 2
    }

    /// Byte of the f16 minimum of `row` inside a step (q4_1).
    pub const fn minimum(self, row: u32) -> u32 {
        self.scale(row) + LINE
    }
}

/// Panels that `rows` rows fill.
pub const fn panels(rows: u32) -> u32 {
    rows.div_ceil(PANEL)
}
