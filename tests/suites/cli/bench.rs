//! `deepthin bench`: which tests and variants it runs, and what it says of each.

use std::process::Command;

use deepthin::bench::statistics::{median, median_ratio};
use deepthin_tests::jit::default_backend;
use deepthin_tests::program::{self, deepthin};
use serde_json::Value;

use super::{Folder, assert_fails, ended, stdout};

/// What makes a run short: a small model, little to read.
const QUICK: [&str; 4] = ["--random", "1", "--probe", "1"];

/// A run of the small model.
fn quick<'a>(small: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&["bench", small], &QUICK[..], words].concat()
}

/// The tests of a run as JSON lines.
fn lines(words: &[&str]) -> Vec<Value> {
    let text = stdout(&[words, &["-o", "jsonl"]].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The numbers of a list.
fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Whether two numbers are the same but for the rounding of a text or a sum.
fn close(found: &Value, expected: Option<f64>) -> bool {
    let pair = found.as_f64().zip(expected);
    pair.is_some_and(|(found, expected)| (found / expected - 1.0).abs() < 1e-6)
}

fn texts<'a>(rows: &'a [Value], key: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[key].as_str().unwrap()).collect()
}

#[test]
fn each_test_has_a_line_with_its_samples() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["-t", "2", "-r", "3", "-d", "5", "-p", "8,12", "-n", "4"];
    let rows = lines(&quick(&small, &words));
    assert_eq!(texts(&rows, "test"), ["pp8 @ d5", "pp12 @ d5", "tg4 @ d5"]);
    for (row, (prompt, generated)) in rows.iter().zip([(8, 0), (12, 0), (0, 4)]) {
        assert_eq!((&row["n_prompt"], &row["n_gen"]), (&prompt.into(), &generated.into()));
        assert_eq!((&row["n_depth"], &row["n_threads"]), (&5.into(), &2.into()));
        let (times, rates) = (numbers(&row["samples_ns"]), numbers(&row["samples_ts"]));
        assert_eq!((times.len(), rates.len()), (3, 3));
        for (rate, time) in rates.iter().zip(times) {
            let expected = f64::from(prompt + generated) / (time * 1e-9);
            assert!((rate / expected - 1.0).abs() < 1e-3, "{row}");
        }
        assert!(close(&row["median_ts"], median(&rates)), "{row}");
        assert_eq!(row["ratio"], Value::Null, "there is nothing to compare with");
    }
}

#[test]
fn keys_are_those_of_llama_bench_and_then_ours() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["-t", "1", "-p", "0", "-n", "2", "-r", "1", "-o", "jsonl"];
    let text = stdout(&quick(&small, &words));
    let keys = [
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
        "samples_ns",
        "samples_ts",
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
        "samples_barrier_ns",
        "samples_read_bytes_per_s",
    ];
    let places: Vec<usize> =
        keys.iter().map(|key| text.find(&format!("\"{key}\":")).expect(key)).collect();
    assert!(places.is_sorted(), "{text}");
    let row: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(row.as_object().unwrap().len(), keys.len());
    assert_eq!(row["model_filename"], small);
    assert_eq!(
        (&row["model_type"], &row["backends"]),
        (&"bytes".into(), &default_backend().into())
    );
    assert_eq!((&row["type_k"], &row["activations"]), (&"f32".into(), &"f32".into()));
}

