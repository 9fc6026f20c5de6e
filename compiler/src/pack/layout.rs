//! Packed layouts of weight matrices: where the code of a row and column lies.
//!
//! Rows are cut in panels of 32, a panel in two tiles of 16 rows; lanes are rows. A panel is a
//! sequence of steps along K, one for each group of elements that share a scale. Everything is in
//! whole 64-byte lines:
//!
//! | format | K of a step | bytes of a step | content |
//! |---|---|---|---|
//! | f32 | 1 | 128 | 32 rows |
//! | f16, bf16 | 1 | 64 | 32 rows |
//! | codes in groups of G | G | G/32 blocks, 64 or 128 | blocks, scales, minima if there are |
//!
//! A block has 32 columns: the codes of tile A, then of tile B. Scales and minima are a line
//! each: 2 bytes for each of 32 rows side by side. A line of codes holds one dword for each of
//! the 16 rows of its tile:
//!
//! | bits | lines of a tile | a dword |
//! |---|---|---|
//! | 8 | 8 | dword j: the bytes k = 4j..4j+3 |
//! | 4 | 4 | dword j: in the low halves of its bytes k = 8j..8j+3, in the high ones 8j+4..8j+7 |
//! | 6 | 6 | dwords 0 to 3: low four bits, as with 4 bits; dword 4 + h: the high two bits, at bits 2f of its bytes k = 16h + 4f..16h + 4f + 3 |
//!
//! Codes are unsigned: symmetric ones lie around their bias.

use crate::format::{Bits, Format};

/// Rows of a panel.
pub const PANEL: u32 = 32;
/// Rows of a tile.
pub const TILE: u32 = 16;
/// Columns of a block of codes.
pub const BLOCK_COLUMNS: u32 = 32;
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
            Format::Codes(codes) => codes.group.columns(self.columns),
        }
    }

    /// Steps of a panel.
    pub const fn steps(self) -> u32 {
        match self.step_columns() {
            0 => 0,
            columns => self.columns / columns,
        }
    }

    /// Blocks of 32 columns in a step (formats of codes).
    pub const fn blocks(self) -> u32 {
        self.step_columns() / BLOCK_COLUMNS
    }

    /// Lines of codes of one tile and block (formats of codes).
    pub const fn tile_lines(self) -> u32 {
        match self.format {
            Format::F32 | Format::F16 | Format::Bf16 => 0,
            Format::Codes(codes) => match codes.bits {
                Bits::Four => 4,
                Bits::Six => 6,
                Bits::Eight => 8,
            },
        }
    }

    /// Bytes of a block (formats of codes).
    pub const fn block_bytes(self) -> u32 {
        2 * self.tile_lines() * LINE
    }

    /// Bytes of a step.
    pub const fn step_bytes(self) -> u32 {
        match self.format {
            Format::F32 => 2 * LINE,
            Format::F16 | Format::Bf16 => LINE,
            Format::Codes(codes) => {
                let heads = if codes.minimum { 2 } else { 1 };
                self.blocks() * self.block_bytes() + heads * LINE
            }
        }
    }

    /// Bytes of a panel.
    pub const fn panel_bytes(self) -> u64 {
        self.steps() as u64 * self.step_bytes() as u64
    }

    /// Byte of dword `line` of `row` (0 to 31) inside a block (formats of codes).
    pub const fn code(self, row: u32, line: u32) -> u32 {
        (row / TILE * self.tile_lines() + line) * LINE + row % TILE * 4
    }

    /// Byte of the scale of `row` inside a step (formats of codes).
    pub const fn scale(self, row: u32) -> u32 {
        self.blocks() * self.block_bytes() + row * 2
    }

    /// Byte of the minimum of `row` inside a step (formats of codes with minima).
    pub const fn minimum(self, row: u32) -> u32 {
        self.scale(row) + LINE
    }
}

/// Panels that `rows` rows fill.
pub const fn panels(rows: u32) -> u32 {
    rows.div_ceil(PANEL)
}
