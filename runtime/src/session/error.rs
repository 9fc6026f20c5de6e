//! Why a session cannot be made or cannot go on.

use super::MAX_PARAMETERS;
use crate::mapping::MappingError;
use crate::memory::OutOfMemory;
use crate::program::InvalidProgram;
use crate::threads::ThreadError;
use thiserror::Error;

/// Why a session could not be made or could not go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// A bug of the compiler.
    #[error(transparent)]
    Program(#[from] InvalidProgram),
    /// A program with more parameters than a call can carry; a bug of the compiler.
    #[error("kernel `{kernel}` has more than {MAX_PARAMETERS} parameters of one kind")]
    Parameters {
        /// The kernel.
        kernel: String,
    },
    /// Weights or tables are not those that the program was made for.
    #[error("the {what} have {found} bytes, the program needs {expected}")]
    Constants {
        /// Which of them.
        what: &'static str,
        /// Bytes at hand.
        found: usize,
        /// Bytes needed.
        expected: u64,
    },
    /// No memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// No threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// The mapped weights have changed: what was computed with them is dropped.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// Nothing to compute on.
    #[error("found no tokens to run, expected at least one")]
    NoTokens,
    /// The sequence would pass the end of the KV cache.
    #[error("found {tokens} tokens {}, expected at most {}", whose(*.position), room(*.position, *.context))]
    ContextFull {
        /// Tokens in the cache.
        position: u32,
        /// Tokens given.
        tokens: usize,
        /// Positions of the cache.
        context: u32,
    },
    /// A token that the vocabulary does not have.
    #[error("found the token id {id}, expected one below the {vocab} of the vocabulary")]
    TokenId {
        /// The id.
        id: u32,
        /// Tokens of the vocabulary.
        vocab: u32,
    },
    /// Infinite or NaN logits.
    #[error(
        "found logits that are not finite at position {position} ({origin}), expected finite ones"
    )]
    NonFinite {
        /// Position of the token.
        position: u32,
        /// Where the first non-finite value appears.
        origin: Origin,
    },
}

/// Says to what tokens come in addition.
fn whose(position: u32) -> String {
    match position {
        0 => "to run".to_owned(),
        taken => format!("to run after {taken}"),
    }
}

/// Says how many tokens a context still takes.
fn room(position: u32, context: u32) -> String {
    match context.saturating_sub(position) {
        room if room == context => format!("the context of {context}"),
        room => format!("the {room} that are left of the context of {context}"),
    }
}

/// Where the first non-finite value of a computation appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In the embedding.
    Embedding,
    /// In the output of this block application.
    Application(usize),
    /// After the last block.
    Head,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Embedding => f.write_str("first in the embedding of the token"),
            Origin::Application(i) => write!(f, "first in the output of layer {i}"),
            Origin::Head => f.write_str("first in the output head"),
        }
    }
}
