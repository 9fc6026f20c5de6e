//! `deepthin bench`: which tests it runs, and what it says of each.

use serde_json::Value;

use super::{Folder, assert_fails, ended, stdout};

/// The tests of a run as JSON lines.
fn lines(words: &[&str]) -> Vec<Value> {
    let text = stdout(&[words, &["-o", "jsonl"]].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_test_has_a_line_with_its_samples() {
    let folder = Folder::new();
    let small = folder.small();
    let model = ["bench", &small, "--random", "1", "-t", "2", "-r", "3", "-d", "5"];
    let rows = lines(&[&model[..], &["-p", "8,12", "-n", "4"]].concat());
    let names: Vec<&str> = rows.iter().map(|row| row["test"].as_str().unwrap()).collect();
    assert_eq!(names, ["pp8 @ d5", "pp12 @ d5", "tg4 @ d5"]);
    for (row, (prompt, generated)) in rows.iter().zip([(8, 0), (12, 0), (0, 4)]) {
        assert_eq!(
            (row["n_prompt"].as_u64(), row["n_gen"].as_u64()),
            (Some(prompt), Some(generated))
        );
        assert_eq!(row["n_depth"], 5);
        assert_eq!(row["n_threads"], 2);
        let nanoseconds = row["samples_ns"].as_array().unwrap();
        assert_eq!(nanoseconds.len(), 3);
        let tokens = (prompt + generated) as f64;
        let rates = row["samples_ts"].as_array().unwrap().iter().zip(nanoseconds);
        for (rate, time) in rates {
            let expected = tokens / (time.as_f64().unwrap() * 1e-9);
            assert!((rate.as_f64().unwrap() / expected - 1.0).abs() < 1e-6, "{row}");
        }
        let mut sorted: Vec<f64> =
            row["samples_ts"].as_array().unwrap().iter().map(|r| r.as_f64().unwrap()).collect();
        sorted.sort_by(f64::total_cmp);
        assert_eq!(row["median_ts"].as_f64(), Some(sorted[1]));
    }
}

#[test]
fn the_table_is_that_of_llama_bench() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["bench", &small, "--random", "1", "-p", "0", "-n", "2,60", "-r", "1"];
    let table = stdout(&words);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with("| model ") && lines[0].contains(" t/s |"), "{table}");
    // Two tokens are no rate; sixty are one where they take long enough.
    assert!(lines[2].contains(" tg2 |") && lines[2].contains(" 2 in "), "{table}");
    assert!(lines[2].ends_with(" - |") && lines[2].contains(" ms |"), "{table}");
    assert!(lines[3].contains(" ± 0.00 |") || lines[3].contains(" 60 in "), "{table}");
    assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{table}");
}

#[test]
fn a_long_name_widens_its_column() {
    let folder = Folder::new();
    let name = "a_name_that_is_longer_than_the_column_of_the_table";
    let model =
        deepthin_dsl::Model { name: name.to_owned(), ..deepthin_tests::gguf_model::model() };
    let path = folder.file("m.thin", deepthin_dsl::print(&model));
    let table = stdout(&["bench", &path, "--random", "1", "-p", "2", "-n", "2", "-r", "1"]);
    let width = |line: &str| line.chars().count();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 4 && lines[3].contains(name), "{table}");
    assert!(lines.iter().all(|line| width(line) == width(lines[0])), "{table}");
}

#[test]
fn tests_longer_than_the_context_are_refused() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["bench", &small, "--random", "1", "-c", "8", "-p", "9", "-n", "0"];
    assert_fails(&ended(&words), 65, &["found 9 tokens to run, expected at most the context of 8"]);
}
