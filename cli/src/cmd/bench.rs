//! `deepthin bench`: times prompt processing and generation, in the table of llama-bench.

use deepthin::bench::{Test, Timing, deviation, mean, measure, median};
use deepthin::engine::Engine;
use deepthin_compiler::codegen::host;
use serde::Serialize;

use crate::args::text::{BenchArgs, BenchOutput};
use crate::exit::{Exit, Failure};
use crate::output::Stdout;

use super::input;

/// One test as JSON has it: llama-bench's keys first, then those of our own.
#[derive(Serialize)]
struct Row<'a> {
    backends: &'static str,
    cpu_info: String,
    model_filename: &'a str,
    model_type: &'a str,
    model_size: u64,
    model_n_params: u64,
    n_batch: u32,
    n_threads: usize,
    type_k: &'static str,
    type_v: &'static str,
    n_prompt: u32,
    n_gen: u32,
    n_depth: u32,
    avg_ns: f64,
    stddev_ns: f64,
    avg_ts: f64,
    stddev_ts: f64,
    samples_ns: Vec<u64>,
    samples_ts: Vec<f64>,
    test: String,
    median_ts: f64,
    compile_ns: u64,
    peak_rss_bytes: Option<u64>,
}

/// Head of the table of llama-bench, with the median behind it.
const HEADER: &str = "\
| model                |      size |   params | backend | threads |           test \
|              t/s |   median |
| -------------------- | --------: | -------: | ------- | ------: | -------------: \
| ---------------: | -------: |
";

/// Runs every test of the command line; a row is printed as soon as it is measured.
pub(crate) fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    let source = input::source_for_short(&args.model.source)?;
    let mut options = args.model.options();
    let tests = tests(args);
    let needed = tests.iter().map(|test| test.tokens().saturating_add(args.depth)).max();
    options.context = options.context.or(needed);
    let engine = input::engine(source, &options)?;
    let mut session = engine.session()?;
    let mut stdout = Stdout::new();
    if args.output == BenchOutput::Md {
        stdout.bytes(HEADER.as_bytes())?;
    }
    let mut rows = Vec::new();
    for test in tests {
        let timing = measure(&mut session, test, args.depth, args.repetitions)?;
        let row = row(args, &engine, session.threads(), &timing);
        match args.output {
            BenchOutput::Md => stdout.line(format_args!("{}", table_line(&row)))?,
            BenchOutput::Jsonl => stdout.json(&row)?,
            BenchOutput::Json => rows.push(row),
        }
    }
    if args.output == BenchOutput::Json {
        stdout.json(&rows)?;
    }
    Ok(Exit::Success)
}

fn tests(args: &BenchArgs) -> Vec<Test> {
    let prompts = args.prompts.iter().map(|n| Test::Prompt(*n));
    let generations = args.generations.iter().map(|n| Test::Generate(*n));
    prompts.chain(generations).filter(|test| test.tokens() > 0).collect()
}

fn row<'a>(args: &'a BenchArgs, engine: &'a Engine, threads: usize, timing: &Timing) -> Row<'a> {
    let rates = timing.rates();
    let nanoseconds: Vec<u64> =
        timing.samples.iter().map(|s| u64::try_from(s.as_nanos()).unwrap_or(u64::MAX)).collect();
    let seconds: Vec<f64> = timing.samples.iter().map(|s| s.as_secs_f64() * 1e9).collect();
    let (prompt, generated) = match timing.test {
        Test::Prompt(tokens) => (tokens, 0),
        Test::Generate(tokens) => (0, tokens),
    };
    Row {
        backends: "clif128",
        cpu_info: host::describe(),
        model_filename: &args.model.source.model,
        model_type: &engine.model().name,
        model_size: engine.weight_bytes(),
        model_n_params: engine.model().parameters().stored,
        n_batch: engine.program().chunk,
        n_threads: threads,
        type_k: "f32",
        type_v: "f32",
        n_prompt: prompt,
        n_gen: generated,
        n_depth: timing.depth,
        avg_ns: mean(&seconds),
        stddev_ns: deviation(&seconds),
        avg_ts: mean(&rates),
        stddev_ts: deviation(&rates),
        samples_ns: nanoseconds,
        test: timing.name(),
        median_ts: median(&rates),
        samples_ts: rates,
        compile_ns: u64::try_from(engine.compile_time().as_nanos()).unwrap_or(u64::MAX),
        peak_rss_bytes: peak_memory(),
    }
}

/// A row of the table; counts below 2^53 are exact as floats.
#[expect(clippy::cast_precision_loss, reason = "sizes are shown with two decimals")]
fn table_line(row: &Row<'_>) -> String {
    let size = format!("{:.2} MiB", row.model_size as f64 / f64::from(1 << 20));
    let parameters = format!("{:.2} M", row.model_n_params as f64 / 1e6);
    let rate = format!("{:.2} ± {:.2}", row.avg_ts, row.stddev_ts);
    format!(
        "| {:<20} | {size:>9} | {parameters:>8} | {:<7} | {:>7} | {:>14} | {rate:>16} | {:>8.2} |",
        row.model_type, row.backends, row.n_threads, row.test, row.median_ts
    )
}

/// The most memory that the process has had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}
