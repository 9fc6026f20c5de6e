//! Turns ids to bytes one by one, as they are generated.

use super::Tokenizer;
use super::error::TokenizerError;

/// Gives each token's part of a text: its piece, but for the space that a SentencePiece vocabulary
/// puts before a text, which is taken away where a text begins.
#[derive(Debug, Clone)]
pub struct Decoder<'t> {
    tokenizer: &'t Tokenizer,
    special: bool,
    at_start: bool,
}

impl<'t> Decoder<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, prompt: &[u32], special: bool) -> Decoder<'t> {
        let at_start = prompt.last().is_none_or(|id| tokenizer.is_control(*id));
        Decoder { tokenizer, special, at_start }
    }

    /// The bytes that a token adds; they need not be whole characters.
    ///
    /// # Errors
    /// An id that is out of range.
    pub fn push(&mut self, id: u32) -> Result<&'t [u8], TokenizerError> {
        let piece = self.tokenizer.piece(id, self.special)?;
        if self.tokenizer.is_control(id) {
            self.at_start = true;
            return Ok(piece);
        }
        let at_start = std::mem::replace(&mut self.at_start, false);
        let without = piece.strip_prefix(b" ").filter(|_| at_start && self.tokenizer.adds_space());
        Ok(without.unwrap_or(piece))
    }
}
