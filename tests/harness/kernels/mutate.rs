//! Small damage to a kernel, of the kinds that could let it stray: to test the verifier.

use deepthin_compiler::vir::{Affine, Bound, Elem, Index, Inst, Kernel};

use super::Choices;

/// The kernel with one address, count, stride, loop bound, declared bound or buffer size changed.
/// It may still be sound.
pub fn mutate(mut kernel: Kernel, choices: &mut Choices) -> Kernel {
    if choices.once_in(6) {
        mutate_parameter(&mut kernel, choices);
        return kernel;
    }
    let mut sites = 0;
    each(&mut kernel.body, &mut |inst| sites += u32::from(is_site(inst)));
    let chosen = choices.below(sites);
    let mut position = 0;
    each(&mut kernel.body, &mut |inst| {
        if is_site(inst) {
            if position == chosen {
                mutate_inst(inst, choices);
            }
            position += 1;
        }
    });
    kernel
}

fn each(body: &mut [Inst], see: &mut impl FnMut(&mut Inst)) {
    for inst in body {
        see(inst);
        if let Inst::Loop { body, .. } = inst {
            each(body, see);
        }
    }
}

fn is_site(inst: &Inst) -> bool {
    matches!(inst, Inst::Load { .. } | Inst::Splat { .. } | Inst::Store { .. } | Inst::Loop { .. })
}

fn mutate_parameter(kernel: &mut Kernel, choices: &mut Choices) {
    if choices.once_in(2) {
        let ids: Vec<_> = kernel.buffers.ids().collect();
        let buffer = &mut kernel.buffers[choices.pick(&ids)];
        buffer.bytes -= buffer.bytes.min(1 + choices.below(8));
        return;
    }
    let ids: Vec<_> = kernel.indices.ids().collect();
    let more = 1 + choices.below(4);
    let chosen = choices.below(3);
    for id in ids {
        match (&mut kernel.indices[id], chosen) {
            (Index::Scalar { hi, .. }, 0) => *hi += i64::from(more),
            (Index::Scalar { lo, .. }, 1) => *lo -= i64::from(more),
            (Index::RangeBegin { count, .. } | Index::RangeEnd { count }, 2) => *count += more,
            (
                Index::Scalar { .. }
                | Index::RangeBegin { .. }
                | Index::RangeEnd { .. }
                | Index::Loop,
                _,
            ) => {}
        }
    }
}

fn mutate_inst(inst: &mut Inst, choices: &mut Choices) {
    match inst {
        Inst::Load { elem, at, count, .. } => match choices.below(3) {
            0 => *count += 1 + choices.below(2),
            _ => mutate_offset(&mut at.offset, *elem, choices),
        },
        Inst::Splat { elem, at, .. } => mutate_offset(&mut at.offset, *elem, choices),
        Inst::Store { elem, at, stride, count, .. } => match choices.below(4) {
            0 => *count += 1 + choices.below(2),
            1 => *stride += elem.bytes(),
            _ => mutate_offset(&mut at.offset, *elem, choices),
        },
        Inst::Loop { begin, end, .. } => {
            let bound = if choices.once_in(4) { begin } else { end };
            let more = 1 + choices.below(3);
            match bound {
                Bound::Const(value) => *value += more,
                Bound::Scalar(scalar) => *scalar = deepthin_compiler::vir::IndexId(scalar.0 ^ 1),
                Bound::Clamp { hi, minus, .. } => match choices.below(2) {
                    0 => *hi += more,
                    _ => *minus = Affine::constant(choices.within(-4, 4)),
                },
            }
        }
        Inst::Const { .. }
        | Inst::Iota { .. }
        | Inst::Index { .. }
        | Inst::Prefetch { .. }
        | Inst::Unary { .. }
        | Inst::Binary { .. }
        | Inst::Shift { .. }
        | Inst::Fma { .. }
        | Inst::Dot4 { .. }
        | Inst::Compare { .. }
        | Inst::Select { .. }
        | Inst::Reduce { .. } => {}
    }
}

/// One element or a few to either side, by the constant or by a factor.
fn mutate_offset(offset: &mut Affine, elem: Elem, choices: &mut Choices) {
    let by = i64::from(elem.bytes()) * choices.pick(&[1, -1, 2, -2, 4, -4]);
    match offset.terms.first_mut() {
        Some((_, factor)) if choices.once_in(2) && *factor + by != 0 => *factor += by,
        Some(_) | None => offset.base += by,
    }
}
