//! Where a token's time goes: each kernel's time, bytes and waiting, as generation meets them.
//!
//! A token is generated with a look at the clock around every step, on every thread. The time of a
//! step is that of the caller's thread, from the step's begin to the end of the barrier behind it;
//! what of it a thread spends in kernels is computing, the rest is waiting: for the barrier itself,
//! and for threads whose share takes longer. What is told is the median over tokens of the sums of
//! a kernel's steps.

use std::collections::BTreeMap;

use deepthin_compiler::plan::Plan;
use deepthin_runtime::program::Program;
use deepthin_runtime::session::{RunError, Session, StepTime};
use serde::Serialize;

use crate::bench::statistics::{mean, median};
use crate::bench::test::Ids;
use crate::bench::traffic::Traffic;

/// What a token's time is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Threads.
    pub threads: usize,
    /// Tokens that were timed.
    pub tokens: u32,
    /// Tokens in the KV cache before the first of them.
    pub depth: u32,
    /// Microseconds of all steps of a token.
    pub token_us: f64,
    /// Bytes that a token reads.
    pub bytes: f64,
    /// Kernels in the order in which a token meets them first.
    pub kernels: Vec<KernelTime>,
}

/// The part of one kernel, all its steps of a token together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelTime {
    /// The kernel.
    pub kernel: String,
    /// Steps of a token that it computes.
    pub steps: usize,
    /// Microseconds, with the barriers behind them.
    pub us: f64,
    /// Microseconds of them that a thread waits, the mean of all threads.
    pub waiting_us: f64,
    /// Of the token's time.
    pub share: f64,
    /// Bytes of weights, tables, keys and values that they read.
    pub bytes: f64,
    /// Bytes a second, waiting included.
    pub rate: f64,
}

/// The steps of one kernel.
struct Steps {
    kernel: String,
    /// Their numbers among the steps of a token.
    numbers: Vec<usize>,
    traffic: Traffic,
    /// For each token, microseconds in all and of them waiting.
    samples: Vec<[f64; 2]>,
}

/// Times `tokens` tokens behind `depth` others; ids are drawn. Ends early, with what there is, when
/// `stop` says so; `None` where nothing was timed by then.
///
/// # Errors
/// More tokens than the session's context.
pub fn profile(
    session: &mut Session,
    plan: &Plan,
    tokens: u32,
    depth: u32,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Profile>, RunError> {
    let mut kernels = steps(plan, session.program());
    let mut ids = Ids::new(1, session.program().vocab);
    session.truncate(0);
    session.feed(&ids.draw(1))?; // wakes the threads
    session.truncate(0);
    for chunk in ids.draw(depth).chunks(64) {
        if stop() {
            return Ok(None);
        }
        session.feed(chunk)?;
    }
    let mut wholes = Vec::new();
    for token in ids.draw(tokens) {
        if stop() {
            break;
        }
        let times = session.feed_timed(token)?;
        wholes.push(times.iter().map(|time| time.whole.as_secs_f64() * 1e6).sum());
        kernels.iter_mut().for_each(|kernel| kernel.add(&times));
    }
    let Some(token_us) = median(&wholes) else { return Ok(None) };
    let tokens = u32::try_from(wholes.len()).unwrap_or(u32::MAX);
    let positions = f64::from(depth) + f64::midpoint(1.0, f64::from(tokens));
    let kernels = kernels.into_iter().filter_map(|of| of.time(token_us, positions)).collect();
    let bytes = Traffic::of(plan).bytes(positions);
    Ok(Some(Profile { threads: session.threads(), tokens, depth, token_us, bytes, kernels }))
}

/// The steps of a token by the kernel that computes them.
fn steps(plan: &Plan, program: &Program) -> Vec<Steps> {
    let mut all: Vec<Steps> = Vec::new();
    let mut place: BTreeMap<usize, usize> = BTreeMap::new();
    for (number, step) in plan.steps_of_one_token().enumerate() {
        let Some(variant) = step.variants.last() else { continue };
        let Some(kernel) = program.kernels.get(variant.kernel) else { continue };
        let of = *place.entry(variant.kernel).or_insert_with(|| {
            all.push(Steps {
                kernel: kernel.name.clone(),
                numbers: Vec::new(),
                traffic: Traffic::default(),
                samples: Vec::new(),
            });
            all.len() - 1
        });
        if let Some(steps) = all.get_mut(of) {
            steps.numbers.push(number);
            steps.traffic = steps.traffic.plus(Traffic::of_step(plan, step));
        }
    }
    all
}

impl Steps {
    /// Adds a token.
    fn add(&mut self, times: &[StepTime]) {
        let mut sample = [0.0; 2];
        for time in self.numbers.iter().filter_map(|number| times.get(*number)) {
            let us = |time: std::time::Duration| time.as_secs_f64() * 1e6;
            let computing: Vec<f64> = time.kernels.iter().map(|kernels| us(*kernels)).collect();
            let whole = us(time.whole);
            sample[0] += whole;
            sample[1] += (whole - mean(&computing)).max(0.0);
        }
        self.samples.push(sample);
    }

    fn time(self, token_us: f64, positions: f64) -> Option<KernelTime> {
        let of = |part: usize| median(&self.samples.iter().map(|s| s[part]).collect::<Vec<_>>());
        let (us, waiting_us) = (of(0)?, of(1)?);
        let bytes = self.traffic.bytes(positions);
        let steps = self.numbers.len();
        let (share, rate) = (us / token_us.max(1e-9), bytes / us.max(1e-9) * 1e6);
        Some(KernelTime { kernel: self.kernel, steps, us, waiting_us, share, bytes, rate })
    }
}
