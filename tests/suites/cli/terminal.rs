//! What a terminal is shown of texts from models and files, and where a text ends.

use deepthin_dsl::Model;
use deepthin_tests::gguf_model;
use deepthin_tests::gguf_writer::GgufWriter;
use deepthin_tests::piece_vocabulary::PieceVocabulary;
use deepthin_tests::program::{Ended, deepthin};
use deepthin_tests::{program, terminal};
use serde_json::Value;

use super::{Folder, ended, stdout};

/// Runs the program with stdout on a terminal.
fn on_terminal(words: &[&str]) -> Ended {
    terminal::run(deepthin().args(words))
}

/// A model of which every token but `a` is an attack on the terminal.
fn hostile(folder: &Folder) -> String {
    let model = gguf_model::model();
    let mut vocabulary = PieceVocabulary::default();
    for (piece, kind) in [("<unk>", 2), ("\u{2581}", 1), ("a", 1)] {
        vocabulary.push(piece, 0.0, kind);
    }
    while vocabulary.pieces.len() < model.vocab as usize {
        let number = vocabulary.pieces.len();
        let piece = format!("\x1b]0;{number}\x07\u{9b}31m\x1b[2J\r\u{202e}é\n");
        vocabulary.push(&piece, 0.0, 1);
    }
    let vocabulary = vocabulary.bare().u32("tokenizer.ggml.unknown_token_id", 0);
    let file = gguf_model::writer_with(&model, 1, vocabulary);
    folder.file("hostile.gguf", file.build().bytes)
}

#[test]
fn a_terminal_is_shown_escapes_and_a_pipe_gets_the_bytes() {
    let folder = Folder::new();
    let file = hostile(&folder);
    let words = ["run", &file, "-p", "a", "-n", "5", "--temp", "0"];
    let piped = program::run(deepthin().args(words));
    assert_eq!(piped.code, Some(0), "{piped:?}");
    assert!(piped.stdout.contains("\x1b]0;") && piped.stdout.contains('\u{9b}'), "{piped:?}");

    let shown = on_terminal(&words);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!shown.stdout.contains(steers), "{shown:?}");
    let expected = piped.stdout.replace(steers, "#");
    let mut escaped = shown.stdout.clone();
    for escape in ["\\u{1b}", "\\u{7}", "\\u{9b}", "\\u{d}", "\\u{202e}"] {
        assert!(escaped.contains(escape), "{escape}: {shown:?}");
        escaped = escaped.replace(escape, "#");
    }
    assert_eq!(escaped, expected, "all else is as it is");

    let raw = on_terminal(&[&words[..], &["--raw"]].concat());
    assert_eq!(raw.stdout, piped.stdout, "as asked for");
}

#[test]
fn echoed_prompts_and_pieces_are_shown_as_well() {
    let folder = Folder::new();
    let file = hostile(&folder);
    let small = folder.small();
    let text = "a\x1b[31m\u{9b}\u{fffd}";
    let run = on_terminal(&["run", &small, "--random", "1", "-p", text, "-n", "1", "--echo"]);
    assert!(run.stdout.starts_with("a\\u{1b}[31m\\u{9b}\u{fffd}<"), "{run:?}");
    for words in [
        &["logits", &file, "-p", "a", "--top", "3"][..],
        &["logits", &file, "-p", "a", "--top", "3", "--json"],
        &["tokenize", &file, "-p", text, "--json"],
    ] {
        let shown = on_terminal(words);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!shown.stdout.contains(steers), "{words:?}: {shown:?}");
    }
    // JSON is escaped as JSON, and everywhere the same.
    let json = ["logits", &file, "-p", "a", "--top", "3", "--json"];
    let (piped, shown) = (stdout(&json), on_terminal(&json).stdout);
    assert_eq!(piped, shown);
    let piece = serde_json::from_str::<Value>(&piped).unwrap()["top"][0][3].clone();
    assert!(piece.as_str().unwrap().contains("\u{9b}31m\x1b[2J\r\u{202e}"), "{piece}");
}

