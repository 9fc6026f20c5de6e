//! Any bytes as a vocabulary and a text: the text comes back from its tokens, and the tokens are
//! those that an encoder of textbook simplicity finds.

mod byte_level;
mod sentence_piece;

use deepthin_runtime::gguf::Gguf;
use deepthin_runtime::tokenizer::Tokenizer;

use super::{assert_printable, file};
use crate::gguf_writer::GgufWriter;

/// Longest text, in bytes, that is held against a simple encoder, whose time is cubic; and longest
/// token that joining makes here, which would double in length with each of them.
const LONGEST: usize = 300;

/// Checks a vocabulary and a text. Of the first byte the lowest bit chooses the rule for words or
/// whether a space is put before a text, the next one whether the vocabulary is as strange as
/// bytes can make it or well formed, and the next one its kind: bytes or SentencePiece.
///
/// # Panics
/// If a promise of the tokenizer is broken.
pub fn tokenizer(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let first = kind & 1 == 1;
    match (kind & 4 == 4, kind & 2 == 2) {
        (false, false) => byte_level::well_formed(rest, first),
        (true, false) => sentence_piece::well_formed(rest, first),
        (is_sentence_piece, true) => strange(rest, is_sentence_piece, first),
    }
}

/// A file with a vocabulary of bytes.
fn byte_level_writer(
    tokens: &[String],
    types: &[i32],
    merges: &[String],
    is_smollm: bool,
) -> GgufWriter {
    GgufWriter::new()
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", if is_smollm { "smollm" } else { "gpt-2" })
        .strings("tokenizer.ggml.tokens", tokens)
        .i32s("tokenizer.ggml.token_type", types)
        .strings("tokenizer.ggml.merges", merges)
}

/// A file with a SentencePiece vocabulary.
fn sentence_piece_writer(
    tokens: &[String],
    types: &[i32],
    scores: &[f32],
    adds_prefix: bool,
) -> GgufWriter {
    let bytes: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
    GgufWriter::new()
        .str("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", tokens)
        .i32s("tokenizer.ggml.token_type", types)
        .array("tokenizer.ggml.scores", 6, scores.len(), &bytes)
        .bool("tokenizer.ggml.add_space_prefix", adds_prefix)
}

/// The tokenizer of a file, or the message of its refusal.
fn open(writer: &GgufWriter) -> Result<Tokenizer, String> {
    let file = file(&writer.build().bytes);
    let gguf = Gguf::open(file.path()).map_err(|error| error.to_string())?;
    Tokenizer::from_gguf(&gguf).map_err(|error| error.to_string())
}

/// What holds of every tokenizer and text: the ids exist, and none is a control token unless these
/// are asked for. Where a text `comes_back`, decoding gives it.
fn check_text(tokenizer: &Tokenizer, text: &str, comes_back: Option<&str>) {
    for special in [false, true] {
        match tokenizer.encode(text, special) {
            Ok(ids) => {
                let ids_exist = ids.iter().all(|id| (*id as usize) < tokenizer.vocab_len());
                assert!(ids_exist, "ids beyond the vocabulary: {ids:?}");
                let decoded = tokenizer.decode(&ids, special).expect("ids of the vocabulary");
                let Some(expected) = comes_back else { continue };
                assert_eq!(String::from_utf8_lossy(&decoded), expected, "by way of {ids:?}");
                let steers = |id: &u32| tokenizer.is_control(*id);
                assert!(special || !ids.iter().any(steers), "{text:?} makes control tokens");
            }
            Err(error) => assert_printable(&error.to_string()),
        }
    }
}

/// A vocabulary of lines: tokens, their types, merges or scores, and a text, each ended by a byte
/// 0xff. Two bytes before them are the ids of the beginning and of the end of a text; the first is
/// that of the unknown token too.
fn strange(data: &[u8], is_sentence_piece: bool, first: bool) {
    let (ids, data) = data.split_at(data.len().min(2));
    let mut sections = data.splitn(4, |byte| *byte == 0xff).map(String::from_utf8_lossy);
    let mut section = || sections.next().unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<String>>();
    let tokens = lines(&section());
    let types: Vec<i32> = section().lines().map(|line| line.parse().unwrap_or(1)).collect();
    let joins = lines(&section());
    let text = section();
    let mut types: Vec<i32> = types.into_iter().take(tokens.len()).collect();
    types.resize(tokens.len(), 1);
    let mut writer = if is_sentence_piece {
        let mut scores: Vec<f32> = joins.iter().map(|line| line.parse().unwrap_or(0.0)).collect();
        scores.resize(tokens.len(), 0.0);
        sentence_piece_writer(&tokens, &types, &scores, first)
    } else {
        byte_level_writer(&tokens, &types, &joins, first)
    };
    for (key, id) in ["bos", "eos", "unknown"].into_iter().zip(ids.iter().chain(ids)) {
        if *id != u8::MAX {
            writer = writer.u32(&format!("tokenizer.ggml.{key}_token_id"), u32::from(*id));
        }
    }
    match open(&writer) {
        // What SentencePiece does not know is lost.
        Ok(tokenizer) => check_text(&tokenizer, &text, (!is_sentence_piece).then_some(&*text)),
        Err(message) => assert_printable(&message),
    }
}
