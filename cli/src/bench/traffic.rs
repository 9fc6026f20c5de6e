//! The bytes that one token has to read: what a machine's memory limits generation by.
//!
//! They follow from the plan's steps, each of which runs once for a token. With `p` positions looked
//! at, the token's own included,
//!
//! ```text
//! bytes(p) = sum over the steps of the body and the head of
//!              the bytes of each operand in the image and the tables,
//!              or of a lookup, one row of its table: bytes / rows, rows in whole panels
//!          + p * sum over the attention steps of
//!              the bytes of each operand in the KV cache / positions of the cache
//! ```
//!
//! A block that is applied twice is so read twice, and a tied table once by the head and one row of
//! it by the lookup. Activations and logits are left out: they stay in caches.

use deepthin_compiler::lower::{Role, padded_context};
use deepthin_compiler::pack::layout::{PANEL, panels};
use deepthin_compiler::plan::{Plan, PlannedKernel, Spec};
use deepthin_runtime::program::{Base, Step};

/// The bytes that a token reads.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Traffic {
    /// Weights and constant tables.
    pub weights: f64,
    /// Keys and values of each position that it looks at.
    pub position: f64,
}

impl Traffic {
    /// The traffic of a plan's steps.
    pub fn of(plan: &Plan) -> Traffic {
        plan.steps_of_one_token()
            .map(|step| Traffic::of_step(plan, step))
            .fold(Traffic::default(), Traffic::plus)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Traffic) -> Traffic {
        Traffic { weights: self.weights + other.weights, position: self.position + other.position }
    }

    /// The traffic of one step of a plan.
    pub fn of_step(plan: &Plan, step: &Step) -> Traffic {
        let mut traffic = Traffic::default();
        // One token is computed by the kernel of the least tile.
        let kernel = step.variants.last().and_then(|last| plan.kernels.get(last.kernel));
        let Some(kernel) = kernel else { return traffic };
        let rows = match &kernel.spec {
            Spec::Embed(embed) => f64::from(panels(embed.vocab) * PANEL),
            _ => 1.0,
        };
        traffic.weights =
            (bytes(step, kernel, Base::Image) + bytes(step, kernel, Base::Tables)) / rows;
        if matches!(kernel.spec, Spec::AttentionChunks(_)) {
            let positions = f64::from(padded_context(plan.options.context).max(1));
            traffic.position = bytes(step, kernel, Base::Kv) / positions;
        }
        traffic
    }

    /// Bytes of a token that looks at so many positions, its own included.
    pub fn bytes(&self, positions: f64) -> f64 {
        self.weights + positions * self.position
    }
}

/// Bytes of a step's operands in one region; where a kernel only asks for lines, another reads them.
fn bytes(step: &Step, kernel: &PlannedKernel, base: Base) -> f64 {
    let buffers = kernel.lowered.kernel.buffers.values().zip(&kernel.lowered.buffers);
    let read =
        step.operands.iter().zip(buffers).filter(|(operand, (_, role))| {
            operand.base == base && !matches!(role, Role::Ahead(..))
        });
    read.map(|(_, (buffer, _))| f64::from(buffer.bytes)).sum()
}
