//! Text to token ids and back, for a model with a tokenizer and for one without.
//!
//! Weights drawn at random bring no tokenizer. Then the bytes of a text are its ids, and a token
//! is shown as `<id>`, so that everything but meaning can be tried on a bare description.

use std::borrow::Cow;

use deepthin_runtime::tokenizer::{Tokenizer, TokenizerError};
use thiserror::Error;

/// Why a text has no ids.
#[derive(Debug, Error)]
pub enum CodecError {
    /// Bytes that are no text.
    #[error("the text is not UTF-8: byte {offset} begins no character")]
    NotUtf8 {
        /// Where.
        offset: usize,
    },
    /// Without a tokenizer: a byte that is no id.
    #[error(
        "byte 0x{byte:02x} at {offset} of the text is no token: without a tokenizer bytes are ids, \
         and the vocabulary has {vocab}"
    )]
    Byte {
        /// The byte.
        byte: u8,
        /// Where.
        offset: usize,
        /// Tokens of the vocabulary.
        vocab: u32,
    },
    /// Nothing to continue.
    #[error("the prompt is empty, and the model names no token that a text begins with")]
    Empty,
    /// The tokenizer refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// The way between text and ids.
#[derive(Debug, Clone, Copy)]
pub struct Codec<'t> {
    tokenizer: Option<&'t Tokenizer>,
    vocab: u32,
    special: bool,
}

impl<'t> Codec<'t> {
    /// The codec of a tokenizer, or of bytes below `vocab`. With `special`, control tokens are
    /// read by name in texts, and shown by name.
    pub fn new(tokenizer: Option<&'t Tokenizer>, vocab: u32, special: bool) -> Codec<'t> {
        Codec { tokenizer, vocab, special }
    }

    /// The ids of a text, after the token that texts begin with where the model's file asks for
    /// one. A text that names this token itself does not get it twice.
    ///
    /// # Errors
    /// Bytes that are no text, or that have no token.
    pub fn encode(&self, text: &[u8]) -> Result<Vec<u32>, CodecError> {
        let Some(tokenizer) = self.tokenizer else { return self.bytes_as_ids(text) };
        let text = std::str::from_utf8(text)
            .map_err(|error| CodecError::NotUtf8 { offset: error.valid_up_to() })?;
        let mut ids = tokenizer.encode(text, self.special)?;
        if let Some(bos) = self.chunk_start().filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// The ids of a text to continue: at least one.
    ///
    /// # Errors
    /// As [`Codec::encode`]; an empty text of a model without a token for the beginning.
    pub fn prompt(&self, text: &[u8]) -> Result<Vec<u32>, CodecError> {
        let mut ids = self.encode(text)?;
        if ids.is_empty() {
            ids.push(self.tokenizer.and_then(Tokenizer::bos).ok_or(CodecError::Empty)?);
        }
        Ok(ids)
    }

    /// The token that every text of the model is to begin with, if there is one.
    pub fn chunk_start(&self) -> Option<u32> {
        self.tokenizer.filter(|t| t.adds_bos()).and_then(Tokenizer::bos)
    }

    /// What a generated token adds to the text; it need not be whole characters. A control token
    /// adds nothing, or its name under `special`.
    ///
    /// # Errors
    /// An id that is out of range.
    pub fn output(&self, id: u32) -> Result<Cow<'t, [u8]>, CodecError> {
        match self.tokenizer {
            Some(tokenizer) => Ok(tokenizer.piece(id, self.special)?.into()),
            None => Ok(format!("<{id}>").into_bytes().into()),
        }
    }

    /// A token as people see it: control tokens by name, U+FFFD for what is no whole character.
    ///
    /// # Errors
    /// An id that is out of range.
    pub fn piece(&self, id: u32) -> Result<String, CodecError> {
        match self.tokenizer {
            Some(tokenizer) => Ok(String::from_utf8_lossy(tokenizer.piece(id, true)?).into_owned()),
            None => Ok(format!("<{id}>")),
        }
    }

    /// The text of a sequence of ids, the other way round than [`Codec::encode`], with control
    /// tokens by name and U+FFFD for what is no whole character.
    ///
    /// # Errors
    /// An id that is out of range.
    pub fn decode(&self, ids: &[u32]) -> Result<String, CodecError> {
        let bytes = match self.tokenizer {
            Some(tokenizer) => tokenizer.decode(ids, true)?,
            None => ids.iter().map(|id| u8::try_from(*id).unwrap_or(u8::MAX)).collect(),
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether a token ends what the model has to say; no id does without a tokenizer.
    pub fn is_end(&self, id: u32) -> bool {
        self.tokenizer.is_some_and(|tokenizer| tokenizer.is_end(id))
    }

    fn bytes_as_ids(&self, text: &[u8]) -> Result<Vec<u32>, CodecError> {
        let vocab = self.vocab;
        let id = |(offset, &byte): (usize, &u8)| match u32::from(byte) {
            id if id < vocab => Ok(id),
            _ => Err(CodecError::Byte { byte, offset, vocab }),
        };
        text.iter().enumerate().map(id).collect()
    }
}
