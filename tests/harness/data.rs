//! Finds the reference data of `tests/data/`: logits, token ids, a text to score.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::project;

/// The path of a file of `tests/data/`.
pub fn path(name: &str) -> PathBuf {
    project::root().join("tests/data").join(name)
}

/// The entries of a JSON file of `tests/data/` that holds a list.
///
/// # Panics
/// If there is no such file, or no list in it.
pub fn entries(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The token ids in a list of JSON.
///
/// # Panics
/// If there is something else.
pub fn ids(list: &Value) -> Vec<u32> {
    serde_json::from_value(list.clone()).unwrap_or_else(|error| panic!("{list}: {error}"))
}
