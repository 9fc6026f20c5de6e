//! Rows of packed matrices as f64: what the panels of specs/abi.md mean.

use deepthin_compiler::format::{Bits, Format, Scale};
use deepthin_compiler::pack::layout::Layout;

use super::formulas::half_to_f64;

/// A weight as the sum that the arithmetic of codes makes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight {
    /// The code without its bias, scaled; the whole weight where there are no codes.
    pub scaled: f64,
    /// The minimum of its group.
    pub minimum: f64,
}

/// The weights of one row of a packed matrix: lane `lane` of 32 of panel `panel`. Bytes that are
/// not there count as 0.
pub fn row(layout: Layout, bytes: &[u8], panel: usize, lane: u32) -> Vec<Weight> {
    let panel_bytes = usize::try_from(layout.panel_bytes()).unwrap_or(usize::MAX);
    let first = panel.saturating_mul(panel_bytes);
    let panel = bytes.get(first..).unwrap_or_default();
    let panel = panel.get(..panel_bytes).unwrap_or(panel);
    let steps = panel.chunks_exact(layout.step_bytes() as usize);
    steps.flat_map(|step| weights(layout, step, lane)).collect()
}

/// The weights of one lane in one step along K.
fn weights(layout: Layout, step: &[u8], lane: u32) -> Vec<Weight> {
    let word = |at: u32| u32::from_le_bytes(bytes_at(step, at));
    let half = |at: u32| {
        let [low, high] = bytes_at(step, at);
        u16::from_le_bytes([low, high])
    };
    let brain = |at: u32| f64::from(f32::from_bits(u32::from(half(at)) << 16));
    let alone = |scaled: f64| vec![Weight { scaled, minimum: 0.0 }];
    let codes = match layout.format {
        Format::F32 => return alone(f64::from(f32::from_bits(word(lane * 4)))),
        Format::F16 => return alone(half_to_f64(half(lane * 2))),
        Format::Bf16 => return alone(brain(lane * 2)),
        Format::Codes(codes) => codes,
    };
    let scale = |at: u32| match codes.scale {
        Scale::F16 => half_to_f64(half(at)),
        Scale::Bf16 => brain(at),
    };
    let d = scale(layout.scale(lane));
    let minimum = if codes.minimum { scale(layout.minimum(lane)) } else { 0.0 };
    let bias = if codes.minimum { 0.0 } else { f64::from(1 << (codes.bits.count() - 1)) };
    let of_block = |block: u32| {
        let line = move |line: u32| word(block * layout.block_bytes() + layout.code(lane, line));
        let code = move |k: u32| match codes.bits {
            Bits::Eight => line(k / 4) >> (k % 4 * 8) & 255,
            Bits::Four => nibble(line(k / 8), k % 8),
            Bits::Six => {
                let pairs = line(4 + k / 16) >> (k % 4 * 8 + k % 16 / 4 * 2) & 3;
                nibble(line(k / 8), k % 8) | pairs << 4
            }
        };
        (0..32).map(code)
    };
    let all = (0..layout.blocks()).flat_map(of_block);
    all.map(|code| Weight { scaled: d * (f64::from(code) - bias), minimum }).collect()
}

/// Code k of 8 in a dword: the low halves of its bytes, then the high ones.
fn nibble(word: u32, k: u32) -> u32 {
    word >> (k % 4 * 8 + k / 4 * 4) & 15
}

/// N bytes from `at` on; zeros where there are none.
fn bytes_at<const N: usize>(bytes: &[u8], at: u32) -> [u8; N] {
    let found = bytes.get(at as usize..).and_then(|bytes| bytes.first_chunk());
    found.copied().unwrap_or([0; N])
}
