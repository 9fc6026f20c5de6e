//! Faults of sampling: the wrong token now and then.

use super::Change::{To, With};
use super::Entry;

const LOGITS: &str = "runtime/src/logits.rs";
const DESCENDING: &str = "runtime/src/sampler/descending.rs";
const DRAW: &str = "runtime/src/sampler/draw.rs";
const SAMPLER: &str = "runtime/src/sampler/mod.rs";

pub(super) const FAULTS: &[Entry] = &[
    (
        "highest-id-of-equals",
        DESCENDING,
        "(Reverse(rank(self.logit)), self.id)",
        To("(Reverse(rank(self.logit)), u32::MAX - self.id)"),
    ),
    (
        "last-of-the-highest-blocks",
        LOGITS,
        "self.maxima.iter().position(|greatest| is_meant(*greatest))",
        To("self.maxima.iter().rposition(|greatest| is_meant(*greatest))"),
    ),
    (
        "half-as-many-blocks",
        LOGITS,
        "select_nth_unstable_by(last, ",
        With("select_nth_unstable_by(if FAULT { last / 2 } else { last }, "),
    ),
    ("negative-zero-below-zero", LOGITS, "(logit + 0.0).to_bits()", To("logit.to_bits()")),
    (
        "penalty-raises-negative-logits",
        SAMPLER,
        "if logit > 0.0 { logit / penalty } else { logit * penalty }",
        To("logit / penalty"),
    ),
    ("penalty-for-each-time", SAMPLER, "recent.dedup();", With("if !FAULT { recent.dedup(); }")),
    (
        "penalty-forgets-nothing",
        SAMPLER,
        "self.recent.len() == SamplerSettings::REPEAT_WINDOW",
        To("false"),
    ),
    (
        "one-more-of-top-k",
        DRAW,
        "self.candidates.truncate(kept)",
        To("self.candidates.truncate(kept + 1)"),
    ),
    ("one-more-of-top-p", DRAW, "sum >= enough", To("sum - weight >= enough")),
    ("min-p-drops-its-bound", DRAW, "weight < f64::from(min_p)", To("weight <= f64::from(min_p)")),
    (
        "later-pieces-in-any-order",
        DESCENDING,
        "select_nth_unstable_by_key(count, ",
        With("select_nth_unstable_by_key(if FAULT && self.sorted > 0 { 0 } else { count }, "),
    ),
    (
        "temperature-upside-down",
        DRAW,
        "- highest) / temperature",
        With("- highest) / if FAULT { 1.0 / temperature } else { temperature }"),
    ),
    (
        "half-of-the-seed",
        SAMPLER,
        "state: settings.seed }",
        With("state: if FAULT { settings.seed & 0xffff_ffff } else { settings.seed } }"),
    ),
    (
        "kept-weights-count-twice",
        DRAW,
        "sum += weight;",
        With("sum += if FAULT { 2.0 * weight } else { weight };"),
    ),
    (
        "floor-of-min-p-without-temperature",
        DRAW,
        "f64::from(temperature) * distance",
        To("{ let _ = temperature; distance }"),
    ),
];
