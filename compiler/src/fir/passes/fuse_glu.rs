//! Fuse the gate and up projections and their gated product into one op.
//!
//! # Before / after
//!
//! ```text
//! v2[64] = linear w1 v1        v2[64] = linear w1 w2 v1 glu
//! v3[64] = linear w2 v1
//! v4[64] = glu v2 v3
//! ```
//!
//! # Why
//!
//! One pass over x instead of two, and gate and up never reach memory.
//!
//! # Requires
//!
//! Two products of one x without anything fused in.
//!
//! # Leaves alone
//!
//! A gate or up with another reader, a gate that is its own up, products of different x.
//!
//! # Numerics
//!
//! Exact: the same products and the same element-wise formula. The fused op takes the place of the
//! first of the three, where x is already defined.

use super::super::{Epilogue, Func, Op};
use super::rewrite::{Facts, rebuild, replace, slots, swallowed_linear};

/// Runs the pass on one function.
pub(super) fn fuse_glu(func: &mut Func) {
    let facts = Facts::of(func);
    let mut ops = slots(func);
    for (at, op) in func.ops.iter().enumerate() {
        let Op::Glu { gate, up, out } = op else { continue };
        let gate = swallowed_linear(func, &facts, *gate);
        let up = swallowed_linear(func, &facts, *up);
        let (Some(gate), Some(up)) = (gate, up) else { continue };
        if gate.x != up.x {
            continue;
        }
        let fused = Op::Linear {
            x: gate.x,
            norm: None,
            weights: vec![gate.weight, up.weight],
            epilogue: Epilogue::Glu { out: *out },
        };
        replace(&mut ops, &[at, gate.at, up.at], gate.at.min(up.at), fused);
    }
    rebuild(func, ops);
}
