//! Rows of weights to and from their storage formats, byte for byte as files lay them out.
//!
//! Reading is normative (`specs/numerics.md`); writing is a simple rounding quantizer for random
//! and test weights. In both the scale is rounded to its stored precision first, and the codes
//! are chosen for the scale that will be read.

use half::{bf16, f16};
use thiserror::Error;

use crate::codes::{self, Block};
use crate::format::{BLOCK, Bits, Codes, Format, Scale};

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
    /// Length of a group in the same unit; of the least, where a row is one group.
    pub group: usize,
}

/// The f32 weights that the stored bytes of a row mean.
///
/// # Errors
/// Bytes that are no whole number of groups.
pub fn dequantize_row(format: Format, bytes: &[u8]) -> Result<Vec<f32>, RowError> {
    let Some(columns) = format.columns(bytes.len()) else {
        let group = format.group_bytes(BLOCK);
        return Err(RowError { format, length: bytes.len(), unit: "bytes", group });
    };
    let mut row = Vec::with_capacity(columns);
    for group in bytes.chunks_exact(format.group_bytes(columns)) {
        dequantize_group(format, group, &mut row);
    }
    Ok(row)
}

/// The bytes of a row in a format, by rounding to nearest. Weights are finite; magnitudes beyond
/// the format's range saturate in the formats of codes.
///
/// # Errors
/// Elements that are no whole number of groups.
pub fn quantize_row(format: Format, row: &[f32]) -> Result<Vec<u8>, RowError> {
    let Some(length) = format.row_bytes(row.len()) else {
        let group = format.group(BLOCK);
        return Err(RowError { format, length: row.len(), unit: "elements", group });
    };
    let mut bytes = Vec::with_capacity(length);
    match format {
        Format::F32 => row.iter().for_each(|w| bytes.extend(w.to_le_bytes())),
        Format::F16 => row.iter().for_each(|w| bytes.extend(f16::from_f32(*w).to_le_bytes())),
        Format::Bf16 => row.iter().for_each(|w| bytes.extend(bf16::from_f32(*w).to_le_bytes())),
        Format::Codes(codes) => {
            for group in row.chunks_exact(codes.group.elements(row.len())) {
                quantize_group(codes, group, &mut bytes);
            }
        }
    }
    Ok(bytes)
}

fn dequantize_group(format: Format, bytes: &[u8], row: &mut Vec<f32>) {
    match (format, bytes) {
        (Format::F32, &[a, b, c, d]) => row.push(f32::from_le_bytes([a, b, c, d])),
        (Format::F16, &[a, b]) => row.push(f16::from_le_bytes([a, b]).to_f32()),
        (Format::Bf16, &[a, b]) => row.push(bf16::from_le_bytes([a, b]).to_f32()),
        (Format::Codes(codes), _) => {
            let StoredGroup { scale, minimum, codes: all } = StoredGroup::read(codes, bytes);
            row.extend(all.into_iter().map(|q| codes.weight(q, scale, minimum)));
        }
        (Format::F32 | Format::F16 | Format::Bf16, _) => {
            unreachable!("chunks are exactly `Format::group_bytes` long")
        }
    }
}

/// A group of a row as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredGroup {
    /// d.
    pub scale: f32,
    /// m; 0 where there is none.
    pub minimum: f32,
    /// Unpacked codes: symmetric ones are around their bias.
    pub codes: Vec<u8>,
}

impl StoredGroup {
    /// The group that `bytes` are; what is missing counts as 0.
    fn read(codes: Codes, bytes: &[u8]) -> Self {
        let half = |at: usize| {
            let half = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
            codes.scale.read(half.copied().unwrap_or_default())
        };
        let blocks = bytes.get(codes.head_bytes()..).unwrap_or_default();
        StoredGroup {
            scale: half(0),
            minimum: if codes.minimum { half(2) } else { 0.0 },
            codes: blocks
                .chunks_exact(codes.bits.block_bytes())
                .flat_map(|block| codes::unpack(codes, block))
                .collect(),
        }
    }
}

