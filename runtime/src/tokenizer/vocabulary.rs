//! The tokens of a vocabulary: their bytes, their types, and the ids with a meaning of their own.

use super::error::TokenizerError;
use crate::gguf::{Metadata, Strings};
use std::hash::{BuildHasher as _, RandomState};

/// More tokens than any vocabulary has: the largest have some 262,000.
const MAX_TOKENS: usize = 1 << 20;

/// Longer than any token: longest are runs of white space, of some hundred bytes.
const MAX_TOKEN_BYTES: usize = 1 << 16;

/// Control tokens that end an answer even where the metadata names another one, since models
/// trained on several formats emit them all.
const END_TEXTS: [&str; 8] = [
    "<|endoftext|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|end|>",
    "</s>",
];

/// What a token is for, as `tokenizer.ggml.token_type` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenType {
    /// Made by joining.
    Plain,
    /// Steers the model and is no text; plain text never contains it.
    Control,
    /// Added later, with its own text, which is found in plain text before anything is merged.
    UserDefined,
    /// A plain token that training has not met.
    Unused,
    /// A single byte, by number. Files of byte-level vocabularies mark no token so, or any.
    Byte,
}

impl TokenType {
    fn from_number(index: usize, number: i32) -> Result<TokenType, TokenizerError> {
        match number {
            1 => Ok(TokenType::Plain),
            2 | 3 => Ok(TokenType::Control),
            4 => Ok(TokenType::UserDefined),
            5 => Ok(TokenType::Unused),
            6 => Ok(TokenType::Byte),
            found => Err(TokenizerError::TokenType { index, found }),
        }
    }
}

/// The ids that the metadata names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NamedIds {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unknown: Option<u32>,
    eot: Option<u32>,
    eom: Option<u32>,
}

impl NamedIds {
    fn read(metadata: &Metadata, count: usize) -> Result<NamedIds, TokenizerError> {
        let read = |key| match metadata.u32(key)? {
            Some(id) if id as usize >= count => Err(TokenizerError::SpecialId { key, id, count }),
            id => Ok(id),
        };
        Ok(NamedIds {
            bos: read("tokenizer.ggml.bos_token_id")?,
            eos: read("tokenizer.ggml.eos_token_id")?,
            unknown: read("tokenizer.ggml.unknown_token_id")?,
            eot: read("tokenizer.ggml.eot_token_id")?,
            eom: read("tokenizer.ggml.eom_token_id")?,
        })
    }
}

/// The tokens by their text in the file, while a tokenizer is built.
///
/// A hundred thousand look-ups decide how long that takes, so that this is a hash table: open
/// addressing, at most half full. Its hashes are seeded anew in each process, so that no file can
/// be made of texts that meet in one slot; nothing tells the order of slots.
#[derive(Debug)]
pub(super) struct TokenIndex<'a> {
    /// Ids from 1 on, 0 where there is none; a power of two of them.
    slots: Vec<u32>,
    hasher: RandomState,
    texts: &'a Strings,
    types: &'a [TokenType],
}

impl<'a> TokenIndex<'a> {
    /// Refuses the same text twice.
    pub(super) fn new(texts: &'a Strings, types: &'a [TokenType]) -> Result<Self, TokenizerError> {
        let size = texts.len().saturating_mul(2).max(1).next_power_of_two();
        let hasher = RandomState::new();
        let mut index = TokenIndex { slots: vec![0; size], hasher, texts, types };
        for (text, second) in texts.iter().zip(0..) {
            match index.find(text) {
                (_, Some(first)) => {
                    let text = text.to_owned();
                    return Err(TokenizerError::DuplicateToken { text, first, second });
                }
                (slot, None) => {
                    if let Some(slot) = index.slots.get_mut(slot) {
                        *slot = second + 1;
                    }
                }
            }
        }
        Ok(index)
    }

