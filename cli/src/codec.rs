//! Text to token ids and back, for a model with a tokenizer and for one without.
//!
//! Weights drawn at random bring no tokenizer. Then the bytes of a text are its ids, and a token
//! is shown as `<id>`, so that everything but meaning can be tried on a bare description.

use std::borrow::Cow;

use crate::memory::Available;
use deepthin_runtime::tokenizer::{Decoder, Span, Tokenizer, TokenizerError};
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
    /// More text than the context has room for, told by its bytes.
    #[error(
        "found a text of {bytes} bytes, at least {tokens} tokens, expected at most the {room} of the context"
    )]
    TooLong {
        /// Bytes of the text.
        bytes: usize,
        /// The fewest tokens that they can be.
        tokens: usize,
        /// Tokens that there is room for.
        room: u32,
    },
    /// Not enough memory to cut a text.
    #[error(
        "cutting a text of {bytes} bytes into tokens can take {} MiB, expected at most the {} MiB \
         of {}",
        needed >> 20, available.bytes >> 20, available.bound
    )]
    Memory {
        /// Bytes of the text.
        bytes: usize,
        /// Bytes of memory that cutting it can take.
        needed: u64,
        /// What there is.
        available: Available,
    },
    /// Nothing to continue.
    #[error("the prompt is empty, and the model names no token that a text begins with")]
    Empty,
    /// The tokenizer refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// Bytes of a text for which there is always memory.
const SMALL_TEXT: usize = 1 << 18;

/// Refuses a text that there is not enough memory to cut: the system would end the process.
fn check_memory(tokenizer: &Tokenizer, spans: &[Span<'_>]) -> Result<(), CodecError> {
    let bytes = spans.iter().map(|span| span.text.len()).sum();
    if bytes <= SMALL_TEXT {
        return Ok(());
    }
    // What is joined goes across the borders of spans.
    let text = match spans {
        [span] => Cow::Borrowed(span.text),
        _ => spans.iter().map(|span| span.text).collect::<String>().into(),
    };
    let needed = tokenizer.working_bytes(&text);
    match Available::now().filter(|available| available.bytes < needed) {
        Some(available) => Err(CodecError::Memory { bytes, needed, available }),
        None => Ok(()),
    }
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
        if self.tokenizer.is_none() {
            return self.bytes_as_ids(text);
        }
        let text = str::from_utf8(text)
            .map_err(|error| CodecError::NotUtf8 { offset: error.valid_up_to() })?;
        self.encode_spans(&[Span { text, special: self.special }])
    }

    /// The ids of a text of which only some spans may name control tokens, as [`Codec::encode`]
    /// has them.
    ///
    /// # Errors
    /// Text that has no token.
    pub fn encode_spans(&self, spans: &[Span<'_>]) -> Result<Vec<u32>, CodecError> {
        let Some(tokenizer) = self.tokenizer else {
            let text: String = spans.iter().map(|span| span.text).collect();
            return self.bytes_as_ids(text.as_bytes());
        };
        check_memory(tokenizer, spans)?;
        let mut ids = tokenizer.encode_spans(spans)?;
        if let Some(bos) = self.chunk_start().filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// Refuses a text that cannot fit a context whatever its tokens are. Cutting takes some hundred
    /// times the memory of a word, and a text may be one.
    ///
    /// # Errors
    /// A text of more bytes than the longest tokens of the context have.
    pub fn check_room(&self, text: &[u8], room: u32) -> Result<(), CodecError> {
        let tokens = text.len().div_ceil(self.tokenizer.map_or(1, Tokenizer::longest_token));
        if u64::try_from(tokens).is_ok_and(|tokens| tokens <= u64::from(room)) {
            return Ok(());
        }
        Err(CodecError::TooLong { bytes: text.len(), tokens, room })
    }

    /// The ids of a text to continue: at least one.
    ///
    /// # Errors
    /// As [`Codec::encode`]; an empty text of a model without a token for the beginning.
    pub fn prompt(&self, text: &[u8]) -> Result<Vec<u32>, CodecError> {
        self.at_least_one(self.encode(text)?)
    }

    /// The ids, or the token that texts begin with where there are none.
    ///
    /// # Errors
    /// No ids, and no such token.
    pub fn at_least_one(&self, mut ids: Vec<u32>) -> Result<Vec<u32>, CodecError> {
        if ids.is_empty() {
            ids.push(self.tokenizer.and_then(Tokenizer::bos).ok_or(CodecError::Empty)?);
        }
        Ok(ids)
    }

    /// The token that every text of the model is to begin with, if there is one.
    pub fn chunk_start(&self) -> Option<u32> {
        self.tokenizer.filter(|t| t.adds_bos()).and_then(Tokenizer::bos)
    }

    /// Gives the text of what is generated after `prompt`, token by token.
    pub fn decoder(&self, prompt: &[u32]) -> CodecDecoder<'t> {
        CodecDecoder(self.tokenizer.map(|tokenizer| tokenizer.decoder(prompt, self.special)))
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

/// Turns generated tokens to text, one by one.
#[derive(Debug, Clone)]
pub struct CodecDecoder<'t>(Option<Decoder<'t>>);

impl<'t> CodecDecoder<'t> {
    /// What a token adds to the text; it need not be whole characters. A control token adds
    /// nothing, or its name where the codec shows control tokens.
    ///
    /// # Errors
    /// An id that is out of range.
    pub fn push(&mut self, id: u32) -> Result<Cow<'t, [u8]>, CodecError> {
        match &mut self.0 {
            Some(decoder) => Ok(decoder.push(id)?.into()),
            None => Ok(format!("<{id}>").into_bytes().into()),
        }
    }
}
