//! Faults of lowering: kernels that compute something near what they should.

use super::Change::{To, With};
use super::Entry;

const PRODUCT: &str = "compiler/src/lower/product.rs";
const DEQUANTIZED: &str = "compiler/src/lower/dequantized.rs";
const CODES: &str = "compiler/src/lower/codes.rs";
const MAXIMA: &str = "compiler/src/lower/maxima.rs";
const NORM: &str = "compiler/src/lower/norm.rs";
const EPILOGUE: &str = "compiler/src/lower/epilogue.rs";
const APPEND: &str = "compiler/src/lower/append.rs";
const ATTENTION: &str = "compiler/src/lower/attention/mod.rs";
const SCORES: &str = "compiler/src/lower/attention/scores.rs";
const RUNNING: &str = "compiler/src/lower/attention/running.rs";
const PARTIALS: &str = "compiler/src/lower/attention/partials.rs";
const MERGE: &str = "compiler/src/lower/attention/merge.rs";
const VALUES: &str = "compiler/src/lower/attention/values.rs";
const EMBED: &str = "compiler/src/lower/embed.rs";
const EXP: &str = "compiler/src/lower/exp.rs";
const REDUCE: &str = "compiler/src/lower/reduce.rs";
const LINEAR: &str = "compiler/src/lower/linear.rs";

