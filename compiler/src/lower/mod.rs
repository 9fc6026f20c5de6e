//! Lowering: one VIR kernel for each distinct (operation, shape, storage, token tile).
//!
//! A lowering function takes a description of sizes and returns a [`Lowered`]: the kernel, and
//! for each parameter what the planner must bind to it. Nothing here knows where anything lies.

mod append;
mod attention;
mod cache;
mod codes;
mod dequantized;
mod embed;
mod epilogue;
mod exp;
mod hints;
mod integer;
mod kv_codes;
mod linear;
mod maxima;
mod norm;
mod product;
mod quantize;
mod reduce;

pub use attention::{AttentionKernel, Merge, lower_attention, lower_attention_chunks};
pub use cache::{CacheLayout, padded_context};
pub use embed::{EmbedKernel, lower_embed};
pub use exp::{exp, silu};
pub use hints::{Asks, Lines, OWN_DISTANCE};
pub(crate) use linear::qkv_panels;
pub use linear::{EpilogueKernel, LinearKernel, Segment, lower_linear};
pub use maxima::maxima_bytes;
pub use quantize::QuantizedRows;

use crate::vir::{Access, BufferId, Builder, IndexId, Kernel};
use deepthin_runtime::program::ScalarSource;

/// Chunk of positions in attention; `specs/numerics.md`.
pub const CHUNK: u32 = 64;

/// A kernel and the meaning of its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowered {
    /// The kernel.
    pub kernel: Kernel,
    /// What each buffer is.
    pub buffers: Vec<Role>,
    /// Where each scalar comes from.
    pub scalars: Vec<ScalarSource>,
}

impl Lowered {
    /// Bytes of the first buffer of a role, if the kernel has one.
    pub fn bytes(&self, role: Role) -> Option<u32> {
        let mut sizes = self.buffers.iter().zip(self.kernel.buffers.values());
        sizes.find(|(found, _)| **found == role).map(|(_, buffer)| buffer.bytes)
    }
}

/// What a buffer parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Input vector of the tile's tokens.
    Input,
    /// Output vector of the tile's tokens. With a residual, also what is added to.
    Output,
    /// Packed matrix number i.
    Weights(usize),
    /// Where lines are asked for while the even or the odd lines of packed matrix number i are read:
    /// never read here, and what lies there matters to no result.
    Ahead(usize, Lines),
    /// Gain of the norm.
    Gain,
    /// Working memory of the thread, of this many bytes.
    Scratch(u32),
    /// Rows of the rotary table, from the position of the tile's first token.
    RopeTable,
    /// Key cache of the application.
    Keys,
    /// Value cache of the application.
    Values,
    /// Scales of the application's keys, where the cache is quantized.
    KeyScales,
    /// Scales of the application's values, where the cache is quantized.
    ValueScales,
    /// What the threads found of a token's chunks of positions.
    Partials,
    /// Of each panel of logits the rank of the greatest.
    Maxima,
}

/// Bytes of an activation vector: whole groups of 32 elements, so that panels store whole.
pub const fn vector_bytes(width: u32) -> u32 {
    width.next_multiple_of(32) * 4
}

/// A kernel under construction with the meaning of its parameters beside it.
struct Parts {
    b: Builder,
    buffers: Vec<Role>,
    scalars: Vec<ScalarSource>,
}

impl Parts {
    fn new(name: &str, lanes: u32) -> Self {
        Parts { b: Builder::new(name, lanes), buffers: Vec::new(), scalars: Vec::new() }
    }

    fn buffer(&mut self, name: &str, role: Role, bytes: u32) -> BufferId {
        let access = match role {
            Role::Input | Role::Weights(_) | Role::Ahead(..) | Role::Gain | Role::RopeTable => {
                Access::Read
            }
            Role::Output
            | Role::Keys
            | Role::Values
            | Role::KeyScales
            | Role::ValueScales
            | Role::Partials
            | Role::Maxima
            | Role::Scratch(_) => Access::ReadWrite,
        };
        self.buffers.push(role);
        self.b.buffer(name, bytes, access)
    }

    /// A buffer that grows with the context. One past what a kernel can address fails verification.
    fn cache(&mut self, name: &str, role: Role, bytes: u64) -> BufferId {
        self.buffer(name, role, u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// A thread's share of `0..count` units, as scalar parameters.
    fn range(&mut self, name: &str, count: u32) -> (IndexId, IndexId) {
        self.scalars.extend([ScalarSource::RangeBegin, ScalarSource::RangeEnd]);
        self.b.range(name, count)
    }

    fn scratch(&mut self, name: &str, bytes: u32) -> BufferId {
        self.buffer(name, Role::Scratch(bytes), bytes)
    }

    fn finish(self) -> Lowered {
        Lowered { kernel: self.b.finish(), buffers: self.buffers, scalars: self.scalars }
    }
}
