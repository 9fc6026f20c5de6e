//! `deepthin logits`, `perplexity` and `tokenize`: their text and their JSON.

use deepthin_tests::gguf_model;
use expect_test::expect;
use serde_json::Value;

use super::{Folder, ended, stdout};

#[test]
fn a_distribution_is_a_table_or_one_line_of_json() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["logits", &small, "--random", "1", "-p", "abc", "--top", "3"];
    expect![[r#"
        after "<99>", token 3:
              id      logit    log p       p  piece
             271    2.81235 -3.48874 0.03054  "<271>"
              99    2.64069 -3.66039 0.02572  "<99>"
              73    2.58523 -3.71585 0.02433  "<73>"
    "#]]
    .assert_eq(&stdout(&words));
    expect![[r#"
        {"prompt":"abc","ids":[97,98,99],"top":[[271,2.8123472,-3.488736937628242,"<271>"],[99,2.6406927,-3.660391400442573,"<99>"],[73,2.58523,-3.7158539992432322,"<73>"]]}
    "#]].assert_eq(&stdout(&[&words[..], &["--json"]].concat()));
}

/// The description's cache is f32; rounded keys and values move logits a little.
#[test]
fn the_cache_is_kept_as_the_user_says() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["logits", &small, "--random", "1", "-p", "abc", "--json"];
    let top = |kv: &[&str]| -> Vec<(u64, f64)> {
        let answer: Value = serde_json::from_str(&stdout(&[&words[..], kv].concat())).unwrap();
        let top = answer["top"].as_array().unwrap().iter();
        top.map(|token| (token[0].as_u64().unwrap(), token[1].as_f64().unwrap())).collect()
    };
    let own = top(&[]);
    assert_eq!(own, top(&["--kv", "f32"]));
    for (kv, most) in [("f16", 2e-3), ("q8", 5e-2)] {
        let other = top(&["--kv", kv]);
        assert_ne!(own, other, "{kv}");
        let (first, second) = (own[0], other[0]);
        assert!(first.0 == second.0 && (first.1 - second.1).abs() < most, "{kv}: {other:?}");
    }
}

#[test]
fn all_positions_are_a_line_each() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["logits", &small, "--random", "1", "-p", "abcd", "-o", "jsonl"];
    let lines = stdout(&[&words[..], &["--all"]].concat());
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(format!("{}\n", lines[3]), stdout(&words), "the last is the text's own");
    for (count, line) in (1..).zip(&lines) {
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["prompt"], "abcd"[..count]);
        assert_eq!(answer["ids"].as_array().unwrap().len(), count);
        assert_eq!(answer["top"].as_array().unwrap().len(), 10);
    }
}

#[test]
fn more_tokens_than_there_are_is_all_of_them() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["logits", &small, "--random", "1", "-p", "a", "--top", "4000000000", "--json"];
    let answer: Value = serde_json::from_str(&stdout(&words)).unwrap();
    let top = answer["top"].as_array().unwrap();
    assert_eq!(top.len(), 300);
    let sum: f64 = top.iter().map(|token| token[2].as_f64().unwrap().exp()).sum();
    assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    let descend = top.windows(2).all(|w| w[0][1].as_f64() >= w[1][1].as_f64());
    assert!(descend);
}

/// The numbers of a distribution: id, logit and logarithm of the probability of each token.
fn numbers(words: &[&str]) -> Vec<[Value; 3]> {
    let words = [words, &["-p", "abc", "--top", "300", "--json"]].concat();
    let answer: Value = serde_json::from_str(&stdout(&words)).unwrap();
    let tokens = answer["top"].as_array().unwrap().iter();
    tokens.map(|token| [0, 1, 2].map(|number| token[number].clone())).collect()
}

#[test]
fn a_description_runs_on_the_weights_of_a_file() {
    let folder = Folder::new();
    let model = gguf_model::plain_model();
    let file = folder.file("m.gguf", gguf_model::writer(&model, 1).build().bytes);
    let small = folder.file("small.thin", deepthin_dsl::print(&model));
    let described = numbers(&["logits", &small, "--weights", &file]);
    assert_eq!(described, numbers(&["logits", &small, "--random", "1"]), "the same weights");
    assert_ne!(described, numbers(&["logits", &small, "--random", "2"]));
    let once = numbers(&["logits", &file]);
    assert_ne!(once, described, "a file applies each block once, the description twice");
    assert_eq!(once, numbers(&["logits", &file, "--random", "1"]), "the file's shape and storage");
}

#[test]
fn perplexity_is_one_line_and_its_progress_another() {
    let folder = Folder::new();
    let small = folder.small();
    let text = folder.file("text", "The quick brown fox jumps over the lazy dog. ".repeat(3));
    let words = ["perplexity", &small, "--random", "1", "-f", &text, "-c", "32"];
    let ended = ended(&words);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    expect![[r#"
        PPL = 855.1407 +/- 108.39429
    "#]]
    .assert_eq(&ended.stdout);
    let chunks: Vec<&str> = ended.stderr.trim_end().split(',').collect();
    assert_eq!(chunks.len(), 4);
    assert!(chunks[0].starts_with("[1]") && chunks[3].starts_with("[4]"), "{}", ended.stderr);
    let answer: Value = serde_json::from_str(&stdout(&[&words[..], &["--json"]].concat())).unwrap();
    let number = answer["perplexity"].as_f64().unwrap();
    assert!(ended.stdout.starts_with(&format!("PPL = {number:.4} +/- ")), "{answer}");
    assert_eq!((&answer["chunks"], &answer["scored_tokens"]), (&4.into(), &60.into()));
}

/// A chunk is as long as the context where that is shorter than the usual chunk.
#[test]
fn a_short_context_makes_short_chunks() {
    let folder = Folder::new();
    let small = folder.small();
    let text = folder.file("text", "a".repeat(200));
    let words = ["perplexity", &small, "--random", "1", "-f", &text, "--json"];
    let answer: Value = serde_json::from_str(&stdout(&words)).unwrap();
    assert_eq!((&answer["chunk"], &answer["chunks"]), (&64.into(), &3.into()));
}

#[test]
fn ids_are_one_line_or_json_with_pieces() {
    let folder = Folder::new();
    let file = gguf_model::writer(&gguf_model::model(), 1);
    let plain = folder.file("plain.gguf", file.build().bytes);
    assert_eq!(stdout(&["tokenize", &plain, "-p", "ab c"]), "97 98 32 99\n");
    assert_eq!(stdout(&["tokenize", &plain, "-p", ""]), "\n");
    assert_eq!(stdout(&["tokenize", &plain, "-p", "<user>", "--special"]), "258\n");
    assert_eq!(
        stdout(&["tokenize", &plain, "-p", "é<end>", "--special", "--json"]),
        "{\"ids\":[195,169,256],\"pieces\":[\"\u{fffd}\",\"\u{fffd}\",\"<end>\"]}\n"
    );
    let adding = file.bool("tokenizer.ggml.add_bos_token", true).build().bytes;
    let adding = folder.file("adding.gguf", adding);
    assert_eq!(stdout(&["tokenize", &adding, "-p", "a"]), "257 97\n");
    let small = folder.small();
    assert_eq!(stdout(&["tokenize", &small, "--random", "1", "-p", "é"]), "195 169\n");
}
