//! SentencePiece vocabularies: ids of the library, the meaning of scores, control tokens, faults.

use std::fmt::Write as _;
use std::sync::OnceLock;

use deepthin_runtime::gguf::Gguf;
use deepthin_runtime::tokenizer::{Span, Tokenizer, TokenizerError, TokenizerKind};
use deepthin_tests::data;
use deepthin_tests::gguf_writer::GgufWriter;
use deepthin_tests::piece_vocabulary::PieceVocabulary;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn build(writer: &GgufWriter) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_gguf(&writer.open().unwrap())
}

/// The tokenizer of the reference vocabulary.
fn reference() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| build(&PieceVocabulary::reference().0.writer()).unwrap())
}

#[test]
fn ids_are_those_of_sentencepiece() {
    let tokenizer = reference();
    let (_, cases) = PieceVocabulary::reference();
    assert!(cases.len() > 40);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let ids = tokenizer.encode(text, false).unwrap();
        assert_eq!(ids, data::ids(&case["ids"]), "{text:?}");
        let decoded = tokenizer.decode(&ids, false).unwrap();
        assert_eq!(decoded, text.replace('\u{2581}', " ").as_bytes(), "{text:?}");
    }
}

#[test]
fn the_kind_and_the_named_tokens_are_told() {
    let tokenizer = reference();
    assert_eq!(tokenizer.kind(), TokenizerKind::SentencePieceBpe);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    assert!(tokenizer.adds_bos(), "where the file does not say otherwise");
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(|id| tokenizer.is_control(id)),
        [true, true, true, true, false, false]
    );
    assert!(tokenizer.is_end(2) && !tokenizer.is_end(1));
    let without = PieceVocabulary::reference().0.bare();
    assert!(!build(&without).unwrap().adds_bos(), "there is none to add");
    let off = PieceVocabulary::reference().0.writer().bool("tokenizer.ggml.add_bos_token", false);
    assert!(!build(&off).unwrap().adds_bos());
}

/// Joins one pair after the other, as the definition has it, then replaces what is no token.
fn joined_by_definition(vocabulary: &PieceVocabulary, text: &str, prefix: bool) -> Vec<u32> {
    let text = if prefix && !text.is_empty() { format!(" {text}") } else { text.to_owned() };
    let mut symbols: Vec<String> =
        text.replace(' ', "\u{2581}").chars().map(String::from).collect();
    let plain = |text: &str| {
        let found = vocabulary.pieces.iter().position(|piece| piece == text);
        found.filter(|id| vocabulary.types[*id] == 1)
    };
    loop {
        let mut best: Option<(f32, usize)> = None;
        for (at, pair) in symbols.windows(2).enumerate() {
            let Some(id) = plain(&pair.concat()) else { continue };
            let score = vocabulary.scores[id];
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, at));
            }
        }
        let Some((_, at)) = best else { break };
        let right = symbols.remove(at + 1);
        symbols[at].push_str(&right);
    }
    let mut ids: Vec<u32> = Vec::new();
    let mut after_unknown = false;
    for symbol in symbols {
        let id = plain(&symbol);
        match id {
            Some(id) => ids.push(u32::try_from(id).unwrap()),
            None if vocabulary.types.contains(&6) => {
                ids.extend(symbol.bytes().map(|byte| vocabulary.id(&format!("<0x{byte:02X}>"))));
            }
            None if after_unknown => {}
            None => ids.push(0),
        }
        after_unknown = id.is_none();
    }
    ids
}

