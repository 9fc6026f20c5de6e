//! Which layout an image has, as a digest: images of one layout can take each other's place.
//!
//! It is taken of what the plan says of each tensor, and of samples that are packed for it: rows of
//! known bytes in each layout and arrangement of the image. So a packer that puts a code elsewhere
//! has other layouts by itself, without a number that someone has to remember to raise. Lanes,
//! context and threads do not come into it.

use super::layout::{Layout, PANEL};
use super::{Content, PackedTensor, Rows, pack};
use crate::fir::Role;
use crate::weights::{TensorBytes, WeightSource};
use deepthin_runtime::digest::Digest;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The digest of an image's layout.
pub fn layout_digest(tensors: &[PackedTensor]) -> Digest {
    let mut content = String::new();
    let mut samples = BTreeMap::new();
    for tensor in tensors {
        // Writing to a string cannot fail.
        let _ = writeln!(content, "{}", described(tensor));
        if let Content::Panels { layout, parts } = &tensor.content {
            for part in parts {
                let sample = sample_rows(*part);
                let key = format!("{} {} {}", layout.format, layout.columns, rows(sample));
                samples.entry(key).or_insert_with(|| packed(*layout, sample));
            }
        }
    }
    let mut content = content.into_bytes();
    for (key, sample) in samples {
        content.extend(key.into_bytes());
        content.extend(sample);
    }
    Digest::of(&content)
}

/// All that decides which bytes a tensor has in the image, on a line.
fn described(tensor: &PackedTensor) -> String {
    let block = tensor.block.map_or("whole".to_owned(), |block| format!("block {block}"));
    let content = match &tensor.content {
        Content::Panels { layout, parts } => {
            let parts: Vec<String> = parts.iter().map(|part| rows(*part)).collect();
            format!("{} {}: {}", layout.format, layout.columns, parts.join(", "))
        }
        Content::Gain { role, width } => format!("f32 {role} {width}"),
    };
    format!("{} {} {block} {content}", tensor.offset, tensor.content.bytes())
}

/// Which rows panels hold.
fn rows(rows: Rows) -> String {
    match rows {
        Rows::Plain { role, rows } => format!("plain {role} {rows}"),
        Rows::Rope { role, heads, head_dim } => format!("rope {role} {heads} {head_dim}"),
        Rows::Heads { role, heads, head_dim } => format!("heads {role} {heads} {head_dim}"),
        Rows::Pair { first, second, rows } => format!("pair {first} {second} {rows}"),
    }
}

/// A few rows in the same arrangement: more than a tile, and a panel that is not full.
const fn sample_rows(like: Rows) -> Rows {
    match like {
        Rows::Plain { role, .. } => Rows::Plain { role, rows: PANEL + 5 },
        Rows::Rope { role, .. } => Rows::Rope { role, heads: 2, head_dim: 38 },
        Rows::Heads { role, .. } => Rows::Heads { role, heads: 2, head_dim: 38 },
        Rows::Pair { first, second, .. } => Rows::Pair { first, second, rows: 21 },
    }
}

/// Matrices of known bytes, the same for each role but where they begin.
struct Known {
    layout: Layout,
    rows: u32,
}

impl WeightSource for Known {
    fn tensor(&self, _: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let Layout { format, columns } = self.layout;
        let bytes = format.row_bytes(columns as usize)?.checked_mul(self.rows as usize)?;
        let start = role.to_string().len();
        // Below 0x78 no byte makes an infinite number of any width.
        let byte = |i: usize| u8::try_from((i * 29 + i / 120 * 7 + start) % 0x78).unwrap_or(0);
        let bytes: Vec<u8> = (0..bytes).map(byte).collect();
        Some(TensorBytes { format, rows: self.rows, columns, bytes: Cow::Owned(bytes) })
    }
}

/// A sample as it is packed; why not, where it is not.
fn packed(layout: Layout, rows: Rows) -> Vec<u8> {
    let height = match rows {
        Rows::Plain { rows, .. } | Rows::Pair { rows, .. } => rows,
        Rows::Rope { heads, head_dim, .. } | Rows::Heads { heads, head_dim, .. } => {
            heads * head_dim
        }
    };
    let source = Known { layout, rows: height };
    let content = Content::Panels { layout, parts: vec![rows] };
    let mut image = vec![0; usize::try_from(content.bytes()).unwrap_or(0)];
    let tensor = PackedTensor { block: None, content, offset: 0 };
    match pack(&[tensor], &source, &mut image, 1) {
        Ok(()) => image,
        Err(error) => error.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    /// Columns that the groups of every format divide.
    const GRAIN: u32 = 192;

    const ROLES: [Rows; 4] = [
        Rows::Plain { role: Role::FfnDown, rows: 70 },
        Rows::Rope { role: Role::Query, heads: 3, head_dim: 16 },
        Rows::Heads { role: Role::Value, heads: 3, head_dim: 16 },
        Rows::Pair { first: Role::FfnGate, second: Role::FfnUp, rows: 40 },
    ];

    fn image(format: Format, columns: u32, parts: &[Rows]) -> Vec<PackedTensor> {
        let layout = Layout { format, columns };
        let content = Content::Panels { layout, parts: parts.to_vec() };
        vec![PackedTensor { block: Some(1), content, offset: 64 }]
    }

    #[test]
    fn samples_of_every_format_pack() {
        for format in Format::ALL {
            let columns = 3 * GRAIN;
            for rows in ROLES {
                let layout = Layout { format, columns };
                let sample = packed(layout, sample_rows(rows));
                let expected = u64::from(sample_rows(rows).panels()) * layout.panel_bytes();
                assert_eq!(sample.len() as u64, expected, "{format}, {rows:?}");
                assert!(sample.iter().any(|byte| *byte != 0), "{format}, {rows:?}");
            }
        }
    }

    #[test]
    fn layouts_that_differ_have_other_digests() {
        let mut digests = Vec::new();
        for format in Format::ALL {
            let columns = 3 * GRAIN;
            for parts in [&ROLES[..1], &ROLES[1..2], &ROLES[2..3], &ROLES[3..], &ROLES] {
                digests.push(layout_digest(&image(format, columns, parts)));
                digests.push(layout_digest(&image(format, columns * 2, parts)));
            }
        }
        let good = image(Format::F32, 64, &ROLES);
        let changes: [fn(&mut PackedTensor); 4] = [
            |tensor| tensor.block = None,
            |tensor| tensor.block = Some(2),
            |tensor| tensor.offset += 64,
            |tensor| tensor.content = Content::Gain { role: Role::FfnNorm, width: 64 },
        ];
        for change in changes {
            let mut other = good.clone();
            other.iter_mut().for_each(change);
            digests.push(layout_digest(&other));
        }
        digests.push(layout_digest(&[good.clone(), good.clone()].concat()));
        assert_eq!(layout_digest(&good), layout_digest(&good));
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }
}
