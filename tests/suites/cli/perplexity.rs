//! `deepthin perplexity --against`: how far a model is from another, recomputed from `logits`.

use deepthin_dsl::Model;
use deepthin_tests::gguf_model;
use serde_json::Value;

use super::{Folder, assert_fails, ended, stdout};

/// Tokens of a chunk.
const CHUNK: usize = 16;
const TEXT: &str = "Some words of a text that two models predict, chunk by chunk, to be compared.";

/// The small model in 32 and 16 bits, and its file.
fn plain(folder: &Folder) -> String {
    let model = gguf_model::plain_model();
    folder.file("plain.gguf", gguf_model::writer(&model, 1).build().bytes)
}

/// The same quantized.
fn quantized(folder: &Folder, file: &str) -> String {
    let path = folder.path("quantized.gguf");
    stdout(&["quantize", file, "-o", &path]);
    path
}

fn compared(folder: &Folder, model: &str, other: &str, how: &[&str]) -> Value {
    let text = folder.file("text", TEXT);
    let words = ["perplexity", model, "-f", &text, "-c", "16", "--against", other, "--json"];
    serde_json::from_str(&stdout(&[&words[..], how].concat())).unwrap()
}

/// The logarithms of the probabilities after each token of a text.
fn log_probabilities(model: &str, text: &str, how: &[&str]) -> Vec<Vec<f64>> {
    let words = ["logits", model, "-p", text, "-c", "16", "--all", "--top", "300", "-o", "jsonl"];
    let of_line = |line: &str| -> Vec<f64> {
        let answer: Value = serde_json::from_str(line).unwrap();
        let mut logits = vec![f64::NAN; 300];
        for token in answer["top"].as_array().unwrap() {
            let id = usize::try_from(token[0].as_u64().unwrap()).unwrap();
            logits[id] = f64::from(token[1].to_string().parse::<f32>().unwrap());
        }
        let most = logits.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = logits.iter().map(|x| (x - most).exp()).sum();
        logits.iter().map(|x| x - most - sum.ln()).collect()
    };
    stdout(&[&words[..], how].concat()).lines().map(of_line).collect()
}

/// By the definition, in plain f64: at the second half of each chunk the mean of `sum p ln(p / q)`,
/// its standard error, and the share of equal first tokens.
fn divergence(model: &str, other: &str) -> [f64; 3] {
    let (mut all, mut same) = (Vec::new(), 0.0);
    let likeliest = |p: &[f64]| {
        let most = p.iter().copied().fold(f64::MIN, f64::max);
        p.iter().position(|p| *p == most).unwrap()
    };
    let chunks = TEXT.as_bytes().chunks_exact(CHUNK);
    for chunk in chunks.map(|chunk| str::from_utf8(chunk).unwrap()) {
        let own = log_probabilities(model, chunk, &[]);
        let others = log_probabilities(other, chunk, &["--activations", "f32", "--kv", "f32"]);
        for (q, p) in own.iter().zip(&others).take(CHUNK - 1).skip(CHUNK / 2) {
            all.push(p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>());
            same += f64::from(u8::from(likeliest(p) == likeliest(q)));
        }
    }
    let count = all.len() as f64;
    assert_eq!(all.len(), TEXT.len() / CHUNK * 7);
    let mean = all.iter().sum::<f64>() / count;
    let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    [mean, (variance / (count - 1.0)).sqrt(), same / count]
}

#[test]
fn a_model_does_not_diverge_from_itself() {
    let folder = Folder::new();
    let file = plain(&folder);
    let of = |model: &str, how: &[&str]| {
        let answer = compared(&folder, model, model, how);
        [&answer["divergence"], &answer["divergence_error"], &answer["same_top"]].map(Value::clone)
    };
    let exact = ["--activations", "f32", "--kv", "f32"];
    let nothing: [Value; 3] = [0.0.into(), 0.0.into(), 1.0.into()];
    assert_eq!(of(&file, &["--kv", "f32"]), nothing);
    let quantized = quantized(&folder, &file);
    assert_eq!(of(&quantized, &exact), nothing);
    // The other model always runs in f32: what quantized activations cost is seen.
    let [mean, ..] = of(&quantized, &[]);
    assert!((1e-9..1e-2).contains(&mean.as_f64().unwrap()), "{mean}");
}

