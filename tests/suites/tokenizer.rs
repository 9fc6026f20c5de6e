//! The tokenizer: ids of the real model, the meaning of merges, control tokens, hostile input.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use deepthin_runtime::gguf::Gguf;
use deepthin_runtime::tokenizer::{Tokenizer, TokenizerError};
use deepthin_tests::gguf_writer::GgufWriter;
use deepthin_tests::{data, real_model};
use expect_test::{Expect, expect};
use proptest::prelude::*;

/// The tokenizer of the real model.
fn smollm2() -> Option<&'static Tokenizer> {
    static TOKENIZER: OnceLock<Option<Tokenizer>> = OnceLock::new();
    let read = || {
        let gguf = Gguf::open(&real_model::smollm2()?).unwrap();
        Some(Tokenizer::from_gguf(&gguf).unwrap())
    };
    TOKENIZER.get_or_init(read).as_ref()
}

/// The character that a vocabulary writes for a byte.
fn written(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(*byte)).count();
    char::from_u32(256 + u32::try_from(before).unwrap()).unwrap()
}

/// A vocabulary in the making: three control tokens, two user-defined ones, all bytes, merges.
struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
}

impl Vocabulary {
    fn new(merges: &[&str]) -> Self {
        let named = [("<eos>", 3), ("<bos>", 3), ("<|x|>", 3), ("<tab>", 4), ("<tab><tab>", 4)];
        let bytes = (0..=255).map(|byte| (written(byte).to_string(), 1));
        let (tokens, types) =
            named.map(|(name, kind)| (name.to_owned(), kind)).into_iter().chain(bytes).unzip();
        let mut vocabulary = Vocabulary { tokens, types, merges: Vec::new() };
        for merge in merges {
            vocabulary.merge(merge);
        }
        vocabulary
    }

    fn merge(&mut self, line: &str) {
        let result = line.replace(' ', "");
        if !self.tokens.contains(&result) {
            self.tokens.push(result);
            self.types.push(1);
        }
        self.merges.push(line.to_owned());
    }

    fn id(&self, token: &str) -> u32 {
        self.tokens.iter().zip(0..).find(|(text, _)| *text == token).unwrap().1
    }

    fn writer(&self) -> GgufWriter {
        self.writer_of("smollm")
    }

    /// The metadata, with the rule by which words are cut.
    fn writer_of(&self, pre: &str) -> GgufWriter {
        GgufWriter::new()
            .str("tokenizer.ggml.model", "gpt2")
            .str("tokenizer.ggml.pre", pre)
            .strings("tokenizer.ggml.tokens", &self.tokens)
            .i32s("tokenizer.ggml.token_type", &self.types)
            .strings("tokenizer.ggml.merges", &self.merges)
            .u32("tokenizer.ggml.eos_token_id", 0)
            .u32("tokenizer.ggml.bos_token_id", 1)
    }

    fn build(&self) -> Tokenizer {
        build(&self.writer()).unwrap()
    }
}

fn build(writer: &GgufWriter) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_gguf(&writer.open().unwrap())
}

#[test]
fn ids_of_the_real_model_are_those_of_llama_cpp() {
    let Some(tokenizer) = smollm2() else { return };
    let entries = data::entries("smollm2-tokens.json");
    assert!(entries.len() > 20);
    for entry in entries {
        let text = entry["text"].as_str().unwrap();
        let special = entry["special"].as_bool().unwrap();
        let ids = tokenizer.encode(text, special).unwrap();
        assert_eq!(ids, data::ids(&entry["ids"]), "{text:?}");
        assert_eq!(tokenizer.decode(&ids, special).unwrap(), text.as_bytes());
    }
}

#[test]
fn the_real_model_names_its_ids() {
    let Some(tokenizer) = smollm2() else { return };
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    assert_eq!((tokenizer.vocab_len(), tokenizer.adds_bos()), (49_152, false));
    let ends: Vec<u32> = (0..49_152).filter(|id| tokenizer.is_end(*id)).collect();
    assert_eq!(ends, [0, 2], "<|endoftext|> and <|im_end|>");
    assert_eq!(tokenizer.piece(1, false).unwrap(), b"");
    assert_eq!(tokenizer.piece(1, true).unwrap(), b"<|im_start|>");
    let error = tokenizer.piece(49_152, false).unwrap_err().to_string();
    assert_eq!(error, "token id 49152, expected one below the vocabulary's 49152");
}

/// SmolLM2's vocabulary lacks some control characters and the bytes of planes that are not used.
#[test]
fn bytes_without_a_token_are_named() {
    let Some(tokenizer) = smollm2() else { return };
    let error = tokenizer.encode("one <|im_end|>\u{4}", true).unwrap_err().to_string();
    expect!["byte 0x04 at 14 of the text has no token in the model's vocabulary"].assert_eq(&error);
}