proptest! {
    /// Any scores of any tokens mean what the definition says: ties, tokens whose parts are none,
    /// spaces within tokens, unused tokens, with and without byte tokens and the first space.
    #[test]
    fn joining_is_by_score(
        pieces in prop::collection::btree_set("[ab\u{e9}\u{2581}]{1,5}", 0..40),
        scores in prop::collection::vec(-4_i8..0, 40),
        unused in prop::collection::vec(prop::bool::weighted(0.1), 40),
        bytes: bool,
        prefix: bool,
        text in "[ab\u{e9} ]{0,48}",
    ) {
        let mut vocabulary = PieceVocabulary::new(bytes);
        for ((piece, score), unused) in pieces.iter().zip(scores).zip(unused) {
            if piece != "\u{2581}" {
                vocabulary.push(piece, f32::from(score), if unused { 5 } else { 1 });
            }
        }
        let writer = vocabulary.writer().bool("tokenizer.ggml.add_space_prefix", prefix);
        let ids = build(&writer).unwrap().encode(&text, false).unwrap();
        prop_assert_eq!(ids, joined_by_definition(&vocabulary, &text, prefix));
    }

    /// Text comes back from its ids, and plain text is never a control token.
    #[test]
    fn decoding_undoes_encoding(
        parts in prop::collection::vec(
            prop_oneof![
                any::<String>(),
                "[a-z ]{0,8}",
                prop::sample::select(vec![" ", "\n", "<s>", "</s>", "<tab>", "<|user|>", "<0x41>"])
                    .prop_map(str::to_owned),
            ],
            0..8,
        ),
        special: bool,
    ) {
        let text = parts.concat().replace('\u{2581}', "");
        let ids = reference().encode(&text, special).unwrap();
        prop_assert_eq!(reference().decode(&ids, true).unwrap(), text.as_bytes());
        prop_assert!(special || ids.iter().all(|id| !reference().is_control(*id)));
    }

    /// Where a text is cut into plain spans does not matter.
    #[test]
    fn plain_spans_are_one_text(parts in prop::collection::vec("[a-z <>|/s]{0,9}", 0..6)) {
        let spans: Vec<Span<'_>> =
            parts.iter().map(|part| Span { text: part, special: false }).collect();
        let whole = reference().encode(&parts.concat(), false).unwrap();
        prop_assert_eq!(reference().encode_spans(&spans).unwrap(), whole);
    }
}

#[test]
fn a_space_is_put_before_every_text_and_taken_away() {
    let tokenizer = reference();
    let (vocabulary, _) = PieceVocabulary::reference();
    let ids = |names: &[&str]| names.iter().map(|name| vocabulary.id(name)).collect::<Vec<_>>();
    // A control token ends a text, a user-defined one is a part of it.
    let encoded = tokenizer.encode("the<s>the<tab>the", true).unwrap();
    assert_eq!(encoded, ids(&["▁the", "<s>", "▁the", "<tab>", "t", "h", "e"]));
    assert_eq!(tokenizer.encode("<tab>the", false).unwrap(), ids(&["▁", "<tab>", "t", "h", "e"]));
    assert_eq!(tokenizer.encode("", false).unwrap(), ids(&[]));
    assert_eq!(tokenizer.decode(&encoded, true).unwrap(), b"the<s>the<tab>the");
    assert_eq!(tokenizer.decode(&encoded, false).unwrap(), b"thethe<tab>the");
    // What is generated goes on in the text, or begins one.
    let the = vocabulary.id("▁the");
    assert_eq!(tokenizer.decoder(&[the], false).push(the).unwrap(), b" the");
    assert_eq!(tokenizer.decoder(&[the, 1], false).push(the).unwrap(), b"the");
    let without = vocabulary.writer().bool("tokenizer.ggml.add_space_prefix", false);
    let without = build(&without).unwrap();
    assert_eq!(without.encode("the", false).unwrap(), ids(&["t", "h", "e"]));
    assert_eq!(without.decode(&ids(&["▁the"]), false).unwrap(), b" the");
}

