//! Byte-level vocabularies that are well formed, against a merge and a cutting into words of
//! textbook simplicity.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

use super::{LONGEST, byte_level_writer, check_text, open};
use crate::gguf_model::written;

/// All bytes, a control token, and what merges make. The first byte says how many merges there
/// are, the next ones name the two tokens of each; the rest is the text.
pub(super) fn well_formed(data: &[u8], is_smollm: bool) {
    let Some((&count, data)) = data.split_first() else { return };
    let (pairs, text) = data.split_at(data.len().min(2 * usize::from(count)));
    let mut tokens: Vec<String> = (0..=255).map(|byte| written(byte).to_string()).collect();
    let mut merges = Vec::new();
    for pair in pairs.as_chunks::<2>().0 {
        // High bytes name the latest tokens, so that merges build on merges.
        let named = pair.map(|byte| match usize::from(byte) {
            byte @ 128.. => tokens[tokens.len() - 1 - (byte - 128)].clone(),
            byte => tokens[byte].clone(),
        });
        let (line, result) = (named.join(" "), named.concat());
        if !merges.contains(&line) && result.len() <= LONGEST {
            if !tokens.contains(&result) {
                tokens.push(result);
            }
            merges.push(line);
        }
    }
    let mut types = vec![1; tokens.len()];
    // No merge makes it, for a space is written otherwise.
    tokens.push("<a b>".to_owned());
    types.push(3);
    let built = open(&byte_level_writer(&tokens, &types, &merges, is_smollm));
    let tokenizer = built.unwrap_or_else(|message| panic!("a sound vocabulary: {message}"));
    let text = String::from_utf8_lossy(text);
    check_text(&tokenizer, &text, Some(&text));
    if text.len() <= LONGEST {
        let expected: Vec<String> = words(&text, is_smollm)
            .iter()
            .flat_map(|word| merged(word.bytes().map(|b| written(b).to_string()), &merges))
            .collect();
        let ids = tokenizer.encode(&text, false).expect("a vocabulary of all bytes");
        let found: Vec<&String> = ids.iter().map(|id| &tokens[*id as usize]).collect();
        assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{text:?} by {merges:?}");
    }
}

/// The tokens of a word: the earliest merge of the list that fits anywhere is done at the
/// leftmost place where it does, until none fits.
fn merged(bytes: impl Iterator<Item = String>, merges: &[String]) -> Vec<String> {
    let mut tokens: Vec<String> = bytes.collect();
    let rank = |pair: &[String]| merges.iter().position(|line| *line == pair.join(" "));
    loop {
        let ranked = tokens.windows(2).enumerate();
        let first = ranked.filter_map(|(at, pair)| rank(pair).map(|rank| (rank, at))).min();
        let Some((_, at)) = first else { return tokens };
        let right = tokens.remove(at + 1);
        tokens[at] += &right;
    }
}

/// The words of a text: at each place the first of the alternatives of the rule's regular
/// expression that matches. SmolLM's rule sets numbers apart before that.
fn words(text: &str, is_smollm: bool) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut words = Vec::new();
    let pieces: Vec<&[char]> = if is_smollm {
        characters.chunk_by(|a, b| !a.is_numeric() && !b.is_numeric()).collect()
    } else {
        vec![&characters]
    };
    for mut piece in pieces {
        while !piece.is_empty() {
            let (word, rest) = piece.split_at(first_word(piece));
            words.push(word.iter().collect());
            piece = rest;
        }
    }
    words
}

/// Characters of the first word of a text that is not empty, by the rule of GPT-2.
fn first_word(text: &[char]) -> usize {
    for ending in ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"] {
        let ending: Vec<char> = ending.chars().collect();
        if text.starts_with(&ending) {
            return ending.len();
        }
    }
    let is_letter = |c: char| c.general_category_group() == GeneralCategoryGroup::Letter;
    let is_other = |c: char| !c.is_whitespace() && !is_letter(c) && !c.is_numeric();
    let classes: [&dyn Fn(char) -> bool; 3] = [&is_letter, &char::is_numeric, &is_other];
    for class in classes {
        let space = usize::from(text.first() == Some(&' '));
        for skipped in [space, 0] {
            let run = text.iter().skip(skipped).take_while(|c| class(**c)).count();
            if run > 0 {
                return skipped + run;
            }
        }
    }
    let spaces = text.iter().take_while(|c| c.is_whitespace()).count();
    // `\s+(?!\S)` gives a character back where something follows, if that leaves one.
    if spaces < text.len() && spaces > 1 { spaces - 1 } else { spaces }
}
