//! The program from outside: exit codes, messages, output of every verb, what it leaves on disk.

mod bad_input;
mod bench;
mod chat;
mod check;
mod compile;
mod dump;
mod fetch;
mod fmt;
mod hw;
mod import;
mod info;
mod logits;
mod output;
mod packed;
mod peers;
mod perplexity;
mod profile;
mod quantize;
mod refusals;
mod run;
mod suggestions;
mod terminal;
mod verify;

use std::fs;

use deepthin_tests::program::{Ended, deepthin, run as run_command};
use deepthin_tests::{gguf_model, project};
use tempfile::TempDir;

/// Runs the program with these words.
fn ended(words: &[&str]) -> Ended {
    run_command(deepthin().args(words))
}

#[track_caller]
fn assert_fails(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for part in parts {
        assert!(ended.stderr.contains(part), "no `{part}` in: {}", ended.stderr);
    }
}

/// The data of a run that went well.
#[track_caller]
fn stdout(words: &[&str]) -> String {
    let ended = ended(words);
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
    ended.stdout
}

/// A folder for the files of a test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(TempDir::new().unwrap())
    }

    /// The path of a file in the folder.
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file; its path.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Makes a pipe that nobody writes to.
    fn pipe(&self, name: &str) {
        let made = std::process::Command::new("mkfifo").arg(self.path(name)).status();
        assert!(made.unwrap().success());
    }

    /// The description of the small model: 300 tokens, a context of 64, two blocks used twice.
    fn small(&self) -> String {
        self.file("small.thin", deepthin_dsl::print(&gguf_model::model()))
    }
}

/// Path of a file of `examples/`.
fn example(name: &str) -> String {
    project::root().join("examples").join(name).to_str().unwrap().to_owned()
}

#[test]
fn wrong_command_lines_end_with_2() {
    assert_fails(&ended(&[]), 2, &["Usage: deepthin"]);
    assert_fails(&ended(&["frobnicate"]), 2, &["frobnicate"]);
    assert_fails(&ended(&["check"]), 2, &["<FILE>..."]);
    assert_fails(&ended(&["check", "--frobnicate", "x.thin"]), 2, &["--frobnicate"]);
    assert_fails(&ended(&["fetch"]), 2, &["<NAME>"]);
    assert_fails(&ended(&["fetch", "gpt-5"]), 2, &["gpt-5", "smollm2-135m"]);
    assert_fails(&ended(&["run", "x.thin"]), 2, &["--prompt", "--file"]);
    assert_fails(&ended(&["run", "x.thin", "-p", "a", "-t", "0"]), 2, &["'0'", "--threads"]);
    assert_fails(&ended(&["run", "x.thin", "-p", "a", "-c", "0"]), 2, &["'0'", "--context"]);
    assert_fails(&ended(&["dump", "x.thin", "--stage", "llvm"]), 2, &["llvm", "fused"]);
}

#[test]
fn help_and_version_are_data_on_stdout() {
    let verbs = [
        "run",
        "logits",
        "perplexity",
        "tokenize",
        "check",
        "fmt",
        "info",
        "dump",
        "compile",
        "quantize",
        "bench",
        "hw",
        "verify",
        "fetch",
        "import",
        "completions",
    ];
    let verbs: Vec<[&str; 2]> = verbs.into_iter().map(|verb| [verb, "--help"]).collect();
    let others = [&["--help"][..], &["--version"], &["fetch", "-h"]];
    for words in verbs.iter().map(|words| &words[..]).chain(others) {
        let ended = ended(words);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{words:?}");
        assert!(!ended.stdout.is_empty(), "{words:?}");
    }
    assert!(stdout(&["fetch", "--help"]).contains("Apache-2.0"));
}
