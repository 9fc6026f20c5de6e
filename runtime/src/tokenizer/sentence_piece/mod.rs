//! SentencePiece's byte pair encoding, `llama` in GGUF files: code points that scores join.
//!
//! A text is its code points at first. Of all adjacent pairs whose concatenation is a plain token,
//! the one with the highest score is joined, the leftmost of several, until there is none. What
//! then is no token becomes the byte tokens `<0x00>` to `<0xFF>` of its UTF-8 or, in a vocabulary
//! that has none, the unknown token: one for each run.
//!
//! Files write a space as U+2581 `▁`. Here it is undone when the vocabulary is read, so that
//! texts are joined as they are; a `▁` in a text is a space, as it is to SentencePiece. A space is
//! put before a text where the file does not say otherwise, and taken away again by the decoder.
//!
//! Unused tokens are never made. SentencePiece would pass through them and take the result apart
//! again, which differs only for a vocabulary edited by hand.

mod index;

use super::error::TokenizerError;
use super::merger::{Join, Merger};
use super::vocabulary::{TokenIndex, TokenType, Vocabulary};
use super::{required_i32s, required_strings};
use crate::gguf::{Metadata, Value};
use index::PieceIndex;

/// What files write for a space.
const SPACE: char = '\u{2581}';

/// How code points become tokens.
#[derive(Debug)]
pub(super) struct SentencePiece {
    index: PieceIndex,
    /// For each token its place in the order of scores, the highest first; equal scores share it.
    ranks: Vec<u32>,
    fallback: Fallback,
    /// The token of a space alone.
    space: u32,
    adds_prefix: bool,
    /// Whether no token has a space behind another character. Then nothing is joined across the
    /// beginning of a run of spaces, and the text may be cut there.
    cuts_words: bool,
}

/// What a code point becomes that is in no token.
#[derive(Debug)]
enum Fallback {
    /// The tokens of its bytes.
    Bytes(Box<[u32; 256]>),
    /// The unknown token.
    Unknown(u32),
}

impl SentencePiece {
    /// Reads the vocabulary and its scores.
    pub(super) fn new(metadata: &Metadata) -> Result<(Vocabulary, SentencePiece), TokenizerError> {
        refuse_normalization(metadata)?;
        let texts = required_strings(metadata, "tokenizer.ggml.tokens")?;
        // Without types byte tokens and control tokens would be plain text.
        required_i32s(metadata, "tokenizer.ggml.token_type")?;
        let mut of_byte = [None; 256];
        let vocabulary = Vocabulary::new(metadata, texts, |id, kind, text, bytes| {
            match kind {
                TokenType::Plain | TokenType::Unused | TokenType::UserDefined => {
                    bytes.extend_from_slice(text.replace(SPACE, " ").as_bytes());
                }
                TokenType::Control => bytes.extend_from_slice(text.as_bytes()),
                TokenType::Byte => {
                    let form = || TokenizerError::ByteForm { id, text: text.to_owned() };
                    let byte = byte_of(text).ok_or_else(form)?;
                    of_byte[usize::from(byte)] = Some(id);
                    bytes.push(byte);
                }
            }
            Ok(())
        })?;
        TokenIndex::new(texts, &vocabulary.types)?; // refuses the same text twice
        let index = PieceIndex::new(&vocabulary, texts);
        let space = index.find(&vocabulary, " ").ok_or(TokenizerError::NoSpace)?;
        let fallback = fallback(&of_byte, vocabulary.named.unknown)?;
        let adds_prefix = metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let ranks = ranks(metadata, vocabulary.len())?;
        let cuts_words = index.pieces(&vocabulary).all(|piece| {
            !piece.windows(2).any(|pair| matches!(pair, [before, b' '] if *before != b' '))
        });
        let this = SentencePiece { index, ranks, fallback, space, adds_prefix, cuts_words };
        Ok((vocabulary, this))
    }

    /// Whether a space is put before a text.
    pub(super) fn adds_prefix(&self) -> bool {
        self.adds_prefix
    }

    /// Whether a run of any length may become one token, the unknown one.
    pub(super) fn joins_unknown(&self) -> bool {
        matches!(self.fallback, Fallback::Unknown(_))
    }

    /// The most bytes that a token with these bytes stands for in a text, which may write a space
    /// as U+2581.
    pub(super) fn longest_text(bytes: &[u8]) -> usize {
        let spaces = bytes.iter().filter(|byte| **byte == b' ').count();
        bytes.len() + spaces * (SPACE.len_utf8() - 1)
    }

    /// The token of the space before a text that begins with a token found by name.
    pub(super) fn prefix(&self) -> Option<u32> {
        self.adds_prefix.then_some(self.space)
    }

