//! The calls of a pass: which kernel a step takes, for which token, on which memory.
#![expect(unsafe_code, reason = "calls kernels with pointers that the validated program places")]

use super::{Constants, MAX_PARAMETERS};
use crate::memory::Region;
use crate::program::{Base, Operand, Passes, Program, ScalarSource, Split, Step, Variant};
use crate::threads::Worker;
use std::sync::Arc;

/// The memory of a session.
pub(super) struct Regions {
    pub(super) constants: Arc<Constants>,
    pub(super) arena: Region,
    pub(super) scratch: Region,
    pub(super) scratch_stride: usize,
    pub(super) kv: Region,
    pub(super) logits: Region,
}

/// The tokens of one pass over a step list.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    /// Ids of the chunk.
    pub(super) tokens: &'a [u32],
    /// Absolute position of the chunk's first token.
    pub(super) position: u32,
    /// First token of the chunk that this pass computes, and one past the last.
    pub(super) first: usize,
    pub(super) end: usize,
    /// Whether one token takes the steps of several: what these give each other is whole vectors.
    pub(super) is_observed: bool,
}

impl<'a> Pass<'a> {
    /// A pass over a whole chunk.
    pub(super) fn of(tokens: &'a [u32], position: u32) -> Self {
        Pass { tokens, position, first: 0, end: tokens.len(), is_observed: false }
    }

    /// Whether the pass takes a step.
    pub(super) fn takes(&self, step: &Step) -> bool {
        match self.is_observed {
            true => step.passes != Passes::OneToken,
            false => step.passes.have(self.end - self.first),
        }
    }

    /// Those of the steps that the pass takes.
    pub(super) fn steps(self, steps: &[Step]) -> impl Iterator<Item = &Step> {
        steps.iter().filter(move |step| self.takes(step))
    }
}

/// One thread's part of one step.
pub(super) fn run_step(
    program: &Program,
    memory: &Regions,
    step: &Step,
    pass: Pass<'_>,
    worker: &Worker<'_>,
) {
    match step.split {
        Split::Units { .. } | Split::ChunkUnits { .. } => {
            let mut token = pass.first;
            while token < pass.end {
                let left = pass.end - token;
                let fits = |v: &&Variant| v.tile as usize <= left;
                let Some(variant) = step.variants.iter().find(fits) else { return };
                let position = pass.position + u32::try_from(token).unwrap_or(0);
                let share = worker.share(step.split.units(position));
                if share.0 < share.1 {
                    call(program, memory, step, variant, pass, token, share, worker.thread);
                }
                token += variant.tile as usize;
            }
        }
        Split::TokenUnits { count } => {
            let count = u64::from(count);
            let (mut at, end) = worker.share((pass.end - pass.first) as u64 * count);
            let Some(variant) = step.variants.last() else { return };
            while at < end {
                let token = at / count;
                let stop = end.min((token + 1) * count);
                let share = (at - token * count, stop - token * count);
                let token = pass.first + usize::try_from(token).unwrap_or(0);
                call(program, memory, step, variant, pass, token, share, worker.thread);
                at = stop;
            }
        }
    }
}

/// One kernel call.
fn call(
    program: &Program,
    memory: &Regions,
    step: &Step,
    variant: &Variant,
    pass: Pass<'_>,
    token: usize,
    share: (u64, u64),
    thread: usize,
) {
    let position = pass.position + u32::try_from(token).unwrap_or(0);
    let mut buffers = [std::ptr::null_mut(); MAX_PARAMETERS];
    for (slot, operand) in buffers.iter_mut().zip(&step.operands) {
        *slot = memory.address(operand, token, token - pass.first, position, thread);
    }
    let mut scalars = [0; MAX_PARAMETERS];
    for (slot, source) in scalars.iter_mut().zip(&variant.scalars) {
        *slot = match source {
            ScalarSource::RangeBegin => i64::try_from(share.0).unwrap_or(0),
            ScalarSource::RangeEnd => i64::try_from(share.1).unwrap_or(0),
            ScalarSource::Position(quotient) => quotient.of(position),
            ScalarSource::TokenId(quotient) => quotient.of(pass.tokens[token]),
        };
    }
    let kernel = &program.kernels[variant.kernel];
    let (buffers, scalars) = (&buffers[..step.operands.len()], &scalars[..variant.scalars.len()]);
    // SAFETY: `Program::validate` has proved that these operands and scalars stay inside their
    // regions and declared bounds for every token of a chunk, every position of the context and
    // every token id (checked in `admit`). Threads write disjoint units of a step, and barriers
    // lie between steps.
    unsafe { kernel.code.call(buffers, scalars) };
}

impl Regions {
    fn address(
        &self,
        operand: &Operand,
        token: usize,
        head_token: usize,
        position: u32,
        thread: usize,
    ) -> *mut u8 {
        let (base, token) = match operand.base {
            Base::Image => (self.constants.image.as_ptr(), token),
            Base::Tables => (self.constants.tables.as_ptr(), token),
            Base::Arena => (self.arena.as_ptr(), token),
            Base::Scratch => {
                (self.scratch.as_ptr().wrapping_add(thread * self.scratch_stride), token)
            }
            Base::Kv => (self.kv.as_ptr(), token),
            Base::Logits => (self.logits.as_ptr(), head_token),
        };
        let offset = operand.offset
            + token as u64 * operand.token_stride
            + u64::from(position) * operand.position_stride;
        base.wrapping_add(usize::try_from(offset).unwrap_or(0))
    }
}
