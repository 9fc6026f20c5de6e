//! Fuse the addition of the residual stream into the product before it.
//!
//! # Before / after
//!
//! ```text
//! v2[24] = linear w1 v1        v2[24] = linear w1 v1 residual v0
//! v3[24] = add v2 v0
//! ```
//!
//! # Why
//!
//! The product's rows are added while they are at hand; one vector less goes through memory.
//!
//! # Requires
//!
//! A product without anything fused in on either side of the addition (the left one if both are).
//!
//! # Leaves alone
//!
//! A product with another reader, and the addition of a product to itself.
//!
//! # Numerics
//!
//! Exact: one addition of the same two numbers. Where the product is the right operand, the
//! addition is turned round, which changes no bit (any NaN is any NaN).

use super::super::{Epilogue, Func, Op};
use super::rewrite::{Facts, rebuild, replace, slots, swallowed_linear};

/// Runs the pass on one function.
pub(super) fn fuse_residual(func: &mut Func) {
    let facts = Facts::of(func);
    let mut ops = slots(func);
    for (at, op) in func.ops.iter().enumerate() {
        let Op::Add { a, b, out } = op else { continue };
        let left = swallowed_linear(func, &facts, *a).map(|product| (product, *b));
        let right = || swallowed_linear(func, &facts, *b).map(|product| (product, *a));
        let Some((product, residual)) = left.or_else(right) else { continue };
        let fused = Op::Linear {
            x: product.x,
            norm: None,
            weights: vec![product.weight],
            epilogue: Epilogue::Residual { residual, out: *out },
        };
        replace(&mut ops, &[product.at], at, fused);
    }
    rebuild(func, ops);
}
