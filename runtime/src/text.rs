//! Streams of bytes as text: whole code points as soon as they are complete.
//!
//! Tokens are strings of bytes, and a token may end in the middle of a character. What is printed
//! while a model generates must not.

use std::str;

/// Turns bytes into text, piece by piece; bytes that are no UTF-8 become U+FFFD, one for each
/// maximal part of a character, as [`String::from_utf8_lossy`] has it.
#[derive(Debug, Clone, Default)]
pub struct Utf8Stream {
    /// The beginning of a character that is not complete: at most three bytes.
    tail: Vec<u8>,
}

impl Utf8Stream {
    /// A stream with no bytes yet.
    pub fn new() -> Self {
        Utf8Stream::default()
    }

    /// Takes bytes, and returns the text that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.tail.extend_from_slice(bytes);
        let mut text = String::new();
        let mut taken = 0;
        for chunk in self.tail.utf8_chunks() {
            text.push_str(chunk.valid());
            taken += chunk.valid().len();
            // Only the last chunk can be cut off; there it may still be completed.
            let invalid = chunk.invalid();
            let cut = taken + invalid.len() == self.tail.len()
                && str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if cut {
                break;
            }
            if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
            taken += invalid.len();
        }
        self.tail.drain(..taken);
        text
    }

    /// Ends the stream: U+FFFD for a character that was never completed.
    pub fn flush(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.tail).into_owned();
        self.tail.clear();
        text
    }
}
