//! A single kernel as text: the call that its file tells, or calls that are drawn.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;

use deepthin_compiler::vir::Verified;
use deepthin_runtime::abi::KernelCode;

use super::VerifyError;
use super::case::{Case, text_fingerprint};
use super::check::{STEPS, Settings, Watch, shown};
use super::choices::{Choices, mix};
use super::compare::elements;
use super::cost::steps;
use super::filetest::Filetest;
use super::ladder::LadderError;
use super::machine::{Bench, CallError, KernelEngine};
use super::report::{CounterExample, Report, Row, Tally, Wrong};
use super::scalars::any_scalars;
use super::values::{Class, contents};

/// Most instructions of a call that a file tells.
const FILE_STEPS: u64 = 2_000_000_000;

/// Verifies a kernel on the call that stands in its text ([`super::filetest`]), and without one on
/// `settings.cases` drawn calls.
///
/// # Errors
/// A text that is no kernel, and a kernel that cannot be run here.
pub fn verify_text(
    engine: &dyn KernelEngine,
    text: &str,
    settings: &Settings,
    watch: &dyn Watch,
) -> Result<Report, VerifyError> {
    let filetest = Filetest::read(text)?;
    let kernel = Arc::clone(&filetest.kernel);
    let code = match kernel.lanes == engine.lanes() {
        true => engine.code(slice::from_ref(&*kernel)).map_err(LadderError::from)?.pop(),
        false => None,
    };
    let lanes = || VerifyError::Lanes {
        kernel: kernel.name.clone(),
        found: kernel.lanes,
        engine: engine.name().to_owned(),
        expected: engine.lanes(),
    };
    let mut report = Report { models: 0, is_complete: true, ..Report::default() };
    let (tally, distinct) = match &filetest.case {
        Some(case) => {
            if code.is_none() {
                report.left_out.push(lanes().to_string());
            }
            (told(&filetest, case, code, &mut report)?, 1)
        }
        None => drawn(&kernel, code.ok_or_else(lanes)?, settings, watch, &mut report)?,
    };
    report.distinct = distinct;
    let (kernel, lanes) = (kernel.name.clone(), kernel.lanes);
    let shape = format!("{lanes} lanes");
    report.rows.push(Row { kernel, shape, storage: String::new(), tally });
    Ok(report)
}

/// The one call of a file.
fn told(
    filetest: &Filetest,
    case: &Case<'static>,
    code: Option<Arc<dyn KernelCode>>,
    report: &mut Report,
) -> Result<Tally, VerifyError> {
    let kernel = &filetest.kernel;
    if steps(kernel, &case.scalars, FILE_STEPS).is_none() {
        return Err(VerifyError::TooLong { kernel: kernel.name.clone(), most: FILE_STEPS });
    }
    let found = case.expected().map_err(CallError::from)?;
    let unlike = filetest.expected.iter().find_map(|expectation| {
        let difference = expectation.part.difference(&found)?;
        Some(format!("interpreter, expected `{}`: {difference}", expectation.part.text(false)))
    });
    let unlike = match (unlike, code) {
        (None, Some(code)) => {
            let mismatch = Bench::new(Arc::clone(kernel), code).compare(case, &found)?;
            mismatch.map(|mismatch| format!("`{}` {}", mismatch.buffer, mismatch.difference))
        }
        (unlike, _) => unlike,
    };
    let mismatches = u64::from(unlike.is_some());
    report.counter_example = unlike.map(|message| CounterExample {
        message: format!("{}: {message}", kernel.name),
        name: kernel.name.clone(),
        thin: None,
        vir: None,
        replay: "{model}".to_owned(),
    });
    Ok(Tally { cases: 1, mismatches, ..Tally::default() })
}

/// Drawn calls; also how many of them are different.
fn drawn(
    kernel: &Arc<Verified>,
    code: Arc<dyn KernelCode>,
    settings: &Settings,
    watch: &dyn Watch,
    report: &mut Report,
) -> Result<(Tally, u64), VerifyError> {
    let mut bench = Bench::new(Arc::clone(kernel), Arc::clone(&code));
    let mut tally = Tally::default();
    let (mut distinct, text) = (BTreeSet::new(), text_fingerprint(kernel));
    for number in 0..settings.cases {
        if watch.cancelled() {
            report.is_complete = false;
            break;
        }
        let case = draw(kernel, mix(settings.seed, number.into()))
            .ok_or_else(|| VerifyError::TooLong { kernel: kernel.name.clone(), most: STEPS })?;
        tally.cases += 1;
        distinct.insert(case.fingerprint(text));
        if let Some(mismatch) = bench.check(&case)? {
            tally.mismatches += 1;
            if report.counter_example.is_none() {
                let (message, vir) = shown(&Wrong::Bits(mismatch), &case, Arc::clone(&code))?;
                let (name, replay) = (kernel.name.clone(), String::new());
                let example = CounterExample { message, name, thin: None, vir, replay };
                report.counter_example = Some(example);
            }
        }
        watch.done(number as usize + 1, settings.cases as usize);
    }
    Ok((tally, distinct.len() as u64))
}

/// The call that a seed decides; `None` where none of many runs few enough instructions.
fn draw(kernel: &Arc<Verified>, seed: u64) -> Option<Case<'static>> {
    let mut choices = Choices::seeded(seed);
    let mut scalars = (0..256).map(|_| any_scalars(kernel, &mut choices));
    let scalars = scalars.find(|scalars| steps(kernel, scalars, STEPS).is_some())?;
    let of = |(bytes, elem): (usize, _)| {
        let class = choices.pick(&Class::ALL);
        contents(bytes, elem, class, &mut choices).into()
    };
    let sizes = kernel.buffers.values().map(|buffer| buffer.bytes as usize);
    let buffers = sizes.zip(elements(kernel)).map(of).collect();
    Some(Case { kernel: Arc::clone(kernel), buffers, scalars })
}