    /// The id of the token with this text.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.find(text).1
    }

    /// The slot and the id of a text, or the free slot where it would be.
    fn find(&self, text: &str) -> (usize, Option<u32>) {
        let mask = self.slots.len().saturating_sub(1);
        let hash = self.hasher.hash_one(text);
        let mut slot = usize::try_from(hash & mask as u64).unwrap_or(0);
        loop {
            // Half of the slots are free, so that one is met.
            let found = self.slots.get(slot).and_then(|found| found.checked_sub(1));
            match found {
                None => return (slot, None),
                Some(id) if self.texts.get(id as usize) == Some(text) => return (slot, Some(id)),
                Some(_) => slot = (slot + 1) & mask,
            }
        }
    }

    /// What a token is for.
    pub(super) fn kind(&self, id: u32) -> Option<TokenType> {
        self.types.get(id as usize).copied()
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.types.len()
    }
}

/// The first eight bytes of a text, zeros after its end, in the order of texts.
pub(super) fn prefix(text: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(text) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

/// Bytes and types of all tokens.
#[derive(Debug)]
pub(super) struct Vocabulary {
    bytes: Vec<u8>,
    /// Where the bytes of each token end.
    ends: Vec<usize>,
    pub(super) types: Vec<TokenType>,
    pub(super) named: NamedIds,
    /// The tokens that end an answer, ascending.
    ends_answer: Vec<u32>,
}

impl Vocabulary {
    /// Reads tokens, types and named ids; `append` adds the bytes that a token's text in the file
    /// stands for.
    pub(super) fn new(
        metadata: &Metadata,
        texts: &Strings,
        mut append: impl FnMut(u32, TokenType, &str, &mut Vec<u8>) -> Result<(), TokenizerError>,
    ) -> Result<Self, TokenizerError> {
        let count = texts.len();
        if !(1..=MAX_TOKENS).contains(&count) {
            return Err(TokenizerError::VocabularySize { count, limit: MAX_TOKENS });
        }
        let named = NamedIds::read(metadata, count)?;
        let types = read_types(metadata, count, named)?;
        let mut vocabulary = Vocabulary {
            bytes: Vec::new(),
            ends: Vec::with_capacity(count),
            types,
            named,
            ends_answer: Vec::new(),
        };
        for ((index, text), id) in texts.iter().enumerate().zip(0..) {
            if !(1..=MAX_TOKEN_BYTES).contains(&text.len()) {
                let (length, limit) = (text.len(), MAX_TOKEN_BYTES);
                return Err(TokenizerError::TokenLength { index, length, limit });
            }
            let kind = vocabulary.types.get(index).copied().unwrap_or(TokenType::Plain);
            append(id, kind, text, &mut vocabulary.bytes)?;
            vocabulary.ends.push(vocabulary.bytes.len());
            let is_end_text = kind == TokenType::Control && END_TEXTS.contains(&text);
            let NamedIds { eos, eot, eom, .. } = vocabulary.named;
            if is_end_text || [eos, eot, eom].contains(&Some(id)) {
                vocabulary.ends_answer.push(id);
            }
        }
        Ok(vocabulary)
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a token; of a control token, its name.
    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let index = id as usize;
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    /// Whether a token is a control token.
    pub(super) fn is_control(&self, id: u32) -> bool {
        self.types.get(id as usize) == Some(&TokenType::Control)
    }

    /// Whether a token ends an answer.
    pub(super) fn is_end(&self, id: u32) -> bool {
        self.ends_answer.binary_search(&id).is_ok()
    }
}

/// The type of every token. The named ids are control tokens whatever their type says: a file
/// that forgets it must not let plain text end an answer.
fn read_types(
    metadata: &Metadata,
    count: usize,
    named: NamedIds,
) -> Result<Vec<TokenType>, TokenizerError> {
    let mut types = match metadata.i32s("tokenizer.ggml.token_type")? {
        None => vec![TokenType::Plain; count],
        Some(numbers) if numbers.len() != count => {
            return Err(TokenizerError::TypeCount { found: numbers.len(), tokens: count });
        }
        Some(numbers) => numbers
            .iter()
            .enumerate()
            .map(|(index, &number)| TokenType::from_number(index, number))
            .collect::<Result<_, _>>()?,
    };
    for id in [named.bos, named.eos, named.eot, named.eom].into_iter().flatten() {
        if let Some(kind) = types.get_mut(id as usize) {
            *kind = TokenType::Control;
        }
    }
    Ok(types)
}
