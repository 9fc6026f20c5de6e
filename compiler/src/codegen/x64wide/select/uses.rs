//! What selection knows of a kernel beforehand: how often each value is used, which loops are
//! written out, and how many registers a body needs.

use crate::id::Id;
use crate::vir::{Address, Bound, Inst, Kernel, ValueId};

/// Most instructions that a written-out loop may come to.
const UNROLLED: usize = 96;

/// The values that an instruction reads, those of a loop's body left out.
pub(super) fn operands(inst: &Inst, mut see: impl FnMut(ValueId)) {
    match inst {
        Inst::Const { .. }
        | Inst::Iota { .. }
        | Inst::Index { .. }
        | Inst::Load { .. }
        | Inst::Splat { .. }
        | Inst::Prefetch { .. } => {}
        Inst::Store { src, .. }
        | Inst::Unary { src, .. }
        | Inst::Shift { src, .. }
        | Inst::Reduce { src, .. } => see(*src),
        Inst::Binary { lhs, rhs, .. } | Inst::Compare { lhs, rhs, .. } => {
            see(*lhs);
            see(*rhs);
        }
        Inst::Fma { a, b, c, .. } => [a, b, c].into_iter().for_each(|v| see(*v)),
        Inst::Dot4 { u8s, s8s, acc, .. } => [u8s, s8s, acc].into_iter().for_each(|v| see(*v)),
        Inst::Select { mask, on, off, .. } => [mask, on, off].into_iter().for_each(|v| see(*v)),
        Inst::Loop { carried, .. } => {
            for c in carried {
                see(c.init);
                see(c.next);
            }
        }
    }
}

/// The value that an instruction other than a loop defines.
pub(super) fn result(inst: &Inst) -> Option<ValueId> {
    match inst {
        Inst::Const { dst, .. }
        | Inst::Iota { dst }
        | Inst::Index { dst, .. }
        | Inst::Load { dst, .. }
        | Inst::Splat { dst, .. }
        | Inst::Unary { dst, .. }
        | Inst::Binary { dst, .. }
        | Inst::Shift { dst, .. }
        | Inst::Fma { dst, .. }
        | Inst::Dot4 { dst, .. }
        | Inst::Compare { dst, .. }
        | Inst::Select { dst, .. }
        | Inst::Reduce { dst, .. } => Some(*dst),
        Inst::Store { .. } | Inst::Prefetch { .. } | Inst::Loop { .. } => None,
    }
}

/// The address that an instruction reads, writes or asks for.
pub(super) fn address(inst: &Inst) -> Option<&Address> {
    match inst {
        Inst::Prefetch { at, .. } => Some(at),
        other => other.access().map(|(_, at)| at),
    }
}

/// How often each value is read, by its number.
pub(super) fn counts(kernel: &Kernel) -> Vec<u32> {
    fn count(body: &[Inst], counts: &mut [u32]) {
        for inst in body {
            operands(inst, |v| {
                if let Some(count) = counts.get_mut(v.index()) {
                    *count += 1;
                }
            });
            count(inst.body(), counts);
        }
    }
    let mut counts = vec![0; kernel.values.len()];
    count(&kernel.body, &mut counts);
    counts
}

/// The bounds of a loop whose body is written once for each value of the variable: one that runs
/// once, or a short one without loops that stay inside.
pub(super) fn unrolled(inst: &Inst) -> Option<(u32, u32)> {
    let Inst::Loop { begin: Bound::Const(begin), end: Bound::Const(end), body, .. } = inst else {
        return None;
    };
    let trips = end.saturating_sub(*begin) as usize;
    let is_short = || has_no_loop(body) && trips.saturating_mul(size(body)) <= UNROLLED;
    (trips <= 1 || is_short()).then_some((*begin, *end))
}

/// Whether no loop of a body stays one.
pub(super) fn has_no_loop(body: &[Inst]) -> bool {
    body.iter().all(|inst| {
        !matches!(inst, Inst::Loop { .. }) || (unrolled(inst).is_some() && has_no_loop(inst.body()))
    })
}

/// Instructions of a body, loops written out.
fn size(body: &[Inst]) -> usize {
    let sizes = body.iter().map(|inst| match (inst, unrolled(inst)) {
        (Inst::Loop { body, .. }, Some((begin, end))) => {
            size(body).saturating_mul(end.saturating_sub(begin) as usize)
        }
        (Inst::Loop { body, .. }, None) => size(body).saturating_add(8),
        (Inst::Const { .. }, _) => 0,
        _ => 1,
    });
    sizes.fold(0, usize::saturating_add)
}
