//! Streams of bytes as text, and text as a terminal may be shown it.
//!
//! Tokens are strings of bytes, and a token may end in the middle of a character. What is printed
//! while a model generates must not. And what a model, a file or a template says is not to be
//! trusted: a terminal obeys some characters in place of showing them.

use crate::shown::steers;
use std::borrow::Cow;
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

/// Whether a character of a running text steers a terminal: it does so in a name ([`steers`]), and
/// is no line feed or tab and no line separator, which only break lines. The marks U+061C, U+200E
/// and U+200F pass as well: unlike the overrides and isolates they order only what is next to
/// them, and texts in Arabic and Hebrew need them.
pub fn steers_terminal(character: char) -> bool {
    let stands = matches!(
        character,
        '\n' | '\t' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}'
    );
    steers(character) && !stands
}

/// A text as a terminal may be shown it: each character that would steer it is written as its
/// number, such as `\u{1b}`. An escape sequence is harmless without the character that begins it,
/// so no character depends on those before it.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(steers_terminal) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if steers_terminal(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}
