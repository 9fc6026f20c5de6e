//! Gives tests the real model, SmolLM2-135M-Instruct.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use deepthin::fetch::{self, Silent};

/// Path of the model's GGUF file in the user's cache, fetched if it is not there.
///
/// `None`, after a line on stderr, where it cannot be obtained, as on a machine without network.
///
/// # Panics
/// If it cannot be obtained and the environment says `CI=true`: there no test may be left out.
pub fn smollm2() -> Option<PathBuf> {
    static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    let obtain = || match fetch::ensure("smollm2-135m", &mut Silent) {
        Ok(path) => Some(path),
        Err(error) if env::var_os("CI").is_some_and(|value| value == "true") => panic!("{error}"),
        Err(error) => {
            eprintln!("tests on the real model are left out: {error}");
            None
        }
    };
    PATH.get_or_init(obtain).clone()
}
