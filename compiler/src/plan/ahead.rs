//! Which lines kernels ask for ahead: the plan's part in giving the memory something to do.
//!
//! A kernel that computes one token can ask for lines with each line of weights that it reads.
//!
//! In models that repeat a block it asks for its own, [`DISTANCE`] bytes further on, and with every
//! second line for one behind an operand, [`Role::Ahead`]. Where a shared block is applied again, its
//! weights come from the caches and the memory has nothing to do: then that is the same matrix of
//! the next stored block, at half the pace at which this one is read. When that block's turn comes, a
//! part of its weights is in the caches. Elsewhere it is what the kernel asks for anyway. The kernel
//! of q, k and v asks for the chunk at hand of its own KV slot too, which attention reads next and no
//! cache has.
//!
//! Where many times of what caches keep goes through them from one token to the next, the kernels of
//! the head, and those of blocks that are not repeated, ask for their own lines shortly before they
//! read them, as lines that are read once: nothing is lost by not keeping them, and the level 3 cache
//! has no work with lines that nothing will find there. Smaller models find some of their weights in
//! the caches again, and ask for nothing. What was measured is in
//! specs/decisions/0010-what-is-asked-for-ahead.md.

use super::kernels::PlannedKernel;
use crate::fir::{Application, Func, Graph, Weight};
use crate::lower::{Asks, FAR_DISTANCE, Role};
use crate::pack::layout::LINE;
use deepthin_runtime::program::{Operand, Step};
use std::collections::BTreeMap;

/// Bytes from a line to the one that is asked for while it is read.
const DISTANCE: u64 = FAR_DISTANCE as u64;

/// Bytes that go through the level 3 cache in a token from which on it keeps none worth mentioning
/// until the next: three times the 32 MB that server cores share. Lines that leave at random are
/// found again after so many others once in seventeen times.
const UNKEPT: u64 = 96_000_000;

/// What the kernels of a model do well to ask for.
#[derive(Default)]
pub(super) struct Pays {
    /// Those of its blocks.
    pub(super) blocks: Asks,
    /// Those of its head.
    pub(super) head: Asks,
}

/// What asking for pays in a model.
pub(super) fn pays(graph: &Graph) -> Pays {
    let repeats = graph.schedule.windows(3).any(repeats);
    // Lines of a repeated block leave level 2 for level 3 once for each application.
    let times = if repeats { 2 } else { 1 };
    let is_unkept = weight_bytes(graph).saturating_mul(times) >= UNKEPT;
    let own = if is_unkept { Asks::Own } else { Asks::Nothing };
    Pays { blocks: if repeats { Asks::Operand } else { own }, head: own }
}

/// Bytes of the stored weights: the head's and each stored block's.
fn weight_bytes(graph: &Graph) -> u64 {
    let of_one = |weight: &Weight| {
        let row = weight.format.row_bytes(weight.columns as usize).unwrap_or(usize::MAX);
        (row as u64).saturating_mul(weight.rows.into())
    };
    let of_func = |func: &Func| func.weights.values().map(of_one).fold(0, u64::saturating_add);
    let stored: BTreeMap<u32, u32> = graph.schedule.iter().map(|a| (a.block, a.func)).collect();
    let blocks = stored.values().filter_map(|func| graph.blocks.get(*func as usize));
    blocks.chain([&graph.head]).map(of_func).fold(0, u64::saturating_add)
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
