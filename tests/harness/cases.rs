//! How many cases a generated test runs.

use std::env;

use proptest::prelude::ProptestConfig;

/// `cases` cases, or as many as `PROPTEST_CASES` says. Failing seeds are not kept: what a failure
/// prints is enough to write a test of it.
pub fn cases(cases: u32) -> ProptestConfig {
    let asked = env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
