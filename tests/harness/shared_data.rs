//! Finds reference data that is kept beside the project: logits, token ids, a text to score.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::project;

/// The text of a file of `$DEEPTHIN_SHARED_DATA`, or else of `shared/data` beside the project.
///
/// `None`, after a line on stderr, where it is not there.
///
/// # Panics
/// If it is not there and the environment says `CI=true`: there no test may be left out.
pub fn read(name: &str) -> Option<String> {
    let folder = env::var_os("DEEPTHIN_SHARED_DATA").filter(|value| !value.is_empty());
    let folder = folder.map_or_else(|| project::root().join("../shared/data"), PathBuf::from);
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if env::var_os("CI").is_some_and(|value| value == "true") => {
            panic!("{}: {error}: set DEEPTHIN_SHARED_DATA to the folder", path.display())
        }
        Err(error) => {
            eprintln!("tests on {name} are left out: {}: {error}", path.display());
            None
        }
    }
}
