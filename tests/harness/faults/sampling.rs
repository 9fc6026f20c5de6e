//! Faults of sampling: the wrong token now and then.

use super::Change::{To, With};
use super::Entry;

const LOGITS: &str = "runtime/src/logits.rs";
const SAMPLER: &str = "runtime/src/sampler.rs";

pub(super) const FAULTS: &[Entry] = &[
    (
        "highest-id-of-equals",
        SAMPLER,
        "(Reverse(rank(self.logit)), self.id)",
        To("(Reverse(rank(self.logit)), u32::MAX - self.id)"),
    ),
    ("last-of-the-highest-blocks", LOGITS, "greatest > best.1", To("greatest >= best.1")),
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
    ("one-more-of-top-k", SAMPLER, "k.min(count)", To("(k + 1).min(count)")),
    ("one-less-of-top-p", SAMPLER, "|last| last + 1", To("|last: usize| last.max(1)")),
    ("min-p-drops-its-bound", SAMPLER, "*weight >= least", To("*weight > least")),
    (
        "temperature-upside-down",
        SAMPLER,
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
        "the-draw-of-all-candidates",
        SAMPLER,
        "weights.get(..kept).unwrap_or(&weights)",
        To("{ let _ = kept; &weights[..] }"),
    ),
];
