//! The rows of a benchmark: the keys of llama-bench first, then those of our own.

use std::time::Duration;

use deepthin::bench::probe::Regime;
use deepthin::bench::statistics::{deviation, mean, median, median_ratio, percentile};
use deepthin::bench::test::{Repetition, Test};
use deepthin_compiler::codegen::host;
use serde::Serialize;
use serde_json::Value;

use super::prepare::{Prepared, Subject, Variant};
use super::rounds::{Measured, PeerSeries};

/// One test of one variant or peer. As JSON it has these keys in this order; what does not apply, or
/// is not known of a peer, is null.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) cpu_info: String,
    /// The back end of ours, the name of a peer.
    pub(super) backends: String,
    pub(super) model_filename: String,
    pub(super) model_type: String,
    /// Bytes of packed weights.
    pub(super) model_size: u64,
    pub(super) model_n_params: u64,
    pub(super) n_batch: Option<u32>,
    pub(super) n_threads: usize,
    pub(super) type_k: Option<String>,
    pub(super) type_v: Option<String>,
    pub(super) n_prompt: u32,
    pub(super) n_gen: u32,
    pub(super) n_depth: u32,
    pub(super) avg_ns: u64,
    pub(super) stddev_ns: u64,
    pub(super) avg_ts: f64,
    pub(super) stddev_ts: f64,
    pub(super) samples_ns: Vec<u64>,
    pub(super) samples_ts: Vec<f64>,
    /// `pp512`, `tg128 @ d512`.
    pub(super) test: String,
    /// Of a peer.
    pub(super) version: Option<String>,
    pub(super) activations: Option<String>,
    pub(super) median_ts: Option<f64>,
    /// Tokens a second as a multiple of the first variant's, within rounds.
    pub(super) ratio: Option<f64>,
    /// Ours as a multiple of this peer's, within rounds.
    pub(super) ours_to_peer: Option<f64>,
    pub(super) barrier_ns: Option<f64>,
    pub(super) read_bytes_per_s: Option<f64>,
    /// Bytes that a generated token reads.
    pub(super) bytes_per_token: Option<f64>,
    /// Bytes read a second by generation, of the read rate of the same round.
    pub(super) read_share: Option<f64>,
    pub(super) ttft_ns: Option<f64>,
    pub(super) p50_ns: Option<f64>,
    pub(super) p95_ns: Option<f64>,
    pub(super) peak_rss_bytes: Option<u64>,
    pub(super) compile_ns: Option<u64>,
    pub(super) samples_barrier_ns: Vec<Option<f64>>,
    pub(super) samples_read_bytes_per_s: Vec<Option<f64>>,
}

/// The columns of CSV: all keys but the samples.
pub(super) const CSV: [&str; 32] = [
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
    "version",
    "activations",
    "median_ts",
    "ratio",
    "ours_to_peer",
    "barrier_ns",
    "read_bytes_per_s",
    "bytes_per_token",
    "read_share",
    "ttft_ns",
    "p50_ns",
    "p95_ns",
    "peak_rss_bytes",
    "compile_ns",
];

/// All rows: for each test our variants, then the peers. What was not measured once has no row.
pub(super) fn rows(tests: &[Test], prepared: &Prepared, measured: &Measured) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (test, series)) in tests.iter().zip(&measured.own).enumerate() {
        let own_rates = |variant: usize| {
            let series = series.get(variant).map(Vec::as_slice).unwrap_or_default();
            rates(*test, &times(series, |repetition| repetition.whole))
        };
        let first = own_rates(0);
        let ours = prepared.variants.iter().zip(series);
        for (variant, repetitions) in ours.filter(|(_, series)| !series.is_empty()) {
            let Some(subject) = prepared.subjects.get(variant.subject) else { continue };
            let regimes = regimes(measured, variant);
            let mut row = own(*test, subject, variant, repetitions, regimes);
            let compared = prepared.variants.len() > 1;
            row.ratio = compared.then(|| median_ratio(&row.samples_ts, &first)).flatten();
            rows.push(row);
        }
        for peer in measured.peers.iter().filter(|peer| peer.test == index) {
            let Some(variant) = prepared.variants.get(peer.ours) else { continue };
            let Some(subject) = prepared.subjects.get(variant.subject) else { continue };
            let (ours, regimes) = (own_rates(peer.ours), regimes(measured, variant));
            rows.push(peers(*test, subject, variant, peer, &ours, regimes));
        }
    }
    rows
}

/// The machine in each round, as threads like those of a variant saw it.
fn regimes<'m>(measured: &'m Measured, variant: &Variant) -> &'m [Regime] {
    let threads = variant.session.threads();
    let found = measured.regimes.iter().find(|(count, _)| *count == threads);
    found.map_or(&[], |(_, regimes)| regimes)
}

/// A time of each repetition, in nanoseconds.
fn times(repetitions: &[Repetition], of: impl Fn(&Repetition) -> Duration) -> Vec<f64> {
    repetitions.iter().map(|repetition| nanoseconds(of(repetition))).collect()
}

