//! Rows of a matrix into panels: the one place that knows both a file's group and a panel's step.

use super::layout::{Layout, PANEL};
use super::{PackError, Rows, fetch};
use crate::codes::{Block, unpack};
use crate::fir::Role;
use crate::format::{Bits, Codes, Format};
use crate::parts;
use crate::weights::{TensorBytes, WeightSource};
use half::{bf16, f16};

/// Packs all panels of `rows` into `out`, which is exactly as long; padding lanes stay as they are.
pub(super) fn pack_rows(
    source: &dyn WeightSource,
    block: Option<u32>,
    layout: Layout,
    rows: Rows,
    out: &mut [u8],
    threads: usize,
) -> Result<(), PackError> {
    let matrix_rows = match rows {
        Rows::Plain { rows, .. } | Rows::Pair { rows, .. } => rows,
        Rows::Rope { heads, head_dim, .. } | Rows::Heads { heads, head_dim, .. } => {
            heads * head_dim
        }
    };
    let roles: Vec<Role> = rows.roles().collect();
    let tensors = roles
        .iter()
        .map(|role| fetch(source, block, *role, (layout.format, matrix_rows, layout.columns)))
        .collect::<Result<Vec<_>, _>>()?;
    let job = Job { layout, rows, tensors: &tensors };
    let panel_bytes = usize::try_from(layout.panel_bytes()).unwrap_or(usize::MAX).max(1);
    let panels = out.len() / panel_bytes;
    let share = panels.div_ceil(threads.max(1)).max(1);
    let parts = out.chunks_mut(share * panel_bytes).enumerate();
    let results = parts::on_threads(threads.min(panels), parts, |(i, out)| {
        job.panels(i * share, out, panel_bytes)
    });
    match results.into_iter().filter_map(Result::err).min_by_key(|bad| bad.panel) {
        None => Ok(()),
        Some(NonFinite { matrix, row, group, .. }) => {
            let role = roles.get(matrix).copied().unwrap_or(Role::TokenEmbedding);
            Err(PackError::NonFinite { block, role, row, group })
        }
    }
}

/// Where a weight is not finite: panel, matrix of the panel, row of the matrix, group of the row.
#[derive(Debug, Clone, Copy)]
struct NonFinite {
    panel: u32,
    matrix: usize,
    row: u32,
    group: u32,
}

struct Job<'a> {
    layout: Layout,
    rows: Rows,
    tensors: &'a [TensorBytes<'a>],
}

impl Job<'_> {
    /// Packs the panels from number `first` on; the error is the first weight that is not finite.
    fn panels(&self, first: usize, out: &mut [u8], panel_bytes: usize) -> Result<(), NonFinite> {
        for (panel, out) in (first..).zip(out.chunks_exact_mut(panel_bytes)) {
            let panel = u32::try_from(panel).unwrap_or(u32::MAX);
            for lane in 0..PANEL {
                let Some((matrix, row)) = self.rows.row(panel, lane) else { continue };
                let Some(bytes) = self.row(matrix, row) else { continue };
                if let Some(group) = self.lane(lane, bytes, out) {
                    return Err(NonFinite { panel, matrix, row, group });
                }
            }
        }
        Ok(())
    }

    fn row(&self, matrix: usize, row: u32) -> Option<&[u8]> {
        let tensor = self.tensors.get(matrix)?;
        let bytes = tensor.format.row_bytes(tensor.columns as usize)?;
        let start = bytes.checked_mul(row as usize)?;
        tensor.bytes.get(start..start + bytes)
    }

    /// Scatters one row over the steps of a panel; the first group with a value that is not
    /// finite comes back.
    fn lane(&self, lane: u32, row: &[u8], panel: &mut [u8]) -> Option<u32> {
        let group = self.layout.format.group_bytes(self.layout.columns as usize);
        let step = self.layout.step_bytes() as usize;
        let mut bad = None;
        let groups = row.chunks_exact(group).zip(panel.chunks_exact_mut(step));
        for (index, (group, out)) in (0..).zip(groups) {
            let finite = match self.layout.format {
                Format::F32 | Format::F16 | Format::Bf16 => {
                    plain(self.layout.format, lane, group, out)
                }
                Format::Codes(codes) => self.group(codes, lane, group, out),
            };
            if !finite {
                bad = bad.or(Some(index));
            }
        }
        bad
    }

    /// One group of codes: scale, minimum, blocks.
    fn group(&self, codes: Codes, lane: u32, group: &[u8], out: &mut [u8]) -> bool {
        let (head, blocks) = group.split_at(codes.head_bytes());
        let mut finite = true;
        let places = [self.layout.scale(lane), self.layout.minimum(lane)];
        for (half, place) in head.chunks_exact(2).zip(places) {
            finite &= codes.scale.read([half[0], half[1]]).is_finite();
            put(out, place, half);
        }
        let blocks = blocks.chunks_exact(codes.bits.block_bytes());
        for (block, out) in blocks.zip(out.chunks_exact_mut(self.layout.block_bytes() as usize)) {
            self.block(codes, lane, &unpack(codes, block), out);
        }
        finite
    }

    /// A block's codes to the dwords of a lane.
    fn block(&self, codes: Codes, lane: u32, block: &Block, out: &mut [u8]) {
        if codes.bits == Bits::Eight {
            for (line, quad) in (0..).zip(block.as_chunks::<4>().0) {
                put(out, self.layout.code(lane, line), quad);
            }
            return;
        }
        for (line, columns) in (0..).zip(block.as_chunks::<8>().0) {
            let mut dword = [0; 4];
            for (i, byte) in dword.iter_mut().enumerate() {
                *byte = columns[i] & 15 | columns[i + 4] << 4;
            }
            put(out, self.layout.code(lane, line), &dword);
        }
        if codes.bits == Bits::Six {
            for (line, columns) in (4..).zip(block.as_chunks::<16>().0) {
                let mut dword = [0; 4];
                for (i, byte) in dword.iter_mut().enumerate() {
                    let pairs =
                        [0, 1, 2, 3].map(|field| columns[field * 4 + i] >> 4 << (2 * field));
                    *byte = pairs[0] | pairs[1] | pairs[2] | pairs[3];
                }
                put(out, self.layout.code(lane, line), &dword);
            }
        }
    }
}

fn plain(format: Format, lane: u32, element: &[u8], out: &mut [u8]) -> bool {
    let bytes = u32::try_from(element.len()).unwrap_or(0);
    put(out, lane * bytes, element);
    match (format, element) {
        (Format::F16, [a, b]) => f16::from_le_bytes([*a, *b]).is_finite(),
        (Format::Bf16, [a, b]) => bf16::from_le_bytes([*a, *b]).is_finite(),
        (_, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]).is_finite(),
        _ => false,
    }
}

#[inline]
fn put(out: &mut [u8], at: u32, bytes: &[u8]) {
    let at = at as usize;
    out[at..at + bytes.len()].copy_from_slice(bytes);
}
