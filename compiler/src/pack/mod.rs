//! Packing: weights from a source's rows to the layout that kernels read.
//!
//! A [`PackedTensor`] says what lies at an offset of the image; [`pack`] fills the image tensor
//! by tensor, so that no more than one of a file's is in memory. Packing only moves codes (and
//! biases q8); no value is rounded. Beside the image there are [`tables`], which need no weights.

mod identity;
pub mod layout;
mod panels;
pub mod tables;

pub use identity::layout_digest;

use crate::fir::Role;
use crate::format::Format;
use crate::weights::{TensorBytes, WeightSource};
use deepthin_runtime::memory::OutOfMemory;
use layout::{Layout, PANEL, TILE};
use std::ops::ControlFlow;
use thiserror::Error;

/// Which matrix rows the 32 lanes of each panel hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Panel p holds rows 32p.. in order.
    Plain {
        /// The matrix.
        role: Role,
        /// Its rows.
        rows: u32,
    },
    /// Tile A holds elements i of a head, tile B elements i + head_dim/2, 16 pairs a panel;
    /// the pairs of a head begin a new panel.
    Rope {
        /// The matrix.
        role: Role,
        /// Its heads.
        heads: u32,
        /// Rows of a head.
        head_dim: u32,
    },
    /// Panels hold the rows in order, but each head begins a new panel.
    Heads {
        /// The matrix.
        role: Role,
        /// Its heads.
        heads: u32,
        /// Rows of a head.
        head_dim: u32,
    },
    /// Tile A holds rows 16p.. of the first matrix, tile B the same rows of the second.
    Pair {
        /// Matrix of tile A.
        first: Role,
        /// Matrix of tile B.
        second: Role,
        /// Rows of each.
        rows: u32,
    },
}

impl Rows {
    /// Panels filled.
    pub const fn panels(self) -> u32 {
        match self {
            Rows::Plain { rows, .. } => rows.div_ceil(PANEL),
            Rows::Rope { heads, head_dim, .. } => heads * (head_dim / 2).div_ceil(TILE),
            Rows::Heads { heads, head_dim, .. } => heads * head_dim.div_ceil(PANEL),
            Rows::Pair { rows, .. } => rows.div_ceil(TILE),
        }
    }

    /// The matrices.
    pub fn roles(self) -> impl Iterator<Item = Role> {
        let (first, second) = match self {
            Rows::Plain { role, .. } | Rows::Rope { role, .. } | Rows::Heads { role, .. } => {
                (role, None)
            }
            Rows::Pair { first, second, .. } => (first, Some(second)),
        };
        std::iter::once(first).chain(second)
    }

    /// The matrix (0 or 1 of [`Rows::roles`]) and row of a panel's lane; `None` for padding.
    fn row(self, panel: u32, lane: u32) -> Option<(usize, u32)> {
        let (tile, pair) = (lane / TILE, lane % TILE);
        match self {
            Rows::Plain { rows, .. } => {
                Some((0, panel * PANEL + lane)).filter(|(_, row)| *row < rows)
            }
            Rows::Rope { head_dim, .. } => {
                let half = head_dim / 2;
                let units = half.div_ceil(TILE);
                let pair = panel % units * TILE + pair;
                let row = panel / units * head_dim + tile * half + pair;
                Some((0, row)).filter(|_| pair < half)
            }
            Rows::Heads { head_dim, .. } => {
                let units = head_dim.div_ceil(PANEL);
                let element = panel % units * PANEL + lane;
                Some((0, panel / units * head_dim + element)).filter(|_| element < head_dim)
            }
            Rows::Pair { rows, .. } => {
                Some((tile as usize, panel * TILE + pair)).filter(|(_, row)| *row < rows)
            }
        }
    }
}

/// What a part of the image holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Panels of one format; parts follow one another.
    Panels {
        /// Format and K.
        layout: Layout,
        /// Rows, part by part.
        parts: Vec<Rows>,
    },
    /// A gain as f32.
    Gain {
        /// The tensor.
        role: Role,
        /// Elements.
        width: u32,
    },
}

/// A part of the image.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedTensor {
    /// Stored block that the weights are of, if any.
    pub block: Option<u32>,
    /// What it holds.
    pub content: Content,
    /// First byte, a multiple of 64.
    pub offset: u64,
}

impl Content {
    /// Bytes in the image.
    pub fn bytes(&self) -> u64 {
        match self {
            Content::Panels { layout, parts } => {
                let panels: u64 = parts.iter().map(|p| u64::from(p.panels())).sum();
                panels * layout.panel_bytes()
            }
            Content::Gain { width, .. } => u64::from(width.next_multiple_of(32)) * 4,
        }
    }
}

