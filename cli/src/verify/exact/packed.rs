//! Rows of packed matrices as f64: what the panels of specs/abi.md mean.

use deepthin_compiler::format::Format;
use deepthin_compiler::pack::layout::Layout;

use super::formulas::half_to_f64;

/// The weights of one row of a packed matrix: lane `lane` of 32 of panel `panel`. Bytes that are
/// not there count as 0.
pub fn row(layout: Layout, bytes: &[u8], panel: usize, lane: u32) -> Vec<f64> {
    let panel_bytes = usize::try_from(layout.panel_bytes()).unwrap_or(usize::MAX);
    let first = panel.saturating_mul(panel_bytes);
    let panel = bytes.get(first..).unwrap_or_default();
    let panel = panel.get(..panel_bytes).unwrap_or(panel);
    let steps = panel.chunks_exact(layout.step_bytes() as usize);
    steps.flat_map(|step| weights(layout, step, lane)).collect()
}

/// The weights of one lane in one step along K.
fn weights(layout: Layout, step: &[u8], lane: u32) -> Vec<f64> {
    let word = |at: u32| u32::from_le_bytes(bytes_at(step, at));
    let half = |at: u32| {
        let [low, high] = bytes_at(step, at);
        u16::from_le_bytes([low, high])
    };
    let scale = || half_to_f64(half(layout.scale(lane)));
    let lines = 0..layout.tile_lines();
    let codes = lines.map(|line| word(layout.code(lane, line)));
    match layout.format {
        Format::F32 => vec![f64::from(f32::from_bits(word(lane * 4)))],
        Format::F16 => vec![half_to_f64(half(lane * 2))],
        Format::Bf16 => vec![f64::from(f32::from_bits(u32::from(half(lane * 2)) << 16))],
        Format::Q8_0 => {
            let codes = codes.flat_map(u32::to_le_bytes);
            codes.map(|code| scale() * (f64::from(code) - 128.0)).collect()
        }
        Format::Q4_0 => codes.flat_map(nibbles).map(|code| scale() * (code - 8.0)).collect(),
        Format::Q4_1 => {
            let minimum = half_to_f64(half(layout.minimum(lane)));
            codes.flat_map(nibbles).map(|code| scale() * code + minimum).collect()
        }
    }
}

/// The low nibbles of four bytes, then the high ones.
fn nibbles(word: u32) -> [f64; 8] {
    let [a, b, c, d] = word.to_le_bytes();
    let low = [a, b, c, d].map(|byte| byte & 15);
    let high = [a, b, c, d].map(|byte| byte >> 4);
    [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]].map(f64::from)
}

/// N bytes from `at` on; zeros where there are none.
fn bytes_at<const N: usize>(bytes: &[u8], at: u32) -> [u8; N] {
    let found = bytes.get(at as usize..).and_then(|bytes| bytes.first_chunk());
    found.copied().unwrap_or([0; N])
}
