//! Faults of the runtime's walk over the steps.

use super::Change::{To, With};
use super::Entry;

const SESSION: &str = "runtime/src/session/mod.rs";
const WALK: &str = "runtime/src/session/walk.rs";
const PROGRAM: &str = "runtime/src/program.rs";
const THREADS: &str = "runtime/src/threads/mod.rs";

pub(super) const FAULTS: &[Entry] = &[
    (
        "no-barrier-behind-a-step",
        SESSION,
        "step, pass, worker);\n                worker.barrier();",
        With("step, pass, worker);\n                if !FAULT { worker.barrier(); }"),
    ),
    (
        "shares-overlap",
        THREADS,
        "count * (thread + 1) / threads",
        To("(count * (thread + 1)).div_ceil(threads)"),
    ),
    (
        "a-share-is-left-out",
        THREADS,
        "(count * thread / threads,",
        With("(if FAULT { (count * thread).div_ceil(threads) } else { count * thread / threads },"),
    ),
    (
        "position-of-the-first-token",
        WALK,
        "quotient.of(position)",
        To("quotient.of(pass.position)"),
    ),
    (
        "observed-pass-of-one-token",
        WALK,
        "step.passes != Passes::OneToken",
        To("step.passes.have(self.end - self.first)"),
    ),
    (
        "id-of-the-first-token",
        WALK,
        "quotient.of(pass.tokens[token])",
        To("quotient.of(pass.tokens[0])"),
    ),
    ("two-tokens-by-chunks", PROGRAM, "tokens == 1", To("tokens <= 2")),
    (
        "newest-chunk-left-out",
        PROGRAM,
        "(u64::from(position / positions.max(1)) + 1)",
        To("u64::from(position.div_ceil(positions.max(1)).max(1))"),
    ),
    ("truncate-keeps-the-position", SESSION, "self.position.min(position)", To("self.position")),
    ("visits-start-late-in-later-chunks", SESSION, "from.saturating_sub(done)", To("from")),
    ("threads-share-working-memory", WALK, "thread * self.scratch_stride", To("0")),
    (
        "full-context-refused",
        SESSION,
        "tokens.len() > (context",
        With("tokens.len() + usize::from(FAULT) > (context"),
    ),
    ("non-finite-logits-pass", SESSION, "logits.first_non_finite().is_some()", To("false")),
    ("logits-of-the-first-of-a-tile", SESSION, "number as u64 * regions.logits_stride", To("0")),
    ("maxima-of-the-first-of-a-tile", SESSION, "number as u64 * regions.maxima_stride", To("0")),
];
