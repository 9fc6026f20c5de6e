//! The corpora of the fuzzers, replayed: every file is an input that an oracle must stand.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use deepthin_tests::oracle::{self, Oracle};
use deepthin_tests::project::root;

/// Most files of a corpus, and most bytes of each: what is replayed in seconds and read in
/// reviews.
const MOST_FILES: usize = 200;
/// See [`MOST_FILES`].
const MOST_BYTES: u64 = 12 << 10;

/// The files of a folder in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Gives every file of the oracle's corpus to it, and fails with the names of all that it refused.
#[track_caller]
fn replay(name: &str) {
    let named = oracle::ALL.iter().find(|(of, _)| *of == name);
    let (_, oracle): (_, Oracle) = *named.unwrap_or_else(|| panic!("no oracle `{name}`"));
    let files = files(&root().join("tests/corpus").join(name));
    assert!((1..=MOST_FILES).contains(&files.len()), "{} files", files.len());
    let mut failed = Vec::new();
    for path in files {
        let data = fs::read(&path).unwrap();
        assert!(data.len() as u64 <= MOST_BYTES, "{}: {} bytes", path.display(), data.len());
        if catch_unwind(|| oracle(&data)).is_err() {
            failed.push(path.display().to_string());
        }
    }
    assert!(failed.is_empty(), "broken by\n  {}", failed.join("\n  "));
}

#[test]
fn dsl() {
    replay("dsl");
}

#[test]
fn gguf() {
    replay("gguf");
}

#[test]
fn ir_text() {
    replay("ir_text");
}

#[test]
fn tokenizer() {
    replay("tokenizer");
}

/// An oracle without a corpus, a target or a test above would be forgotten, and so would the rest.
#[test]
fn each_oracle_has_a_corpus_a_target_and_a_test() {
    let own = fs::read_to_string(root().join("tests/suites/corpus.rs")).unwrap();
    let corpora: Vec<String> = files(&root().join("tests/corpus"))
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(corpora, oracle::ALL.map(|(name, _)| name));
    for (name, _) in oracle::ALL {
        let target = root().join(format!("tests/fuzz/targets/{name}.rs"));
        assert!(fs::read_to_string(&target).unwrap().contains(&format!("oracle::{name}(")));
        assert!(own.contains(&format!("replay(\"{name}\")")), "{name} is not replayed");
    }
}
