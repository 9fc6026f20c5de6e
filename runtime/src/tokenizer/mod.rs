//! Text to token ids and back, built from the metadata of a GGUF file.
//!
//! Two kinds of vocabularies are read: byte-level BPE (`byte_level`), in which a list of merges
//! joins bytes, and SentencePiece's BPE (`sentence_piece`), in which scores join code points. Both
//! keep tokens as bytes (`vocabulary`) and join by the same machine (`merger`).
//!
//! A text is first split at the special tokens that stand in it by name (`special`); what is
//! between them is cut and joined by the kind of the vocabulary (`encoder`). The way back is
//! `decoder`.
//!
//! Control tokens steer a model, so text that comes from a user must never become one:
//! [`Tokenizer::encode`] reads their names only where it is told to, and a vocabulary whose merges
//! could make one is refused. Text without a token is an error that names the place, since
//! dropping it would change the text; only a vocabulary that names a token for the unknown, and
//! has no byte tokens, turns it into that.

mod byte_level;
mod decoder;
mod encoder;
mod error;
mod merger;
mod sentence_piece;
mod special;
mod vocabulary;

pub use decoder::Decoder;
pub use encoder::Span;
pub use error::TokenizerError;

use crate::gguf::{Gguf, Metadata, Strings};
use byte_level::ByteLevel;
use encoder::Encoder;
use merger::Merger;
use sentence_piece::SentencePiece;
use special::Specials;
use std::fmt;
use vocabulary::Vocabulary;

/// The kinds of vocabularies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenizerKind {
    /// Merges join bytes: `gpt2` in files.
    ByteLevelBpe,
    /// Scores join code points: `llama` in files.
    SentencePieceBpe,
}

impl fmt::Display for TokenizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenizerKind::ByteLevelBpe => "byte-level BPE",
            TokenizerKind::SentencePieceBpe => "SentencePiece BPE",
        })
    }
}

/// How a vocabulary cuts and joins plain text.
#[derive(Debug)]
enum Scheme {
    ByteLevel(ByteLevel),
    SentencePiece(SentencePiece),
}

/// A tokenizer of either kind.
#[derive(Debug)]
pub struct Tokenizer {
    scheme: Scheme,
    vocabulary: Vocabulary,
    /// The names that are found in every text: those of user-defined tokens.
    always: Specials,
    /// The names that are found where control tokens are asked for.
    all: Specials,
    adds_bos: bool,
}

impl Tokenizer {
    /// Builds the tokenizer that a file's metadata describes.
    ///
    /// # Errors
    /// A vocabulary of another kind, or one that is wrong.
    pub fn from_gguf(gguf: &Gguf) -> Result<Tokenizer, TokenizerError> {
        let metadata = gguf.metadata();
        let (vocabulary, scheme) = match required(metadata, "tokenizer.ggml.model")? {
            "gpt2" => {
                let (vocabulary, scheme) = ByteLevel::new(metadata)?;
                (vocabulary, Scheme::ByteLevel(scheme))
            }
            "llama" => {
                let (vocabulary, scheme) = SentencePiece::new(metadata)?;
                (vocabulary, Scheme::SentencePiece(scheme))
            }
            other => return Err(TokenizerError::Model(other.to_owned())),
        };
        // Files of the `llama` kind are older than the key, and their models expect the token.
        let default = match scheme {
            Scheme::ByteLevel(_) => false,
            Scheme::SentencePiece(_) => vocabulary.named.bos.is_some(),
        };
        let adds_bos = metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(default);
        if adds_bos && vocabulary.named.bos.is_none() {
            return Err(TokenizerError::NoBos);
        }
        let always = Specials::new(&vocabulary, false);
        let all = Specials::new(&vocabulary, true);
        Ok(Tokenizer { scheme, vocabulary, always, all, adds_bos })
    }

    /// The kind of the vocabulary.
    pub fn kind(&self) -> TokenizerKind {
        match self.scheme {
            Scheme::ByteLevel(_) => TokenizerKind::ByteLevelBpe,
            Scheme::SentencePiece(_) => TokenizerKind::SentencePieceBpe,
        }
    }

