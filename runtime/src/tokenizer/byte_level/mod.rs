//! Byte-level byte pair encoding, `gpt2` in GGUF files: words of bytes that a list of merges joins.
//!
//! A text is cut into words (`words`), and each word into bytes, which the vocabulary's merges
//! join to tokens (`merges`). The alphabet that files write bytes in (`alphabet`) is undone when
//! the vocabulary is read.
//!
//! The merging is our own. Of the crates that could do it, kitoken ranks the *results* of merges
//! and joins any two tokens that make one, where the file's list names the pair: with the merges
//! `b c`, `a b`, `ab c` it makes `abc` one token, and the list makes it two. On SmolLM2's
//! vocabulary the two agree, but a file's metadata is to mean what it says; the other candidate,
//! tokenizers, brings dozens of crates, one of them unmaintained. What is left is small.

mod alphabet;
mod merges;
mod words;

use super::error::TokenizerError;
use super::merger::Merger;
use super::vocabulary::{TokenIndex, TokenType, Vocabulary};
use super::{required, required_strings};
use crate::gguf::Metadata;
use merges::Merges;
use words::WordRule;

/// How words of bytes become tokens.
#[derive(Debug)]
pub(super) struct ByteLevel {
    rule: WordRule,
    merges: Merges,
    /// The token of each single byte, where there is one.
    of_byte: Box<[Option<u32>; 256]>,
}

impl ByteLevel {
    /// Reads the vocabulary and its merges.
    pub(super) fn new(metadata: &Metadata) -> Result<(Vocabulary, ByteLevel), TokenizerError> {
        let rule = match required(metadata, "tokenizer.ggml.pre")? {
            "smollm" => WordRule::SmolLm,
            "gpt-2" | "gpt2" => WordRule::Gpt2,
            other => return Err(TokenizerError::PreTokenizer(other.to_owned())),
        };
        let texts = required_strings(metadata, "tokenizer.ggml.tokens")?;
        let mut of_byte = Box::new([None; 256]);
        let vocabulary = Vocabulary::new(metadata, texts, |id, kind, text, bytes| {
            match kind {
                TokenType::Plain | TokenType::Unused | TokenType::Byte => {
                    alphabet::decode(text, bytes);
                    if let Some(byte) = alphabet::single_byte(text) {
                        of_byte[usize::from(byte)] = Some(id);
                    }
                }
                TokenType::Control | TokenType::UserDefined => {
                    bytes.extend_from_slice(text.as_bytes());
                }
            }
            Ok(())
        })?;
        let lines = required_strings(metadata, "tokenizer.ggml.merges")?;
        let merges = Merges::new(lines, &TokenIndex::new(texts, &vocabulary.types)?)?;
        Ok((vocabulary, ByteLevel { rule, merges, of_byte }))
    }

    /// Bytes of the longest word of a text.
    pub(super) fn longest_word(&self, text: &str) -> usize {
        self.rule.words(text).map(str::len).max().unwrap_or(0)
    }

    /// Appends the tokens of a text, which stands at `offset` of the whole, to `ids`.
    pub(super) fn encode(
        &self,
        text: &str,
        mut offset: usize,
        merger: &mut Merger,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        for word in self.rule.words(text) {
            merger.clear();
            for byte in word.bytes() {
                let token = self.of_byte[usize::from(byte)];
                merger.push(1, Some(token.ok_or(TokenizerError::NoToken { byte, offset })?));
                offset += 1;
            }
            merger.merge(|left, right| self.merges.find(left.id?, right.id?));
            ids.extend(merger.symbols().filter_map(|symbol| symbol.id));
        }
        Ok(())
    }
}
