//! `deepthin verify`: proves this machine's kernels against the interpreter.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deepthin::engine::{self, RunOptions};
use deepthin::file;
use deepthin::source::{Source, Weights};
use deepthin::verify::filetest::FiletestError;
use deepthin::verify::ladder::{LadderError, Subject};
use deepthin::verify::machine::{KernelEngine, MachineCode};
use deepthin::verify::planned::Own;
use deepthin::verify::report::{CounterExample, Report};
use deepthin::verify::whole::{self, Sequences};
use deepthin::verify::{Settings, VerifyError, verify_kernels, verify_random, verify_text};
use deepthin_compiler::codegen::choice::Vectors;
use deepthin_compiler::fir::Graph;
use deepthin_compiler::pipeline::{CompileError, program};
use deepthin_compiler::vir;
use deepthin_compiler::weights::RandomWeights;
use deepthin_dsl::Model;
use deepthin_runtime::shown::Shown;
use serde::Serialize;

use crate::answers::{Answer, print_one};
use crate::args::model::KvFormat;
use crate::args::output::Form;
use crate::args::verify::VerifyArgs;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::{self, VerifyProgress};
use crate::table::{Align, Column};

use super::input;

/// Inputs of each kernel where the user names no number: a model's, and each generated model's.
const CASES: u32 = 64;
const RANDOM_CASES: u32 = 16;

/// Most bytes of a kernel's file.
const MAX_KERNEL_BYTES: u64 = 64 << 20;

/// All that was verified, as JSON has it.
#[derive(Serialize)]
struct Verified {
    seed: u64,
    cases: u32,
    models: u64,
    calls: u64,
    distinct: u64,
    mismatches: u64,
    sequences: u64,
    different_sequences: u64,
    kernels: Vec<Kernel>,
    left_out: Vec<String>,
    counter_example: Option<Found>,
    complete: bool,
    seconds: f64,
}

/// The calls of a kernel, or of all generated ones of an operation and storage.
#[derive(Serialize)]
struct Kernel {
    kernel: String,
    shape: String,
    storage: String,
    cases: u64,
    mismatches: u64,
    held: u64,
    worst_share: Option<f64>,
    worst_place: Option<String>,
}

/// A case that differs.
#[derive(Serialize)]
struct Found {
    message: String,
    files: Vec<String>,
    replay: String,
}

/// Verifies what the command line names, prints the table, and tells the first fault.
pub(crate) fn run(args: &VerifyArgs) -> Result<Exit, Failure> {
    let interrupt = Interrupt::watch()?;
    let machine = MachineCode::host().map_err(CompileError::from)?;
    let default = if args.random_models.is_some() { RANDOM_CASES } else { CASES };
    let settings = Settings {
        cases: args.cases.unwrap_or(default),
        seed: args.seed,
        threads: args.threads.map_or_else(engine::default_threads, usize::from),
    };
    let start = Instant::now();
    let report = match (&args.model, args.random_models) {
        (Some(model), _) if model.ends_with(".vir") => {
            text(&machine, Path::new(model), &settings, &interrupt)?
        }
        (Some(model), _) => own(&machine, args, model, &settings, &interrupt)?,
        (None, count) => {
            let count = count.map_or(0, |count| count as usize);
            let what = format!("{count} generated models");
            let progress = VerifyProgress::new(&what, interrupt.clone());
            verify_random(&machine, count, &settings, &progress)?
        }
    };
    let found = report.counter_example.as_ref();
    let found = found.map(|example| save(args, example)).transpose()?;
    let verified = verified(&report, &settings, found, start.elapsed());
    print_one(args.output.form().unwrap_or(Form::Md), &verified)?;
    summary(&verified);
    end(&report, verified.counter_example)
}

/// One kernel.
fn text(
    machine: &dyn KernelEngine,
    path: &Path,
    settings: &Settings,
    interrupt: &Interrupt,
) -> Result<Report, Failure> {
    let bytes = file::read(path, "a kernel", MAX_KERNEL_BYTES)?;
    let Ok(text) = String::from_utf8(bytes) else {
        let message = format!("{}: found bytes that are not UTF-8", Shown(path));
        return Err(Failure::new(Exit::BadData, message).fix("name the text of a kernel"));
    };
    let progress = VerifyProgress::new("a kernel", interrupt.clone());
    let of_its_lanes = of_lanes_of(&text);
    let machine = of_its_lanes.as_ref().map_or(machine, |machine| machine as &dyn KernelEngine);
    verify_text(machine, &text, settings, &progress).map_err(|error| match error {
        // A place in the text follows the path at once, as in `kernel.vir:3:1: ..`.
        VerifyError::Text(FiletestError::Parse(_)) => {
            Failure::from(error).at(format_args!("{}:", Shown(path)))
        }
        VerifyError::Text(_) => Failure::from(error).at(format_args!("{}: ", Shown(path))),
        error => error.into(),
    })
}

