//! `deepthin check`: every error of every file, and streams that end early.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use deepthin_tests::program::{Ended, deepthin};
use expect_test::expect;
use serde_json::Value;

use super::{Folder, assert_fails, ended, example};

/// Path of a description that is right.
fn right() -> String {
    example("mobilellm-125m.thin")
}

#[test]
fn a_right_description_is_told_on_stdout() {
    let ended = ended(&["check", &right()]);
    let expected = format!("{}: ok (mobilellm_125m)\n", right());
    assert_eq!((ended.code, ended.stdout, ended.stderr), (Some(0), expected, String::new()));
}

#[test]
fn all_errors_of_a_description_are_told_on_stderr() {
    let folder = Folder::new();
    let path = folder.file("wrong.thin", "model m {\n    widht 576\n    depth 0\n}\n");
    let ended = ended(&["check", &path]);
    let places = [&format!("{path}:2:"), "widht", &format!("{path}:3:"), "    depth 0"];
    assert_fails(&ended, 1, &places.map(|part| part as &str));
    assert_eq!(ended.stdout, "");
}

#[test]
fn diagnostics_are_data_where_json_is_asked_for() {
    let folder = Folder::new();
    let path = folder.file("wrong.thin", "model \x07");
    let ended = ended(&["check", "-o", "jsonl", &path, &right()]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""), "{ended:?}");
    expect![[r#"
        {"file":"wrong.thin","line":1,"column":7,"code":"D0006","message":"U+0007 is a control character","help":"remove it"}
    "#]]
    .assert_eq(&ended.stdout.replace(&path, "wrong.thin"));
}

#[test]
fn json_lists_diagnostics_of_what_could_be_read() {
    let folder = Folder::new();
    let path = folder.file("wrong.thin", "model m {\n    widht 576\n    depth 0\n}\n");
    let list = |files: &[&str]| ended(&[&["check", "--json"], files].concat());
    let found = list(&[&path]);
    let diagnostics: Vec<Value> = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!((found.code, diagnostics[0]["line"].as_u64()), (Some(1), Some(1)));
    assert!(diagnostics.len() > 1 && diagnostics[0]["message"].is_string());
    assert_eq!(list(&[&right()]).stdout, "[]\n");
    assert_fails(&list(&[&folder.path("none.thin")]), 66, &["none.thin: "]);
    assert_eq!(list(&[&folder.path("none.thin")]).stdout, "");
}

#[test]
fn one_of_several_models_is_asked_for_by_name() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(right()).unwrap();
    let path = folder
        .file("two.thin", format!("{text}model twice = mobilellm_125m {{ sharing loop(2) }}"));
    let named = ended(&["check", &format!("{path}:twice")]);
    assert_eq!((named.code, named.stdout), (Some(0), format!("{path}: ok (twice)\n")));
    let missing = ended(&["check", &format!("{path}:twcie"), &path]);
    let parts = ["no model `twcie`, only mobilellm_125m, twice", "did you mean `", ":twice`?"];
    assert_fails(&missing, 66, &parts);
    assert_eq!(missing.stdout, format!("{path}: ok (mobilellm_125m, twice)\n"));
}

/// What runs and what is right is one and the same.
#[test]
fn storage_without_kernels_is_refused_by_every_verb() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(right()).unwrap();
    let path = folder.file("group.thin", text.replace("q8(group: 32)", "q8(group: 1)"));
    let parts =
        ["group.thin:20:22: embeddings: a group of 1 is not supported yet", "D0018", "group: 32"];
    assert_fails(&ended(&["check", &path]), 1, &parts);
    assert_fails(&ended(&["info", &path]), 65, &parts);
    assert_fails(&ended(&["run", &path, "--random", "1", "-p", "a"]), 65, &parts);
    assert_fails(&ended(&["dump", &path, "--stage", "vir"]), 65, &parts);
}

#[test]
fn bytes_that_are_no_text_are_wrong_descriptions() {
    let folder = Folder::new();
    for content in [&b""[..], b"\xff\xfe\x00m", b"model \x00", b"GGUF\x03\x00\x00\x00"] {
        let path = folder.file("model.thin", content);
        assert_fails(&ended(&["check", &path]), 1, &["model.thin", "1 error\n"]);
    }
}

#[test]
fn a_long_file_is_not_read_whole() {
    let folder = Folder::new();
    // A sparse file: reading all of it would take minutes and exhaust the memory.
    let path = folder.path("long.thin");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let start = Instant::now();
    assert_fails(&ended(&["check", &path]), 1, &["D0007", "long.thin"]);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_is_no_file_is_refused_unopened() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let directory = folder.path(".");
    assert_fails(&ended(&["check", &directory]), 66, &[&directory, "a directory", "fix: "]);
    assert_fails(&ended(&["check", &pipe]), 66, &["a pipe or a device"]);
    assert_fails(&ended(&["check", "/dev/zero"]), 66, &["a pipe or a device"]);
    assert_fails(&ended(&["check", "no/such.thin"]), 66, &["no/such.thin: no such file"]);
    let below_a_file = format!("{}/x.thin", right());
    assert_fails(&ended(&["check", &below_a_file]), 66, &["x.thin"]);
}

#[test]
fn all_files_are_checked_and_the_first_failure_decides() {
    let ended = ended(&["check", "no/such.thin", &right(), "/dev/zero"]);
    assert_fails(&ended, 66, &["no/such.thin", "/dev/zero"]);
    assert!(ended.stdout.contains("ok"));
}

#[test]
fn a_closed_stdout_ends_quietly_and_a_full_one_is_an_error() {
    let mut child = deepthin()
        .args(["check", &right()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let closed: Ended = child.wait_with_output().unwrap().into();
    // The line may have been written before the pipe was closed: both ways end with 0.
    assert_eq!((closed.code, closed.stderr.as_str()), (Some(0), ""));

    let full = File::options().write(true).open("/dev/full").unwrap();
    let child = deepthin().args(["check", &right()]).stdout(full).stderr(Stdio::piped()).spawn();
    let full: Ended = child.unwrap().wait_with_output().unwrap().into();
    assert_fails(&full, 74, &["stdout"]);
}