#[test]
fn names_of_control_tokens_are_read_in_special_spans_only() {
    let spans = |parts: &[(&'static str, bool)]| -> Vec<Span<'static>> {
        parts.iter().map(|&(text, special)| Span { text, special }).collect()
    };
    let encode = |parts| reference().encode_spans(&spans(parts)).unwrap();
    let control = |ids: Vec<u32>| ids.into_iter().filter(|id| reference().is_control(*id)).count();
    assert_eq!(control(encode(&[("<s>", true), ("</s><s>", false), ("</s>", true)])), 2);
    // Not across a border, whoever wrote the parts.
    assert_eq!(control(encode(&[("<", true), ("s>", false)])), 0);
    assert_eq!(control(encode(&[("<s", false), (">", true)])), 0);
    assert_eq!(control(encode(&[("<|", true), ("user", false), ("|>", true)])), 0);
    // A user-defined token is text, and may be anywhere.
    assert_eq!(
        encode(&[("<t", true), ("ab>", false)]),
        reference().encode("<tab>", false).unwrap()
    );
}

#[test]
fn a_text_has_no_fewer_tokens_than_the_longest_says() {
    let mut vocabulary = PieceVocabulary::new(true);
    vocabulary.push("\u{2581}a", 0.0, 1);
    vocabulary.push("\u{2581}\u{2581}a", 0.0, 1);
    let tokenizer = build(&vocabulary.writer()).unwrap();
    assert_eq!(tokenizer.longest_token(), 7, "spaces may be written as U+2581");
    let without = build(&vocabulary.writer().bool("tokenizer.ggml.add_space_prefix", false));
    assert_eq!(without.unwrap().encode("\u{2581}\u{2581}a", false).unwrap().len(), 1);
    let unknown = build(&PieceVocabulary::new(false).writer()).unwrap();
    assert_eq!(unknown.encode(&"x".repeat(1000), false).unwrap().len(), 2);
    assert_eq!(unknown.longest_token(), usize::MAX);
}

/// What is quadratic takes minutes here; what recurses per character overflows the stack.
#[test]
fn long_runs_take_linear_time() {
    let mut toy = PieceVocabulary::new(true);
    for count in [2, 4, 8, 16] {
        toy.push(&"a".repeat(count), count as f32, 1);
        toy.push(&"\u{2581}".repeat(count), count as f32, 1);
    }
    let words = build(&toy.writer()).unwrap();
    toy.push("a\u{2581}a", 1.0, 1); // a space within a token: texts are one word
    let whole = build(&toy.writer()).unwrap();
    for tokenizer in [&words, &whole, reference()] {
        for unit in ["a", "\n", " ", " a", "us", "\u{301}", "<|", "<tab>", "漢", "🙂"] {
            let text = unit.repeat(131_072 / unit.len());
            let ids = tokenizer.encode(&text, true).unwrap();
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), text.as_bytes(), "{unit:?}");
        }
    }
}

/// Builds a tokenizer of each file, which must fail, and compares the messages.
#[track_caller]
fn check_refused(files: &[(&str, GgufWriter)], expected: Expect) {
    let mut messages = String::new();
    for (name, writer) in files {
        let gguf: Gguf = writer.open().unwrap();
        let error = Tokenizer::from_gguf(&gguf).map(|_| name).unwrap_err().to_string();
        let message = error.replace(&gguf.path().display().to_string(), "FILE");
        writeln!(messages, "{name}\n  {message}").unwrap();
    }
    expected.assert_eq(&messages);
}

/// The metadata of a sound vocabulary after a change to it.
fn changed(change: impl Fn(&mut PieceVocabulary)) -> GgufWriter {
    let mut vocabulary = PieceVocabulary::new(true);
    vocabulary.push("a", -1.0, 1);
    change(&mut vocabulary);
    vocabulary.writer()
}