#[test]
fn merges_join_the_pairs_that_the_file_names() {
    // No merge joins `a` and `bc`, though `abc` is a token.
    let vocabulary = Vocabulary::new(&["b c", "a b", "ab c"]);
    let tokenizer = vocabulary.build();
    assert_eq!(tokenizer.encode("abc", false).unwrap(), [vocabulary.id("a"), vocabulary.id("bc")]);
    // Of equal pairs the leftmost is joined first.
    let vocabulary = Vocabulary::new(&["a a"]);
    let ids = vocabulary.build().encode("aaaaa", false).unwrap();
    assert_eq!(ids, ["aa", "aa", "a"].map(|token| vocabulary.id(token)));
}

#[test]
fn control_tokens_come_only_where_they_are_asked_for() {
    let vocabulary = Vocabulary::new(&["o s", "t a"]);
    let tokenizer = vocabulary.build();
    let text = "a<eos><|x|><tab><tab><tab>ta";
    let ids = |names: &[&str]| names.iter().map(|name| vocabulary.id(name)).collect::<Vec<_>>();
    let marks = ["<tab><tab>", "<tab>", "ta"];
    let plain = [&["a", "<", "e", "os", ">", "<", "|", "x", "|", ">"], marks.as_slice()].concat();
    let special = [&["a", "<eos>", "<|x|>"], marks.as_slice()].concat();
    assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&plain));
    assert_eq!(tokenizer.encode(text, true).unwrap(), ids(&special));
    assert_eq!(tokenizer.decode(&ids(&special), true).unwrap(), text.as_bytes());
    assert_eq!(tokenizer.decode(&ids(&special), false).unwrap(), b"a<tab><tab><tab>ta");
}

#[test]
fn ids_that_the_metadata_names_are_control_tokens_whatever_their_type() {
    let mut vocabulary = Vocabulary::new(&[]);
    vocabulary.types.fill(1);
    let tokenizer = build(&vocabulary.writer().u32("tokenizer.ggml.eot_token_id", 2)).unwrap();
    assert_eq!([0, 1, 2, 3].map(|id| tokenizer.is_control(id)), [true, true, true, false]);
    assert_eq!([0, 1, 2, 3].map(|id| tokenizer.is_end(id)), [true, false, true, false]);
}

/// What is quadratic takes minutes here; what recurses per character overflows the stack.
#[test]
fn long_runs_take_linear_time() {
    let toy = Vocabulary::new(&["a a", "aa aa", "aaaa aaaa", "Ċ Ċ", "u s"]).build();
    // By this rule numbers are one word.
    let gpt2 = build(&Vocabulary::new(&["a a", "1 1"]).writer_of("gpt-2")).unwrap();
    let start = Instant::now();
    for tokenizer in [Some(&toy), Some(&gpt2), smollm2()].into_iter().flatten() {
        for unit in ["a", "Z", "\n", " ", " \n", "us", "1", "\u{301}", "<|", "<tab>", "'", "漢"] {
            let text = unit.repeat(131_072 / unit.len());
            let ids = tokenizer.encode(&text, true).unwrap();
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), text.as_bytes());
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
}

/// Builds a tokenizer of each file, which must fail, and compares the messages.
#[track_caller]
fn check_refused(files: &[(&str, GgufWriter)], expected: Expect) {
    let mut messages = String::new();
    for (name, writer) in files {
        let gguf = writer.open().unwrap();
        let error = Tokenizer::from_gguf(&gguf).map(|_| name).unwrap_err();
        let message = error.to_string().replace(&gguf.path().display().to_string(), "FILE");
        writeln!(messages, "{name}\n  {message}\n  fix: {}", error.fix()).unwrap();
    }
    expected.assert_eq(&messages);
}

/// The metadata of a sound vocabulary after a change to it.
fn changed(change: impl Fn(&mut Vocabulary)) -> GgufWriter {
    let mut vocabulary = Vocabulary::new(&["a b"]);
    change(&mut vocabulary);
    vocabulary.writer()
}

/// A model and a rule for words without a vocabulary.
fn bare(model: &str, pre: &str) -> GgufWriter {
    GgufWriter::new().str("tokenizer.ggml.model", model).str("tokenizer.ggml.pre", pre)
}

