//! `verify` from outside: the table, the forms, the exit codes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use deepthin_tests::program::{Ended, deepthin};
use serde_json::Value;

use super::{Folder, assert_fails, ended, stdout};

#[test]
fn the_kernels_of_a_description_are_verified() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["verify", &small, "--cases", "4", "--seed", "2"];
    let table = stdout(&words);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("| kernel"), "{table}");
    for part in ["embed", "attention", "norm linear glu x4", "norm linear rope append x1"] {
        assert!(lines.iter().any(|line| line.contains(part)), "no {part} in {table}");
    }
    for line in &lines[2..] {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!((cells[4], cells[5]), ("4", "0"), "{line}");
        let share: f64 = if cells[6] == "-" { 0.0 } else { cells[6].parse().unwrap() };
        assert!((0.0..=1.0).contains(&share), "{line}");
    }
    assert_eq!(stdout(&words), table, "the same seed");
    let other = stdout(&["verify", &small, "--cases", "4", "--seed", "3"]);
    assert_ne!(other, table, "another seed");
    let threads = [&words[..], &["-t", "1"]].concat();
    assert_eq!(stdout(&threads), table, "another number of threads");
}

#[test]
fn weights_are_used_and_sequences_compared() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["verify", &small, "--random", "1", "--cases", "2", "--json"];
    let answer: Value = serde_json::from_str(&stdout(&words)).unwrap();
    // Sessions alone would be compared 12 times; weights that are drawn allow the interpreters too.
    assert_eq!(answer["sequences"], 17, "{answer}");
    assert_eq!(answer["different_sequences"], 0);
    let kernels = answer["kernels"].as_array().unwrap();
    assert_eq!(answer["calls"], 2 * kernels.len());
    assert_eq!((&answer["mismatches"], &answer["complete"]), (&0.into(), &true.into()));
    assert_eq!(answer["counter_example"], Value::Null);
}

#[test]
fn caches_of_every_format_are_verified() {
    let folder = Folder::new();
    let small = folder.small();
    for kv in ["f32", "f16", "q8"] {
        let words = ["verify", &small, "--random", "1", "--cases", "2", "--kv", kv, "-o", "json"];
        let answer: Value = serde_json::from_str(&stdout(&words)).unwrap();
        assert_eq!(answer["different_sequences"], 0);
        let kernels = answer["kernels"].as_array().unwrap().iter();
        let attention = kernels.filter(|kernel| kernel["kernel"] == "attention");
        let storage: Vec<&Value> = attention.map(|kernel| &kernel["storage"]).collect();
        assert_eq!(storage, [kv]);
    }
}

#[test]
fn generated_models_are_verified() {
    let words = ["verify", "--random-models", "2", "--cases", "1", "-o", "json"];
    let answer: Value = serde_json::from_str(&stdout(&words)).unwrap();
    assert_eq!((&answer["models"], &answer["mismatches"]), (&2.into(), &0.into()));
    assert!(answer["sequences"].as_u64().unwrap() > 20, "{answer}");
}

const COPY: &str = "\
kernel copy lanes 4 {
  buffer b0 x: read 16
  buffer b1 y: write 16
  v0: f32 = load f32 b0[0]
  store f32 v0, b1[0]
}
";

#[test]
fn kernels_are_verified_alone_and_with_a_call() {
    let folder = Folder::new();
    let alone = folder.file("alone.vir", COPY);
    assert!(stdout(&["verify", &alone, "--cases", "9"]).contains("|     9 |"));
    let call = |expected: &str| {
        format!(
            ";; test run\n;; input b0 = f32 [1, 2, 3, nan]\n;; expect b1 = f32 {expected}\n{COPY}"
        )
    };
    let right = folder.file("right.vir", call("[1, 2, 3, nan]"));
    assert!(stdout(&["verify", &right]).contains("|     1 |"));
    let wrong = folder.file("wrong.vir", call("[1, 2, 3, 4]"));
    let ended = ended(&["verify", &wrong]);
    let replay = format!("fix: see it again with `deepthin verify {wrong}`");
    assert_fails(&ended, 1, &["copy: interpreter, expected `b1 = f32 [1, 2, 3, 4]`", &replay]);
    assert!(ended.stdout.contains("|          1 |"), "{}", ended.stdout);
}

#[test]
fn what_cannot_be_verified() {
    let folder = Folder::new();
    let verify = |text: &str| ended(&["verify", &folder.file("k.vir", text)]);
    assert_fails(&verify("kernel"), 65, &["1:7"]);
    assert_fails(&verify(&COPY.replace("b1[0]", "b1[4]")), 65, &["V-12"]);
    assert_fails(&verify(&format!(";; input b0 = f32 [1]\n{COPY}")), 65, &["has 4 bytes"]);
    assert_fails(&ended(&["verify", &folder.path("none.vir")]), 66, &["no such file"]);
    assert_fails(&ended(&["verify"]), 2, &["<MODEL>"]);
    assert_fails(&ended(&["verify", "m.thin", "--random-models", "3"]), 2, &["--random-models"]);
    assert_fails(&ended(&["verify", "m.thin", "--cases", "0"]), 2, &["--cases"]);
}

/// Ctrl-C ends a long verification soon, with what was verified so far.
#[test]
fn an_interrupted_verification_ends() {
    let mut command = deepthin();
    command.args(["verify", "--random-models", "100000", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Once it says what it does, it watches for signals.
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "deepthin: verifying 100000 generated models\n");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(answer["complete"], false);
}
