//! A benchmark as tables in Markdown: speed in the columns of llama-bench, then latency and memory.

use std::path::Path;
use std::time::Duration;

use deepthin::bench::rate_means_something;

use crate::table::{Align, Column, Widths};

use super::row::Row;

/// A column with its cells.
struct Cells {
    column: Column,
    cells: Vec<String>,
}

/// What stands where there is nothing to say.
const NOTHING: &str = "-";

/// Both tables, with an empty line between.
pub(super) fn markdown(rows: &[Row]) -> String {
    format!("{}\n{}", table(&speed(rows)), table(&details(rows)))
}

/// How fast, beside the machine's state in the same rounds.
fn speed(rows: &[Row]) -> Vec<Cells> {
    let column = |name, align, cell: &dyn Fn(&Row) -> String| cells(rows, name, align, cell);
    let mut columns = vec![
        column("model", Align::Left, &|row| model(rows, row)),
        column("size", Align::Right, &|row| {
            format!("{:.2} MiB", row.model_size as f64 / f64::from(1 << 20))
        }),
        column("params", Align::Right, &|row| format!("{:.2} M", row.model_n_params as f64 / 1e6)),
    ];
    columns.extend(variant(rows));
    columns.push(column("t/s", Align::Right, &rate));
    let ratio = |ratio: Option<f64>| told(ratio, |ratio| format!("{ratio:.3}"));
    if rows.iter().any(|row| row.ratio.is_some()) {
        columns.push(column("ratio", Align::Right, &|row| ratio(row.ratio)));
    }
    if rows.iter().any(|row| row.ours_to_peer.is_some()) {
        columns.push(column("ours/peer", Align::Right, &|row| ratio(row.ours_to_peer)));
    }
    columns.push(column("regime", Align::Right, &regime));
    columns.push(column("share", Align::Right, &|row| {
        told(row.read_share, |share| format!("{:.0} %", share * 100.0))
    }));
    columns
}

/// How soon, and in how much memory.
fn details(rows: &[Row]) -> Vec<Cells> {
    let column = |name, align, cell: &dyn Fn(&Row) -> String| cells(rows, name, align, cell);
    let ms = |time: Option<f64>| told(time, |time| format!("{:.2}", time / 1e6));
    let mut columns = vec![column("model", Align::Left, &|row| model(rows, row))];
    columns.extend(variant(rows));
    columns.extend([
        column("median t/s", Align::Right, &|row| match has_rate(row) {
            true => told(row.median_ts, |rate| format!("{rate:.2}")),
            false => NOTHING.to_owned(),
        }),
        column("first ms", Align::Right, &|row| ms(row.ttft_ns)),
        column("p50 ms", Align::Right, &|row| ms(row.p50_ns)),
        column("p95 ms", Align::Right, &|row| ms(row.p95_ns)),
        column("MB/token", Align::Right, &|row| {
            told(row.bytes_per_token, |bytes| format!("{:.1}", bytes / 1e6))
        }),
        column("peak MiB", Align::Right, &|row| {
            told(row.peak_rss_bytes, |bytes| (bytes >> 20).to_string())
        }),
        column("compile ms", Align::Right, &|row| {
            told(row.compile_ns, |time| format!("{:.1}", time as f64 / 1e6))
        }),
    ]);
    columns
}

/// What a model is called: its own name, or that of its file where several have that name.
fn model(rows: &[Row], row: &Row) -> String {
    let is_namesake = |other: &Row| {
        other.model_type == row.model_type && other.model_filename != row.model_filename
    };
    let file = Path::new(&row.model_filename).file_name().map(|name| name.to_string_lossy());
    match file.filter(|_| rows.iter().any(is_namesake)) {
        Some(file) => file.into_owned(),
        None => row.model_type.clone(),
    }
}

/// The columns that say which variant and which test, formats only where they vary.
fn variant(rows: &[Row]) -> Vec<Cells> {
    let column = |name, align, cell: &dyn Fn(&Row) -> String| cells(rows, name, align, cell);
    let formats = [
        column("act", Align::Left, &|row| told(row.activations.clone(), |format| format)),
        column("kv", Align::Left, &|row| told(row.type_k.clone(), |format| format)),
    ];
    let mut columns = vec![
        column("backend", Align::Left, &|row| match &row.version {
            Some(version) => format!("{} {version}", row.backends),
            None => row.backends.clone(),
        }),
        column("threads", Align::Right, &|row| row.n_threads.to_string()),
    ];
    columns.extend(formats.into_iter().filter(Cells::varies));
    columns.push(column("test", Align::Right, &|row| row.test.clone()));
    columns
}

impl Cells {
    /// Whether the cells that say something say different things.
    fn varies(&self) -> bool {
        let mut told = self.cells.iter().filter(|cell| *cell != NOTHING);
        let first = told.next();
        told.any(|cell| Some(cell) != first)
    }
}

fn cells(rows: &[Row], name: &'static str, align: Align, cell: &dyn Fn(&Row) -> String) -> Cells {
    Cells { column: (name, align), cells: rows.iter().map(cell).collect() }
}

fn told<T>(value: Option<T>, tell: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NOTHING.to_owned(), tell)
}

/// Whether a row's times make a rate.
fn has_rate(row: &Row) -> bool {
    let tokens = u64::from(row.n_prompt.saturating_add(row.n_gen));
    let samples = row.samples_ns.len() as u64;
    let whole = row.samples_ns.iter().copied().fold(0, u64::saturating_add);
    rate_means_something(tokens.saturating_mul(samples), Duration::from_nanos(whole))
}

/// Tokens a second, or where these are too few to be a rate, how many took how long.
fn rate(row: &Row) -> String {
    if has_rate(row) {
        return format!("{:.2} ± {:.2}", row.avg_ts, row.stddev_ts);
    }
    let tokens = row.n_prompt.saturating_add(row.n_gen);
    format!("{tokens} in {:.3} ms", row.avg_ns as f64 / 1e6)
}

/// `55 ns 47.2 GB/s`: a barrier crossing and a linear read.
fn regime(row: &Row) -> String {
    let parts = [
        row.barrier_ns.map(|barrier| match barrier < 1e4 {
            true => format!("{barrier:.0} ns"),
            false => format!("{:.0} us", barrier / 1e3),
        }),
        row.read_bytes_per_s.map(|rate| format!("{:.1} GB/s", rate / 1e9)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { NOTHING.to_owned() } else { parts.join(" ") }
}

/// A table with its head.
fn table(columns: &[Cells]) -> String {
    let heads: Vec<Column> = columns.iter().map(|cells| cells.column).collect();
    let count = columns.first().map_or(0, |cells| cells.cells.len());
    let row = |index: usize| -> Vec<String> {
        columns.iter().filter_map(|cells| cells.cells.get(index)).cloned().collect()
    };
    let rows: Vec<Vec<String>> = (0..count).map(row).collect();
    let mut widths = Widths::new(&heads);
    rows.iter().for_each(|row| widths.fit(row));
    let lines = rows.iter().map(|row| widths.line(&heads, row) + "\n");
    format!("{}\n{}", widths.head(&heads), lines.collect::<String>())
}
