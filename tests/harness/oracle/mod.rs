//! What must hold of any bytes at all: one function for each kind of input that others write.
//!
//! Each takes bytes and panics where a promise is broken. The fuzzers of `tests/fuzz/` call them
//! with bytes that they make up, the suite `corpus` with the files of `tests/corpus/`. They know
//! neither, so that every finding of a fuzzer is a test as soon as its file is in the corpus.

mod definite;
mod dsl;
mod gguf;
mod ir_text;
mod tokenizer;

pub use dsl::dsl;
pub use gguf::gguf;
pub use ir_text::ir_text;
pub use tokenizer::tokenizer;

use std::io::Write as _;

use deepthin_compiler::fir::Formats;
use deepthin_compiler::pipeline::{CompileError, Lowered, lower};
use deepthin_compiler::plan::PlanOptions;
use deepthin_dsl::Model;
use tempfile::NamedTempFile;

/// A function that panics where bytes break a promise.
pub type Oracle = fn(&[u8]);

/// All oracles by the name of their corpus, which is that of their fuzz target too.
pub const ALL: [(&str, Oracle); 4] =
    [("dsl", dsl), ("gguf", gguf), ("ir_text", ir_text), ("tokenizer", tokenizer)];

/// Most parameters of a model that is compiled.
const MOST_PARAMETERS: u64 = 1 << 20;

/// Most block applications of a model that is compiled.
const MOST_APPLICATIONS: usize = 64;

/// Takes a small model down to verified kernels. It may be refused, but no kernel of it may break
/// a rule: that is for sizes which a small model does not have.
#[track_caller]
fn compile(model: &Model, formats: &Formats) -> Option<Lowered> {
    if model.parameters().stored > MOST_PARAMETERS || model.schedule().len() > MOST_APPLICATIONS {
        return None;
    }
    let options = PlanOptions::new(4, model.context.min(100));
    match lower(model, formats, &options) {
        Err(error @ CompileError::Invalid { .. }) => panic!("{error}\n{model:?}"),
        lowered => lowered.ok(),
    }
}

/// Checks that a message may be shown on a terminal: it says something, and no character of it
/// moves the cursor.
#[track_caller]
fn assert_printable(message: &str) {
    assert!(!message.trim().is_empty(), "an empty message");
    let stray = message.chars().find(|c| c.is_control() && !['\n', '\t'].contains(c));
    assert_eq!(stray, None, "a control character in {message:?}");
}

/// A file of these bytes, for what reads files alone.
fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file can be made");
    file.write_all(bytes).expect("a temporary file can be written");
    file
}
