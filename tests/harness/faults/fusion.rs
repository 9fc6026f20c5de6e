//! Faults of fusion: passes that fuse what must stay apart, or fuse it wrongly.

use super::Change::{To, With};
use super::Entry;

const QKV: &str = "compiler/src/fir/passes/fuse_qkv.rs";
const GLU: &str = "compiler/src/fir/passes/fuse_glu.rs";
const NORM: &str = "compiler/src/fir/passes/fuse_norm.rs";
const RESIDUAL: &str = "compiler/src/fir/passes/fuse_residual.rs";
const REWRITE: &str = "compiler/src/fir/passes/rewrite.rs";

pub(super) const FAULTS: &[Entry] = &[
    ("rotations-may-differ", QKV, "query.rope != key.rope", To("false")),
    (
        "projections-of-different-inputs",
        QKV,
        "products.iter().any(|p| p.x != value.x)",
        To("false"),
    ),
    ("head-shapes-may-differ", QKV, "turned != shape", To("false")),
    (
        "key-read-elsewhere",
        QKV,
        ".filter(|_| facts.read_once(k))",
        With(".filter(|_| FAULT || facts.read_once(k))"),
    ),
    ("gate-and-up-of-different-inputs", GLU, "gate.x != up.x", To("false")),
    ("up-first", GLU, "vec![gate.weight, up.weight]", To("vec![up.weight, gate.weight]")),
    (
        "norm-read-elsewhere",
        NORM,
        ".filter(|_| facts.read_once(*x))",
        With(".filter(|_| FAULT || facts.read_once(*x))"),
    ),
    ("residual-is-the-product", RESIDUAL, "(product, *b)", To("(product, *a)")),
    (
        "product-read-elsewhere",
        REWRITE,
        ".filter(|_| facts.read_once(value))",
        With(".filter(|_| FAULT || facts.read_once(value))"),
    ),
];