#[test]
fn a_stop_string_ends_the_text_wherever_it_falls() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["run", &small, "--random", "1", "-p", "abc", "-n", "8", "--temp", "0"];
    let run = |more: &[&str]| ended(&[&words[..], more].concat());
    let whole = run(&[]);
    assert!(whole.stderr.contains("8 generated, ended by length, "), "{whole:?}");
    let text = whole.stdout.as_str();
    assert_eq!(text.matches('<').count(), 8, "a token each");
    // Within a token, at the end of one, across two and three.
    let second = text.match_indices('<').nth(1).unwrap().0;
    for (start, len) in [(second + 1, 1), (second - 1, 1), (second - 2, 5), (second - 1, 10)] {
        let stop = &text[start..start + len];
        let before = text.find(stop).unwrap();
        let generated = text[..before + len].matches('<').count();
        let ended = run(&["--stop", "no", "--stop", stop]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), &text[..before]), "{ended:?}");
        let reason = format!("{generated} generated, ended by stop string {stop:?}, ");
        assert!(ended.stderr.contains(&reason), "{ended:?}");
    }
    // What only begins one is there in the end; nor does the prompt begin one.
    let beginning = format!("{}!", &text[text.len() - 4..]);
    assert_eq!(run(&["--stop", &beginning, "--stop", "--x"]).stdout, text);
    let echoed = run(&["--echo", "--stop", "bc", "--stop", "c<"]);
    assert_eq!(echoed.stdout, format!("abc{text}"));
}

/// The small model with the vocabulary of the reference data.
fn with_pieces() -> (Model, GgufWriter) {
    let model = Model { vocab: 900, ..gguf_model::model() };
    let vocabulary = PieceVocabulary::reference().0.writer();
    let file = gguf_model::writer_with(&model, 1, vocabulary);
    (model, file)
}

#[test]
fn a_file_with_a_sentencepiece_vocabulary_runs() {
    let folder = Folder::new();
    let (model, file) = with_pieces();
    let file = file.str("tokenizer.chat_template", "<|user|>{{ messages[0].content }}</s>");
    let file = folder.file("pieces.gguf", file.build().bytes);
    let the = PieceVocabulary::reference().0.id("▁the");
    assert_eq!(stdout(&["tokenize", &file, "-p", "the"]), format!("1 {the}\n"));
    assert_eq!(stdout(&["tokenize", &file, "-p", "the", "--chat"]), format!("1 3 {the} 2\n"));
    let answer = stdout(&["tokenize", &file, "-p", "the 🙂", "--json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["pieces"][1], " the");
    assert_eq!(answer["ids"].as_array().unwrap().len(), 1 + 1 + 1 + 4, "bytes of a character");

    let words = ["run", &file, "-p", "the license", "-n", "12", "--temp", "0", "--echo"];
    let run = ended(&words);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.starts_with("the license"), "{run:?}");
    // The description on the same weights says the same.
    let thin = folder.file("pieces.thin", deepthin_dsl::print(&model));
    let described = ended(&["logits", &thin, "--weights", &file, "-p", "the", "--json"]);
    assert_eq!(described.code, Some(0), "{described:?}");
    let logits = stdout(&["logits", &file, "-p", "the", "--json"]);
    let logits: Value = serde_json::from_str(&logits).unwrap();
    assert_eq!(logits["ids"], serde_json::json!([1, the]));
}

#[test]
fn info_tells_the_vocabulary() {
    let folder = Folder::new();
    let (_, file) = with_pieces();
    let file = file.str("tokenizer.chat_template", "x");
    let pieces = folder.file("pieces.gguf", file.build().bytes);
    let bytes = gguf_model::writer(&gguf_model::model(), 1);
    let bytes = folder.file("bytes.gguf", bytes.build().bytes);
    let foreign = GgufWriter::new().str("tokenizer.ggml.model", "bert");
    let foreign = gguf_model::writer_with(&gguf_model::model(), 1, foreign);
    let foreign = folder.file("foreign.gguf", foreign.build().bytes);
    for (file, expected) in [
        (&pieces, "SentencePiece BPE, 900 tokens, a chat template"),
        (&bytes, "byte-level BPE, 300 tokens, no chat template"),
        (&folder.small(), "none without a file of weights: bytes are ids"),
        (&foreign, "unusable: "),
    ] {
        let page = stdout(&["info", file]);
        let line = page.lines().find(|line| line.starts_with("tokenizer")).unwrap();
        assert!(line.contains(expected), "{line}");
    }
    let json: Value = serde_json::from_str(&stdout(&["info", &pieces, "--json"])).unwrap();
    assert_eq!(json["tokenizer"]["kind"], "SentencePiece BPE");
    assert_eq!(json["tokenizer"]["chat_template"], true);
}
