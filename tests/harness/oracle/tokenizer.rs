//! Any bytes as a vocabulary and a text: the text comes back from its tokens, and the tokens are
//! those that a merge of textbook simplicity finds.

use deepthin_runtime::tokenizer::Tokenizer;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

use super::{assert_printable, file};
use crate::gguf_model::written;
use crate::gguf_writer::GgufWriter;

/// Longest text, in bytes, that is held against the simple merge, whose time is cubic; and longest
/// token that merges make here, which would double in length with each of them.
const LONGEST: usize = 300;

/// Checks a vocabulary and a text. The lowest bit of the first byte chooses the rule for words,
/// the next one whether the vocabulary is as strange as bytes can make it or well formed.
///
/// # Panics
/// If a promise of the tokenizer is broken.
pub fn tokenizer(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let is_smollm = kind & 1 == 1;
    if kind & 2 == 2 {
        strange(rest, is_smollm);
    } else {
        well_formed(rest, is_smollm);
    }
}

/// A file with this vocabulary.
fn writer(tokens: &[String], types: &[i32], merges: &[String], is_smollm: bool) -> GgufWriter {
    GgufWriter::new()
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", if is_smollm { "smollm" } else { "gpt-2" })
        .strings("tokenizer.ggml.tokens", tokens)
        .i32s("tokenizer.ggml.token_type", types)
        .strings("tokenizer.ggml.merges", merges)
}

/// The tokenizer of a file, or the message of its refusal.
fn open(writer: &GgufWriter) -> Result<Tokenizer, String> {
    let file = file(&writer.build().bytes);
    let gguf = deepthin_runtime::gguf::Gguf::open(file.path()).map_err(|e| e.to_string())?;
    Tokenizer::from_gguf(&gguf).map_err(|error| error.to_string())
}

/// What holds of every tokenizer and text: the ids exist, none is a control token unless these
/// are asked for, and the text comes back.
fn check_round_trip(tokenizer: &Tokenizer, text: &str) {
    for special in [false, true] {
        match tokenizer.encode(text, special) {
            Ok(ids) => {
                let ids_exist = ids.iter().all(|id| (*id as usize) < tokenizer.vocab_len());
                assert!(ids_exist, "ids beyond the vocabulary: {ids:?}");
                let steers = |id: &u32| tokenizer.is_control(*id);
                assert!(special || !ids.iter().any(steers), "{text:?} makes control tokens");
                let back = tokenizer.decode(&ids, special).expect("ids of the vocabulary");
                let back = String::from_utf8_lossy(&back);
                assert_eq!(back, text, "by way of {ids:?}");
            }
            Err(error) => assert_printable(&error.to_string()),
        }
    }
}

/// A vocabulary of lines: tokens, their types, merges and a text, each ended by a byte 0xff. Two
/// bytes before them are the ids of the beginning and of the end of a text.
fn strange(data: &[u8], is_smollm: bool) {
    let (ids, data) = data.split_at(data.len().min(2));
    let mut sections = data.splitn(4, |byte| *byte == 0xff).map(String::from_utf8_lossy);
    let mut section = || sections.next().unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<String>>();
    let tokens = lines(&section());
    let types: Vec<i32> = section().lines().map(|line| line.parse().unwrap_or(1)).collect();
    let merges = lines(&section());
    let text = section();
    let mut types: Vec<i32> = types.into_iter().take(tokens.len()).collect();
    types.resize(tokens.len(), 1);
    let mut writer = writer(&tokens, &types, &merges, is_smollm);
    let keys = ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"];
    for (key, id) in keys.into_iter().zip(ids) {
        if *id != u8::MAX {
            writer = writer.u32(key, u32::from(*id));
        }
    }
    match open(&writer) {
        Ok(tokenizer) => check_round_trip(&tokenizer, &text),
        Err(message) => assert_printable(&message),
    }
}

/// All bytes, a control token, and what merges make. The first byte says how many merges there
/// are, the next ones name the two tokens of each; the rest is the text.
fn well_formed(data: &[u8], is_smollm: bool) {
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
    let built = open(&writer(&tokens, &types, &merges, is_smollm));
    let tokenizer = built.unwrap_or_else(|message| panic!("a sound vocabulary: {message}"));
    let text = String::from_utf8_lossy(text);
    check_round_trip(&tokenizer, &text);
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
