//! Faults of KV caches: numbers kept otherwise than they are read.

use super::Change::{To, With};
use super::Entry;

const APPEND: &str = "compiler/src/lower/append.rs";
const QUANTIZE: &str = "compiler/src/lower/kv_codes.rs";
const CACHE: &str = "compiler/src/lower/cache.rs";
const STAGE: &str = "compiler/src/lower/attention/stage.rs";
const SCORES: &str = "compiler/src/lower/attention/scores.rs";
const VALUES: &str = "compiler/src/lower/attention/values.rs";
const IMAGE: &str = "compiler/src/plan/image.rs";
const OPERANDS: &str = "compiler/src/plan/operands.rs";

pub(super) const FAULTS: &[Entry] = &[
    (
        "halves-read-as-finite",
        STAGE,
        "b.unary(UnaryOp::F16ToF32, loaded)",
        To("b.unary(UnaryOp::FiniteF16ToF32, loaded)"),
    ),
    (
        "half-of-a-nan-as-it-comes",
        APPEND,
        "b.select(is_nan, nan, half)",
        To("{ let _ = (is_nan, nan); b.unary(UnaryOp::F32ToF16, x) }"),
    ),
    (
        "scale-ties-not-to-even",
        QUANTIZE,
        "b.binary(BinaryOp::IAdd, bits, odd)",
        To("{ let _ = odd; bits }"),
    ),
    (
        "tiny-groups-have-codes",
        QUANTIZE,
        "b.select(is_tiny, zero, inverse)",
        To("{ let _ = (is_tiny, zero); inverse }"),
    ),
    (
        "special-groups-keep-a-scale",
        QUANTIZE,
        "b.select(is_finite, rounded, nan)",
        To("{ let _ = nan; rounded }"),
    ),
    (
        "magnitudes-keep-their-sign",
        QUANTIZE,
        "b.binary(BinaryOp::IAnd, bits, mask)",
        To("{ let _ = mask; bits }"),
    ),
    (
        "scales-of-heads-overlap",
        APPEND,
        ".scales_at(panel.head, chunk, panel.units)",
        With(".scales_at(panel.head, chunk, if FAULT { 1 } else { panel.units })"),
    ),
    (
        "group-without-its-low-half",
        SCORES,
        "self.over_dims(b, low, &zeros)",
        To("self.over_dims(b, Dims { first: half + first, ..low }, &zeros)"),
    ),
    (
        "scales-of-the-first-chunk",
        CACHE,
        "self.part(head, chunk, groups * SCALE_ROW_BYTES)",
        To("{ let _ = chunk; Affine::index(head, i64::from(groups * SCALE_ROW_BYTES)) }"),
    ),
    (
        "weights-of-the-first-group",
        VALUES,
        "i64::from(self.cache.value_groups() * head + group)",
        To("i64::from(self.cache.value_groups() * head)"),
    ),
    (
        "values-staged-without-their-tail",
        STAGE,
        "lanes.min(head_dim - start)",
        To("lanes.min(head_dim - start).min(2)"),
    ),
    (
        "value-panels-run-on-over-heads",
        IMAGE,
        "Rows::Heads { role: v.role, heads: kv_heads, head_dim }",
        To("Rows::Plain { role: v.role, rows: v.rows }"),
    ),
    (
        "scales-of-values-over-those-of-keys",
        OPERANDS,
        "cache().bytes() - cache().value_scale_bytes()",
        To("cache().key_bytes() + cache().value_bytes()"),
    ),
];