#[test]
fn figures_stand_beside_the_machines_state() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["-t", "1,2", "-p", "2", "-n", "3", "-r", "3", "--pg", "4,2"];
    let rows = lines(&quick(&small, &words));
    assert_eq!(rows.len(), 6);
    for row in &rows {
        let (threads, generates) = (row["n_threads"].as_u64().unwrap(), row["n_gen"] != 0);
        let alone = row["n_prompt"] == 0;
        assert_eq!(row["barrier_ns"].is_f64(), threads == 2, "{row}");
        assert_eq!(row["samples_barrier_ns"].as_array().unwrap().len(), 3);
        let reads = numbers(&row["samples_read_bytes_per_s"]);
        assert_eq!(reads.len(), 3);
        assert!(close(&row["read_bytes_per_s"], median(&reads)), "{row}");
        assert_eq!((row["p50_ns"].is_f64(), row["p95_ns"].is_f64()), (generates, generates));
        assert!(row["ttft_ns"].as_f64().unwrap() > 0.0 && row["compile_ns"].as_u64() > Some(0));
        // A prompt's tokens share what they read.
        let bytes = row["bytes_per_token"].as_f64();
        assert_eq!((bytes.is_some(), row["read_share"].is_f64()), (alone, alone), "{row}");
        let ratio = median_ratio(&numbers(&row["samples_ts"]), &reads);
        let share = bytes.zip(ratio).map(|(bytes, ratio)| bytes * ratio);
        assert!(!alone || close(&row["read_share"], share), "{row}");
        // Packed weights are a part of the memory.
        let peak = row["peak_rss_bytes"].as_u64().unwrap();
        assert!(peak > row["model_size"].as_u64().unwrap(), "{row}");
    }
    // Through the whole prompt and no less; the first token is a part of all.
    let figure = |i: usize, key: &str| rows[i][key].as_f64().unwrap();
    let samples = |i: usize| numbers(&rows[i]["samples_ns"]);
    assert_eq!(texts(&rows[..3], "test"), ["pp2", "pp2", "tg3"]);
    assert!(figure(0, "ttft_ns") + 1.0 >= median(&samples(0)).unwrap());
    assert!(samples(2).iter().any(|sample| *sample + 1.0 >= figure(2, "ttft_ns")));
    assert!(figure(2, "p95_ns") >= figure(2, "p50_ns"));

    let words = ["bench", &small, "--random", "1", "--probe", "0", "-t", "1", "-n", "2"];
    for row in lines(&[&words[..], &["-p", "2", "-r", "1"]].concat()) {
        assert_eq!(row["read_bytes_per_s"], Value::Null);
        assert_eq!(row["read_share"], Value::Null);
        assert_eq!(row["samples_read_bytes_per_s"], Value::Array(vec![Value::Null]));
    }
}

#[test]
fn variants_are_compared_with_the_first() {
    let folder = Folder::new();
    let small = folder.small();
    let other = deepthin_dsl::Model {
        name: "other".to_owned(),
        depth: 1,
        ..deepthin_tests::gguf_model::model()
    };
    let other = folder.file("other.thin", deepthin_dsl::print(&other));
    let models = ["bench", &small, &other, "--random", "1", "--probe", "1", "-t", "1,2"];
    let rest = ["-p", "4", "-n", "2", "-r", "3", "--activations", "f32", "--kv", "f32"];
    let rows = lines(&[&models[..], &rest].concat());
    let place = |row: &Value| {
        let model = row["model_type"].as_str().unwrap().to_owned();
        (row["test"].as_str().unwrap().to_owned(), model, row["n_threads"].as_u64().unwrap())
    };
    let expected: Vec<_> = ["pp4", "tg2"]
        .into_iter()
        .flat_map(|test| ["bytes", "other"].map(|model| (test, model)))
        .flat_map(|(test, model)| [1, 2].map(|t| (test.to_owned(), model.to_owned(), t)))
        .collect();
    assert_eq!(rows.iter().map(place).collect::<Vec<_>>(), expected);
    for rows in rows.chunks(4) {
        let first = numbers(&rows[0]["samples_ts"]);
        assert_eq!(rows[0]["ratio"], 1.0);
        for row in rows {
            let ratio = median_ratio(&numbers(&row["samples_ts"]), &first);
            assert!(close(&row["ratio"], ratio), "{row}");
            assert_eq!(row["ours_to_peer"], Value::Null);
        }
        // Rounds are the same for all, as far as the threads are.
        assert_eq!(rows[0]["samples_read_bytes_per_s"], rows[2]["samples_read_bytes_per_s"]);
        assert_eq!(rows[1]["samples_barrier_ns"], rows[3]["samples_barrier_ns"]);
    }
}

