//! Fuse an RMS norm into the product that reads it.
//!
//! # Before / after
//!
//! ```text
//! v1[24] = norm v0 (w0, eps 1e-5)        v1[64] = linear w1 w2 v0 norm(w0, eps 1e-5) glu
//! v2[64] = linear w1 w2 v1 glu
//! ```
//!
//! # Why
//!
//! The product's prologue reads x anyway; the normalized vector needs no step of its own.
//!
//! # Requires
//!
//! A norm that one product reads as its x, and nothing else reads.
//!
//! # Leaves alone
//!
//! A norm with another reader (two products, a residual), and a product that has its norm already.
//!
//! # Numerics
//!
//! Exact: the same norm of the same vector. The gain is not folded into the weights, which would
//! round differently.

use super::super::{Func, Op};
use super::rewrite::{Facts, rebuild, replace, slots};

/// Runs the pass on one function.
pub(super) fn fuse_norm(func: &mut Func) {
    let facts = Facts::of(func);
    let mut ops = slots(func);
    for (at, op) in func.ops.iter().enumerate() {
        let Op::Linear { x, norm: None, weights, epilogue } = op else { continue };
        let Some((norm_at, Op::Norm { x: raw, norm, .. })) =
            facts.definition(func, *x).filter(|_| facts.read_once(*x))
        else {
            continue;
        };
        let fused = Op::Linear {
            x: *raw,
            norm: Some(*norm),
            weights: weights.clone(),
            epilogue: epilogue.clone(),
        };
        replace(&mut ops, &[norm_at], at, fused);
    }
    rebuild(func, ops);
}
