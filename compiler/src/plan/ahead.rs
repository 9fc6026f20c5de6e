//! Which lines kernels ask for ahead: the plan's part in giving the memory something to do.
//!
//! A kernel that computes one token can ask for lines with each line of weights that it reads.
//!
//! In models that repeat a block it asks with its even lines behind one operand, with its odd lines
//! behind another, [`Role::Ahead`]. Where a stored block is new, both are its own lines, [`DISTANCE`]
//! bytes further on. Where it is applied again, its weights come from the caches and the memory has
//! nothing to do: then the even ones are those of the same matrix of the next stored block, and the
//! odd ones those that are read anyway, for the memory gives lines at half the pace at most at which
//! this block is read. When the next block's turn comes, a part of its weights is in the caches. What
//! a token reads for the last time is to leave the level 2 cache first ([`Asks::Operand`]). The
//! kernel of q, k and v asks for the chunk at hand of its own KV slot too, which attention reads next
//! and no cache has.
//!
//! Where many times of what caches keep goes through them from one token to the next, the kernels of
//! the head, and those of blocks that are not repeated, ask for their own lines shortly before they
//! read them, as lines that are read once: nothing is lost by not keeping them, and the level 3 cache
//! has no work with lines that nothing will find there. Smaller models find some of their weights in
//! the caches again, and ask for nothing. What was measured is in
//! specs/decisions/0010-what-is-asked-for-ahead.md.

use super::kernels::PlannedKernel;
use crate::fir::{Application, Func, Graph, Weight};
use crate::lower::{Asks, Lines, Role};
use crate::pack::layout::LINE;
use deepthin_runtime::program::{Operand, Step};
use std::collections::BTreeMap;

/// Bytes from a line to the one that is asked for while it is read.
const DISTANCE: u64 = 128 * LINE as u64;

/// Bytes that go through the level 3 cache in a token from which on it keeps none worth mentioning
/// until the next: three times the 32 MB that server cores share. Lines that leave at random are
/// found again after so many others once in seventeen times.
const UNKEPT: u64 = 96_000_000;

/// What the kernels of a model do well to ask for.
#[derive(Default)]
pub(super) struct Pays {
    /// Those of its blocks, where none is applied again.
    blocks: Asks,
    /// Those of its head.
    pub(super) head: Asks,
}

impl Pays {
    /// Those of an application of a schedule.
    pub(super) fn application(&self, schedule: &[Application], at: usize) -> Asks {
        let block = |at: usize| schedule.get(at).map(|application| application.block);
        match self.blocks {
            Asks::Operand { .. } => Asks::Operand { is_last: block(at) != block(at + 1) },
            others => others,
        }
    }
}

/// What a kernel of several tokens is told, which asks for nothing: it has the operands of the step's
/// other kernels, and is the same in every application.
pub(super) fn of_tile(tokens: u32, asks: Asks) -> Asks {
    match asks {
        Asks::Operand { .. } if tokens > 1 => Asks::Operand { is_last: true },
        own => own,
    }
}

/// What asking for pays in a model.
pub(super) fn pays(graph: &Graph) -> Pays {
    let repeats = graph.schedule.windows(3).any(repeats);
    // Lines of a repeated block leave level 2 for level 3 once for each application.
    let times = if repeats { 2 } else { 1 };
    let is_unkept = weight_bytes(graph).saturating_mul(times) >= UNKEPT;
    let own = if is_unkept { Asks::Own } else { Asks::Nothing };
    Pays { blocks: if repeats { Asks::Operand { is_last: true } } else { own }, head: own }
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

/// Turns the steps of applications that repeat the block before them to the next block's weights,
/// where that is of the same function.
pub(super) fn across_blocks(
    body: &mut [Step],
    ends: &[usize],
    schedule: &[Application],
    kernels: &[PlannedKernel],
) {
    for (here, applications) in (1..).zip(schedule.windows(2)) {
        let [before, repeated] = applications else { continue };
        let [Some(&start), Some(&end)] = [ends.get(here - 1), ends.get(here)] else { continue };
        if before.block != repeated.block {
            continue;
        }
        let is_next = schedule.get(here + 1).is_some_and(|next| follows(*repeated, *next));
        let next_end = ends.get(here + 1).filter(|next| is_next && *next - end == end - start);
        for at in start..end {
            let theirs = next_end.and_then(|_| body.get(at + (end - start))).cloned();
            let Some(step) = body.get_mut(at) else { continue };
            ask_in_repeated(step, theirs.as_ref(), kernels);
        }
    }
}

/// Turns a step of a repeated block to the same step of the next one, if that is to be asked for.
fn ask_in_repeated(step: &mut Step, theirs: Option<&Step>, kernels: &[PlannedKernel]) {
    let Some(kernel) = step.variants.last().and_then(|last| kernels.get(last.kernel)) else {
        return;
    };
    let roles = &kernel.lowered.buffers;
    let weights = |operands: &[Operand], matrix| {
        let place = roles.iter().position(|role| *role == Role::Weights(matrix))?;
        operands.get(place).copied()
    };
    let own = step.operands.clone();
    for (operand, role) in step.operands.iter_mut().zip(roles) {
        let Role::Ahead(matrix, lines) = *role else { continue };
        let next = theirs.filter(|_| lines == Lines::Even);
        let next = next.and_then(|step| weights(&step.operands, matrix));
        // To ask for the line that is read does nothing.
        let itself = weights(&own, matrix);
        *operand = next.or(itself).unwrap_or(*operand);
    }
}

/// Whether an application is of another stored block of the same function as the one before it.
fn follows(before: Application, next: Application) -> bool {
    before.block != next.block && before.func == next.func
}

/// Whether the second of three applications repeats the first, and the third is of another block of
/// the same function.
fn repeats(applications: &[Application]) -> bool {
    let [before, here, next] = applications else { return false };
    before.block == here.block && follows(*here, *next)
}

/// Brings places behind the image's end to its last line.
pub(super) fn inside(step: &mut Step, image: u64, kernels: &[PlannedKernel]) {
    let Some(kernel) = step.variants.last().and_then(|last| kernels.get(last.kernel)) else {
        return;
    };
    let last = image.saturating_sub(u64::from(LINE));
    for (operand, role) in step.operands.iter_mut().zip(&kernel.lowered.buffers) {
        if matches!(role, Role::Ahead(..)) {
            operand.offset = operand.offset.min(last);
        }
    }
}
