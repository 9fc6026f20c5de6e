//! Benchmarks of compiled models: tokens a second, beside the state of the machine in that moment.
//!
//! Shared machines change their memory speed within seconds, so nothing here is a figure alone.
//! Measuring goes in *rounds*: a round looks at the machine ([`probe`]), then runs each variant
//! once. A ratio is of two figures of the same round, and what is told is the median over rounds
//! ([`statistics`]).
//!
//! | module | what |
//! |---|---|
//! | [`test`](mod@test) | what is timed, as llama-bench names it, and one repetition of it |
//! | [`statistics`] | mean, deviation, median, percentile, ratios within rounds |
//! | [`probe`] | the machine in this moment: a barrier crossing, a linear read |
//! | [`kernel`] | kernels that do nothing but read or compute, and the memory they work on |
//! | [`traffic`] | the bytes that a token has to read |
//! | [`footprint`] | the memory that an engine takes |
//! | [`peers`] | other engines, measured by a script |

pub mod footprint;
pub mod kernel;
pub mod peers;
pub mod probe;
pub mod statistics;
pub mod test;
pub mod traffic;

use std::time::Duration;

/// Fewest tokens that make a rate.
const FEWEST_TOKENS: u64 = 4;

/// Shortest time that makes a rate: below it the clock, the scheduler and the caches decide.
const SHORTEST: Duration = Duration::from_millis(10);

/// Whether tokens a second mean something where so many tokens took so long.
pub fn rate_means_something(tokens: u64, time: Duration) -> bool {
    tokens >= FEWEST_TOKENS && time >= SHORTEST
}
