//! SentencePiece vocabularies: the one of the reference data, and small ones made in tests.

use std::fs;

use serde_json::Value;

use crate::data;
use crate::gguf_writer::GgufWriter;

/// Tokens with their scores and types, as files list them.
#[derive(Debug, Clone, Default)]
pub struct PieceVocabulary {
    /// Texts, with U+2581 for spaces.
    pub pieces: Vec<String>,
    /// Scores: the highest joins first.
    pub scores: Vec<f32>,
    /// Types: 1 plain, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub types: Vec<i32>,
}

impl PieceVocabulary {
    /// `<unk>`, `<s>`, `</s>`, all bytes where `bytes`, and a plain token for the space.
    pub fn new(bytes: bool) -> PieceVocabulary {
        let mut vocabulary = PieceVocabulary::default();
        vocabulary.push("<unk>", 0.0, 2);
        vocabulary.push("<s>", 0.0, 3);
        vocabulary.push("</s>", 0.0, 3);
        for byte in (0..=u8::MAX).filter(|_| bytes) {
            vocabulary.push(&format!("<0x{byte:02X}>"), 0.0, 6);
        }
        vocabulary.push("\u{2581}", -1000.0, 1);
        vocabulary
    }

    /// The vocabulary of the reference data: 900 tokens, trained on the text of the perplexity
    /// measurement and some sentences in other scripts.
    ///
    /// # Panics
    /// If the file is not there, or something else.
    pub fn reference() -> (PieceVocabulary, Vec<Value>) {
        let text = fs::read_to_string(data::path("spm-tokens.json")).expect("the file is there");
        let mut value: Value = serde_json::from_str(&text).expect("it is JSON");
        let mut take = |key: &str| value[key].take();
        let read = "the file has these lists";
        let vocabulary = PieceVocabulary {
            pieces: serde_json::from_value(take("pieces")).expect(read),
            scores: serde_json::from_value(take("scores")).expect(read),
            types: serde_json::from_value(take("types")).expect(read),
        };
        (vocabulary, serde_json::from_value(take("cases")).expect(read))
    }

    /// Adds a token; its id.
    ///
    /// # Panics
    /// If there are more tokens than ids.
    pub fn push(&mut self, piece: &str, score: f32, kind: i32) -> u32 {
        self.pieces.push(piece.to_owned());
        self.scores.push(score);
        self.types.push(kind);
        u32::try_from(self.pieces.len() - 1).expect("tokens are few")
    }

    /// The id of a token.
    ///
    /// # Panics
    /// If it is not there.
    pub fn id(&self, piece: &str) -> u32 {
        let found = self.pieces.iter().zip(0..).find(|(text, _)| *text == piece);
        found.unwrap_or_else(|| panic!("no token {piece:?}")).1
    }

    /// The metadata, but for the ids that it names.
    pub fn bare(&self) -> GgufWriter {
        GgufWriter::new()
            .str("tokenizer.ggml.model", "llama")
            .strings("tokenizer.ggml.tokens", &self.pieces)
            .f32s("tokenizer.ggml.scores", &self.scores)
            .i32s("tokenizer.ggml.token_type", &self.types)
    }

    /// The metadata, in which the first three tokens are the unknown one, begin and end.
    pub fn writer(&self) -> GgufWriter {
        self.bare()
            .u32("tokenizer.ggml.unknown_token_id", 0)
            .u32("tokenizer.ggml.bos_token_id", 1)
            .u32("tokenizer.ggml.eos_token_id", 2)
    }
}
