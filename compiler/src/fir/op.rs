//! The operations of FIR: each variant's comment is its meaning.
//!
//! Plain ops are what [`build`](super::build()) writes; after fusion only [`Op::Embed`],
//! [`Op::Linear`] (with norm and epilogue) and [`Op::Attention`] are left.

use super::{ValueId, WeightId};
use crate::format::KvFormat;

/// One operation on per-token vectors. Orders of summation: `specs/numerics.md`.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `out = table[token]`, dequantized. Shapes: table `[vocab, width]`, out `[width]`.
    /// The only op that reads the token; legal in the `embed` function alone.
    Embed {
        /// The embedding table.
        table: WeightId,
        /// The token's row.
        out: ValueId,
    },
    /// `out[i] = (x[i] * r) * gain[i]` with `r = 1 / sqrt(sum(x²) / n + eps)`. Plain only.
    Norm {
        /// Input, `[n]`.
        x: ValueId,
        /// Gain and epsilon.
        norm: NormSpec,
        /// Result, `[n]`.
        out: ValueId,
    },
    /// Matrix products of one input, with what happens right before and after them fused in.
    /// `y_j = W_j · norm(x)`, k ascending; the epilogue turns the `y_j` into results.
    /// Plain form: no norm, one weight, [`Epilogue::Store`].
    Linear {
        /// Input, `[k]`.
        x: ValueId,
        /// RMS norm applied to `x` first.
        norm: Option<NormSpec>,
        /// The matrices `W_j`, each `[n_j, k]`.
        weights: Vec<WeightId>,
        /// What becomes of the products.
        epilogue: Epilogue,
    },
    /// Rotates each head of `x`: `(a, b) = (x[i], x[i + head_dim/2])` becomes
    /// `(a*cos - b*sin, b*cos + a*sin)`, each product and sum rounded. Plain only.
    Rope {
        /// Input, `[heads * head_dim]`.
        x: ValueId,
        /// Angles.
        rope: RopeSpec,
        /// Heads in `x`.
        heads: u32,
        /// Result, same shape.
        out: ValueId,
    },
    /// Writes the token's key and value to this application's KV slot at its position, each head
    /// stored in the slot's format. Plain only. Must come before the function's attention.
    KvAppend {
        /// Key, rotated, `[kv_heads * head_dim]`.
        k: ValueId,
        /// Value, same shape.
        v: ValueId,
        /// Elements of a head; even.
        head_dim: u32,
        /// What the slot keeps.
        kv: KvFormat,
    },
    /// Softmax attention of each query head over all positions up to the token's own, in chunks
    /// of 64. Query head h reads KV head `h / (heads / kv_heads)`.
    Attention {
        /// Rotated queries, `[heads * head_dim]`.
        q: ValueId,
        /// Head counts and sizes.
        shape: HeadShape,
        /// What the slot keeps.
        kv: KvFormat,
        /// Result, `[heads * head_dim]`.
        out: ValueId,
    },
    /// `out[i] = silu(gate[i]) * up[i]`, `silu(g) = g / (1 + exp(-g))`. Plain only.
    Glu {
        /// Gate, `[n]`.
        gate: ValueId,
        /// Up, `[n]`.
        up: ValueId,
        /// Result, `[n]`.
        out: ValueId,
    },
    /// `out[i] = a[i] + b[i]`. Plain only.
    Add {
        /// Left, `[n]`.
        a: ValueId,
        /// Right, `[n]`.
        b: ValueId,
        /// Result, `[n]`.
        out: ValueId,
    },
}

/// An RMS norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormSpec {
    /// Gain, one row `[1, n]` of f32.
    pub gain: WeightId,
    /// Added to the mean of squares.
    pub eps: f32,
}

/// Rotary position embedding of heads of `head_dim` elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeSpec {
    /// Elements of a head; even.
    pub head_dim: u32,
    /// Base of the angles.
    pub theta: f64,
}

/// Head counts and sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Elements of a head; even.
    pub head_dim: u32,
}

/// What becomes of the products `y_j` of an [`Op::Linear`].
#[derive(Debug, Clone, PartialEq)]
pub enum Epilogue {
    /// `out[j] = y_j`, one result for each weight.
    Store {
        /// One value for each weight.
        out: Vec<ValueId>,
    },
    /// One weight: `out = y + residual`.
    Residual {
        /// Added to the product, `[n]`.
        residual: ValueId,
        /// Result, `[n]`.
        out: ValueId,
    },
    /// Two weights (gate, up): `out = silu(y_0) * y_1`.
    Glu {
        /// Result, `[n]`.
        out: ValueId,
    },
    /// Three weights (q, k, v): `q = rope(y_0)`; `rope(y_1)` and `y_2` go to the KV slot.
    RopeAppend {
        /// Head counts and sizes.
        shape: HeadShape,
        /// Angles.
        rope: RopeSpec,
        /// What the slot keeps.
        kv: KvFormat,
        /// Rotated queries.
        q: ValueId,
    },
}

