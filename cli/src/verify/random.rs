//! Generated models: every kernel of each, and their logits on every engine.
//!
//! Model i of seed s is model 0 of seed s + i, so that each is replayed by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deepthin_compiler::fir::Formats;
use deepthin_compiler::weights::RandomWeights;
use deepthin_dsl::Model;
use deepthin_runtime::abi::KernelCode;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::VerifyError;
use super::case::Case;
use super::check::{Calls, Settings, Unwatched, Watch, check_kernel, in_parallel, shown};
use super::choices::mix;
use super::ladder::{LadderError, Subject};
use super::machine::KernelEngine;
use super::models::{Generated, described_formats, generated_of_any_size};
use super::planned::planned;
use super::report::{CounterExample, Report, Row, Tally, Wrong, operation, storage};
use super::whole::{Sequences, sequences};

/// Tries to make a model smaller of which a kernel, or a sequence, fails.
const KERNEL_RUNS: u32 = 300;
const SEQUENCE_RUNS: u32 = 30;

/// A line's operation and storage.
type Key = (String, String);

/// What one model gave.
#[derive(Default)]
struct Outcome {
    rows: BTreeMap<Key, (u64, Tally)>,
    fingerprints: Vec<u64>,
    sequences: Sequences,
    failed: Option<Failed>,
}

/// Something of a model that failed, for shrinking.
enum Failed {
    /// A call of a kernel of this operation.
    Kernel(String),
    /// The logits.
    Sequence,
}

/// Verifies `count` generated models, each with `settings.cases` calls of every kernel.
///
/// # Errors
/// A model that does not compile or run at all.
pub fn verify_random(
    engine: &dyn KernelEngine,
    count: usize,
    settings: &Settings,
    watch: &dyn Watch,
) -> Result<Report, VerifyError> {
    let outcomes = in_parallel(count, settings.threads, watch, |number| {
        let seed = settings.seed.wrapping_add(number as u64);
        model(engine, seed, settings, watch).map_err(|cause| generated_error(seed, cause))
    });
    let mut report = Report { is_complete: !watch.cancelled(), ..Report::default() };
    let mut rows: BTreeMap<Key, (u64, Tally)> = BTreeMap::new();
    let mut distinct = BTreeSet::new();
    let mut failed = None;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let Some(outcome) = outcome.transpose()? else { continue };
        report.models += 1;
        let seed = settings.seed.wrapping_add(number as u64);
        failed = failed.or(outcome.failed.map(|failed| (seed, failed)));
        report.sequences += outcome.sequences.compared;
        report.different_sequences += outcome.sequences.different;
        distinct.extend(outcome.fingerprints);
        for (key, (kernels, tally)) in outcome.rows {
            let row = rows.entry(key).or_default();
            row.0 += kernels;
            row.1.add(&tally);
        }
    }
    if let Some((seed, failed)) = failed {
        report.counter_example = counter_example(engine, &failed, seed, settings, watch)
            .map_err(|cause| generated_error(seed, cause))?;
    }
    report.distinct = distinct.len() as u64;
    let row = |((kernel, storage), (kernels, tally))| {
        let plural = if kernels == 1 { "" } else { "s" };
        let shape = format!("{kernels} kernel{plural}");
        Row { kernel, shape, storage, tally }
    };
    report.rows = rows.into_iter().map(row).collect();
    Ok(report)
}

fn generated_error(seed: u64, cause: VerifyError) -> VerifyError {
    VerifyError::Generated { seed, cause: Box::new(cause) }
}

/// The tree of the model that a seed decides.
fn tree(seed: u64) -> Option<impl ValueTree<Value = Generated>> {
    let words = [0, 1, 2, 3].map(|word| mix(seed, word).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, words.as_flattened());
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    generated_of_any_size().new_tree(&mut runner).ok()
}

/// The model that a seed decides; `None` never happens, for nothing generated is rejected.
pub fn random_model(seed: u64) -> Option<Generated> {
    tree(seed).map(|tree| tree.current())
}

fn model(
    engine: &dyn KernelEngine,
    seed: u64,
    settings: &Settings,
    watch: &dyn Watch,
) -> Result<Outcome, VerifyError> {
    let Some(generated) = random_model(seed) else { return Ok(Outcome::default()) };
    let subject = subject(engine, &generated, seed)?;
    let mut outcome = Outcome::default();
    let lowered = subject.lowered(engine.lanes())?;
    let codes = engine.code(&lowered.kernels).map_err(LadderError::from)?;
    for (planned, code) in planned(lowered).iter().zip(codes) {
        let calls = Calls { seed, cases: settings.cases, until_wrong: false };
        let checked = check_kernel(planned, code, None, calls, watch)?;
        let name = operation(planned.spec);
        let mut stored = storage(planned.spec);
        if stored.contains('+') {
            stored = "mixed".to_owned(); // too many combinations for a line each
        }
        let row = outcome.rows.entry((name.clone(), stored)).or_default();
        row.0 += 1;
        row.1.add(&checked.tally);
        outcome.fingerprints.extend(checked.fingerprints);
        if checked.wrong.is_some() {
            outcome.failed.get_or_insert(Failed::Kernel(name));
        }
    }
    if !watch.cancelled() {
        outcome.sequences = sequences(&subject, seed, false)?;
        if outcome.sequences.different > 0 {
            outcome.failed.get_or_insert(Failed::Sequence);
        }
    }
    Ok(outcome)
}

