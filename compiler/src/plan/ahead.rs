//! Where kernels ask for lines ahead: the plan's part in giving the memory something to do.
//!
//! A kernel that computes one token asks, with each line of weights that it reads, for the line at
//! the same place behind its operand [`Role::Ahead`].
//! Where a shared block is applied again, its weights come from the caches and the memory has
//! nothing to do: then that is the same matrix of the next stored block, at the pace at which this
//! one is read. When that block's turn comes, its weights are in the caches. Elsewhere it is the
//! matrix itself, [`DISTANCE`] bytes further on.
//! The kernel of q, k and v asks for the chunk at hand of its own KV slot too, which attention reads
//! next and no cache has.
//!
//! Models that repeat no block ask for nothing: their weights are read in order at the memory's own
//! rate, and asking made them slower (specs/performance.md).

use super::kernels::PlannedKernel;
use crate::fir::Application;
use crate::lower::Role;
use crate::pack::layout::LINE;
use deepthin_runtime::program::{Operand, Step};

/// Bytes from a line to the one that is asked for while it is read.
const DISTANCE: u64 = 8192;

/// Whether a schedule has a repeated block that another follows.
pub(super) fn pays(schedule: &[Application]) -> bool {
    schedule.windows(3).any(repeats)
}

/// The place in a matrix that lies the distance behind its first line.
pub(super) fn own(weights: Operand) -> Operand {
    Operand { offset: weights.offset + DISTANCE, ..weights }
}

/// Turns the steps of an application that repeats the block before it, and is followed by another
/// block of the same function, to that block's weights.
pub(super) fn across_blocks(
    body: &mut [Step],
    ends: &[usize],
    schedule: &[Application],
    kernels: &[PlannedKernel],
) {
    let applications = schedule.windows(3).zip(ends.windows(3));
    for (applications, ends) in applications {
        let [start, end, next_end] = ends else { continue };
        if !repeats(applications) || next_end - end != end - start {
            continue;
        }
        for at in *start..*end {
            let Some((step, theirs)) = pair(body, at, at + (end - start)) else { continue };
            let Some(kernel) = step.variants.last().and_then(|last| kernels.get(last.kernel))
            else {
                continue;
            };
            let roles = &kernel.lowered.buffers;
            for (operand, role) in step.operands.iter_mut().zip(roles) {
                let Role::Ahead(matrix) = role else { continue };
                let weights = roles.iter().position(|role| *role == Role::Weights(*matrix));
                if let Some(weights) = weights.and_then(|at| theirs.operands.get(at)) {
                    *operand = *weights;
                }
            }
        }
    }
}

/// Whether the second of three applications repeats the first, and the third is of another block of
/// the same function.
fn repeats(applications: &[Application]) -> bool {
    let [before, here, next] = applications else { return false };
    before.block == here.block && here.block != next.block && here.func == next.func
}

/// Two steps, the first to be changed.
fn pair(body: &mut [Step], first: usize, second: usize) -> Option<(&mut Step, &Step)> {
    let (left, right) = body.split_at_mut_checked(second)?;
    left.get_mut(first).zip(right.first())
}

/// Brings places behind the image's end to its last line.
pub(super) fn inside(step: &mut Step, image: u64, kernels: &[PlannedKernel]) {
    let Some(kernel) = step.variants.last().and_then(|last| kernels.get(last.kernel)) else {
        return;
    };
    let last = image.saturating_sub(u64::from(LINE));
    for (operand, role) in step.operands.iter_mut().zip(&kernel.lowered.buffers) {
        if matches!(role, Role::Ahead(_)) {
            operand.offset = operand.offset.min(last);
        }
    }
}
