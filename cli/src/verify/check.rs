//! All calls of one kernel: drawn from seeds, run on both engines, held against f64.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deepthin_runtime::abi::KernelCode;
use deepthin_runtime::threads::together;

use super::case::{Case, text_fingerprint};
use super::choices::mix;
use super::compare::shown_elements;
use super::exact::{Distance, distance};
use super::filetest::{Part, write};
use super::guard::POISON;
use super::machine::{Bench, CallError, Mismatch};
use super::minimize::minimize;
use super::planned::{Drawing, Own, Planned};
use super::report::{Tally, Wrong};

/// Most instructions of a call: a millisecond or two of interpretation.
pub const STEPS: u64 = 100_000;

/// Tries to make a failing call smaller.
const MINIMIZE_RUNS: u32 = 600;

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Calls of each kernel.
    pub cases: u32,
    /// What all of them are drawn from.
    pub seed: u64,
    /// Threads that verify.
    pub threads: usize,
}

/// The calls of one kernel that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// What they are drawn from, together with the kernel's number in its plan.
    pub seed: u64,
    /// How many.
    pub cases: u32,
    /// Whether the first that goes wrong is the last.
    pub until_wrong: bool,
}

/// Someone who looks on, from several threads.
pub trait Watch: Sync {
    /// `done` of `total` kernels or models are verified.
    fn done(&self, done: usize, total: usize);

    /// Whether to stop.
    fn cancelled(&self) -> bool;
}

/// Nobody looks on.
pub struct Unwatched;

impl Watch for Unwatched {
    fn done(&self, _done: usize, _total: usize) {}

    fn cancelled(&self) -> bool {
        false
    }
}

/// The calls of one kernel.
#[derive(Debug)]
pub struct Checked {
    /// Counts.
    pub tally: Tally,
    /// A number for each call, equal for equal calls.
    pub fingerprints: Vec<u64>,
    /// The first call with something wrong.
    pub wrong: Option<(Wrong, Case<'static>)>,
}

/// Runs calls of a kernel that `code` runs; fewer where the watcher cancels. Weights come from
/// `own`, a model's, in half of them.
///
/// # Errors
/// No memory; a call that the kernel does not declare, which is a bug of the drawing.
pub fn check_kernel(
    planned: &Planned<'_>,
    code: Arc<dyn KernelCode>,
    own: Option<Own<'_>>,
    calls: Calls,
    watch: &dyn Watch,
) -> Result<Checked, CallError> {
    let drawing = Drawing { own, garbage: POISON, steps: STEPS };
    let mut bench = Bench::new(Arc::clone(&planned.kernel), code);
    let text = text_fingerprint(&planned.kernel);
    let mut checked = Checked { tally: Tally::default(), fingerprints: Vec::new(), wrong: None };
    let seed = mix(calls.seed, planned.number() as u64);
    for case in 0..calls.cases {
        if watch.cancelled() || (calls.until_wrong && checked.wrong.is_some()) {
            break;
        }
        let drawn = planned.draw(&drawing, mix(seed, case.into()));
        let expected = drawn.case.expected()?;
        let mismatch = bench.compare(&drawn.case, &expected)?;
        let distance = distance(planned, &drawn, &expected);
        let tally = &mut checked.tally;
        tally.cases += 1;
        tally.mismatches += u64::from(mismatch.is_some());
        if let Some(distance) = &distance {
            tally.held += 1;
            tally.hold(distance);
        }
        checked.fingerprints.push(drawn.case.fingerprint(text));
        let distance = distance.filter(|distance| distance.share > 1.0);
        let wrong = mismatch.map(Wrong::Bits).or(distance.map(Wrong::Distance));
        if let (Some(wrong), None) = (wrong, &checked.wrong) {
            checked.wrong = Some((wrong, drawn.case.owned()));
        }
    }
    Ok(checked)
}

/// A fault in words, with the text of a small call that shows it where machine code differs.
///
/// # Errors
/// As [`check_kernel`].
pub fn shown(
    wrong: &Wrong,
    case: &Case<'_>,
    code: Arc<dyn KernelCode>,
) -> Result<(String, Option<String>), CallError> {
    let name = &case.kernel.name;
    match wrong {
        Wrong::Distance(Distance { share, place }) => {
            Ok((format!("{name}: {share:.2} times its bound: {place}"), None))
        }
        Wrong::Bits(first) => {
            let mut bench = Bench::new(Arc::clone(&case.kernel), code);
            let fails = |case: &Case<'static>| matches!(bench.check(case), Ok(Some(_)));
            let small = minimize(case, MINIMIZE_RUNS, fails);
            let mismatch = bench.check(&small)?.unwrap_or_else(|| first.clone());
            let message = format!("{name}: `{}` {}", mismatch.buffer, mismatch.difference);
            Ok((message, Some(counter_text(&small, &mismatch)?)))
        }
    }
}

/// The text of a call, with what the interpreter gives at the place of a mismatch.
///
/// # Errors
/// Scalars or buffers that are not as the kernel declares.
fn counter_text(case: &Case<'_>, mismatch: &Mismatch) -> Result<String, CallError> {
    let expected = case.expected()?;
    let elements = shown_elements(&case.kernel);
    let buffers = case.kernel.buffers.iter().zip(elements);
    let shown = buffers.filter_map(|((buffer, declared), elem)| {
        let mismatch = Some(mismatch).filter(|mismatch| mismatch.buffer == declared.name)?;
        let offset = mismatch.byte?;
        let left = (declared.bytes as usize).checked_sub(offset)?;
        let bytes = vec![0; left.min(4) / elem.bytes() as usize * elem.bytes() as usize];
        Some(Part { buffer, offset: Some(offset), elem, bytes })
    });
    Ok(write(case, &expected, &shown.collect::<Vec<Part>>()))
}

/// Runs `jobs` jobs on `threads` threads and tells the watcher; the results in the jobs' order,
/// `None` for those that were not begun before it cancelled.
pub fn in_parallel<T: Send>(
    jobs: usize,
    threads: usize,
    watch: &dyn Watch,
    job: impl Fn(usize) -> T + Sync,
) -> Vec<Option<T>> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let mut results = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= jobs || watch.cancelled() {
                return results;
            }
            results.push((number, job(number)));
            watch.done(done.fetch_add(1, Ordering::Relaxed) + 1, jobs);
        }
    };
    let mut ordered: Vec<Option<T>> = (0..jobs).map(|_| None).collect();
    for (number, result) in together(threads.min(jobs), work, work).into_iter().flatten() {
        if let Some(place) = ordered.get_mut(number) {
            *place = Some(result);
        }
    }
    ordered
}