    /// The ids of a text, without a token at its beginning (see [`Tokenizer::adds_bos`]) or end.
    ///
    /// With `special`, names of control tokens in the text become these tokens; without, they
    /// are plain text, and no id of the result is that of a control token, but for the unknown
    /// one of a vocabulary without byte tokens.
    ///
    /// # Errors
    /// A byte that has no token.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        self.encode_spans(&[Span { text, special }])
    }

    /// The ids of a text of which only some spans may name control tokens. Plain text on both
    /// sides of a border is encoded as one.
    ///
    /// # Errors
    /// A byte that has no token; its offset is that in the whole text.
    pub fn encode_spans(&self, spans: &[Span<'_>]) -> Result<Vec<u32>, TokenizerError> {
        let mut encoder = Encoder::new(self);
        for span in spans {
            encoder.push(*span)?;
        }
        encoder.finish()
    }

    /// Most bytes of memory that a text takes while it is cut into tokens, beside those: much for
    /// what is joined as one, a word or, in SentencePiece vocabularies, the whole text.
    pub fn working_bytes(&self, text: &str) -> u64 {
        let joined = match &self.scheme {
            Scheme::ByteLevel(scheme) => scheme.longest_word(text),
            Scheme::SentencePiece(_) => text.chars().count(),
        };
        (joined as u64).saturating_mul(Merger::SYMBOL_BYTES as u64)
    }

    /// The bytes of a token, which need not be whole characters. A control token has none, or
    /// its name where `special` asks for it.
    ///
    /// # Errors
    /// An id that is out of range.
    pub fn piece(&self, id: u32, special: bool) -> Result<&[u8], TokenizerError> {
        let count = self.vocab_len();
        let bytes = self.vocabulary.bytes(id).ok_or(TokenizerError::IdRange { id, count })?;
        Ok(if self.vocabulary.is_control(id) && !special { &[] } else { bytes })
    }

    /// The bytes of a sequence of tokens, control tokens as [`Tokenizer::piece`] has them.
    ///
    /// # Errors
    /// An id that is out of range.
    pub fn decode(&self, ids: &[u32], special: bool) -> Result<Vec<u8>, TokenizerError> {
        let mut decoder = self.decoder(&[], special);
        let mut bytes = Vec::new();
        for &id in ids {
            bytes.extend_from_slice(decoder.push(id)?);
        }
        Ok(bytes)
    }

    /// Decodes what follows `prompt`, which is not decoded itself.
    pub fn decoder(&self, prompt: &[u32], special: bool) -> Decoder<'_> {
        Decoder::new(self, prompt, special)
    }

    /// How many tokens there are: ids are below this.
    pub fn vocab_len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Most bytes of a text that one token stands for, at least 1: a text of n bytes has n / this
    /// many tokens or more.
    pub fn longest_token(&self) -> usize {
        let longest = |len: fn(&[u8]) -> usize| {
            (0..).map_while(|id| self.vocabulary.bytes(id)).map(len).max().unwrap_or(1).max(1)
        };
        match &self.scheme {
            Scheme::ByteLevel(_) => longest(<[u8]>::len),
            Scheme::SentencePiece(scheme) if scheme.joins_unknown() => usize::MAX,
            Scheme::SentencePiece(_) => longest(SentencePiece::longest_text),
        }
    }

    /// Whether a token is a control token.
    pub fn is_control(&self, id: u32) -> bool {
        self.vocabulary.is_control(id)
    }

    /// The token that a text begins with, if the file names one.
    pub fn bos(&self) -> Option<u32> {
        self.vocabulary.named.bos
    }

    /// The token that a text ends with, if the file names one.
    pub fn eos(&self) -> Option<u32> {
        self.vocabulary.named.eos
    }

    /// Whether the model expects [`Tokenizer::bos`], which is then there, before every text.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Whether a space is put before every text, and taken away from what is decoded.
    fn adds_space(&self) -> bool {
        match &self.scheme {
            Scheme::ByteLevel(_) => false,
            Scheme::SentencePiece(scheme) => scheme.adds_prefix(),
        }
    }

    /// Whether a token ends what the model has to say: the end of text, turn or message.
    pub fn is_end(&self, id: u32) -> bool {
        self.vocabulary.is_end(id)
    }
}

/// The text of a key that must be there.
fn required<'a>(metadata: &'a Metadata, key: &str) -> Result<&'a str, TokenizerError> {
    Ok(metadata.str(key)?.ok_or_else(|| metadata.missing(key))?)
}

/// The texts of a key that must be there.
fn required_strings<'a>(metadata: &'a Metadata, key: &str) -> Result<&'a Strings, TokenizerError> {
    Ok(metadata.strings(key)?.ok_or_else(|| metadata.missing(key))?)
}

/// The numbers of a key that must be there.
fn required_i32s<'a>(metadata: &'a Metadata, key: &str) -> Result<&'a [i32], TokenizerError> {
    Ok(metadata.i32s(key)?.ok_or_else(|| metadata.missing(key))?)
}
