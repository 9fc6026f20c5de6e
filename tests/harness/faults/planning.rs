//! Faults of planning: memory shared that must not be, kernels confused.

use super::Change::{To, With};
use super::Entry;

const AHEAD: &str = "compiler/src/plan/ahead.rs";
const ARENA: &str = "compiler/src/plan/arena.rs";
const ATTENDED: &str = "compiler/src/plan/attended.rs";
const IMAGE: &str = "compiler/src/plan/image.rs";
const KERNELS: &str = "compiler/src/plan/kernels.rs";
const OPERANDS: &str = "compiler/src/plan/operands.rs";
const PLANNER: &str = "compiler/src/plan/planner.rs";

pub(super) const FAULTS: &[Entry] = &[
    ("output-over-its-input", ARENA, "*last >= i", To("*last > i")),
    ("residual-may-live-on", ARENA, "last_reads[residual.index()] > i", To("false")),
    (
        "partial-results-over-values",
        OPERANDS,
        "Operand::fixed(Base::Arena, regions.arena)",
        To("Operand::fixed(Base::Arena, 0)"),
    ),
    (
        "blocks-share-their-weights",
        IMAGE,
        "t.block == block && t.content == content",
        To("t.content == content"),
    ),
    (
        "formats-in-one-segment",
        IMAGE,
        "(segment.format, segment.activations) == (format, activations)",
        To("true"),
    ),
    ("repeated-blocks-ask-further-on", AHEAD, "next.or(itself)", To("{ let _ = itself; next }")),
    ("lines-read-again-leave-first", AHEAD, "block(at) != block(at + 1)", To("true")),
    ("tiles-for-each-application", AHEAD, "if tokens > 1 =>", To("if tokens > 9 =>")),
    (
        "odd-lines-of-the-next-block",
        AHEAD,
        "theirs.filter(|_| lines == Lines::Even)",
        To("{ let _ = lines; theirs }"),
    ),
    (
        "earlier-attention-merged",
        ATTENDED,
        "attended.last() == Some(x)",
        To("attended.contains(x)"),
    ),
    ("kernels-that-differ-in-epsilon", KERNELS, "k.spec == spec", To("k.name == base_name(&spec)")),
    (
        "applications-share-a-cache",
        PLANNER,
        "cache.map_or(0, CacheLayout::bytes)",
        To("{ let _ = cache.map(CacheLayout::bytes); 0 }"),
    ),
    (
        "maxima-over-logits",
        OPERANDS,
        "Operand::fixed(Base::Logits, regions.maxima)",
        To("Operand::fixed(Base::Logits, 0)"),
    ),
    (
        "values-over-keys",
        OPERANDS,
        "Role::Values => slot(cache().key_bytes())",
        With("Role::Values => slot(if FAULT { 0 } else { cache().key_bytes() })"),
    ),
    (
        "scratch-buffers-overlap",
        OPERANDS,
        "(offset + u64::from(bytes)).next_multiple_of(64)",
        To("offset"),
    ),
    ("scratch-of-the-last-step", PLANNER, "self.regions.scratch.max(scratch)", To("scratch")),
    (
        "rotary-rows-of-position-zero",
        OPERANDS,
        "u64::from(cache().head_dim) * 4, ..table",
        With("if FAULT { 0 } else { u64::from(cache().head_dim) * 4 }, ..table"),
    ),
];
