//! Puts the ids of a text together from what stands in it by name and what is between.

use super::error::TokenizerError;
use super::merger::Merger;
use super::special::Part;
use super::{Scheme, Tokenizer};

/// A part of a text, and whether names of control tokens in it are these tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<'a> {
    /// The text.
    pub text: &'a str,
    /// Whether control tokens are read by name: not where others than the program or the model's
    /// file wrote the text.
    pub special: bool,
}

/// Takes spans and gives ids.
///
/// What stands between control tokens is one text, whichever spans it came from: words and joins
/// go across their borders. Names of control tokens do not: a name that begins in one span and
/// ends in the next is plain text.
pub(super) struct Encoder<'t> {
    tokenizer: &'t Tokenizer,
    merger: Merger,
    ids: Vec<u32>,
    /// Plain text that was not encoded yet, and its offset in the whole.
    run: String,
    run_offset: usize,
    /// Bytes of the spans so far.
    taken: usize,
    /// Whether a text begins here: first of all, and behind a control token.
    at_start: bool,
}

impl<'t> Encoder<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer) -> Encoder<'t> {
        Encoder {
            tokenizer,
            merger: Merger::default(),
            ids: Vec::new(),
            run: String::new(),
            run_offset: 0,
            taken: 0,
            at_start: true,
        }
    }

    /// Takes a span.
    pub(super) fn push(&mut self, span: Span<'_>) -> Result<(), TokenizerError> {
        if span.special {
            for part in self.tokenizer.all.parts(span.text) {
                match part {
                    Part::Text(offset, text) => self.text(offset, text),
                    Part::Token(id) => {
                        self.flush()?;
                        self.token(id);
                    }
                }
            }
        } else {
            self.text(0, span.text);
        }
        self.taken += span.text.len();
        Ok(())
    }

    /// The ids of all spans.
    pub(super) fn finish(mut self) -> Result<Vec<u32>, TokenizerError> {
        self.flush()?;
        Ok(self.ids)
    }

    /// Takes plain text at `offset` of the current span.
    fn text(&mut self, offset: usize, text: &str) {
        if self.run.is_empty() {
            self.run_offset = self.taken + offset;
        }
        self.run.push_str(text);
    }

    /// Encodes the plain text so far.
    fn flush(&mut self) -> Result<(), TokenizerError> {
        let run = std::mem::take(&mut self.run);
        for part in self.tokenizer.always.parts(&run) {
            match part {
                Part::Token(id) => self.token(id),
                Part::Text(offset, text) => self.encode(text, self.run_offset + offset)?,
            }
        }
        Ok(())
    }

    fn encode(&mut self, text: &str, offset: usize) -> Result<(), TokenizerError> {
        let at_start = std::mem::replace(&mut self.at_start, false);
        let Encoder { tokenizer, merger, ids, .. } = self;
        match &tokenizer.scheme {
            Scheme::ByteLevel(scheme) => scheme.encode(text, offset, merger, ids)?,
            Scheme::SentencePiece(scheme) => {
                scheme.encode(&tokenizer.vocabulary, text, at_start, merger, ids);
            }
        }
        Ok(())
    }

    /// Takes a token that stands in the text by name: a control token ends a text, a user-defined
    /// one is a part of it.
    fn token(&mut self, id: u32) {
        let is_control = self.tokenizer.is_control(id);
        if let (true, false, Scheme::SentencePiece(scheme)) =
            (self.at_start, is_control, &self.tokenizer.scheme)
        {
            self.ids.extend(scheme.prefix());
        }
        self.at_start = is_control;
        self.ids.push(id);
    }
}