impl Op {
    /// Values read, in operand order.
    pub fn inputs(&self) -> Vec<ValueId> {
        match self {
            Op::Embed { .. } => vec![],
            Op::Norm { x, .. } | Op::Rope { x, .. } => vec![*x],
            Op::Linear { x, epilogue, .. } => match epilogue {
                Epilogue::Residual { residual, .. } => vec![*x, *residual],
                Epilogue::Store { .. } | Epilogue::Glu { .. } | Epilogue::RopeAppend { .. } => {
                    vec![*x]
                }
            },
            Op::KvAppend { k, v, .. } => vec![*k, *v],
            Op::Attention { q, .. } => vec![*q],
            Op::Glu { gate, up, .. } => vec![*gate, *up],
            Op::Add { a, b, .. } => vec![*a, *b],
        }
    }

    /// Values defined, in result order.
    pub fn outputs(&self) -> Vec<ValueId> {
        match self {
            Op::Embed { out, .. }
            | Op::Norm { out, .. }
            | Op::Rope { out, .. }
            | Op::Attention { out, .. }
            | Op::Glu { out, .. }
            | Op::Add { out, .. } => vec![*out],
            Op::Linear { epilogue, .. } => match epilogue {
                Epilogue::Store { out } => out.clone(),
                Epilogue::Residual { out, .. } | Epilogue::Glu { out } => vec![*out],
                Epilogue::RopeAppend { q, .. } => vec![*q],
            },
            Op::KvAppend { .. } => vec![],
        }
    }

    /// Values named, to be renumbered: those read, then those defined.
    pub fn values_mut(&mut self) -> Vec<&mut ValueId> {
        match self {
            Op::Embed { out, .. } => vec![out],
            Op::Norm { x, out, .. } | Op::Rope { x, out, .. } => vec![x, out],
            Op::Linear { x, epilogue, .. } => {
                let mut values = vec![x];
                match epilogue {
                    Epilogue::Store { out } => values.extend(out),
                    Epilogue::Residual { residual, out } => values.extend([residual, out]),
                    Epilogue::Glu { out } => values.push(out),
                    Epilogue::RopeAppend { q, .. } => values.push(q),
                }
                values
            }
            Op::KvAppend { k, v, .. } => vec![k, v],
            Op::Attention { q, out, .. } => vec![q, out],
            Op::Glu { gate, up, out } => vec![gate, up, out],
            Op::Add { a, b, out } => vec![a, b, out],
        }
    }

    /// Weights read, in operand order.
    pub fn weights(&self) -> Vec<WeightId> {
        match self {
            Op::Embed { table, .. } => vec![*table],
            Op::Norm { norm, .. } => vec![norm.gain],
            Op::Linear { norm, weights, .. } => {
                norm.iter().map(|n| n.gain).chain(weights.iter().copied()).collect()
            }
            Op::Rope { .. }
            | Op::KvAppend { .. }
            | Op::Attention { .. }
            | Op::Glu { .. }
            | Op::Add { .. } => vec![],
        }
    }

    /// What the KV slot keeps that the op appends to or reads.
    pub fn kv_format(&self) -> Option<KvFormat> {
        match self {
            Op::KvAppend { kv, .. }
            | Op::Attention { kv, .. }
            | Op::Linear { epilogue: Epilogue::RopeAppend { kv, .. }, .. } => Some(*kv),
            Op::Linear { .. }
            | Op::Embed { .. }
            | Op::Norm { .. }
            | Op::Rope { .. }
            | Op::Glu { .. }
            | Op::Add { .. } => None,
        }
    }

    /// The op's word in texts.
    pub const fn name(&self) -> &'static str {
        match self {
            Op::Embed { .. } => "embed",
            Op::Norm { .. } => "norm",
            Op::Linear { .. } => "linear",
            Op::Rope { .. } => "rope",
            Op::KvAppend { .. } => "kv_append",
            Op::Attention { .. } => "attention",
            Op::Glu { .. } => "glu",
            Op::Add { .. } => "add",
        }
    }

    /// Whether the op is left after fusion (rule F-10).
    pub fn legal_when_fused(&self) -> bool {
        match self {
            Op::Embed { .. } | Op::Linear { .. } | Op::Attention { .. } => true,
            Op::Norm { .. }
            | Op::Rope { .. }
            | Op::KvAppend { .. }
            | Op::Glu { .. }
            | Op::Add { .. } => false,
        }
    }
}
