//! Vocabularies and the texts that are cut by them: rows 68 to 76.

use deepthin_tests::gguf_model;
use deepthin_tests::gguf_writer::GgufWriter;

use super::case::{Case, check_all};

const TOKENIZE: &str = "tokenize @model.gguf -p a";

/// The sound file with a change to a list of its vocabulary.
fn file(
    name: &str,
    row: u32,
    change: impl Fn(GgufWriter) -> GgufWriter + 'static,
    parts: &[&str],
) -> Case {
    let content = move || change(gguf_model::writer(&gguf_model::model(), 1)).build().bytes;
    Case::new(name, &[row])
        .file("model.gguf", content)
        .line(TOKENIZE)
        .fails(65, parts.iter().copied())
}

/// The tokens of the sound file.
fn tokens() -> Vec<String> {
    let gguf = gguf_model::writer(&gguf_model::model(), 1).open().unwrap();
    let tokens = gguf.metadata().strings("tokenizer.ggml.tokens").unwrap().unwrap();
    tokens.iter().map(str::to_owned).collect()
}

/// The sound file with one token in place of another.
fn with_token(file: GgufWriter, id: usize, token: &str) -> GgufWriter {
    let mut tokens = tokens();
    tokens[id] = token.to_owned();
    file.replaced("tokenizer.ggml.tokens", |file| file.strings("tokenizer.ggml.tokens", &tokens))
}

fn with_merges(file: GgufWriter, merges: &'static [&'static str]) -> GgufWriter {
    file.replaced("tokenizer.ggml.merges", |file| file.strings("tokenizer.ggml.merges", merges))
}

pub(super) fn cases() -> Vec<Case> {
    [lists(), tokens_and_merges(), texts()].into_iter().flatten().collect()
}

fn lists() -> Vec<Case> {
    vec![
        file(
            "a token too few for the table",
            68,
            |file| {
                let tokens = tokens();
                let types = vec![1; 299];
                let key = "tokenizer.ggml.tokens";
                let file = file.replaced(key, |file| file.strings(key, &tokens[..299]));
                let key = "tokenizer.ggml.token_type";
                file.replaced(key, |file| file.i32s(key, &types))
            },
            &["model.gguf: the vocabulary has 299 tokens, expected one for each of the 300 rows"],
        ),
        file(
            "a type too few",
            68,
            |file| {
                let key = "tokenizer.ggml.token_type";
                file.replaced(key, |file| file.i32s(key, &[1; 299]))
            },
            &["model.gguf: `tokenizer.ggml.token_type` holds 299 types", "300 tokens"],
        ),
        file(
            "the end of text out of range",
            68,
            |file| {
                let key = "tokenizer.ggml.eos_token_id";
                file.replaced(key, |file| file.u32(key, 300))
            },
            &["`tokenizer.ggml.eos_token_id` is 300, expected an id below the vocabulary's 300"],
        ),
    ]
}

fn tokens_and_merges() -> Vec<Case> {
    let merges = |name, merges: &'static [&'static str], parts| {
        file(name, 70, move |file| with_merges(file, merges), parts)
    };
    vec![
        merges("a merge of one token", &["ab"], &["merges`[0] is \"ab\", expected two tokens"]),
        merges("a merge of three tokens", &["a b c"], &["merges`[0] is \"a b c\", expected two"]),
        merges("a merge into no token", &["a b"], &["merges`[0] names \"ab\", expected a token"]),
        merges("a merge of an unknown token", &["\u{1b}x b"], &["merges`[0] names \"\\u{1b}x\""]),
        file(
            "no merges",
            70,
            |file| file.without("tokenizer.ggml.merges"),
            &["model.gguf: found no key `tokenizer.ggml.merges`, expected one"],
        ),
        file(
            "a token twice",
            68,
            |file| with_token(file, 280, "unused281"),
            &["`tokenizer.ggml.tokens`[281] is \"unused281\" again, expected it once (at 280)"],
        ),
        file(
            // Told before any of them is looked at, which takes several times their memory.
            "20000 empty tokens for 300 rows",
            68,
            |file| {
                let key = "tokenizer.ggml.tokens";
                file.replaced(key, |file| file.strings(key, &vec![""; 20_000]))
            },
            &["the vocabulary has 20000 tokens, expected one for each of the 300 rows"],
        ),
        file(
            "an empty token",
            68,
            |file| with_token(file, 280, ""),
            &["`tokenizer.ggml.tokens`[280] has 0 bytes, expected 1 to 65536"],
        ),
        file(
            "a token of 70000 bytes",
            68,
            |file| with_token(file, 280, &"x".repeat(70_000)),
            &["`tokenizer.ggml.tokens`[280] has 70000 bytes, expected 1 to 65536"],
        )
        .history(&[8]),
        Case::new("a token of 2^31 bytes", &[68])
            .file("model.gguf", || {
                let image = gguf_model::writer(&gguf_model::model(), 1).build();
                let first = image.values["tokenizer.ggml.tokens"] + 4 + 4 + 8;
                image.put(first, &(1_u64 << 31).to_le_bytes()).bytes
            })
            .line(TOKENIZE)
            .fails(65, ["`tokenizer.ggml.tokens` claims a string of 2147483648 bytes"])
            .history(&[8]),
        file(
            "a tokenizer that is not known",
            68,
            |file| {
                let key = "tokenizer.ggml.model";
                file.replaced(key, |file| file.str(key, "b\x1bert"))
            },
            &["`tokenizer.ggml.model` is \"b\\u{1b}ert\", expected "],
        ),
    ]
}

fn texts() -> Vec<Case> {
    let sound = || gguf_model::writer(&gguf_model::model(), 1).build().bytes;
    let mut cases = vec![
        Case::new("a byte that is no id of the vocabulary", &[74])
            .file("m.thin", || {
                let model = gguf_model::model();
                deepthin_dsl::print(&deepthin_dsl::Model { vocab: 100, ..model })
            })
            .line("run @m.thin --random 1 -p abcd")
            .fails(65, ["byte 0x64 at 3", "the vocabulary has 100", "fix: "]),
        Case::new("names of control tokens in plain text", &[75])
            .file("model.gguf", sound)
            .line("tokenize @model.gguf -p <end><user>")
            .prints("60 101 110 100 62 60 117 115 101 114 62\n"),
    ];
    for (name, unit) in
        [("one letter", "A"), ("another letter", "Z"), ("blank lines", "\n"), ("two letters", "us")]
    {
        cases.push(
            Case::new(format!("128 KiB of {name}"), &[76])
                .file("model.gguf", sound)
                .file("text", move || unit.repeat((128 << 10) / unit.len()))
                .line("tokenize @model.gguf -f @text")
                .prints({
                    let ids: Vec<String> = unit.bytes().map(|byte| byte.to_string()).collect();
                    let ids = vec![ids.join(" "); (128 << 10) / unit.len()];
                    format!("{}\n", ids.join(" "))
                })
                .history(&[26]),
        );
    }
    cases
}

#[test]
fn wrong_vocabularies() {
    check_all("cli::bad_input::tokenizer::wrong_vocabularies", &cases());
}
