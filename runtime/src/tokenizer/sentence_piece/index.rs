//! Finds plain tokens by their text.

use crate::gguf::Strings;
use crate::tokenizer::vocabulary::{TokenType, Vocabulary, prefix};

/// The plain tokens of a vocabulary by their text, which the vocabulary keeps: a sorted list, since
/// the first eight bytes decide most comparisons without a look at the text.
#[derive(Debug)]
pub(super) struct PieceIndex {
    /// The first bytes of a text, and the id.
    entries: Vec<(u64, u32)>,
}

impl PieceIndex {
    /// Leaves out what no text can become: tokens that the file writes with a space in place of
    /// U+2581, of which SentencePiece's texts have none.
    pub(super) fn new(vocabulary: &Vocabulary, texts: &Strings) -> PieceIndex {
        let plain = vocabulary.types.iter().zip(texts.iter()).zip(0..);
        let mut entries: Vec<(u64, u32)> = plain
            .filter(|((kind, text), _)| **kind == TokenType::Plain && !text.contains(' '))
            .map(|(_, id)| (prefix(of(vocabulary, id)), id))
            .collect();
        entries.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| of(vocabulary, a.1).cmp(of(vocabulary, b.1)))
        });
        PieceIndex { entries }
    }

    /// The id of the plain token with this text.
    pub(super) fn find(&self, vocabulary: &Vocabulary, text: &str) -> Option<u32> {
        let wanted = prefix(text.as_bytes());
        let at = self.entries.binary_search_by(|&(found, id)| {
            found.cmp(&wanted).then_with(|| of(vocabulary, id).cmp(text.as_bytes()))
        });
        self.entries.get(at.ok()?).map(|(_, id)| *id)
    }

    /// The texts of all of them.
    pub(super) fn pieces<'v>(
        &'v self,
        vocabulary: &'v Vocabulary,
    ) -> impl Iterator<Item = &'v [u8]> {
        self.entries.iter().map(|(_, id)| of(vocabulary, *id))
    }
}

/// The bytes of a token.
fn of(vocabulary: &Vocabulary, id: u32) -> &[u8] {
    vocabulary.bytes(id).unwrap_or_default()
}
