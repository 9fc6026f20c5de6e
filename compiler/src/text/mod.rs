//! What the text forms of both IRs have in common: words, numbers and signs with their places, a
//! cursor over them, and errors that say what was found and what was expected.
//!
//! `;` starts a comment that ends with the line. Any text gets an answer, never a panic: its size is
//! limited, ids and counts are read as numbers and never as what to allocate. A parser stops at the
//! first error: such texts are written by the compiler or by a test's author, not by users.

mod cursor;
mod lex;

use thiserror::Error;

pub(crate) use cursor::{Cursor, fit};
pub(crate) use lex::{Place, Token};

/// The longest text that is read, in bytes.
pub const MAX_TEXT: usize = 1 << 26;

/// A text that does not follow its grammar.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What was found and what was expected.
    pub message: String,
}

impl ParseError {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        ParseError { line: place.line, column: place.column, message: message.into() }
    }
}

/// What a parser makes of a part of a text.
pub(crate) type Parsed<T> = Result<T, ParseError>;
