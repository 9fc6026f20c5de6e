//! `deepthin bench`: times models and settings, and the engines of others, in rounds.

mod prepare;
mod rounds;
mod row;
mod tables;

use deepthin::bench::probe::{LEAST_READ_BYTES, Probe};
use deepthin::bench::test::Test;
use deepthin::engine;
use deepthin::file;
use deepthin::memory::Available;
use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::pipeline::CompileError;

use crate::args::bench::BenchArgs;
use crate::args::output::Form;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::{self, Stdout};
use crate::table::csv_line;

use self::prepare::prepare;
use self::row::Row;

/// Measures and prints; Ctrl-C ends it after the repetition at hand, with what there is by then.
pub(crate) fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    let tests = checked(args)?;
    let threads = thread_counts(args);
    let interrupt = Interrupt::watch()?;
    let mut prepared = prepare(args, &tests, &threads, &interrupt)?;
    let mut probes = probes(args.probe << 20, &threads)?;
    let measured = rounds::run(args, &tests, &mut prepared, &mut probes, &interrupt)?;
    print(args.output.form().unwrap_or(Form::Md), &row::rows(&tests, &prepared, &measured))?;
    Ok(if interrupt.requested() { Exit::Interrupted } else { Exit::Success })
}

/// The tests, where nothing about the command line speaks against them.
fn checked(args: &BenchArgs) -> Result<Vec<Test>, Failure> {
    if let Some((flag, value)) = args.twice() {
        let message = format!("{flag}: found {value} twice, expected each value once");
        return Err(Failure::new(Exit::Usage, message).fix("leave one of them out"));
    }
    let tests = args.tests();
    if tests.is_empty() {
        let message =
            "found no test: --prompts and --generations are 0, expected one of them or --pg";
        return Err(Failure::new(Exit::Usage, message).fix("ask for a test, as in -n 128"));
    }
    if let Some(script) = &args.peers.peers {
        file::read_start(script, "a script", 1)?;
    }
    Ok(tests)
}

/// The numbers of threads to measure with.
fn thread_counts(args: &BenchArgs) -> Vec<usize> {
    match args.variants.threads.as_slice() {
        [] => vec![engine::default_threads()],
        counts => counts.iter().map(|count| usize::from(*count)).collect(),
    }
}

/// What looks at the machine, for each number of threads.
fn probes(wanted: u64, threads: &[usize]) -> Result<Vec<Probe>, Failure> {
    let clif = Clif::host().map_err(CompileError::from)?;
    let bytes = read_bytes(wanted, threads.len());
    let probe = |threads: &usize| Probe::new(&clif, *threads, bytes);
    Ok(threads.iter().map(probe).collect::<Result<_, _>>()?)
}

/// How many bytes each of some probes reads: `wanted`, or less where memory is short, which a note
/// says; 0 where caches would hold most of what there is room for.
pub(super) fn read_bytes(wanted: u64, probes: usize) -> u64 {
    // Half of what is left: the KV caches of the models have not all been touched yet.
    let room = Available::now().map(|free| (free.bytes / 2 / probes.max(1) as u64, free.bound));
    let Some((bytes, bound)) = room.filter(|(bytes, _)| *bytes < wanted) else {
        return wanted;
    };
    let is_enough = bytes >= LEAST_READ_BYTES.min(wanted);
    let told = match is_enough {
        true => format!("measured on {} MiB, of which caches may hold a part", bytes >> 20),
        false => "left out".to_owned(),
    };
    let wanted = wanted >> 20;
    output::note(format_args!("the read rate is {told}: {bound} has no room for {wanted} MiB"));
    if is_enough { bytes } else { 0 }
}

/// Prints the rows.
fn print(form: Form, rows: &[Row]) -> Result<(), Failure> {
    let mut stdout = Stdout::new();
    match form {
        Form::Md => stdout.bytes(tables::markdown(rows).as_bytes()),
        Form::Json => stdout.json(&rows),
        Form::Jsonl => rows.iter().try_for_each(|row| stdout.json(row)),
        Form::Csv => {
            stdout.line(format_args!("{}", csv_line(row::CSV)))?;
            rows.iter().try_for_each(|row| stdout.line(format_args!("{}", csv_line(row.csv()))))
        }
    }
}