/// Tokens a second, of times in nanoseconds.
fn rates(test: Test, times: &[f64]) -> Vec<f64> {
    let tokens = f64::from(test.tokens());
    times.iter().map(|time| tokens / (time.max(1.0) * 1e-9)).collect()
}

/// A row with what is known of every engine; `times` in nanoseconds, of as many rounds as regimes
/// are looked at.
fn row(test: Test, subject: &Subject, variant: &Variant, times: &[f64], all: &[Regime]) -> Row {
    let rates = rates(test, times);
    let regimes = &all[..times.len().min(all.len())];
    let barriers: Vec<Option<f64>> = regimes.iter().map(|regime| regime.barrier_ns).collect();
    let reads: Vec<Option<f64>> = regimes.iter().map(|regime| regime.read_rate).collect();
    let known = |values: &[Option<f64>]| values.iter().copied().flatten().collect::<Vec<_>>();
    Row {
        cpu_info: host::describe(),
        backends: String::new(),
        model_filename: subject.name.clone(),
        model_type: subject.engine.model().name.clone(),
        model_size: subject.engine.weight_bytes(),
        model_n_params: subject.engine.model().parameters().stored,
        n_batch: None,
        n_threads: variant.session.threads(),
        type_k: None,
        type_v: None,
        n_prompt: test.prompt,
        n_gen: test.generate,
        n_depth: test.depth,
        avg_ns: whole(mean(times)),
        stddev_ns: whole(deviation(times)),
        avg_ts: mean(&rates),
        stddev_ts: deviation(&rates),
        samples_ns: times.iter().map(|time| whole(*time)).collect(),
        test: test.to_string(),
        version: None,
        activations: None,
        median_ts: median(&rates),
        ratio: None,
        ours_to_peer: None,
        barrier_ns: median(&known(&barriers)),
        read_bytes_per_s: median(&known(&reads)),
        bytes_per_token: None,
        read_share: None,
        ttft_ns: None,
        p50_ns: None,
        p95_ns: None,
        peak_rss_bytes: None,
        compile_ns: None,
        samples_ts: rates,
        samples_barrier_ns: barriers,
        samples_read_bytes_per_s: reads,
    }
}

/// The row of a variant of ours.
fn own(
    test: Test,
    subject: &Subject,
    variant: &Variant,
    repetitions: &[Repetition],
    regimes: &[Regime],
) -> Row {
    let tokens = repetitions.iter().flat_map(|repetition| &repetition.tokens);
    let tokens: Vec<f64> = tokens.map(|token| nanoseconds(*token)).collect();
    let row =
        row(test, subject, variant, &times(repetitions, |repetition| repetition.whole), regimes);
    // A prompt's tokens share what they read.
    let generates = test.prompt == 0;
    let bytes = generates.then(|| subject.traffic.bytes(test.mean_positions()));
    let reads = row.samples_read_bytes_per_s.iter().map(|rate| rate.unwrap_or(0.0));
    let share = median_ratio(&row.samples_ts, &reads.collect::<Vec<_>>());
    let kv = subject.engine.model().storage.kv_cache.to_string();
    let activations = subject.engine.activations().to_owned();
    Row {
        backends: subject.engine.backend().to_owned(),
        n_batch: Some(subject.engine.program().chunk),
        type_k: Some(kv.clone()),
        type_v: Some(kv),
        activations: Some(activations),
        bytes_per_token: bytes,
        read_share: bytes.zip(share).map(|(bytes, share)| bytes * share),
        ttft_ns: median(&times(repetitions, |repetition| repetition.first)),
        p50_ns: percentile(&tokens, 50),
        p95_ns: percentile(&tokens, 95),
        peak_rss_bytes: variant.peak,
        compile_ns: Some(whole(nanoseconds(subject.engine.compile_time()))),
        ..row
    }
}

/// The row of a peer; `ours` are the rates of the variant that it is held against.
fn peers(
    test: Test,
    subject: &Subject,
    variant: &Variant,
    peer: &PeerSeries,
    ours: &[f64],
    regimes: &[Regime],
) -> Row {
    let tokens = f64::from(test.tokens());
    let times: Vec<f64> = peer.rates.iter().map(|rate| tokens / rate * 1e9).collect();
    Row {
        backends: peer.peer.clone(),
        version: Some(peer.version.clone()),
        ours_to_peer: median_ratio(ours, &peer.rates),
        ..row(test, subject, variant, &times, regimes)
    }
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
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

impl Row {
    /// The cells of CSV, by [`CSV`]; empty where there is nothing to say.
    pub(super) fn csv(&self) -> Vec<String> {
        // A row is an object of strings and numbers.
        let row = serde_json::to_value(self).unwrap_or_default();
        let cell = |name| match row.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        CSV.into_iter().map(cell).collect()
    }
}