/// What runs kernels of as many lanes as that of a text has, where this machine can.
fn of_lanes_of(text: &str) -> Option<MachineCode> {
    let lanes = vir::parse(text).ok()?.lanes;
    let all = Vectors::ALL.into_iter().filter_map(|vectors| Vectors::for_host(Some(vectors)).ok());
    all.into_iter().find(|backend| backend.lanes() == lanes).map(MachineCode::from)
}

/// The user's own model.
fn own(
    machine: &dyn KernelEngine,
    args: &VerifyArgs,
    model: &str,
    settings: &Settings,
    interrupt: &Interrupt,
) -> Result<Report, Failure> {
    let source = input::source(&args.source(model), interrupt)?;
    let kv = args.kv.map(KvFormat::of_model);
    let options = RunOptions { context: args.context, kv, ..RunOptions::default() };
    input::notes(&engine::notices(&source, &options));
    let lowered = engine::lower_source(&source, &options)?;
    let what = format!("{} kernels of {}", lowered.kernels.len(), source.model.name);
    if let Weights::None = source.weights {
        let progress = VerifyProgress::new(&what, interrupt.clone());
        return Ok(verify_kernels(machine, &lowered, None, settings, &progress)?);
    }
    let codes = machine.code(&lowered.kernels).map_err(CompileError::from)?;
    let program = Arc::new(program(&lowered, codes));
    engine::check_memory(&program.regions, program.context, settings.threads)?;
    let model = options.model(&source);
    let subject = drawn(machine, &source, &model, lowered.plan.options.context)?;
    let tokens = whole::tokens(&source.model, lowered.plan.options.context);
    let stop = &|| interrupt.requested();
    let mut constants = input::constants(source, &lowered, settings.threads, stop)?;
    let progress = VerifyProgress::new(&what, interrupt.clone());
    let own = Some(Own::of(&mut constants));
    let mut report = verify_kernels(machine, &lowered, own, settings, &progress)?;
    if !interrupt.requested() {
        let sequences = match subject {
            Some(subject) => whole::sequences(&subject, settings.seed, false),
            None => {
                let constants = Arc::new(constants);
                whole::session_sequences(&program, &constants, &tokens, settings.seed, false)
                    .map(|(_, sequences)| sequences)
                    .map_err(LadderError::from)
            }
        };
        add(&mut report, sequences?, &lowered.plan.name, settings);
    }
    report.is_complete &= !interrupt.requested();
    Ok(report)
}

/// A model of drawn weights, which can be held against the interpreters of whole models: these need
/// the weights as they were before packing.
fn drawn<'e>(
    machine: &'e dyn KernelEngine,
    source: &Source,
    model: &Model,
    context: u32,
) -> Result<Option<Subject<'e>>, LadderError> {
    let Weights::Random(seed) = source.weights else { return Ok(None) };
    let weights = |graph: &Graph| RandomWeights::new(graph, seed);
    Subject::new(model, &source.formats, context, machine, weights).map(Some)
}

/// Adds what sequences showed.
fn add(report: &mut Report, sequences: Sequences, name: &str, settings: &Settings) {
    report.sequences = sequences.compared;
    report.different_sequences = sequences.different;
    if let (Some(message), None) = (sequences.first, &report.counter_example) {
        let replay = format!("{{model}} --seed {} --cases 1", settings.seed);
        let name = name.to_owned();
        let example = CounterExample { message, name, thin: None, vir: None, replay };
        report.counter_example = Some(example);
    }
}