/// The groups of a stored row of codes.
///
/// # Errors
/// Bytes that are no whole number of groups.
pub fn stored_groups(codes: Codes, bytes: &[u8]) -> Result<Vec<StoredGroup>, RowError> {
    let format = Format::Codes(codes);
    let columns = format.columns(bytes.len()).ok_or(RowError {
        format,
        length: bytes.len(),
        unit: "bytes",
        group: format.group_bytes(BLOCK),
    })?;
    let groups = bytes.chunks_exact(format.group_bytes(columns));
    Ok(groups.map(|group| StoredGroup::read(codes, group)).collect())
}

impl Scale {
    /// The value of a stored scale or minimum.
    pub fn read(self, bytes: [u8; 2]) -> f32 {
        match self {
            Scale::F16 => f16::from_le_bytes(bytes).to_f32(),
            Scale::Bf16 => bf16::from_le_bytes(bytes).to_f32(),
        }
    }

    /// The nearest finite scale that can be stored.
    pub fn write(self, scale: f32) -> [u8; 2] {
        match self {
            Scale::F16 => {
                f16::from_f32(scale.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())).to_le_bytes()
            }
            Scale::Bf16 => {
                bf16::from_f32(scale.clamp(bf16::MIN.to_f32(), bf16::MAX.to_f32())).to_le_bytes()
            }
        }
    }
}

impl Codes {
    /// The weight of unpacked code `q` of a group with scale `d` and minimum `m`: one rounding.
    pub fn weight(self, q: u8, d: f32, m: f32) -> f32 {
        if self.minimum {
            f32::from(q).mul_add(d, m)
        } else {
            d * (f32::from(q) - f32::from(self.bias()))
        }
    }
}

/// The scale and minimum (0 where there is none) whose codes just cover a group of weights.
pub(crate) fn covering(codes: Codes, weights: &[f32]) -> (f32, f32) {
    if codes.minimum {
        let least = weights.iter().copied().fold(f32::INFINITY, f32::min);
        let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        ((most - least) / f32::from(codes.bits.most()), least)
    } else if codes.bits == Bits::Eight {
        (extreme(weights).abs() / 127.0, 0.0)
    } else {
        // The weight of greatest magnitude gets the least code, which has no positive counterpart.
        (extreme(weights) / -f32::from(codes.bias()), 0.0)
    }
}

fn quantize_group(codes: Codes, weights: &[f32], bytes: &mut Vec<u8>) {
    let most = f32::from(codes.bits.most());
    let bias = f32::from(codes.bias());
    let (scale, least) = covering(codes, weights);
    let stored = codes.scale.write(scale);
    bytes.extend(stored);
    let d = codes.scale.read(stored);
    let mut m = 0.0;
    if codes.minimum {
        let stored = codes.scale.write(least);
        bytes.extend(stored);
        m = codes.scale.read(stored);
    }
    // -128 stays unused, so that codes are symmetric.
    let lowest = if codes.bits.count() == 8 && !codes.minimum { 1.0 } else { 0.0 };
    for weights in weights.as_chunks::<BLOCK>().0 {
        let block: Block = weights.map(|w| code(w, m, d, bias, lowest..=most));
        codes::pack(codes, &block, bytes);
    }
}

/// The element of greatest magnitude, with its sign.
fn extreme(weights: &[f32]) -> f32 {
    weights.iter().copied().fold(0.0, |best: f32, w| if w.abs() > best.abs() { w } else { best })
}

/// `(w - m) / d + bias` rounded half to even and clamped to `range`; the bias where d is 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range of a code before"
)]
fn code(w: f32, m: f32, d: f32, bias: f32, range: std::ops::RangeInclusive<f32>) -> u8 {
    // 1.5 * 2^23: behind the sum with it, a float of this size has no fraction. It is what rounds
    // on processors without an instruction for it.
    const WHOLE: f32 = 12_582_912.0;
    let q = if d == 0.0 { 0.0 } else { (w - m) / d };
    let nearest = q.clamp(range.start() - bias, range.end() - bias) + WHOLE - WHOLE;
    (nearest + bias) as u8
}
