//! Faults of codes: unpacked wrongly, multiplied over the wrong columns, rounded elsewhere.

use super::Change::{To, With};
use super::Entry;

const FORM: &str = "compiler/src/codes.rs";
const DEQUANT: &str = "compiler/src/dequant.rs";
const NUMERICS: &str = "compiler/src/numerics/mod.rs";
const FORMATS: &str = "compiler/src/fir/formats.rs";
const VERIFY: &str = "compiler/src/fir/verify/func.rs";
const PANELS: &str = "compiler/src/pack/panels.rs";
const CODES: &str = "compiler/src/lower/codes.rs";
const INTEGER: &str = "compiler/src/lower/integer.rs";
const QUANTIZE: &str = "compiler/src/lower/quantize.rs";

pub(super) const FAULTS: &[Entry] = &[
    (
        "pairs-of-six-bits-reversed",
        FORM,
        "(pairs >> field & 3) << 4",
        To("(pairs >> (6 - field) & 3) << 4"),
    ),
    (
        "eight-bits-without-their-sign",
        FORM,
        "|code| code ^ sign",
        With("|code| if FAULT { *code } else { code ^ sign }"),
    ),
    (
        "pairs-packed-across",
        PANELS,
        "columns[field * 4 + i] >> 4 << (2 * field)",
        To("columns[i * 4 + field] >> 4 << (2 * field)"),
    ),
    (
        "codes-of-the-exact-scale",
        DEQUANT,
        "let d = codes.scale.read(stored);",
        With("let d = if FAULT { scale } else { codes.scale.read(stored) };"),
    ),
    ("codes-of-the-exact-minimum", DEQUANT, "m = codes.scale.read(stored)", To("m = least")),
    ("small-groups-have-codes", NUMERICS, "most < LEAST_QUANTIZED", To("false")),
    ("groups-of-64-everywhere", FORMATS, "Group::Of64.divides(columns)", To("true")),
    (
        "sums-of-any-length",
        VERIFY,
        "weight.activations.piece(weight.format, columns) > MOST_EXACT",
        To("false"),
    ),
    (
        "pairs-of-the-first-unit",
        CODES,
        "unit.along(start.offset(4 * i64::from(LINE)), LINE)",
        To("start.offset(4 * i64::from(LINE))"),
    ),
    ("pairs-not-moved", CODES, "b.shift(ShiftOp::Shl, pairs, 2)", To("pairs")),
    ("neighboring-bits-of-pairs", CODES, "0x3030_3030", To("0x7030_3030")),
    ("six-bit-sign-of-two-bytes", CODES, "0x2020_2020", To("0x0020_0020")),
    ("halves-with-a-neighboring-bit", CODES, "0x0f0f_0f0f", To("0x1f0f_0f0f")),
    (
        "highs-shifted-back-without-their-sign",
        INTEGER,
        "ShiftOp::Sar, high",
        With("if FAULT { ShiftOp::Shr } else { ShiftOp::Sar }, high"),
    ),
    (
        "highs-start-with-the-bias",
        INTEGER,
        "let zero = b.i32(0);",
        With("let zero = if FAULT { starts[0] } else { b.i32(0) };"),
    ),
    ("bias-halved", INTEGER, "bias.trailing_zeros()", To("bias.trailing_zeros() - 1")),
    (
        "product-of-codes-rounds-twice",
        INTEGER,
        "b.fma(dot, scale, *sum)",
        To("{ let product = b.fmul(dot, scale); b.fadd(product, *sum) }"),
    ),
    ("scale-of-activations-left-out", INTEGER, "b.fmul(scale, *dx)", To("{ let _ = dx; scale }")),
    ("minimum-times-the-scale", INTEGER, "splats(Param::ScaledSum)", To("splats(Param::Scale)")),
    ("pieces-overlap", INTEGER, "blocks * layout.block_bytes()", To("layout.block_bytes()")),
    ("codes-of-the-first-block", INTEGER, "block.along(at, BLOCK_COLUMNS)", To("at")),
    (
        "magnitudes-with-their-sign",
        QUANTIZE,
        "b.binary(BinaryOp::IAnd, bits, magnitude)",
        To("bits"),
    ),
    (
        "small-groups-have-codes-in-kernels",
        QUANTIZE,
        "b.select(is_small, nothing, inverse)",
        To("{ let _ = is_small; inverse }"),
    ),
    (
        "codes-up-to-128",
        QUANTIZE,
        "let limit = b.f32(127.0)",
        With("let limit = b.f32(if FAULT { 128.0 } else { 127.0 })"),
    ),
    (
        "sum-of-codes-not-negated",
        QUANTIZE,
        "b.binary(BinaryOp::ISub, zero, sum)",
        To("{ let _ = zero; sum }"),
    ),
    (
        "parameters-of-the-first-group",
        QUANTIZE,
        "Count::Index(group).along(self.param(token, param), pieces * 4)",
        To("Count::Index(group).along(self.param(token, param), 4)"),
    ),
];
