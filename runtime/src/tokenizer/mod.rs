//! Text to token ids and back: byte-level BPE, built from the metadata of a GGUF file.
//!
//! A text is first split at the special tokens that stand in it by name (`special`), then each
//! part into words (`words`), then each word into bytes, which the vocabulary's merges join to
//! tokens (`merges`). Tokens are kept as bytes; the alphabet that files write them in is undone
//! when the vocabulary is read (`alphabet`, `vocabulary`).
//!
//! The merging is our own. Of the crates that could do it, kitoken ranks the *results* of merges
//! and joins any two tokens that make one, where the file's list names the pair: with the merges
//! `b c`, `a b`, `ab c` it makes `abc` one token, and the list makes it two. On SmolLM2's
//! vocabulary the two agree, but a file's metadata is to mean what it says; the other candidate,
//! tokenizers, brings dozens of crates, one of them unmaintained. What is left is small.
//!
//! Control tokens steer a model, so text that comes from a user must never become one:
//! [`Tokenizer::encode`] reads their names only where it is told to, and a vocabulary whose merges
//! could make one is refused. A byte without a token is an error that names the place, since
//! dropping it would change the text.

mod alphabet;
mod error;
mod merges;
mod special;
mod vocabulary;
mod words;

pub use error::TokenizerError;

use crate::gguf::{Gguf, Metadata, Strings};
use merges::{Merger, Merges};
use special::{Part, Specials};
use vocabulary::{TokenIndex, Vocabulary};
use words::WordRule;

/// A byte-level BPE tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    rule: WordRule,
    vocabulary: Vocabulary,
    merges: Merges,
    /// The names that are found in every text: those of user-defined tokens.
    always: Specials,
    /// The names that are found where control tokens are asked for.
    all: Specials,
    adds_bos: bool,
}

impl Tokenizer {
    /// Builds the tokenizer that a file's metadata describes.
    pub fn from_gguf(gguf: &Gguf) -> Result<Tokenizer, TokenizerError> {
        let metadata = gguf.metadata();
        match required(metadata, "tokenizer.ggml.model")? {
            "gpt2" => {}
            other => return Err(TokenizerError::Model(other.to_owned())),
        }
        let rule = match required(metadata, "tokenizer.ggml.pre")? {
            "smollm" => WordRule::SmolLm,
            "gpt-2" | "gpt2" => WordRule::Gpt2,
            other => return Err(TokenizerError::PreTokenizer(other.to_owned())),
        };
        let texts = required_strings(metadata, "tokenizer.ggml.tokens")?;
        let vocabulary = Vocabulary::new(metadata, texts)?;
        let lines = required_strings(metadata, "tokenizer.ggml.merges")?;
        let merges = Merges::new(lines, &TokenIndex::new(texts, &vocabulary.types)?)?;
        let adds_bos = metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
        if adds_bos && vocabulary.named.bos.is_none() {
            return Err(TokenizerError::NoBos);
        }
        let always = Specials::new(&vocabulary, false);
        let all = Specials::new(&vocabulary, true);
        Ok(Tokenizer { rule, vocabulary, merges, always, all, adds_bos })
    }

    /// The ids of a text, without a token at its beginning (see [`Tokenizer::adds_bos`]).
    ///
    /// With `special`, names of control tokens in the text become these tokens; without, they
    /// are plain text, and no id of the result is that of a control token.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let names = if special { &self.all } else { &self.always };
        let mut merger = Merger::new(&self.merges);
        let mut ids = Vec::new();
        let mut bytes = Vec::new();
        for part in names.parts(text) {
            match part {
                Part::Token(id) => ids.push(id),
                Part::Text(mut offset, part) => {
                    for word in self.rule.words(part) {
                        self.byte_tokens(word, offset, &mut bytes)?;
                        merger.merge(&bytes, &mut ids);
                        offset += word.len();
                    }
                }
            }
        }
        Ok(ids)
    }

    /// Replaces `tokens` by the tokens of the bytes of a word, which stands at `offset`.
    fn byte_tokens(
        &self,
        word: &str,
        offset: usize,
        tokens: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        tokens.clear();
        for (index, byte) in word.bytes().enumerate() {
            let token = self.vocabulary.of_byte[usize::from(byte)];
            tokens.push(token.ok_or(TokenizerError::NoToken { byte, offset: offset + index })?);
        }
        Ok(())
    }

    /// The bytes of a token, which need not be whole characters. A control token has none, or
    /// its name where `special` asks for it.
    pub fn piece(&self, id: u32, special: bool) -> Result<&[u8], TokenizerError> {
        let count = self.vocab_len();
        let bytes = self.vocabulary.bytes(id).ok_or(TokenizerError::IdRange { id, count })?;
        Ok(if self.vocabulary.is_control(id) && !special { &[] } else { bytes })
    }

    /// The bytes of a sequence of tokens, control tokens as [`Tokenizer::piece`] has them.
    pub fn decode(&self, ids: &[u32], special: bool) -> Result<Vec<u8>, TokenizerError> {
        let mut bytes = Vec::new();
        for &id in ids {
            bytes.extend_from_slice(self.piece(id, special)?);
        }
        Ok(bytes)
    }

    /// How many tokens there are: ids are below this.
    pub fn vocab_len(&self) -> usize {
        self.vocabulary.len()
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
