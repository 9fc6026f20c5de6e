//! SentencePiece vocabularies that are well formed, against joining of textbook simplicity.

use std::cmp::Reverse;

use super::{LONGEST, check_text, open, sentence_piece_writer};

/// What files write for a space.
const SPACE: &str = "\u{2581}";

/// A plain token and its score.
type Piece = (String, i8);

/// Control tokens, all bytes, and what joins make. The first byte says how many plain tokens there
/// are, the next ones name the two parts and the score of each; the rest is the text.
pub(super) fn well_formed(data: &[u8], adds_prefix: bool) {
    let Some((&count, data)) = data.split_first() else { return };
    let (triples, text) = data.split_at(data.len().min(3 * usize::from(count)));
    let mut pieces: Vec<Piece> = vec![(SPACE.to_owned(), -100)];
    let bytes = (0..=255).map(|byte: u8| format!("<0x{byte:02X}>"));
    let others: Vec<String> =
        ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(bytes).collect();
    for &[left, right, score] in triples.as_chunks::<3>().0 {
        // High bytes name the latest pieces; 255 is no part at all.
        let part = |byte: u8| match byte {
            b' ' => SPACE.to_owned(),
            ..128 => char::from(byte).to_string(),
            255 => String::new(),
            128.. => pieces[pieces.len() - 1 - usize::from(byte - 128) % pieces.len()].0.clone(),
        };
        let piece = part(left) + &part(right);
        let is_new = !others.contains(&piece) && pieces.iter().all(|(known, _)| *known != piece);
        if is_new && (1..=LONGEST).contains(&piece.len()) {
            pieces.push((piece, score.cast_signed()));
        }
    }
    let types = [2, 3, 3].into_iter().chain([6; 256]).chain(pieces.iter().map(|_| 1));
    let types: Vec<i32> = types.collect();
    let scores: Vec<f32> =
        others.iter().map(|_| 0.0).chain(pieces.iter().map(|(_, score)| (*score).into())).collect();
    let plain = pieces.iter().map(|(piece, _)| piece.clone());
    let tokens: Vec<String> = others.iter().cloned().chain(plain).collect();
    let built = open(&sentence_piece_writer(&tokens, &types, &scores, adds_prefix));
    let tokenizer = built.unwrap_or_else(|message| panic!("a sound vocabulary: {message}"));
    let text = String::from_utf8_lossy(text);
    check_text(&tokenizer, &text, Some(&text.replace(SPACE, " ")));
    if text.len() <= LONGEST {
        let expected = joined(&text, adds_prefix, &pieces);
        let ids = tokenizer.encode(&text, false).expect("a vocabulary of all bytes");
        let found: Vec<&String> = ids.iter().map(|id| &tokens[*id as usize]).collect();
        assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{text:?} by {pieces:?}");
    }
}

/// The tokens of a text: of the neighbors that make a token those with the highest score are
/// joined, the leftmost first, until none are left; what then is no token is its bytes.
fn joined(text: &str, adds_prefix: bool, pieces: &[Piece]) -> Vec<String> {
    let prefix = if adds_prefix && !text.is_empty() { " " } else { "" };
    let text = format!("{prefix}{text}").replace(' ', SPACE);
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    let score = |text: &str| Some(pieces.iter().find(|(piece, _)| piece == text)?.1);
    loop {
        let pairs = parts.windows(2).enumerate();
        let best = pairs.filter_map(|(at, pair)| Some((score(&pair.concat())?, Reverse(at)))).max();
        let Some((_, Reverse(at))) = best else { break };
        let right = parts.remove(at + 1);
        parts[at] += &right;
    }
    let of_part = |part: String| match score(&part) {
        Some(_) => vec![part],
        None => part.bytes().map(|byte| format!("<0x{byte:02X}>")).collect(),
    };
    parts.into_iter().flat_map(of_part).collect()
}
