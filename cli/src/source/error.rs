//! Why a model or its weights could not be had.

use crate::fetch::FetchError;
use crate::file::FileError;
use crate::packed::PackedError;
use deepthin_compiler::fir::FormatsError;
use deepthin_dsl::Diagnostic;
use deepthin_runtime::gguf::GgufError;
use deepthin_runtime::shown::{Quoted, Shown};
use deepthin_runtime::tokenizer::TokenizerError;
use std::path::PathBuf;
use thiserror::Error;

/// Why a model or its weights could not be had.
#[derive(Debug, Error)]
pub enum SourceError {
    /// A name that means nothing.
    #[error("{} is no model", Quoted(.text))]
    Name {
        /// What was given.
        text: String,
    },
    /// A description could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A description that is wrong.
    #[error("{}", list(.0))]
    Description(Vec<Diagnostic>),
    /// A model that a file does not hold.
    #[error("{}: no model `{name}`, only {}", Shown(.path), .names.join(", "))]
    NoSuchModel {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// Its models.
        names: Vec<String>,
    },
    /// A file of several models, and none was chosen.
    #[error("{}: found several models ({}), expected one", Shown(.path), .names.join(", "))]
    SeveralModels {
        /// The file.
        path: PathBuf,
        /// Its models.
        names: Vec<String>,
    },
    /// `--weights` beside a GGUF file.
    #[error("{} brings its own weights, and --weights names others", Shown(.model))]
    WeightsTwice {
        /// The GGUF file.
        model: PathBuf,
    },
    /// A catalog model could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A GGUF file that is missing or malformed.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A packed file that is wrong.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// `--weights` with a packed file.
    #[error(
        "--weights {}: found a packed file, which has a description of its own, expected a GGUF \
         file as it is published",
        Shown(.path)
    )]
    PackedWeights {
        /// The file.
        path: PathBuf,
    },
    /// A vocabulary that is wrong.
    #[error("{}: {cause}", Shown(.path))]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: TokenizerError,
    },
    /// Storage that does not exist yet.
    #[error(transparent)]
    Formats(#[from] FormatsError),
    /// A well-formed file that deepthin has no kernels for, or that contradicts itself.
    #[error("{}: {problem}", Shown(.path))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
        /// What to do about it.
        fix: String,
    },
    /// A file whose shape is not the description's.
    #[error("{} does not fit the description `{model}`:\n{table}", Shown(.path))]
    Differs {
        /// The file.
        path: PathBuf,
        /// The description's model.
        model: String,
        /// A line for each difference.
        table: String,
    },
    /// A tensor that is missing or has another shape.
    #[error("{}: tensor `{tensor}`: found {found}, expected {expected}", Shown(.path))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// Shape, `[rows, columns]`.
        expected: String,
        /// Shape, or what there is in its place.
        found: String,
    },
    /// Tokens and table rows differ in number.
    #[error(
        "{}: the vocabulary has {tokens} tokens, expected one for each of the {rows} rows of the \
         embedding table",
        Shown(.path)
    )]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// Tokens.
        tokens: usize,
        /// Rows.
        rows: u32,
    },
}

fn list(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