/// Weights that do not fit the plan, or that no kernel can compute with.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PackError {
    /// The source has no such tensor.
    #[error("tensor {tensor} is missing")]
    Missing {
        /// Role and block.
        tensor: String,
    },
    /// Another shape or format than planned.
    #[error("tensor {tensor}: expected {expected}, found {found}")]
    Mismatch {
        /// Role and block.
        tensor: String,
        /// Format and shape of the plan.
        expected: String,
        /// Format and shape of the source.
        found: String,
    },
    /// A weight, scale or minimum that is infinite or NaN.
    #[error(
        "tensor {}, row {row}, group {group}: found a weight or scale that is not finite, expected \
         finite ones",
        name(*.block, *.role)
    )]
    NonFinite {
        /// Stored block, if any.
        block: Option<u32>,
        /// What the tensor is.
        role: Role,
        /// Row of the matrix, in the order of [`WeightSource`].
        row: u32,
        /// Group of the row, from 0; an element where the format has no groups.
        group: u32,
    },
    /// Whoever watched wanted no more.
    #[error("interrupted")]
    Stopped,
    /// No memory for the image.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The image is too small for the plan; a bug.
    #[error("the image has no room for tensor {tensor} at byte {offset}")]
    Image {
        /// Role and block.
        tensor: String,
        /// Where it should go.
        offset: u64,
    },
}

/// Fills `image` with all tensors of a plan, on `threads` threads. The image comes zeroed:
/// padding is left as it is.
///
/// # Errors
/// A tensor that is missing, of another shape or not finite; an image that is too small.
pub fn pack(
    tensors: &[PackedTensor],
    source: &dyn WeightSource,
    image: &mut [u8],
    threads: usize,
) -> Result<(), PackError> {
    pack_watched(tensors, source, image, threads, &mut |_, _| ControlFlow::Continue(()))
}

/// [`pack`] that tells `watch`, before each part of the work, how many bytes of how many are packed,
/// and may be stopped by it.
///
/// # Errors
/// As [`pack`]; [`PackError::Stopped`].
pub fn pack_watched(
    tensors: &[PackedTensor],
    source: &dyn WeightSource,
    image: &mut [u8],
    threads: usize,
    watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), PackError> {
    let total = tensors.iter().map(|tensor| tensor.content.bytes()).fold(0, u64::saturating_add);
    let mut done = 0_u64;
    let mut tell = |packed: usize| {
        let answer = watch(done, total);
        done = done.saturating_add(packed as u64);
        if answer.is_break() { Err(PackError::Stopped) } else { Ok(()) }
    };
    for tensor in tensors {
        let slot = usize::try_from(tensor.offset)
            .ok()
            .zip(usize::try_from(tensor.content.bytes()).ok())
            .and_then(|(offset, bytes)| image.get_mut(offset..offset.checked_add(bytes)?))
            .ok_or_else(|| PackError::Image { tensor: describe(tensor), offset: tensor.offset })?;
        match &tensor.content {
            Content::Panels { layout, parts } => {
                let mut rest = slot;
                for rows in parts {
                    let bytes = u64::from(rows.panels()) * layout.panel_bytes();
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(rest.len());
                    let (own, others) = rest.split_at_mut(bytes);
                    tell(bytes)?;
                    panels::pack_rows(source, tensor.block, *layout, *rows, own, threads)?;
                    rest = others;
                }
            }
            Content::Gain { role, width } => {
                tell(slot.len())?;
                gain(source, tensor.block, *role, *width, slot)?;
            }
        }
    }
    Ok(())
}

fn describe(tensor: &PackedTensor) -> String {
    match &tensor.content {
        Content::Panels { parts, .. } => parts
            .first()
            .and_then(|p| p.roles().next())
            .map_or_else(|| "(empty)".to_owned(), |role| name(tensor.block, role)),
        Content::Gain { role, .. } => name(tensor.block, *role),
    }
}

fn name(block: Option<u32>, role: Role) -> String {
    format!("`{}`", crate::fir::formats::tensor_name(block, role))
}

/// A tensor of the source, checked against the plan.
fn fetch(
    source: &dyn WeightSource,
    block: Option<u32>,
    role: Role,
    expected: (Format, u32, u32),
) -> Result<TensorBytes<'_>, PackError> {
    let tensor = source
        .tensor(block, role)
        .ok_or_else(|| PackError::Missing { tensor: name(block, role) })?;
    let shown =
        |(format, rows, columns): (Format, u32, u32)| format!("{format} [{rows}, {columns}]");
    let found = (tensor.format, tensor.rows, tensor.columns);
    if found != expected || tensor.expected_bytes() != Some(tensor.bytes.len()) {
        return Err(PackError::Mismatch {
            tensor: name(block, role),
            expected: shown(expected),
            found: format!("{} in {} bytes", shown(found), tensor.bytes.len()),
        });
    }
    Ok(tensor)
}

fn gain(
    source: &dyn WeightSource,
    block: Option<u32>,
    role: Role,
    width: u32,
    out: &mut [u8],
) -> Result<(), PackError> {
    let tensor = fetch(source, block, role, (Format::F32, 1, width))?;
    for ((out, value), group) in out.chunks_exact_mut(4).zip(tensor.bytes.chunks_exact(4)).zip(0..)
    {
        let finite = f32::from_le_bytes([value[0], value[1], value[2], value[3]]).is_finite();
        if !finite {
            return Err(PackError::NonFinite { block, role, row: 0, group });
        }
        out.copy_from_slice(value);
    }
    Ok(())
}
