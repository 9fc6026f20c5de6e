//! A user's model: this machine's kernels for its shapes, on its own weights where there are any.

use std::collections::BTreeSet;
use std::sync::Arc;

use deepthin_compiler::pipeline::Lowered;

use super::VerifyError;
use super::check::{Calls, Settings, Watch, check_kernel, in_parallel, shown};
use super::ladder::LadderError;
use super::machine::KernelEngine;
use super::planned::{Own, planned};
use super::report::{CounterExample, Report, Row, operation, shape, storage};

/// Most bytes of a kernel's buffers: they are held several times over.
const MOST_BYTES: u64 = 1 << 30;

/// Verifies every kernel of a lowered model with `settings.cases` calls each; half of them take
/// weights and tables from `own`, the model's, where there are any.
///
/// # Errors
/// A kernel that does not compile, and no memory.
pub fn verify_kernels(
    engine: &dyn KernelEngine,
    lowered: &Lowered,
    own: Option<Own<'_>>,
    settings: &Settings,
    watch: &dyn Watch,
) -> Result<Report, VerifyError> {
    let codes = engine.code(&lowered.kernels).map_err(LadderError::from)?;
    let (mut all, mut left_out) = (Vec::new(), Vec::new());
    for (planned, code) in planned(lowered).into_iter().zip(codes) {
        let sizes = planned.kernel.buffers.values().map(|buffer| u64::from(buffer.bytes));
        let bytes: u64 = sizes.sum();
        match bytes <= MOST_BYTES {
            true => all.push((planned, code)),
            false => left_out.push(format!(
                "{}: its buffers have {} MiB, at most {} are verified",
                planned.kernel.name,
                bytes >> 20,
                MOST_BYTES >> 20
            )),
        }
    }
    let calls = Calls { seed: settings.seed, cases: settings.cases, until_wrong: false };
    let checked = in_parallel(all.len(), settings.threads, watch, |i| {
        let (planned, code) = all.get(i)?;
        Some(check_kernel(planned, code.clone(), own, calls, watch))
    });
    let mut report =
        Report { models: 1, left_out, is_complete: !watch.cancelled(), ..Report::default() };
    let mut distinct = BTreeSet::new();
    for ((planned, code), checked) in all.iter().zip(checked) {
        let Some(checked) = checked.flatten().transpose()? else { continue };
        distinct.extend(checked.fingerprints);
        if let (Some((wrong, case)), None) = (checked.wrong, &report.counter_example) {
            let Settings { seed, cases, .. } = settings;
            let replay = format!("{{model}} --seed {seed} --cases {cases}");
            let (message, vir) = shown(&wrong, &case, Arc::clone(code))?;
            let name = planned.kernel.name.clone();
            let example = CounterExample { message, name, thin: None, vir, replay };
            report.counter_example = Some(example);
        }
        report.rows.push(Row {
            kernel: operation(planned.spec),
            shape: shape(planned.spec),
            storage: storage(planned.spec),
            tally: checked.tally,
        });
    }
    report.distinct = distinct.len() as u64;
    Ok(report)
}
