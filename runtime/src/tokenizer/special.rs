//! Finds tokens that stand in text by their own name, such as `<|im_start|>`.

use super::vocabulary::{TokenType, Vocabulary};

/// A set of names to look for, the leftmost and of these the longest first.
#[derive(Debug)]
pub(super) struct Specials {
    /// Names and ids, in the order of the names' bytes.
    names: Vec<(Vec<u8>, u32)>,
    /// Whether any name begins with this byte.
    begins: [bool; 256],
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text to be cut and merged, and its offset in the whole.
    Text(usize, &'a str),
    /// A token that stood there by name.
    Token(u32),
}

impl Specials {
    /// The user-defined tokens of a vocabulary and, where `control`, the control tokens.
    pub(super) fn new(vocabulary: &Vocabulary, control: bool) -> Self {
        let mut names: Vec<(Vec<u8>, u32)> = vocabulary
            .types
            .iter()
            .zip(0..)
            .filter(|(kind, _)| match kind {
                TokenType::Plain | TokenType::Unused | TokenType::Byte => false,
                TokenType::Control => control,
                TokenType::UserDefined => true,
            })
            .filter_map(|(_, id)| Some((vocabulary.bytes(id)?.to_vec(), id)))
            .collect();
        names.sort_unstable();
        let mut begins = [false; 256];
        for (name, _) in &names {
            if let Some(&first) = name.first() {
                begins[usize::from(first)] = true;
            }
        }
        Specials { names, begins }
    }

    /// Splits a text at the names in it.
    pub(super) fn parts<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let bytes = text.as_bytes();
        let mut parts = Vec::new();
        let (mut start, mut at) = (0, 0);
        while let Some(&byte) = bytes.get(at) {
            let found =
                self.begins[usize::from(byte)].then(|| self.longest(&bytes[at..])).flatten();
            let Some((length, id)) = found else {
                at += 1;
                continue;
            };
            parts.extend(
                text.get(start..at)
                    .filter(|part| !part.is_empty())
                    .map(|part| Part::Text(start, part)),
            );
            parts.push(Part::Token(id));
            at += length;
            start = at;
        }
        parts.extend(
            text.get(start..).filter(|part| !part.is_empty()).map(|part| Part::Text(start, part)),
        );
        parts
    }

    /// Length and id of the longest name that `bytes` begin with.
    fn longest(&self, bytes: &[u8]) -> Option<(usize, u32)> {
        let mut names = self.names.as_slice();
        let mut longest = None;
        for (depth, &byte) in bytes.iter().enumerate() {
            // All of `names` agree with `bytes` before `depth`; keep those that agree here too.
            let start = names.partition_point(|(name, _)| name.get(depth) < Some(&byte));
            let end = names.partition_point(|(name, _)| name.get(depth) <= Some(&byte));
            names = &names[start..end];
            match names.first() {
                None => break,
                Some((name, id)) if name.len() == depth + 1 => longest = Some((depth + 1, *id)),
                Some(_) => {}
            }
        }
        longest
    }
}
