//! Where kernels ask for lines ahead: the plan's part in hiding the memory's latency.
//!
//! A kernel that computes one token asks, with each line of weights that it reads, for the line at
//! the same place behind its operand [`Role::Ahead`]. Two places pay:
//!
//! - Its own weights, [`DISTANCE`] bytes further on, which arrive just before they are used. At the
//!   end of a thread's share these are the first of the next thread's, or of the next matrix.
//! - Where a shared block is applied again, its weights come from the caches and the memory has
//!   nothing to do: then it is the same matrix of the next stored block, at the pace at which this
//!   one is read. When that block's turn comes its weights are in the caches, too.

use super::kernels::PlannedKernel;
use crate::fir::Application;
use crate::lower::Role;
use crate::pack::layout::LINE;
use deepthin_runtime::program::{Operand, Step};

/// Bytes from a line to the one that is asked for while it is read: 4 to 12 KiB were equally good
/// on a Zen 5, 1 KiB too little.
const DISTANCE: u64 = 8192;

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
        let ([before, here, next], [start, end, next_end]) = (applications, ends) else { continue };
        let repeats = before.block == here.block && here.block != next.block;
        if !repeats || here.func != next.func || next_end - end != end - start {
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
