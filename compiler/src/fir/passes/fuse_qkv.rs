//! Fuse the three projections of attention, both rotations and the append into one product.
//!
//! # Before / after
//!
//! ```text
//! v2[24] = linear w1 v1                                 v2[24] = linear w1 w2 w3 v1
//! v3[8] = linear w2 v1                                             rope(head_dim 8, theta 1e4)
//! v4[8] = linear w3 v1                                             append(heads 3, kv_heads 1, head_dim 8)
//! v5[24] = rope v2 (heads 3, head_dim 8, theta 1e4)
//! v6[8] = rope v3 (heads 1, head_dim 8, theta 1e4)
//! kv_append v6 v4 (head_dim 8)
//! ```
//!
//! # Why
//!
//! One pass over x instead of three, and keys and values go straight to their slot.
//!
//! # Requires
//!
//! An attention whose query is rotated, products of one x without anything fused in, and the same
//! angles and heads in rotations and attention. The fused op keeps the append's format.
//!
//! # Leaves alone
//!
//! A product or rotated key with another reader; queries and keys of different x, angles or heads.
//!
//! # Numerics
//!
//! Exact: each product and each rotation stays as it is. The fused op takes the place of the first
//! of the six, where x is already defined; the append moves up, before any attention as ever.

use super::super::{Epilogue, Func, HeadShape, Op, RopeSpec, ValueId};
use super::rewrite::{Facts, PlainLinear, rebuild, replace, slots, swallowed_linear};

/// Runs the pass on one function.
pub(super) fn fuse_qkv(func: &mut Func) {
    let facts = Facts::of(func);
    let query = func.ops.iter().find_map(|op| match op {
        Op::Attention { q, shape, .. } => Some((rotated(func, &facts, *q)?, *shape)),
        _ => None,
    });
    let append = func.ops.iter().enumerate().find_map(|(at, op)| match op {
        Op::KvAppend { k, v, kv, .. } => Some((at, *k, *v, *kv)),
        _ => None,
    });
    let (Some((query, shape)), Some((append_at, k, v, kv))) = (query, append) else { return };
    let Some(key) = rotated(func, &facts, k).filter(|_| facts.read_once(k)) else { return };
    let Some(value) = swallowed_linear(func, &facts, v) else { return };
    let products = [&query.product, &key.product, &value];
    let head_dim = query.rope.head_dim;
    let turned = HeadShape { heads: query.heads, kv_heads: key.heads, head_dim };
    if products.iter().any(|p| p.x != value.x) || query.rope != key.rope || turned != shape {
        return;
    }
    let mut swallowed = vec![append_at, query.at, key.at];
    swallowed.extend(products.iter().map(|p| p.at));
    let Some(first) = swallowed.iter().copied().min() else { return };
    let fused = Op::Linear {
        x: value.x,
        norm: None,
        weights: products.iter().map(|p| p.weight).collect(),
        epilogue: Epilogue::RopeAppend { shape, rope: query.rope, kv, q: query.out },
    };
    let mut ops = slots(func);
    replace(&mut ops, &swallowed, first, fused);
    rebuild(func, ops);
}

/// A rotation of a plain product that only it reads.
struct Rotated {
    at: usize,
    product: PlainLinear,
    rope: RopeSpec,
    heads: u32,
    out: ValueId,
}

/// The rotation that defines `value`.
fn rotated(func: &Func, facts: &Facts, value: ValueId) -> Option<Rotated> {
    match facts.definition(func, value)? {
        (at, Op::Rope { x, rope, heads, out }) => {
            let product = swallowed_linear(func, facts, *x)?;
            Some(Rotated { at, product, rope: *rope, heads: *heads, out: *out })
        }
        _ => None,
    }
}