fn subject<'e>(
    engine: &'e dyn KernelEngine,
    generated: &Generated,
    seed: u64,
) -> Result<Subject<'e>, LadderError> {
    let Generated { model, formats } = generated;
    Subject::new(model, formats, model.context, engine, |graph| RandomWeights::new(graph, seed))
}

/// A call with something wrong, what that is, and the code that ran it.
struct WrongCall {
    wrong: Wrong,
    case: Case<'static>,
    code: Arc<dyn KernelCode>,
}

/// The first call of a kernel of an operation with something wrong.
fn wrong_call(
    engine: &dyn KernelEngine,
    generated: &Generated,
    name: &str,
    (seed, cases): (u64, u32),
    watch: &dyn Watch,
) -> Result<Option<WrongCall>, VerifyError> {
    let subject = subject(engine, generated, seed)?;
    let lowered = subject.lowered(engine.lanes())?;
    let calls = Calls { seed, cases, until_wrong: true };
    for planned in planned(lowered).iter().filter(|planned| operation(planned.spec) == name) {
        let kernel = std::slice::from_ref(&*planned.kernel);
        for code in engine.code(kernel).map_err(LadderError::from)? {
            let checked = check_kernel(planned, Arc::clone(&code), None, calls, watch)?;
            if let Some((wrong, case)) = checked.wrong {
                return Ok(Some(WrongCall { wrong, case, code }));
            }
        }
    }
    Ok(None)
}

/// The smallest model near that of a seed which still fails.
fn smallest(
    engine: &dyn KernelEngine,
    failed: &Failed,
    seed: u64,
    settings: &Settings,
    watch: &dyn Watch,
) -> Option<Generated> {
    let mut tree = tree(seed)?;
    let fails = |generated: &Generated| match failed {
        Failed::Kernel(name) => {
            let calls = (seed, settings.cases);
            matches!(wrong_call(engine, generated, name, calls, watch), Ok(Some(_)))
        }
        Failed::Sequence => subject(engine, generated, seed)
            .and_then(|subject| sequences(&subject, seed, true))
            .is_ok_and(|sequences| sequences.different > 0),
    };
    let runs = match failed {
        Failed::Kernel(_) => KERNEL_RUNS,
        Failed::Sequence => SEQUENCE_RUNS,
    };
    let mut smallest = tree.current();
    let mut more = tree.simplify();
    for _ in 0..runs {
        if !more || watch.cancelled() {
            break;
        }
        let current = tree.current();
        more = if fails(&current) {
            smallest = current;
            tree.simplify()
        } else {
            tree.complicate()
        };
    }
    Some(smallest)
}

fn counter_example(
    engine: &dyn KernelEngine,
    failed: &Failed,
    seed: u64,
    settings: &Settings,
    watch: &dyn Watch,
) -> Result<Option<CounterExample>, VerifyError> {
    let Some(generated) = smallest(engine, failed, seed, settings, watch) else { return Ok(None) };
    let Generated { model, formats } = &generated;
    let is_described = *formats == described_formats(model) && Formats::from_storage(model).is_ok();
    let thin = thin(model, formats, is_described);
    // A description cannot say every storage; then the whole model is generated again.
    let cases = settings.cases;
    let again = format!("--random-models 1 --seed {seed} --cases {cases}");
    match failed {
        Failed::Kernel(name) => {
            let found = wrong_call(engine, &generated, name, (seed, cases), &Unwatched)?;
            let Some(WrongCall { wrong, case, code }) = found else { return Ok(None) };
            let (message, vir) = shown(&wrong, &case, code)?;
            let replay = match is_described {
                true => format!("{{thin}} --seed {seed} --cases {cases}"),
                false => again,
            };
            let name = case.kernel.name.clone();
            Ok(Some(CounterExample { message, name, thin: Some(thin), vir, replay }))
        }
        Failed::Sequence => {
            let found = sequences(&subject(engine, &generated, seed)?, seed, true)?;
            let message = found.first.unwrap_or_default();
            let replay = match is_described {
                true => format!("{{thin}} --random {seed} --seed {seed} --cases 1"),
                false => again,
            };
            let name = format!("model_{seed}");
            Ok(Some(CounterExample { message, name, thin: Some(thin), vir: None, replay }))
        }
    }
}

/// The model as a description; where its storage cannot be said, a comment does.
fn thin(model: &Model, formats: &Formats, is_described: bool) -> String {
    let text = deepthin_dsl::print(model);
    match is_described {
        true => text,
        false => format!("// The tensors that failed are stored otherwise: {formats:?}\n{text}"),
    }
}