    /// Appends the tokens of a text to `ids`; `at_start` of a text a space may be put before it.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        text: &str,
        at_start: bool,
        merger: &mut Merger,
        ids: &mut Vec<u32>,
    ) {
        let mut spaced = String::with_capacity(text.len() + 1);
        if at_start && self.adds_prefix {
            spaced.push(' ');
        }
        spaced.push_str(&text.replace(SPACE, " "));
        let mut rest = spaced.as_str();
        while !rest.is_empty() {
            let (word, after) = rest.split_at(self.word_len(rest));
            self.encode_word(vocabulary, word, merger, ids);
            rest = after;
        }
    }

    /// Bytes of the first part of a text that is joined apart from the rest.
    fn word_len(&self, text: &str) -> usize {
        let mut pairs = text.bytes().zip(text.bytes().skip(1));
        let cut = pairs.position(|(before, byte)| before != b' ' && byte == b' ');
        cut.filter(|_| self.cuts_words).map_or(text.len(), |before| before + 1)
    }

    fn encode_word(
        &self,
        vocabulary: &Vocabulary,
        word: &str,
        merger: &mut Merger,
        ids: &mut Vec<u32>,
    ) {
        let find = |start, end| self.index.find(vocabulary, word.get(start..end)?);
        merger.clear();
        for (start, character) in word.char_indices() {
            let len = character.len_utf8();
            merger.push(len, find(start, start + len));
        }
        merger.merge(|left, right| {
            let id = find(left.start, right.end())?;
            Some(Join { rank: *self.ranks.get(id as usize)?, id })
        });
        let mut after_unknown = false;
        for symbol in merger.symbols() {
            match (symbol.id, &self.fallback) {
                (Some(id), _) => ids.push(id),
                (None, Fallback::Bytes(of_byte)) => {
                    let bytes = word.as_bytes().get(symbol.start..symbol.end());
                    let tokens = bytes.unwrap_or_default().iter();
                    ids.extend(tokens.map(|byte| of_byte[usize::from(*byte)]));
                }
                (None, Fallback::Unknown(_)) if after_unknown => {}
                (None, Fallback::Unknown(unknown)) => ids.push(*unknown),
            }
            after_unknown = symbol.id.is_none();
        }
    }
}

/// Refuses a vocabulary of which texts are changed before they are cut, beyond their spaces.
fn refuse_normalization(metadata: &Metadata) -> Result<(), TokenizerError> {
    let whitespace = "tokenizer.ggml.remove_extra_whitespaces";
    if metadata.bool(whitespace)? == Some(true) {
        return Err(TokenizerError::Normalization(whitespace));
    }
    let characters = "tokenizer.ggml.precompiled_charsmap";
    match metadata.get(characters) {
        Some(Value::Array(map)) if map.is_empty() => Ok(()),
        Some(_) => Err(TokenizerError::Normalization(characters)),
        None => Ok(()),
    }
}

/// The byte of a token such as `<0x0A>`.
fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_upper = |digit: u8| matches!(digit, b'0'..=b'9' | b'A'..=b'F');
    let whole = digits.len() == 2 && digits.bytes().all(is_upper);
    whole.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// The tokens of all bytes, or the unknown token where no byte has one.
fn fallback(
    of_byte: &[Option<u32>; 256],
    unknown: Option<u32>,
) -> Result<Fallback, TokenizerError> {
    let missing: Vec<u8> =
        (0..=u8::MAX).zip(of_byte).filter(|(_, id)| id.is_none()).map(|(byte, _)| byte).collect();
    match missing.len() {
        0 => Ok(Fallback::Bytes(Box::new(of_byte.map(Option::unwrap_or_default)))),
        256 => unknown.map(Fallback::Unknown).ok_or(TokenizerError::NoFallback),
        _ => Err(TokenizerError::MissingBytes { missing: ranges(&missing) }),
    }
}

/// Ascending bytes in words: `0x00 to 0x1f, 0x7f`.
fn ranges(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let texts: Vec<String> = runs
        .map(|run| match run {
            [first, .., last] => format!("0x{first:02x} to 0x{last:02x}"),
            run => run.iter().map(|byte| format!("0x{byte:02x}")).collect(),
        })
        .collect();
    texts.join(", ")
}

/// For each token its place in the order of scores.
fn ranks(metadata: &Metadata, tokens: usize) -> Result<Vec<u32>, TokenizerError> {
    let key = "tokenizer.ggml.scores";
    let scores = metadata.f32s(key)?.ok_or_else(|| metadata.missing(key))?;
    if scores.len() != tokens {
        return Err(TokenizerError::ScoreCount { found: scores.len(), tokens });
    }
    let rank = |(index, &found): (usize, &f32)| {
        if !found.is_finite() {
            return Err(TokenizerError::Score { index, found });
        }
        let bits = (found + 0.0).to_bits(); // -0 is 0
        // Descends with the score: negative numbers' bits ascend as they fall.
        Ok(if bits >> 31 == 0 { !(bits | 1 << 31) } else { bits })
    };
    scores.iter().enumerate().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_listed_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 9, 65, 66, 255]), "0x00 to 0x02, 0x09, 0x41 to 0x42, 0xff");
    }

    #[test]
    fn byte_tokens_have_one_spelling() {
        assert_eq!([byte_of("<0x00>"), byte_of("<0x0A>")], [Some(0), Some(10)]);
        for text in ["<0x0a>", "<0xA>", "<0x+A>", "0x0A", "<0x0A", "<0x100>", ""] {
            assert_eq!(byte_of(text), None, "{text}");
        }
    }
}
