//! No text makes the parser panic, hang, or answer with nothing.

use std::time::{Duration, Instant};

use deepthin_dsl::{
    Code, MAX_NESTING, MAX_SOURCE_BYTES, MAX_WORDS, format, parse, parse_ast, parse_bytes, print,
};
use proptest::prelude::*;

use super::{WHOLE, errors};

/// Bytes of a wrong text whose square would take minutes.
const LARGE: usize = MAX_SOURCE_BYTES / 8;

/// Longest that a refusal may take, on a slow machine in a debug build.
const PATIENCE: Duration = Duration::from_secs(10);

/// A text is either a list of models, each of which prints and reads back, or it is answered
/// with diagnostics that lie in it and render.
fn answer(bytes: &[u8]) {
    match parse_bytes(bytes, "f.thin") {
        Ok(models) => {
            assert!(!models.is_empty());
            for model in models {
                assert_eq!(parse(&print(&model), "f.thin").as_deref(), Ok(&[model][..]));
            }
        }
        Err(errors) => {
            assert!((1..=100).contains(&errors.len()), "{} diagnostics", errors.len());
            let ends = bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count();
            for error in errors {
                assert!((1..=ends + 1).contains(&error.line), "{error}");
                assert!((1..=bytes.len() + 1).contains(&error.col), "{error}");
                assert!(error.carets >= 1 && error.to_string().len() < 4_096, "{error}");
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(ast) = parse_ast(text, "f.thin")
    {
        assert_eq!(ast.to_string().lines().count() == 0, ast.models.is_empty());
        canonical(text);
    }
}

/// The canonical form of a readable text is its own and means the same, whatever that is.
fn canonical(text: &str) {
    let Ok(formatted) = format(text, "f.thin") else { return };
    assert_eq!(format(&formatted, "f.thin").as_ref(), Ok(&formatted), "{text}");
    let nodes = |text: &str| -> Vec<String> {
        let ast = parse_ast(text, "f.thin").unwrap().to_string();
        ast.lines().map(|line| line.split(" @ ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(nodes(&formatted), nodes(text));
}

/// The refusal of a text, in time.
#[track_caller]
fn refusal(text: &str) -> Vec<Code> {
    let start = Instant::now();
    let codes = errors(text).iter().map(|error| error.code).collect();
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    answer(text.as_bytes());
    codes
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["{", "(", "[", "a(", "a[", "a {", "a { b (", "([", "a(b: c["] {
        let code = refusal(&format!("model m {{ width {}", open.repeat(100_000)));
        assert_eq!(code, [Code::Nesting], "{open}");
    }
    let deep = |n: usize| format!("model m {{ width {}1{} }}", "(".repeat(n), ")".repeat(n));
    assert_eq!(refusal(&deep(MAX_NESTING)), [Code::Nesting]);
    assert!(refusal(&deep(MAX_NESTING - 1)).contains(&Code::NotYet));
}

/// Brackets that close another kind do not hide how deep the parser goes.
#[test]
fn mismatched_brackets_are_no_way_around_the_depth() {
    for pair in ["(]", "[)", "(}", "{)", "a(]", "a[)"] {
        let codes = refusal(&format!("model m {{ width {}", pair.repeat(40_000)));
        assert!(codes.iter().all(|code| matches!(code, Code::Nesting | Code::Syntax)), "{pair}");
    }
}

/// Words of comments do not count.
#[test]
fn more_words_than_are_read_are_refused() {
    let text = |count| format!("model m {{ // more words\n{}", "k 1\n".repeat(count));
    let most = (MAX_WORDS - 3) / 2;
    assert!(!refusal(&text(most)).contains(&Code::FileSize));
    assert_eq!(refusal(&text(most + 1)), [Code::FileSize]);
}

#[test]
fn large_files_are_refused() {
    let line = format!("// {}\n", "x".repeat(60));
    let large = line.repeat(2 * MAX_SOURCE_BYTES / line.len());
    assert_eq!(refusal(&large), [Code::FileSize]);
    assert_eq!(refusal(&"x".repeat(10 * MAX_SOURCE_BYTES)), [Code::FileSize]);
    assert_eq!(
        parse_bytes(&vec![0xff; MAX_SOURCE_BYTES + 1], "f").unwrap_err()[0].code,
        Code::FileSize
    );
    let padding = " ".repeat(MAX_SOURCE_BYTES - WHOLE.len());
    assert!(parse(&format!("{WHOLE}{padding}"), "f.thin").is_ok());
}

/// Wrong all over: time grows with the length, not with its square, and the answer stays brief.
#[test]
fn large_wrong_files_are_answered_in_time() {
    let fill = |head: &str, part: &str| {
        let parts = (LARGE - head.len()) / part.len();
        format!("{head}{}", part.repeat(parts))
    };
    let texts = [
        fill("", "x "),
        fill("", "x\n"),
        fill("", "}"),
        fill("", "{}"),
        fill("", "model "),
        fill("", "model a{}"),
        fill("", "model a=b\n"),
        fill("", "let a = 1\n"),
        fill("model m {", "a b "),
        fill("model m {", "a b\n"),
        fill("model m {", "width "),
        fill("model m {", "width 1 "),
        fill("model m {", "a(1) "),
        fill("model m {", "x y( "),
        fill("model m {", "a b(c: \n"),
        fill("model m {", "block { "),
        fill("model m {", "block { } "),
        fill("model m {", "b[1] { } "),
        fill("model m { sharing order [", "0,"),
        fill("model m { sharing order [", "0,\n"),
        fill("model m { width ", "1+"),
        fill("model m { width ", "9"),
        fill("model m { ", "x"),
        fill("model m { attention gqa(", "heads: 1, "),
        fill("", "\u{430} "),
        fill("", "//\n"),
        fill("model m { ", "a(()[]) // }{\n"),
        fill("model m { ((((((((", "()"),
        fill("model m { x y[[[[[[[[", "1,"),
        fill("", "model m x "),
        fill("model m { ", "x") + " 5 }",
        fill("model m { vocab 5 vocab 5 ", "x") + " 5 }",
        fill("model ", "x") + " { }",
        fill("model m = ", "x") + " { }",
        fill("model m { norm ", "x") + " }",
        fill("model m { norm rms(", "x") + ": 5) }",
    ];
    for text in texts {
        let shown: String = text.chars().take(40).collect();
        assert!(!refusal(&text).is_empty(), "{shown}");
    }
}

/// Whatever is cut off, the answer is no panic.
#[test]
fn every_prefix_is_answered() {
    for end in 0..=WHOLE.len() {
        answer(&WHOLE.as_bytes()[..end]);
        answer(&WHOLE.as_bytes()[end..]);
    }
}

const TOKENS: [&str; 48] = [
    "model",
    "space",
    "let",
    "m",
    "n",
    "block",
    "storage",
    "width",
    "vocab",
    "context",
    "depth",
    "norm",
    "rms",
    "attention",
    "gqa",
    "heads",
    "kv_heads",
    "head_dim",
    "position",
    "rope",
    "theta",
    "ffn",
    "swiglu",
    "hidden",
    "sharing",
    "order",
    "immediate",
    "q4",
    "tied",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "=",
    "\n",
    "0",
    "32",
    "576",
    "-1",
    "1e-5",
    "0..4",
    "//",
    "*",
    "\u{430}",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        answer(&bytes);
    }

    #[test]
    fn random_tokens_are_answered(
        tokens in prop::collection::vec(prop::sample::select(&TOKENS[..]), 0..120),
        head in any::<bool>(),
    ) {
        let head = if head { "model m {\n" } else { "" };
        answer(format!("{head}{}", tokens.join(" ")).as_bytes());
    }

    #[test]
    fn changed_models_are_answered(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..12, prop::sample::select(&TOKENS[..])), 1..6),
    ) {
        let mut text = WHOLE.as_bytes().to_vec();
        for (at, cut, token) in changes {
            let start = at.index(text.len());
            let end = text.len().min(start + cut);
            text.splice(start..end, token.bytes());
        }
        answer(&text);
    }
}
