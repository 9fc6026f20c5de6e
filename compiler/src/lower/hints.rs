//! What product kernels ask the caches for while they read weights.
//!
//! Hints change no result. Which pay is the plan's to know (`plan/ahead.rs`), from what was measured
//! (specs/decisions/0010-what-is-asked-for-ahead.md).

use super::append::CacheBuffers;
use super::cache::CacheLayout;
use super::linear::LinearKernel;
use super::{Parts, Role};
use crate::pack::layout::LINE;
use crate::vir::{Affine, BufferId, Builder, IndexId, Locality};

/// What a linear kernel asks for while it reads weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asks {
    /// Nothing.
    #[default]
    Nothing,
    /// The lines of the matrix itself, [`OWN_DISTANCE`] bytes further on, past the caches that keep
    /// what is read again.
    Own,
    /// Lines behind two operands of each matrix, one for its even and one for its odd lines, at the
    /// places of these; and those of the chunk of the KV cache at hand, where the kernel appends to
    /// one: all into the level 2 cache.
    Operand {
        /// Whether this token reads the block for the last time. Then each line that is read is asked
        /// for too, as one that is read once, so that it is the first to leave that cache, which a
        /// block and what is asked for with it just pass.
        is_last: bool,
    },
}

/// Every second line of a matrix. Those that a loop goes through count as even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// The first and every second one from there on.
    Even,
    /// The others.
    Odd,
}

/// Bytes from a line that is read to the one of the same matrix that is asked for: three lines, where
/// a token of SmolLM2 in Q8_0 took least.
pub const OWN_DISTANCE: u32 = 3 * LINE;

/// Lines that are asked for while weights are read.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    buffer: BufferId,
    /// Bytes from its start to what is asked for with the first line of the weights.
    start: u32,
    /// With which lines one is asked for; with each where nothing is said.
    with: Option<Lines>,
    locality: Locality,
}

impl Ahead {
    /// Asks for what belongs to the line of weights at `at`, if something does.
    pub(super) fn ask(self, b: &mut Builder, at: &Affine) {
        let is_odd = at.base / i64::from(LINE) % 2 != 0;
        if self.with.is_none_or(|lines| (lines == Lines::Odd) == is_odd) {
            b.prefetch(self.locality, self.buffer, at.clone().offset(self.start.into()));
        }
    }
}

/// Lines that the kernel behind this one reads: a run of them for each panel of weights.
#[derive(Clone)]
pub(super) struct Beside {
    pub(super) buffer: BufferId,
    /// Where the first panel's run begins.
    pub(super) start: Affine,
    /// Lines of a run.
    pub(super) lines: u32,
}

/// Whether a kernel reads operands for what it asks for. Tiles of several tokens have the operands
/// too, for one call serves all tiles of a step, but read the same lines several times.
pub(super) fn asks_of_operands(kernel: &LinearKernel) -> bool {
    matches!(kernel.asks, Asks::Operand { .. }) && kernel.tokens == 1
}

/// What is asked for with the lines of each matrix.
pub(super) fn asked(
    parts: &mut Parts,
    kernel: &LinearKernel,
    weights: &[BufferId],
) -> Vec<Vec<Ahead>> {
    let own = |buffer, start| Ahead { buffer, start, with: None, locality: Locality::NonTemporal };
    let all = weights.iter().enumerate().map(|(i, &buffer)| match kernel.asks {
        Asks::Nothing => Vec::new(),
        Asks::Own => vec![own(buffer, OWN_DISTANCE)],
        Asks::Operand { is_last } => {
            let mut behind = |name, lines| {
                let buffer = parts.buffer(&format!("{name}{i}"), Role::Ahead(i, lines), LINE);
                Ahead { buffer, start: 0, with: Some(lines), locality: Locality::L2 }
            };
            let even = behind("ahead_even", Lines::Even);
            let odd = behind("ahead_odd", Lines::Odd);
            [Some(even), Some(odd), is_last.then(|| own(buffer, 0))].into_iter().flatten().collect()
        }
    });
    let all: Vec<Vec<Ahead>> = all.collect();
    if kernel.tokens == 1 { all } else { vec![Vec::new(); weights.len()] }
}

/// The keys and values of a chunk, which attention reads next, spread over all `panels` of a kernel:
/// the runs of the panels from `first` on.
pub(super) fn chunk_at_hand(
    cache: &CacheLayout,
    buffers: &CacheBuffers,
    chunk: IndexId,
    first: u32,
    panels: u32,
) -> Vec<Beside> {
    let spread = |buffer, (start, bytes): (Affine, u32)| {
        let lines = bytes.div_ceil(LINE).div_ceil(panels);
        Beside { buffer, start: start.offset((first * lines * LINE).into()), lines }
    };
    let keys = spread(buffers.keys, cache.chunk_keys(chunk));
    vec![keys, spread(buffers.values, cache.chunk_values(chunk))]
}
