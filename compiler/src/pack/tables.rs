//! Tables of constants that kernels read beside the weights: computed at start, for the context at
//! hand, so that the image of weights depends on the weights alone.

use crate::numerics::{rope_frequency, rope_turn};
use crate::parts;
use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;

/// A rotary table: for each position the cosines, then the sines, of all pairs of a head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeTable {
    /// Elements of a head.
    pub head_dim: u32,
    /// Base of the angles.
    pub theta: f64,
    /// Positions.
    pub context: u32,
    /// First byte in the region of tables, a multiple of 64.
    pub offset: u64,
}

impl RopeTable {
    /// Bytes of the table.
    pub fn bytes(&self) -> u64 {
        u64::from(self.head_dim) * u64::from(self.context) * 4
    }
}

impl fmt::Display for RopeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RopeTable { head_dim, theta, context, .. } = self;
        write!(f, "rotary table [{context}, {head_dim}] theta {theta}")
    }
}

/// Rows of a rotary table that are filled at once: some milliseconds of work.
const SLICE: u32 = 1 << 14;

/// Rows that a thread takes at a time.
const PART: u32 = 1 << 8;

/// Fills the region of tables, on `threads` threads. `watch` is told, before each part of the work,
/// how many bytes are filled, and may stop it. What lies past the end of `out` is left out.
pub fn fill(
    tables: &[RopeTable],
    out: &mut [u8],
    threads: usize,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut done = 0_u64;
    for table in tables {
        let first = usize::try_from(table.offset).unwrap_or(usize::MAX);
        let bytes = usize::try_from(table.bytes()).unwrap_or(usize::MAX);
        let Some(slot) = out.get_mut(first..first.saturating_add(bytes)) else { continue };
        let row = table.head_dim.max(2) as usize * 4;
        let slices = slot.chunks_mut(row * SLICE as usize);
        for (first, slice) in (0..).step_by(SLICE as usize).zip(slices) {
            watch(done)?;
            done = done.saturating_add(slice.len() as u64);
            rows(table, first, slice, threads);
        }
    }
    ControlFlow::Continue(())
}

/// Rows of a rotary table from position `first` on.
fn rows(table: &RopeTable, first: u32, out: &mut [u8], threads: usize) {
    let RopeTable { head_dim, theta, .. } = *table;
    let half = head_dim as usize / 2;
    let frequency = |pair| rope_frequency(pair, head_dim, theta);
    let frequencies: Vec<f64> = (0..head_dim / 2).map(frequency).collect();
    let row_bytes = head_dim.max(2) as usize * 4;
    let parts = out.chunks_mut(row_bytes * PART as usize);
    let threads = threads.min(parts.len());
    let parts = (first..).step_by(PART as usize).zip(parts);
    let fill = |(first, part): (u32, &mut [u8])| -> Result<(), Infallible> {
        for (position, row) in (first..).zip(part.chunks_exact_mut(row_bytes)) {
            let (cosines, sines) = row.split_at_mut(half * 4);
            let pairs = cosines.chunks_exact_mut(4).zip(sines.chunks_exact_mut(4));
            for (frequency, (cosine, sine)) in frequencies.iter().zip(pairs) {
                let (c, s) = rope_turn(position, *frequency);
                cosine.copy_from_slice(&c.to_le_bytes());
                sine.copy_from_slice(&s.to_le_bytes());
            }
        }
        Ok(())
    };
    for filled in parts::on_threads(threads, parts, fill) {
        filled.unwrap_or_else(|never| match never {});
    }
}
