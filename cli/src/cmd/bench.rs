//! `deepthin bench`: times prompt processing and generation, in the table of llama-bench.

use std::time::Duration;

use deepthin::bench::{Test, Timing, deviation, mean, measure, median, rate_means_something};
use deepthin::engine::Engine;
use deepthin_compiler::codegen::host;
use serde::Serialize;

use crate::answers::{Answer, Answers};
use crate::args::output::Form;
use crate::args::text::BenchArgs;
use crate::exit::{Exit, Failure};
use crate::table::{Align, Column};

use super::input;

/// One test as JSON has it: llama-bench's keys first, then those of our own.
#[derive(Serialize)]
struct Row<'a> {
    cpu_info: String,
    backends: &'static str,
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
    avg_ns: u64,
    stddev_ns: u64,
    avg_ts: f64,
    stddev_ts: f64,
    samples_ns: Vec<u64>,
    samples_ts: Vec<f64>,
    test: String,
    median_ts: f64,
    compile_ns: u64,
    peak_rss_bytes: Option<u64>,
}

/// Runs every test of the command line; a row is printed as soon as it is measured.
pub(crate) fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    let source = input::source_for_short(&args.model.source)?;
    let mut options = args.model.options();
    let tests = tests(args);
    let needed = tests.iter().map(|test| test.tokens().saturating_add(args.depth)).max();
    options.context = options.context.or(needed);
    let engine = input::engine(source, &options)?;
    let mut session = engine.session()?;
    let form = args.output.form().unwrap_or(Form::Md);
    let threads = session.threads();
    let empty = |test: &Test| Timing { test: *test, depth: args.depth, samples: Vec::new() };
    let room: Vec<Vec<String>> = tests
        .iter()
        .flat_map(|test| row(args, &engine, threads, &empty(test)).rows())
        .chain([widest_times()])
        .collect();
    let mut answers = Answers::with_room(form, &room);
    for test in tests {
        let timing = measure(&mut session, test, args.depth, args.repetitions)?;
        answers.push(&row(args, &engine, threads, &timing))?;
    }
    answers.finish()?;
    Ok(Exit::Success)
}

/// A row that times of up to a million tokens a second fit.
fn widest_times() -> Vec<String> {
    let mut row = vec![String::new(); Row::COLUMNS.len() - 2];
    row.extend(["123456.12 ± 1234.12".to_owned(), "123456.12".to_owned()]);
    row
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
    let times: Vec<f64> = timing.samples.iter().map(|s| s.as_secs_f64() * 1e9).collect();
    let (prompt, generated) = match timing.test {
        Test::Prompt(tokens) => (tokens, 0),
        Test::Generate(tokens) => (0, tokens),
    };
    Row {
        cpu_info: host::describe(),
        backends: "clif128",
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
        avg_ns: whole(mean(&times)),
        stddev_ns: whole(deviation(&times)),
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

/// Nanoseconds without their fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "never negative; `as` saturates"
)]
fn whole(nanoseconds: f64) -> u64 {
    nanoseconds.round() as u64
}

impl Row<'_> {
    /// The time, as the table tells it: tokens a second, or where these are too few to be a rate,
    /// how many took how long; and the median.
    fn times(&self) -> (String, String) {
        let tokens = u64::from(self.n_prompt + self.n_gen);
        let samples = self.samples_ns.len() as u64;
        let whole = self.samples_ns.iter().copied().fold(0, u64::saturating_add);
        if rate_means_something(tokens * samples, Duration::from_nanos(whole)) {
            let rate = format!("{:.2} ± {:.2}", self.avg_ts, self.stddev_ts);
            return (rate, format!("{:.2}", self.median_ts));
        }
        (format!("{tokens} in {:.3} ms", self.avg_ns as f64 / 1e6), "-".to_owned())
    }
}

impl Answer for Row<'_> {
    /// The table of llama-bench, with the median behind it.
    const COLUMNS: &'static [Column] = &[
        ("model", Align::Left),
        ("size", Align::Right),
        ("params", Align::Right),
        ("backend", Align::Left),
        ("threads", Align::Right),
        ("test", Align::Right),
        ("t/s", Align::Right),
        ("median", Align::Right),
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let (rate, median) = self.times();
        vec![vec![
            self.model_type.to_owned(),
            format!("{:.2} MiB", self.model_size as f64 / f64::from(1 << 20)),
            format!("{:.2} M", self.model_n_params as f64 / 1e6),
            self.backends.to_owned(),
            self.n_threads.to_string(),
            self.test.clone(),
            rate,
            median,
        ]]
    }

    /// The columns of llama-bench that there are here, then our own.
    fn csv_columns() -> Vec<&'static str> {
        vec![
            "cpu_info",
            "backends",
            "model_filename",
            "model_type",
            "model_size",
            "model_n_params",
            "n_batch",
            "n_threads",
            "type_k",
            "type_v",
            "n_prompt",
            "n_gen",
            "n_depth",
            "avg_ns",
            "stddev_ns",
            "avg_ts",
            "stddev_ts",
            "test",
            "median_ts",
            "compile_ns",
            "peak_rss_bytes",
        ]
    }

    fn csv_rows(&self) -> Vec<Vec<String>> {
        vec![vec![
            self.cpu_info.clone(),
            self.backends.to_owned(),
            self.model_filename.to_owned(),
            self.model_type.to_owned(),
            self.model_size.to_string(),
            self.model_n_params.to_string(),
            self.n_batch.to_string(),
            self.n_threads.to_string(),
            self.type_k.to_owned(),
            self.type_v.to_owned(),
            self.n_prompt.to_string(),
            self.n_gen.to_string(),
            self.n_depth.to_string(),
            self.avg_ns.to_string(),
            self.stddev_ns.to_string(),
            format!("{:.6}", self.avg_ts),
            format!("{:.6}", self.stddev_ts),
            self.test.clone(),
            format!("{:.6}", self.median_ts),
            self.compile_ns.to_string(),
            self.peak_rss_bytes.map(|bytes| bytes.to_string()).unwrap_or_default(),
        ]]
    }
}

/// The most memory that the process has had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}