#[test]
fn divergence_is_recomputed_from_logits() {
    let folder = Folder::new();
    let file = plain(&folder);
    let quantized = quantized(&folder, &file);
    let stranger = gguf_model::writer(&gguf_model::model(), 7).build().bytes;
    let stranger = folder.file("stranger.gguf", stranger);
    for (model, other) in [(&quantized, &file), (&file, &quantized), (&quantized, &stranger)] {
        let answer = compared(&folder, model, other, &[]);
        let expected = divergence(model, other);
        for (key, expected) in ["divergence", "divergence_error", "same_top"].iter().zip(expected) {
            let found = answer[key].as_f64().unwrap();
            assert!((found - expected).abs() <= 1e-7 * expected, "{key}: {found}, {expected}");
        }
        assert!(answer["divergence"].as_f64().unwrap() > 1e-6, "{answer}");
        // How far the model is from another changes nothing of how well it predicts.
        let text = folder.path("text");
        let alone = stdout(&["perplexity", model, "-f", &text, "-c", "16", "--json"]);
        let alone: Value = serde_json::from_str(&alone).unwrap();
        for (key, value) in alone.as_object().unwrap() {
            assert_eq!(&answer[key], value, "{key}");
        }
    }
}

#[test]
fn divergence_is_a_line_of_text_keys_of_json_and_columns() {
    let folder = Folder::new();
    let file = plain(&folder);
    let other = quantized(&folder, &file);
    let answer = compared(&folder, &other, &file, &[]);
    let keys: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec![
        "perplexity",
        "error",
        "chunk",
        "chunks",
        "text_tokens",
        "scored_tokens",
        "divergence",
        "divergence_error",
        "same_top",
    ];
    let text = folder.path("text");
    let words = ["perplexity", &other, "-f", &text, "-c", "16", "--against", &file];
    let csv = stdout(&[&words[..], &["-o", "csv"]].concat());
    assert_eq!(csv.lines().next().unwrap().replace('"', ""), expected.join(","), "the same names");
    let number = |key: &str| answer[key].as_f64().unwrap();
    let line = format!(
        "KL = {:.5} +/- {:.5}, same top {:.2} %",
        number("divergence"),
        number("divergence_error"),
        100.0 * number("same_top")
    );
    let page = stdout(&words);
    assert_eq!(page.lines().nth(1), Some(line.as_str()), "{page}");
    assert_eq!(page.lines().count(), 2);
    expected.sort_unstable();
    let mut keys = keys;
    keys.sort_unstable();
    assert_eq!(keys, expected);
    // Without another model there is nothing of it.
    let alone = stdout(&["perplexity", &other, "-f", &text, "-c", "16", "--json"]);
    assert!(!alone.contains("divergence") && !alone.contains("same_top"), "{alone}");
}

/// Distributions over other tokens cannot be compared.
#[test]
fn other_vocabularies_are_refused() {
    let folder = Folder::new();
    let file = plain(&folder);
    let text = folder.file("text", TEXT);
    let against = |other: &str| {
        let told = ended(&["perplexity", &file, "-f", &text, "-c", "16", "--against", other]);
        assert_eq!(told.stdout, "");
        told
    };
    let larger = Model { vocab: 301, ..gguf_model::plain_model() };
    let larger = folder.file("larger.gguf", gguf_model::writer(&larger, 1).build().bytes);
    let parts = ["--against: found a vocabulary of 301 tokens, expected the model's 300", "fix: "];
    assert_fails(&against(&larger), 2, &parts);
    // As many tokens, and other ones: a text begins with one of them.
    let other = gguf_model::writer(&gguf_model::plain_model(), 1);
    let other = other.bool("tokenizer.ggml.add_bos_token", true).build().bytes;
    let other = folder.file("other.gguf", other);
    let parts = ["--against: found a tokenizer that cuts the text otherwise", "fix: compare"];
    assert_fails(&against(&other), 2, &parts);
    let thin = folder.file("m.thin", deepthin_dsl::print(&gguf_model::plain_model()));
    assert_fails(&against(&thin), 2, &["has no weights", "fix: "]);
    assert_fails(&against(&folder.path("none.gguf")), 66, &["none.gguf", "fix: "]);
    let mut cut = std::fs::read(&file).unwrap();
    cut.truncate(cut.len() - 1000);
    assert_fails(&against(&folder.file("cut.gguf", cut)), 65, &["cut.gguf", "fix: "]);
}

/// A spread of one number is none, in whatever form it is printed.
#[test]
fn one_token_has_no_spread() {
    let folder = Folder::new();
    let (file, text) = (plain(&folder), folder.file("three", "abc"));
    let words = ["perplexity", &file, "-f", &text, "-c", "3", "--against", &file];
    let told = stdout(&words);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("PPL = ") && lines[0].ends_with(" of one token"), "{told}");
    assert!(lines[1].starts_with("KL = 0.00000 of one token, same top 100"), "{told}");
    let answer: Value = serde_json::from_str(&stdout(&[&words[..], &["--json"]].concat())).unwrap();
    assert_eq!(answer["scored_tokens"], 1);
    assert!(answer.get("error").is_none() && answer.get("divergence_error").is_none(), "{answer}");
    let row = stdout(&[&words[..], &["-o", "csv"]].concat());
    assert_eq!(row.lines().nth(1).unwrap().split(',').nth(1), Some("-"), "{row}");
}