#[test]
fn broken_vocabularies_are_refused() {
    let sound = PieceVocabulary::new(true);
    let bare = || GgufWriter::new().str("tokenizer.ggml.model", "llama");
    let types = |writer: GgufWriter| writer.i32s("tokenizer.ggml.token_type", &sound.types);
    let texts = |writer: GgufWriter| writer.strings("tokenizer.ggml.tokens", &sound.pieces);
    check_refused(
        &[
            ("no tokens", bare()),
            ("no types", texts(bare())),
            ("no scores", types(texts(bare()))),
            ("scores of integers", types(texts(bare())).i32s("tokenizer.ggml.scores", &[1])),
            ("a score too few", changed(|v| v.scores.truncate(9))),
            ("a score too many", changed(|v| v.scores.push(0.0))),
            ("a score that is NaN", changed(|v| v.scores[7] = f32::NAN)),
            ("a score without end", changed(|v| v.scores[8] = f32::NEG_INFINITY)),
            ("a type too few", changed(|v| v.types.truncate(9))),
            ("type 0", changed(|v| v.types[7] = 0)),
            ("empty token", changed(|v| v.pieces[260].clear())),
            ("the same token twice", changed(|v| _ = v.push("a", 0.0, 1))),
        ],
        expect![[r#"
            no tokens
              FILE: found no key `tokenizer.ggml.tokens`, expected one
            no types
              FILE: found no key `tokenizer.ggml.token_type`, expected one
            no scores
              FILE: found no key `tokenizer.ggml.scores`, expected one
            scores of integers
              FILE@0x12ff: key `tokenizer.ggml.scores` is of type array of i32, expected array of f32
            a score too few
              `tokenizer.ggml.scores` holds 9 scores, expected one for each of 261 tokens
            a score too many
              `tokenizer.ggml.scores` holds 262 scores, expected one for each of 261 tokens
            a score that is NaN
              `tokenizer.ggml.scores`[7] is NaN, expected a finite number
            a score without end
              `tokenizer.ggml.scores`[8] is -inf, expected a finite number
            a type too few
              `tokenizer.ggml.token_type` holds 9 types, expected one for each of 261 tokens
            type 0
              `tokenizer.ggml.token_type`[7] is 0, expected 1 to 6
            empty token
              `tokenizer.ggml.tokens`[260] has 0 bytes, expected 1 to 65536
            the same token twice
              `tokenizer.ggml.tokens`[261] is "a" again, expected it once (at 260)
        "#]],
    );
}

#[test]
fn vocabularies_without_a_way_out_are_refused() {
    let sound = PieceVocabulary::new(true);
    check_refused(
        &[
            ("bytes missing", changed(|v| v.types[3 + 65..3 + 68].fill(1))),
            ("a byte missing", changed(|v| v.types[3] = 1)),
            ("a byte of three digits", changed(|v| v.pieces[9] = "<0x006>".to_owned())),
            ("a byte in lower case", changed(|v| v.pieces[13] = "<0x0a>".to_owned())),
            ("no bytes and nothing unknown", PieceVocabulary::new(false).bare()),
            ("no space", changed(|v| v.pieces[259] = "b".to_owned())),
            ("unknown out of range", sound.bare().u32("tokenizer.ggml.unknown_token_id", 260)),
            ("begin out of range", sound.bare().u32("tokenizer.ggml.bos_token_id", 4_000_000_000)),
            ("begin without a token", sound.bare().bool("tokenizer.ggml.add_bos_token", true)),
            (
                "white space removed",
                sound.writer().bool("tokenizer.ggml.remove_extra_whitespaces", true),
            ),
            (
                "characters mapped",
                sound.writer().i32s("tokenizer.ggml.precompiled_charsmap", &[1, 2]),
            ),
        ],
        expect![[r#"
            bytes missing
              `tokenizer.ggml.tokens` has no byte token for 0x41 to 0x43, expected all of `<0x00>` to `<0xFF>`, or none
            a byte missing
              `tokenizer.ggml.tokens` has no byte token for 0x00, expected all of `<0x00>` to `<0xFF>`, or none
            a byte of three digits
              `tokenizer.ggml.tokens`[9] is "<0x006>", expected `<0x00>` to `<0xFF>` for a token of type 6
            a byte in lower case
              `tokenizer.ggml.tokens`[13] is "<0x0a>", expected `<0x00>` to `<0xFF>` for a token of type 6
            no bytes and nothing unknown
              `tokenizer.ggml.tokens` has no byte tokens, expected `tokenizer.ggml.unknown_token_id` in their place
            no space
              `tokenizer.ggml.tokens` has no plain token `▁` (U+2581), expected it for spaces
            unknown out of range
              `tokenizer.ggml.unknown_token_id` is 260, expected an id below the vocabulary's 260
            begin out of range
              `tokenizer.ggml.bos_token_id` is 4000000000, expected an id below the vocabulary's 260
            begin without a token
              `tokenizer.ggml.add_bos_token` is set, expected `tokenizer.ggml.bos_token_id` as well
            white space removed
              `tokenizer.ggml.remove_extra_whitespaces` is set, expected a vocabulary that takes texts as they are
            characters mapped
              `tokenizer.ggml.precompiled_charsmap` is set, expected a vocabulary that takes texts as they are
        "#]],
    );
}