/// Writes the files of a counter-example.
fn save(args: &VerifyArgs, example: &CounterExample) -> Result<Found, Failure> {
    let mut files: Vec<String> = Vec::new();
    let mut write = |extension: &str, text: &Option<String>| -> Result<Option<String>, Failure> {
        let Some(text) = text else { return Ok(None) };
        file::create_directory(&args.save)?;
        let path: PathBuf = args.save.join(format!("verify_{}.{extension}", example.name));
        file::write(&path, text.as_bytes())?;
        let path = path.display().to_string();
        files.push(path.clone());
        Ok(Some(path))
    };
    let thin = write("thin", &example.thin)?.unwrap_or_default();
    let vir = write("vir", &example.vir)?;
    let again = example.replay.replace("{thin}", &thin);
    let again = again.replace("{model}", &args.model_words());
    let replay = format!("deepthin verify {}", vir.unwrap_or(again));
    Ok(Found { message: example.message.clone(), files, replay })
}

fn verified(
    report: &Report,
    settings: &Settings,
    counter_example: Option<Found>,
    elapsed: Duration,
) -> Verified {
    let total = report.total();
    let kernels = report.rows.iter().map(|row| {
        let worst = row.tally.worst.as_ref();
        Kernel {
            kernel: row.kernel.clone(),
            shape: row.shape.clone(),
            storage: row.storage.clone(),
            cases: row.tally.cases,
            mismatches: row.tally.mismatches,
            held: row.tally.held,
            worst_share: worst.map(|worst| worst.share),
            worst_place: worst.map(|worst| worst.place.clone()),
        }
    });
    Verified {
        seed: settings.seed,
        cases: settings.cases,
        models: report.models,
        calls: total.cases,
        distinct: report.distinct,
        mismatches: total.mismatches,
        sequences: report.sequences,
        different_sequences: report.different_sequences,
        kernels: kernels.collect(),
        left_out: report.left_out.clone(),
        counter_example,
        complete: report.is_complete,
        seconds: elapsed.as_secs_f64(),
    }
}

/// Tells the totals, and what was left out.
fn summary(verified: &Verified) {
    for reason in &verified.left_out {
        output::note(format_args!("left out {reason}"));
    }
    let Verified { models, calls, distinct, mismatches, sequences, .. } = verified;
    let models = match models {
        0 => String::new(),
        1 => "1 model, ".to_owned(),
        models => format!("{models} models, "),
    };
    let rate = *calls as f64 / verified.seconds.max(1e-9);
    output::log(format_args!(
        "deepthin: {models}{calls} calls of kernels ({distinct} different) with {mismatches} \
         mismatches, {sequences} sequences with {}; {rate:.0} calls a second, {:.1} s",
        verified.different_sequences, verified.seconds
    ));
}

/// The exit code; with the first fault, where there is one.
fn end(report: &Report, found: Option<Found>) -> Result<Exit, Failure> {
    if let Some(Found { message, replay, .. }) = found {
        return Err(Failure::new(Exit::CheckFailed, message)
            .fix(format!("see it again with `{replay}`, and report it with the files written")));
    }
    if !report.is_complete {
        return Ok(Exit::Interrupted);
    }
    Ok(if report.is_clean() { Exit::Success } else { Exit::CheckFailed })
}

impl Answer for Verified {
    const COLUMNS: &'static [Column] = &[
        ("kernel", Align::Left),
        ("shape", Align::Left),
        ("storage", Align::Left),
        ("cases", Align::Right),
        ("mismatches", Align::Right),
        ("worst error / bound", Align::Right),
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |kernel: &Kernel| {
            vec![
                kernel.kernel.clone(),
                kernel.shape.clone(),
                kernel.storage.clone(),
                kernel.cases.to_string(),
                kernel.mismatches.to_string(),
                kernel.worst_share.map_or_else(|| "-".to_owned(), shown_share),
            ]
        };
        self.kernels.iter().map(row).collect()
    }
}

/// A part of a bound with three digits, on its own side of 1 whatever is rounded.
fn shown_share(share: f64) -> String {
    let thousands = share * 1e3;
    let rounded = if share <= 1.0 { thousands.floor() } else { thousands.ceil() };
    format!("{:.3}", rounded / 1e3)
}

#[cfg(test)]
mod tests {
    use super::shown_share;

    #[test]
    fn shares_stay_on_their_side_of_a_bound() {
        let shares = [0.0, 0.9996, 1.0, 1.000_01, 12.5].map(shown_share);
        assert_eq!(shares, ["0.000", "0.999", "1.000", "1.001", "12.500"]);
    }
}