pub(super) const FAULTS: &[Entry] = &[
    (
        "columns-of-a-quad-descend",
        DEQUANTIZED,
        "for i in 0..4 {",
        With("for i in if FAULT { [3, 2, 1, 0] } else { [0, 1, 2, 3] } {"),
    ),
    (
        "product-rounds-twice",
        PRODUCT,
        "b.fma(w, x, *sum)",
        To("{ let wx = b.fmul(w, x); b.fadd(wx, *sum) }"),
    ),
    (
        "tile-product-rounds-twice",
        PRODUCT,
        "b.fma(x, w, *sum)",
        To("{ let wx = b.fmul(w, x); b.fadd(wx, *sum) }"),
    ),
    ("q4-bias-in-half-the-codes", CODES, "0x8888_8888", To("0x0808_0808")),
    ("q8-bias-left-out", CODES, "0x8080_8080", To("0")),
    (
        "minimum-left-out",
        DEQUANTIZED,
        "b.fma(code, scale, minimum)",
        To("{ let _ = minimum; b.fmul(code, scale) }"),
    ),
    ("q4-1-halves-swapped", CODES, "8 * i + 4 * quad", To("8 * i + 4 * (1 - quad)")),
    (
        "last-column-left-out",
        PRODUCT,
        "for u in whole * UNROLL..k {",
        With(
            "for u in whole * UNROLL..if FAULT { k - u32::from(k > whole * UNROLL) } else { k } {",
        ),
    ),
    (
        "scale-of-a-neighboring-row",
        DEQUANTIZED,
        "self.layout.scale(*row)",
        To("self.layout.scale(*row ^ 1)"),
    ),
    ("mean-over-one-more", NORM, "count_as_f32(x.width)", To("count_as_f32(x.width + 1)")),
    ("epsilon-left-out", NORM, "b.fadd(mean, eps)", To("{ let _ = eps; mean }")),
    ("norm-without-its-tail", NORM, "count > 0", To("count == lanes")),
    (
        "gain-before-the-scale",
        NORM,
        "b.fmul(scaled, gain)",
        To("{ let gained = b.fmul(value, gain); b.fmul(gained, r) }"),
    ),
    ("rotated-the-other-way", APPEND, "b.fsub(x0c, x1s)", To("b.fadd(x0c, x1s)")),
    ("rotation-fused", APPEND, "b.fadd(x1c, x0s)", To("{ let _ = x1c; b.fma(x1, cos, x0s) }")),
    (
        "tail-of-a-head-shortened",
        APPEND,
        "rows[tile as usize].saturating_sub(row).min(lanes)",
        To("rows[tile as usize].saturating_sub(row).min(1)"),
    ),
    (
        "gate-in-place-of-up",
        EPILOGUE,
        "b.fmul(activated, up)",
        To("{ let _ = up; b.fmul(activated, gate) }"),
    ),
    ("silu-of-the-negative", EXP, "b.fsub(zero, g)", To("{ let _ = zero; g }")),
    ("exp-without-the-low-part", EXP, "b.f32(-LN2_LO)", To("b.f32(0.0)")),
    ("exp-clamped-early", EXP, "b.f32(EXP_CLAMP.0)", To("b.f32(-87.0)")),
    (
        "exp-in-one-step",
        EXP,
        "b.fmul(p, second)",
        To(
            "{ let _ = second; let all = power_of_two(b, n); let unscaled = b.fdiv(p, first); b.fmul(unscaled, all) }",
        ),
    ),
    ("scores-not-scaled", SCORES, "attention_scale(head_dim)", To("1.0")),
    (
        "old-values-not-rescaled",
        RUNNING,
        "b.fmul(so_far, old_factor)",
        To("{ let _ = old_factor; so_far }"),
    ),
    ("hidden-values-not-cleared", VALUES, "self.visible(chunk, 0)", To("Bound::Const(CHUNK)")),
    ("hidden-zero-left-out", VALUES, "self.visible(chunk, CHUNK - 1)", To("Bound::Const(CHUNK)")),
    (
        "queries-of-the-first-group",
        ATTENTION,
        "block.number(head).times",
        With("(if FAULT { block.member(head) } else { block.number(head) }).times"),
    ),
    (
        "chunks-numbered-too-high",
        ATTENTION,
        "Affine::index(chunk, i64::from(kv_heads))",
        To("Affine::index(chunk, i64::from(2 * kv_heads))"),
    ),
    (
        "totals-over-maxima",
        PARTIALS,
        "State::Total => row_bytes(self.heads)",
        With("State::Total => if FAULT { 0 } else { row_bytes(self.heads) }"),
    ),
    (
        "merged-values-not-rescaled",
        MERGE,
        "b.fmul(*so_far, old_factor)",
        To("{ let _ = old_factor; *so_far }"),
    ),
    ("merged-totals-not-rescaled", MERGE, "b.fmul(total, factors[0])", To("total")),
    (
        "merged-maximum-of-the-chunk",
        MERGE,
        "b.binary(BinaryOp::FMax, max, chunk_max)",
        To("chunk_max"),
    ),
    (
        "heads-of-the-first-vector",
        MERGE,
        "heads.first.clone().plus(lane, 1)",
        To("Affine::index(lane, 1)"),
    ),
    (
        "block-weighed-by-its-first-head",
        VALUES,
        "let at = Self::weight(block, head, 0).plus(j, 4);\n            let weight = b.splat(Elem::F32, self.weights, at);\n            return",
        With(
            "let at = Self::weight(block, if FAULT { 0 } else { head }, 0).plus(j, 4); let weight = b.splat(Elem::F32, self.weights, at); return",
        ),
    ),
    (
        "own-position-hidden",
        SCORES,
        "b.compare(CompareOp::ILe, at, position)",
        To("{ let _ = CompareOp::ILe; b.compare(CompareOp::ILt, at, position) }"),
    ),
    (
        "running-maximum-of-the-chunk",
        RUNNING,
        "b.binary(BinaryOp::FMax, max, *chunk_max)",
        To("*chunk_max"),
    ),
    (
        "factors-of-the-head-before",
        RUNNING,
        "b.compare(CompareOp::ILe, number, lane)",
        To("{ let _ = CompareOp::ILe; b.compare(CompareOp::ILt, number, lane) }"),
    ),
    (
        "embedded-nibbles-in-pairs",
        EMBED,
        "numbers.number(b, column / 4, column % 4)",
        To("numbers.number(b, column % (columns / 4), column / (columns / 4))"),
    ),
    (
        "neighboring-lanes-added-first",
        REDUCE,
        "low.iter().zip(high).map(|(&l, &h)| b.binary(binary, l, h)).collect()",
        To(
            "{ let _ = (low, high); level.chunks_exact(2).map(|p| b.binary(binary, p[0], p[1])).collect() }",
        ),
    ),
    (
        "window-one-panel-late",
        LINEAR,
        "minus: Affine::constant(i64::from(first)),",
        With("minus: Affine::constant(i64::from(first) + i64::from(FAULT && first > 0)),"),
    ),
    ("padding-counts-among-logits", MAXIMA, "self.vocab.is_multiple_of(PANEL)", To("true")),
    (
        "negative-logits-in-descending-order",
        MAXIMA,
        "b.select(is_finite, rank, most)",
        To("b.select(is_finite, bits, most)"),
    ),
    ("infinite-logits-among-finite-ones", MAXIMA, "b.select(is_finite, rank, most)", To("rank")),
    (
        "maxima-of-the-first-token",
        MAXIMA,
        "i64::from(token * bytes + first * 4)",
        To("{ let _ = bytes; i64::from(first * 4) }"),
    ),
];