#[test]
fn tests_come_in_the_order_of_llama_bench() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["-p", "2,3", "-n", "0", "-d", "0,4", "-pg", "2,1", "-r", "1", "-t", "1"];
    let rows = lines(&quick(&small, &words));
    let expected = ["pp2", "pp3", "pp2+tg1", "pp2 @ d4", "pp3 @ d4", "pp2+tg1 @ d4"];
    assert_eq!(texts(&rows, "test"), expected);
    let long = ["--n-prompt", "2", "--n-gen", "1", "--n-depth", "1", "--repetitions", "1"];
    assert_eq!(texts(&lines(&quick(&small, &long)), "test"), ["pp2 @ d1", "tg1 @ d1"]);
}

/// The lines of both tables.
fn tables(text: &str) -> [Vec<&str>; 2] {
    let (first, second) = text.split_once("\n\n").unwrap();
    [first.lines().collect(), second.lines().collect()]
}

/// The names of a table's columns.
fn names(head: &str) -> Vec<&str> {
    head.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_tables_begin_as_that_of_llama_bench() {
    let folder = Folder::new();
    let small = folder.small();
    let words = quick(&small, &["-p", "0", "-n", "2,60", "-r", "1", "-t", "2"]);
    let text = stdout(&words);
    let [speed, details] = tables(&text);
    let llama_bench = ["model", "size", "params", "backend", "threads", "test", "t/s"];
    assert_eq!(names(speed[0]), [&llama_bench[..], &["regime", "share"]].concat());
    let expected = [
        "model",
        "backend",
        "threads",
        "test",
        "median t/s",
        "first ms",
        "p50 ms",
        "p95 ms",
        "MB/token",
        "peak MiB",
        "compile ms",
    ];
    assert_eq!(names(details[0]), expected);
    for table in [&speed, &details] {
        assert_eq!(table.len(), 4, "{text}");
        let width = |line: &str| line.chars().count();
        assert!(table.iter().all(|line| width(line) == width(table[0])), "{text}");
        assert!(width(table[0]) <= 120, "{text}");
    }
    // Two tokens are no rate; sixty are one where they take long enough.
    assert!(speed[2].contains(" tg2 |") && speed[2].contains(" 2 in "), "{text}");
    assert!(details[2].contains(" |          - |"), "{text}");
    assert!(speed[3].contains(" ± 0.00 |") || speed[3].contains(" 60 in "), "{text}");
    assert!(speed[2].contains(" GB/s |") && speed[2].contains(" % |"), "{text}");
}

#[test]
fn tables_have_columns_for_what_is_compared() {
    let folder = Folder::new();
    let small = folder.small();
    let words = quick(&small, &["-p", "2", "-n", "0", "-r", "1", "-t", "1,2"]);
    let text = stdout(&words);
    let [speed, _] = tables(&text);
    assert_eq!(names(speed[0])[6..], ["t/s", "ratio", "regime", "share"]);
    assert!(speed[2].contains(" 1.000 |"), "{text}");
    assert!(names(speed[3])[4] == "2" && names(speed[3])[9] == "-", "{text}");
}

#[test]
fn models_of_one_name_are_told_by_their_files() {
    let folder = Folder::new();
    let small = folder.small();
    let other = folder.file("other.thin", std::fs::read(&small).unwrap());
    let words = ["bench", &small, &other, "--random", "1", "--probe", "1", "-p", "2", "-n", "0"];
    let text = stdout(&[&words[..], &["-r", "1"]].concat());
    for table in tables(&text) {
        assert!(table[2].starts_with("| small.thin |"), "{text}");
        assert!(table[3].starts_with("| other.thin |"), "{text}");
    }
}

#[test]
fn a_long_name_widens_its_column() {
    let folder = Folder::new();
    let name = "a_name_that_is_longer_than_the_column_of_the_table";
    let model =
        deepthin_dsl::Model { name: name.to_owned(), ..deepthin_tests::gguf_model::model() };
    let path = folder.file("m.thin", deepthin_dsl::print(&model));
    let table = stdout(&quick(&path, &["-p", "2", "-n", "2", "-r", "1"]));
    let width = |line: &str| line.chars().count();
    let [lines, _] = tables(&table);
    assert!(lines.len() == 4 && lines[3].contains(name), "{table}");
    assert!(lines.iter().all(|line| width(line) == width(lines[0])), "{table}");
}

#[test]
fn tests_longer_than_the_context_are_refused() {
    let folder = Folder::new();
    let small = folder.small();
    let words = quick(&small, &["-c", "8", "-p", "9", "-n", "0"]);
    assert_fails(&ended(&words), 65, &["found 9 tokens to run, expected at most the context of 8"]);
}

#[test]
fn where_memory_is_short_less_is_read() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["bench", &small, "--random", "1", "-t", "1", "-p", "0", "-n", "2", "-r", "1"];
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v 400000; exec \"$0\" \"$@\""]).arg(deepthin().get_program());
    let ended = program::run(shell.args(words).args(["-o", "jsonl"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let parts =
        ["the read rate is measured on ", "of which caches may hold", "has no room for 512"];
    assert!(parts.iter().all(|part| ended.stderr.contains(part)), "{ended:?}");
    let row: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(row["read_bytes_per_s"].as_f64() > Some(0.0), "{row}");
}

#[test]
fn command_lines_that_compare_nothing_are_refused() {
    let folder = Folder::new();
    let small = folder.small();
    let refused = |words: &[&str], code: i32, parts: &[&str]| {
        let ended = ended(words);
        assert_fails(&ended, code, parts);
        assert_eq!(ended.stdout, "", "{words:?}");
    };
    refused(&["bench"], 2, &["<MODEL>..."]);
    refused(&["bench", &small, &small, "--random", "1"], 2, &["MODEL: found ", " twice", "fix: "]);
    for (flag, list, value) in [
        ("-t", "2,1,2", "--threads: found 2 twice"),
        ("-p", "8,8", "--prompts: found 8 twice"),
        ("-n", "1,1", "--generations: found 1 twice"),
        ("-d", "0,0", "--depths: found 0 twice"),
        ("--activations", "f32,f32", "--activations: found f32 twice"),
        ("--kv", "f32,f32", "--kv: found f32 twice"),
    ] {
        refused(&quick(&small, &[flag, list]), 2, &[value, "expected each value once", "fix: "]);
    }
    refused(&quick(&small, &["--pg", "2,2", "-pg", "2,2"]), 2, &["--pg: found 2,2 twice"]);
    refused(&quick(&small, &["-p", "0", "-n", "0"]), 2, &["found no test", "fix: "]);
    for (flag, list) in [
        ("-t", ""),
        ("-t", "1,"),
        ("-p", ""),
        ("-n", "1,,2"),
        ("-d", "x"),
        ("--kv", ""),
        ("--activations", "f32,q9"),
        ("-t", "0"),
        ("-r", "0"),
        ("--pg", "1"),
        ("--pg", "1,0"),
        ("--pg", "1,2,3"),
    ] {
        refused(&quick(&small, &[flag, list]), 2, &[" for '-", "fix: "]);
    }
    refused(&["bench", &small, "--probe", "65537"], 2, &["--probe", "0..=65536"]);
    // The second of two models is as wrong as the first.
    let words = ["bench", &small, "smolm2-135m", "--random", "1"];
    refused(&words, 66, &["did you mean `smollm2-135m`?"]);
    refused(&["bench", &small], 2, &["`bytes` has no weights", "--random SEED"]);
    refused(&quick(&small, &["--isa", "avx512,avx512"]), 2, &["--isa: found avx512 twice"]);
    // `-pg` is a flag of this verb alone.
    assert_eq!(stdout(&["tokenize", &small, "--random", "1", "-pg"]), "103\n");
}
