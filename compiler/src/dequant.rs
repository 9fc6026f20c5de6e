//! Rows of weights to and from their storage formats, byte for byte as GGUF lays them out.
//!
//! Reading is normative (`specs/numerics.md`); writing is a simple rounding quantizer for random
//! and test weights. In both the scale is rounded to its stored precision first, and the codes
//! are chosen for the scale that will be read.

use half::{bf16, f16};
use thiserror::Error;

use crate::format::Format;

/// A row whose length its format's groups do not divide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a row of {length} {unit} does not divide into {format} groups of {group}")]
pub struct RowError {
    /// The format.
    pub format: Format,
    /// Length of the row.
    pub length: usize,
    /// `elements` or `bytes`.
    pub unit: &'static str,
    /// Length of a group in the same unit.
    pub group: usize,
}

/// The f32 weights that stored bytes mean, whole groups of them.
///
/// # Errors
/// Bytes that are no whole number of groups.
pub fn dequantize_row(format: Format, bytes: &[u8]) -> Result<Vec<f32>, RowError> {
    let group = format.group_bytes();
    check(format, bytes.len(), "bytes", group)?;
    let mut row = Vec::with_capacity(bytes.len() / group * format.group());
    for bytes in bytes.chunks_exact(group) {
        dequantize_group(format, bytes, &mut row);
    }
    Ok(row)
}

/// The bytes of a row in a format, by rounding to nearest. Weights are finite; magnitudes beyond
/// the format's range saturate in the quantized formats.
///
/// # Errors
/// Elements that are no whole number of groups.
pub fn quantize_row(format: Format, row: &[f32]) -> Result<Vec<u8>, RowError> {
    let group = format.group();
    check(format, row.len(), "elements", group)?;
    let mut bytes = Vec::with_capacity(row.len() / group * format.group_bytes());
    for weights in row.chunks_exact(group) {
        quantize_group(format, weights, &mut bytes);
    }
    Ok(bytes)
}

fn check(format: Format, length: usize, unit: &'static str, group: usize) -> Result<(), RowError> {
    if length.is_multiple_of(group) {
        Ok(())
    } else {
        Err(RowError { format, length, unit, group })
    }
}

fn dequantize_group(format: Format, bytes: &[u8], row: &mut Vec<f32>) {
    match (format, bytes) {
        (Format::F32, &[a, b, c, d]) => row.push(f32::from_le_bytes([a, b, c, d])),
        (Format::F16, &[a, b]) => row.push(f16::from_le_bytes([a, b]).to_f32()),
        (Format::Bf16, &[a, b]) => row.push(bf16::from_le_bytes([a, b]).to_f32()),
        (Format::Q8_0, [a, b, codes @ ..]) => {
            let d = f16::from_le_bytes([*a, *b]).to_f32();
            row.extend(codes.iter().map(|q| d * f32::from(q.cast_signed())));
        }
        (Format::Q4_0, [a, b, nibbles @ ..]) => {
            let d = f16::from_le_bytes([*a, *b]).to_f32();
            row.extend(codes_of(nibbles).map(|q| d * (f32::from(q) - 8.0)));
        }
        (Format::Q4_1, [a, b, c, e, nibbles @ ..]) => {
            let d = f16::from_le_bytes([*a, *b]).to_f32();
            let m = f16::from_le_bytes([*c, *e]).to_f32();
            row.extend(codes_of(nibbles).map(|q| f32::from(q).mul_add(d, m)));
        }
        (Format::F32 | Format::F16 | Format::Bf16, _)
        | (Format::Q8_0 | Format::Q4_0 | Format::Q4_1, _) => {
            unreachable!("chunks are exactly `Format::group_bytes` long")
        }
    }
}

/// The 4-bit codes of a group in element order: all low nibbles, then all high ones.
fn codes_of(nibbles: &[u8]) -> impl Iterator<Item = u8> {
    nibbles.iter().map(|byte| byte & 15).chain(nibbles.iter().map(|byte| byte >> 4))
}

fn quantize_group(format: Format, weights: &[f32], bytes: &mut Vec<u8>) {
    match format {
        Format::F32 => weights.iter().for_each(|w| bytes.extend(w.to_le_bytes())),
        Format::F16 => weights.iter().for_each(|w| bytes.extend(f16::from_f32(*w).to_le_bytes())),
        Format::Bf16 => weights.iter().for_each(|w| bytes.extend(bf16::from_f32(*w).to_le_bytes())),
        Format::Q8_0 => {
            let d = push_f16(bytes, extreme(weights).abs() / 127.0);
            let codes = weights.iter().map(|w| code(*w, 0.0, d, -127.0, 127.0));
            bytes.extend(codes.map(|q| q.cast_unsigned()));
        }
        Format::Q4_0 => {
            // The weight of greatest magnitude gets code -8, which has no positive counterpart.
            let d = push_f16(bytes, extreme(weights) / -8.0);
            push_nibbles(bytes, weights.iter().map(|w| code(*w, 0.0, d, -8.0, 7.0) + 8));
        }
        Format::Q4_1 => {
            let least = weights.iter().copied().fold(f32::INFINITY, f32::min);
            let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let d = push_f16(bytes, (most - least) / 15.0);
            let m = push_f16(bytes, least);
            push_nibbles(bytes, weights.iter().map(|w| code(*w, m, d, 0.0, 15.0)));
        }
    }
}

/// The element of greatest magnitude, with its sign.
fn extreme(weights: &[f32]) -> f32 {
    weights.iter().copied().fold(0.0, |best: f32, w| if w.abs() > best.abs() { w } else { best })
}

/// Appends a scale as f16, saturating, and returns the value that will be read.
fn push_f16(bytes: &mut Vec<u8>, scale: f32) -> f32 {
    let stored = f16::from_f32(scale.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()));
    bytes.extend(stored.to_le_bytes());
    stored.to_f32()
}

/// `(w - m) / d` rounded half to even and clamped; 0 (or the bound next to it) where d is 0.
#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of a code before")]
fn code(w: f32, m: f32, d: f32, lo: f32, hi: f32) -> i8 {
    // 1.5 * 2^23: behind the sum with it, a float of this size has no fraction. It is what rounds
    // on processors without an instruction for it.
    const WHOLE: f32 = 12_582_912.0;
    let q = if d == 0.0 { 0.0 } else { (w - m) / d };
    (q.clamp(lo, hi) + WHOLE - WHOLE) as i8
}

/// Appends 32 codes of 4 bits as 16 bytes: element j low and element j + 16 high in byte j.
fn push_nibbles(bytes: &mut Vec<u8>, codes: impl Iterator<Item = i8>) {
    let mut group = [0_u8; 32];
    for (slot, code) in group.iter_mut().zip(codes) {
        *slot = code.cast_unsigned();
    }
    let (low, high) = group.split_at(16);
    bytes.extend(low.iter().zip(high).map(|(low, high)| low | (high << 4)));
}
