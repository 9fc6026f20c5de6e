//! Kernels without a choice left: every NaN that could be seen as bits becomes one and the same.
//!
//! Which NaN a NaN is, is the one freedom that VIR leaves to a back end, and kernels of fuzzers
//! look: they take a float for an integer, or load what they stored as another element. After this
//! rewriting all engines must agree on every bit of any kernel.

use deepthin_compiler::vir::{BinaryOp, CompareOp, Elem, Inst, Kernel, Ty, UnaryOp, ValueId};

/// The kernel with the NaN of each float that becomes bits (by a store, `as_i32` or `f32_to_f16`)
/// replaced by the NaN of bits 0x7fc00000, or 0x7e00 as f16.
pub(super) fn definite(kernel: &Kernel) -> Kernel {
    let mut kernel = kernel.clone();
    let body = std::mem::take(&mut kernel.body);
    kernel.body = rewritten(&body, &mut kernel);
    kernel
}

fn rewritten(body: &[Inst], kernel: &mut Kernel) -> Vec<Inst> {
    let mut out = Vec::new();
    for inst in body {
        let mut inst = inst.clone();
        match &mut inst {
            Inst::Store { src, elem: Elem::F32, .. }
            | Inst::Unary { op: UnaryOp::AsI32, src, .. } => {
                *src = canonical_f32(*src, kernel, &mut out);
            }
            Inst::Unary { dst, op: op @ UnaryOp::F32ToF16, src } => {
                canonical_f16((*dst, *op, *src), kernel, &mut out);
                continue;
            }
            Inst::Loop { body, .. } => *body = rewritten(body, kernel),
            Inst::Const { .. }
            | Inst::Iota { .. }
            | Inst::Index { .. }
            | Inst::Load { .. }
            | Inst::Splat { .. }
            | Inst::Store { .. }
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
        out.push(inst);
    }
    out
}

fn constant(ty: Ty, bits: u32, kernel: &mut Kernel, out: &mut Vec<Inst>) -> ValueId {
    let dst = kernel.values.push(ty);
    out.push(Inst::Const { dst, bits });
    dst
}

/// The value, or the one NaN where it is neither below infinity nor above minus infinity.
fn canonical_f32(src: ValueId, kernel: &mut Kernel, out: &mut Vec<Inst>) -> ValueId {
    let mut kept = constant(Ty::F32, 0x7fc0_0000, kernel, out);
    for (op, end) in [(CompareOp::FLt, f32::INFINITY), (CompareOp::FGt, f32::NEG_INFINITY)] {
        let rhs = constant(Ty::F32, end.to_bits(), kernel, out);
        let mask = kernel.values.push(Ty::Mask);
        out.push(Inst::Compare { dst: mask, op, lhs: src, rhs });
        let dst = kernel.values.push(Ty::F32);
        out.push(Inst::Select { dst, mask, on: src, off: kept });
        kept = dst;
    }
    kept
}

/// The conversion, with the one NaN where all but the sign is above the bits of infinity.
fn canonical_f16(
    (dst, op, src): (ValueId, UnaryOp, ValueId),
    kernel: &mut Kernel,
    out: &mut Vec<Inst>,
) {
    let half = kernel.values.push(Ty::I32);
    out.push(Inst::Unary { dst: half, op, src });
    let [magnitude, infinity, nan] =
        [0x7fff, 0x7c00, 0x7e00].map(|bits| constant(Ty::I32, bits, kernel, out));
    let unsigned = kernel.values.push(Ty::I32);
    out.push(Inst::Binary { dst: unsigned, op: BinaryOp::IAnd, lhs: half, rhs: magnitude });
    let mask = kernel.values.push(Ty::Mask);
    out.push(Inst::Compare { dst: mask, op: CompareOp::ILt, lhs: infinity, rhs: unsigned });
    out.push(Inst::Select { dst, mask, on: nan, off: half });
}
