//! Faults of quantizing: scales that are not the best, errors that are not theirs, columns that count
//! as others do.

use super::Change::{To, With};
use super::Entry;

const SEARCH: &str = "compiler/src/quantize/search.rs";
const SETTLE: &str = "compiler/src/quantize/settle.rs";
const WHOLE: &str = "compiler/src/quantize/mod.rs";
const CALIBRATE: &str = "cli/src/calibrate.rs";
const PERPLEXITY: &str = "cli/src/perplexity.rs";
const DISTRIBUTION: &str = "cli/src/distribution.rs";

pub(super) const FAULTS: &[Entry] = &[
    ("sweep-without-its-size", SEARCH, "scaled(grid.scale, size)", To("grid.scale")),
    (
        "sweep-without-importance",
        SEARCH,
        "normalized(group.importance)",
        To("(1.0, vec![1.0_f32; group.importance.len()])"),
    ),
    ("scale-is-not-walked", SETTLE, "next.0 < best.0", To("next.0 < best.0 * 0.5")),
    ("covering-pair-not-tried", SETTLE, "covering.0 < swept.0", To("false")),
    ("swept-pair-not-tried", SETTLE, "covering.0 < swept.0", To("true")),
    (
        "no-importance-is-no-weight",
        SETTLE,
        "if counts { importance } else { &even }",
        To("{ let _ = (counts, &even); importance }"),
    ),
    ("what-is-no-number-is-stored", SETTLE, "!weights.iter().all(|w| w.is_finite())", To("false")),
    (
        "errors-of-the-last-part",
        WHOLE,
        "(e + error, p + power)",
        To("{ let _ = e; (error, p + power) }"),
    ),
    (
        "power-without-importance",
        WHOLE,
        "f64::from(*i) * f64::from(*w).powi(2)",
        To("{ let _ = i; f64::from(*w).powi(2) }"),
    ),
    (
        "cut-sources-are-padded",
        WHOLE,
        "tensor.expected_bytes() != Some(tensor.bytes.len())",
        To("false"),
    ),
    (
        "calibration-counts-sums",
        CALIBRATE,
        "(sum / count) as f32",
        To("{ let _ = count; *sum as f32 }"),
    ),
    (
        "calibration-without-gains",
        CALIBRATE,
        "let tensor = gains.tensor(block, role)?;",
        With("let tensor = gains.tensor(block, if FAULT { Role::OutputNorm } else { role })?;"),
    ),
    ("calibration-of-the-next-step", CALIBRATE, "step.checked_sub(1)", To("Some(step)")),
    ("chunks-go-on-in-the-cache", CALIBRATE, "session.truncate(0)", To("session.truncate(1)")),
    (
        "divergence-the-other-way",
        PERPLEXITY,
        "-other.divergence(&distribution)",
        To("-distribution.divergence(&other)"),
    ),
    ("divergence-of-neighbors", PERPLEXITY, "kept.get(index)", To("kept.get(index / 2)")),
    ("divergence-without-p", DISTRIBUTION, "libm::exp(p) * (p - q)", To("p - q")),
];