#[test]
fn broken_vocabularies_are_refused() {
    let tokens = Vocabulary::new(&[]).tokens;
    let without_bos = bare("gpt2", "gpt-2")
        .strings("tokenizer.ggml.tokens", &tokens)
        .strings::<&str>("tokenizer.ggml.merges", &[])
        .bool("tokenizer.ggml.add_bos_token", true);
    check_refused(
        &[
            ("no tokenizer", GgufWriter::new()),
            ("another kind", bare("bert", "default")),
            ("other words", bare("gpt2", "llama-bpe")),
            ("no tokens", bare("gpt2", "gpt-2")),
            ("tokens of numbers", bare("gpt2", "gpt-2").i32s("tokenizer.ggml.tokens", &[1])),
            ("empty list of tokens", changed(|v| v.tokens.clear())),
            ("a type too few", changed(|v| v.types.truncate(9))),
            ("type 0", changed(|v| v.types[7] = 0)),
            ("empty token", changed(|v| v.tokens[4].clear())),
            ("token of 70000 bytes", changed(|v| v.tokens[4] = "x".repeat(70_000))),
            ("the same token twice", changed(|v| v.tokens[8] = v.tokens[6].clone())),
            ("eot out of range", changed(|_| ()).u32("tokenizer.ggml.eot_token_id", 999)),
            ("eom of text", changed(|_| ()).str("tokenizer.ggml.eom_token_id", "<eos>")),
            ("bos without a token", without_bos),
        ],
        expect![[r#"
            no tokenizer
              FILE: found no key `tokenizer.ggml.model`, expected one
              fix: convert the model anew with current tools
            another kind
              `tokenizer.ggml.model` is "bert", expected `gpt2` (byte-level BPE) or `llama` (SentencePiece BPE)
              fix: take a model whose vocabulary is of such a kind
            other words
              `tokenizer.ggml.pre` is "llama-bpe", expected `smollm`, `gpt-2` or `gpt2`
              fix: take a model whose vocabulary is of such a kind
            no tokens
              FILE: found no key `tokenizer.ggml.tokens`, expected one
              fix: convert the model anew with current tools
            tokens of numbers
              FILE@0x8c: key `tokenizer.ggml.tokens` is of type array of i32, expected array of string
              fix: convert the model anew with current tools
            empty list of tokens
              `tokenizer.ggml.tokens` holds 0 tokens, expected 1 to 1048576
              fix: convert the model anew with current tools
            a type too few
              `tokenizer.ggml.token_type` holds 9 types, expected one for each of 262 tokens
              fix: convert the model anew with current tools
            type 0
              `tokenizer.ggml.token_type`[7] is 0, expected 1 to 6
              fix: convert the model anew with current tools
            empty token
              `tokenizer.ggml.tokens`[4] has 0 bytes, expected 1 to 65536
              fix: convert the model anew with current tools
            token of 70000 bytes
              `tokenizer.ggml.tokens`[4] has 70000 bytes, expected 1 to 65536
              fix: convert the model anew with current tools
            the same token twice
              `tokenizer.ggml.tokens`[8] is "ā" again, expected it once (at 6)
              fix: convert the model anew with current tools
            eot out of range
              `tokenizer.ggml.eot_token_id` is 999, expected an id below the vocabulary's 262
              fix: convert the model anew with current tools
            eom of text
              FILE@0xf89: key `tokenizer.ggml.eom_token_id` is of type string, expected u32
              fix: convert the model anew with current tools
            bos without a token
              `tokenizer.ggml.add_bos_token` is set, expected `tokenizer.ggml.bos_token_id` as well
              fix: convert the model anew with current tools
        "#]],
    );
}

#[test]
fn broken_merges_are_refused() {
    let with = |line: &str| changed(|vocabulary| vocabulary.merges.push(line.to_owned()));
    let tokens = Vocabulary::new(&[]).tokens;
    let into_control = changed(|vocabulary| {
        vocabulary.tokens[2] = "xx".to_owned();
        vocabulary.merges.push("x x".to_owned());
    });
    let into_user_defined = changed(|vocabulary| {
        vocabulary.tokens[3] = "Ġx".to_owned();
        vocabulary.merges.push("Ġ x".to_owned());
    });
    check_refused(
        &[
            ("no merges", bare("gpt2", "gpt-2").strings("tokenizer.ggml.tokens", &tokens)),
            ("merge of one token", with("ab")),
            ("merge of three tokens", with("a b c")),
            ("merge without a left", with(" b")),
            ("merge of an unknown token", with("xy b")),
            ("merge into an unknown token", with("a x")),
            ("the same merge twice", with("a b")),
            ("merge into a control token", into_control),
            ("merge into a user-defined token of other bytes", into_user_defined),
        ],
        expect![[r#"
            no merges
              FILE: found no key `tokenizer.ggml.merges`, expected one
              fix: convert the model anew with current tools
            merge of one token
              `tokenizer.ggml.merges`[1] is "ab", expected two tokens and one space
              fix: convert the model anew with current tools
            merge of three tokens
              `tokenizer.ggml.merges`[1] is "a b c", expected two tokens and one space
              fix: convert the model anew with current tools
            merge without a left
              `tokenizer.ggml.merges`[1] is " b", expected two tokens and one space
              fix: convert the model anew with current tools
            merge of an unknown token
              `tokenizer.ggml.merges`[1] names "xy", expected a token of the vocabulary
              fix: convert the model anew with current tools
            merge into an unknown token
              `tokenizer.ggml.merges`[1] names "ax", expected a token of the vocabulary
              fix: convert the model anew with current tools
            the same merge twice
              `tokenizer.ggml.merges`[1] is "a b" again, expected it once (at 0)
              fix: convert the model anew with current tools
            merge into a control token
              `tokenizer.ggml.merges`[1] makes the control token "xx", expected a plain one
              fix: convert the model anew with current tools
            merge into a user-defined token of other bytes
              `tokenizer.ggml.merges`[1] makes the user-defined token "Ġx", which stands for its own text and not for the bytes that are joined; expected a plain one
              fix: convert the model anew with current tools
        "#]],
    );
}

#[test]
fn a_merge_may_make_a_user_defined_token_of_its_own_bytes() {
    let writer = changed(|vocabulary| {
        vocabulary.tokens[3] = "xx".to_owned();
        vocabulary.merges.push("x x".to_owned());
    });
    let tokenizer = build(&writer).unwrap();
    let ids = tokenizer.encode("xxa", false).unwrap();
    assert_eq!((ids[0], tokenizer.decode(&ids, false).unwrap()), (3, b"xxa".to_vec()));
}

/// Merges one pair after the other, as the definition of byte pair encoding has it.
fn merged_by_definition(vocabulary: &Vocabulary, word: &str) -> Vec<u32> {
    let ranks: BTreeMap<(&str, &str), usize> = vocabulary
        .merges
        .iter()
        .enumerate()
        .map(|(rank, line)| (line.split_once(' ').unwrap(), rank))
        .collect();
    let mut symbols: Vec<String> = word.chars().map(String::from).collect();
    let rank = |pair: &[String]| ranks.get(&(pair[0].as_str(), pair[1].as_str())).copied();
    while let Some((_, at)) =
        symbols.windows(2).zip(0..).filter_map(|(pair, at)| Some((rank(pair)?, at))).min()
    {
        let right = symbols.remove(at + 1);
        symbols[at].push_str(&right);
    }
    symbols.iter().map(|symbol| vocabulary.id(symbol)).collect()
}

proptest! {
    /// Any list of merges over three letters means what the definition says.
    #[test]
    fn merging_is_byte_pair_encoding_by_definition(
        picks in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 0..24),
        word in "[abc]{0,64}",
    ) {
        let mut vocabulary = Vocabulary::new(&[]);
        let mut parts: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        for [left, right] in picks {
            let line = format!("{} {}", left.get(&parts), right.get(&parts));
            if !vocabulary.merges.contains(&line) {
                vocabulary.merge(&line);
                parts.push(line.replace(' ', ""));
            }
        }
        let ids = vocabulary.build().encode(&word, false).unwrap();
        prop_assert_eq!(ids, merged_by_definition(&vocabulary, &word));
    }

    /// Text comes back from its ids, and plain text is never a control token.
    #[test]
    fn decoding_undoes_encoding(text in any::<String>(), special: bool) {
        static TOY: OnceLock<Tokenizer> = OnceLock::new();
        let toy = TOY.get_or_init(|| Vocabulary::new(&["e r", "Ġ t", "Ð ¸", "< e"]).build());
        for tokenizer in [Some(toy), smollm2()].into_iter().flatten() {
            // Characters of the unused planes have no token in the real vocabulary.
            let Ok(ids) = tokenizer.encode(&text, special) else { continue };
            let decoded = tokenizer.decode(&ids, true).unwrap();
            prop_assert_eq!(decoded, text.as_bytes());
        }
        prop_assert!(toy.encode(&text, special).is_ok(), "the toy has a token for each byte");
    }

    /// The names of control tokens, whole and in parts, stay plain text where they are not meant.
    #[test]
    fn plain_text_never_contains_control_tokens(
        parts in prop::collection::vec(
            prop::sample::select(vec!["<|im_start|>", "<|", "im_end", "|>", "<eos>", "<tab>", " ", "a"]),
            0..12,
        ),
    ) {
        let text = parts.concat();
        let toy = Vocabulary::new(&["< e", "o s", "<e os", "| >"]).build();
        for tokenizer in [Some(&toy), smollm2()].into_iter().flatten() {
            let ids = tokenizer.encode(&text, false).unwrap();
            prop_assert!(ids.iter().all(|id| !tokenizer.is_control(*id)));
            prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), text.as_bytes());
        }
    }
}
