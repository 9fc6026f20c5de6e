//! Why a model cannot be made ready to run.

use super::room::MAX_CACHE_BYTES;
use crate::memory::Bound;
use crate::source::{FilePlace, SourceError};
use deepthin_compiler::format::Format;
use deepthin_compiler::pack::PackError;
use deepthin_compiler::pipeline::CompileError;
use deepthin_runtime::memory::OutOfMemory;
use deepthin_runtime::session::RunError;
use deepthin_runtime::shown::Shown;
use std::path::PathBuf;
use thiserror::Error;

/// Why a model is not ready.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The model or its weights.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It did not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The weights do not fit the plan.
    #[error("{origin}: {cause}")]
    Pack {
        /// Where they come from.
        origin: String,
        /// What is wrong.
        cause: PackError,
    },
    /// A file has a weight, scale or minimum that is infinite or NaN.
    #[error(
        "{}@0x{:x}: tensor `{}`, row {}, group {group}: found a weight or scale that is not \
         finite, expected finite ones",
        Shown(.path), .place.offset, .place.tensor, .place.row
    )]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: FilePlace,
        /// Group of the row, from 0; an element where the format has no groups.
        group: u32,
    },
    /// A row has weights that its new storage has no finite numbers for.
    #[error(
        "{}: tensor `{}`, row {}: found a weight of {most:e}, expected at most {limit:e} for {format}",
        Shown(.path), .place.tensor, .place.row
    )]
    Beyond {
        /// The file.
        path: PathBuf,
        /// The row in it.
        place: FilePlace,
        /// The greatest magnitude of the row.
        most: f32,
        /// That of the new storage.
        limit: f32,
        /// The new storage.
        format: Format,
    },
    /// Whoever watched wanted no more.
    #[error("interrupted")]
    Stopped,
    /// Weights are needed.
    #[error("the description `{model}` has no weights")]
    NoWeights {
        /// The model.
        model: String,
    },
    /// Weights that are in the layout of kernels already.
    #[error("{}: found a packed file, expected a GGUF file that is not packed", Shown(.path))]
    Packed {
        /// The file.
        path: PathBuf,
    },
    /// Codes of activations are multiplied with codes of weights, and there are none.
    #[error(
        "--activations q8: found no tensor that is stored as integer codes, expected f32 for this \
         model"
    )]
    NoCodes,
    /// A KV cache that kernels cannot address.
    #[error(
        "a context of {context} positions has {bytes} bytes of keys or values in each layer, expected \
         at most the {MAX_CACHE_BYTES} that a kernel can address"
    )]
    Context {
        /// Positions asked for.
        context: u32,
        /// Bytes of one layer's cache of keys, or of values where these are more.
        bytes: u64,
        /// Whether the description asks for them, and no option.
        described: bool,
        /// Most positions.
        fits: u64,
    },
    /// More memory than there is.
    #[error(
        "the model needs {needed} MiB (weights {weights}, KV cache {kv} for {context} positions, \
         working memory {work}), expected at most the {available} MiB that {bound} leaves"
    )]
    TooLarge {
        /// MiB in all.
        needed: u64,
        /// MiB of weights.
        weights: u64,
        /// MiB of KV cache.
        kv: u64,
        /// Positions.
        context: u32,
        /// MiB of activations, logits and the threads' parts.
        work: u64,
        /// MiB that can be had.
        available: u64,
        /// What does not leave more.
        bound: Bound,
        /// Most positions that fit, in whole chunks; 0 where the weights alone are too large.
        fits: u64,
    },
    /// No memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The session could not be made.
    #[error(transparent)]
    Run(#[from] RunError),
}
