//! Wrong input of every kind to the verbs that run models: a code, a place, advice, no panic.

use deepthin::hw::system::System;
use deepthin_dsl::Model;
use deepthin_dsl::model::{Group, TensorStorage};
use deepthin_tests::{gguf_model, processor};

use super::{Folder, assert_fails, ended, stdout};

/// Asserts the code and parts of the message, and that no data was written.
#[track_caller]
fn refused(words: &[&str], code: i32, parts: &[&str]) {
    let ended = ended(words);
    assert_fails(&ended, code, parts);
    assert_eq!(ended.stdout, "", "{words:?}");
}

#[test]
fn wrong_descriptions_are_told_whole_by_every_verb() {
    let folder = Folder::new();
    let path = folder.file("wrong.thin", "model m {\n    widht 576\n    depth 0\n}\n");
    let parts = [":2:5: ", "widht", ":3:", "help: "];
    refused(&["run", &path, "--random", "1", "-p", "a"], 65, &parts);
    refused(&["logits", &path, "--random", "1", "-p", "a"], 65, &parts);
    refused(&["info", &path], 65, &parts);
    refused(&["dump", &path, "--stage", "fir"], 65, &parts);
    let path = folder.file("latin.thin", b"model caf\xe9 {}\n");
    refused(&["dump", &path, "--stage", "ast"], 65, &["D0005", "0xe9"]);
}

#[test]
fn more_threads_than_processors_cannot_be_pinned() {
    let folder = Folder::new();
    let small = folder.small();
    let cores = System::read().usable.len();
    let found = format!("found 1024 threads to pin, expected at most one for each of {cores} ");
    let fix = format!("-t {cores}, or leave out --pin");
    let threads = ["--random", "1", "-t", "1024", "--pin"];
    refused(&[&["run", &small, "-p", "a"], &threads[..]].concat(), 2, &[&found, &fix]);
    refused(&[&["bench", &small, "-n", "4"], &threads[..]].concat(), 2, &[&found, &fix]);
}

#[test]
fn names_that_mean_nothing_are_told_what_would() {
    let folder = Folder::new();
    let small = folder.small();
    refused(
        &["run", "smollm", "-p", "a"],
        66,
        &["\"smollm\" is no model", "fix: ", "smollm2-135m"],
    );
    refused(&["info", "no/such.thin"], 66, &["no/such.thin: no such file", "fix: "]);
    refused(&["info", "no/such.gguf"], 66, &["no/such.gguf: no such file"]);
    refused(&["info", &format!("{small}:huge")], 66, &["no model `huge`, only bytes", "fix: "]);
    refused(&["dump", &format!("{small}:huge"), "--stage", "ast"], 66, &["no model `huge`"]);
    std::fs::create_dir(folder.path("a.gguf")).unwrap();
    std::fs::create_dir(folder.path("a.thin")).unwrap();
    refused(&["info", &folder.path("a.gguf")], 66, &["a directory"]);
    refused(&["info", &folder.path("a.thin")], 66, &["a directory", "fix: "]);
    refused(&["run", &small, "--random", "1", "-f", "no/text"], 66, &["no/text: no such file"]);
    refused(&["run", &small, "--random", "1", "-f", &folder.path(".")], 66, &["a directory"]);
}

#[test]
fn one_of_several_models_is_to_be_chosen() {
    let folder = Folder::new();
    let text = deepthin_dsl::print(&gguf_model::model());
    let path = folder.file("two.thin", format!("{text}model other = bytes {{ sharing none }}\n"));
    refused(&["info", &path], 2, &["found several models (bytes, other)", ":bytes"]);
    let ended = ended(&["info", &format!("{path}:other")]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn weights_are_needed_to_run_and_given_once() {
    let folder = Folder::new();
    let small = folder.small();
    for verb in ["run", "logits"] {
        let parts = ["`bytes` has no weights", "fix: ", "--weights FILE.gguf", "--random SEED"];
        refused(&[verb, &small, "-p", "a"], 2, &parts);
    }
    assert_eq!(stdout(&["tokenize", &small, "-p", "a"]), "97\n", "bytes are ids");
    let file = folder.file("m.gguf", gguf_model::writer(&gguf_model::model(), 1).build().bytes);
    refused(&["run", &file, "--weights", &file, "-p", "a"], 2, &["own weights", "fix: "]);
}

#[test]
fn options_without_kernels_are_refused_never_replaced() {
    let folder = Folder::new();
    let small = folder.small();
    // A processor that is named stands for one that this machine may not be.
    let listing = ["dump", &small, "--stage", "asm", "--isa", "avx512", "--cpu"];
    let missing = ["the back end `avx512` needs avx512vnni", "(x86-64-v4)", "fix: leave out --isa"];
    refused(&[&listing[..], &["x86-64-v4"]].concat(), 69, &missing);
    let missing = ["needs avx512f, avx512bw, avx512dq, avx512vl, avx512vnni", "(alderlake)"];
    refused(&[&listing[..], &["alderlake"]].concat(), 69, &missing);
}

#[test]
fn cranelifts_code_is_that_of_one_back_end() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["dump", &small, "--stage", "clif", "--kernel", "embed"];
    let plain = stdout(&words);
    assert_eq!(stdout(&[&words[..], &["--isa", "clif128"]].concat()), plain);
    for isa in ["avx2", "avx512"] {
        let parts = ["found the --isa of another back end", "fix: ask for --stage asm"];
        refused(&[&words[..], &["--isa", isa]].concat(), 2, &parts);
    }
}

#[test]
fn places_for_outputs_are_told_apart() {
    let folder = Folder::new();
    let (small, file) = (folder.small(), folder.file("taken", "text"));
    let words = ["compile", &small, "--random", "1", "-o"];
    refused(&[&words[..], &[&file]].concat(), 73, &["there is something else, expected a dir"]);
    let below = folder.path("none/packed.gguf");
    let packed = [&words[..], &[&below, "--emit", "packed"]].concat();
    refused(
        &packed,
        73,
        &["packed.gguf: cannot create it: there is no directory ", "none", "fix: "],
    );
}

/// Each back end that this machine has says the same, and whoever has none is told what is missing.
#[test]
fn every_back_end_of_this_machine_runs() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["run", &small, "--random", "1", "-p", "a", "-n", "8"];
    let expected = stdout(&words);
    for isa in ["clif128", "avx2", "avx512"] {
        let ended = ended(&[&words[..], &["--isa", isa]].concat());
        if !processor::engines().contains(&isa) {
            assert_eq!(ended.code, Some(69), "{ended:?}");
            let told = format!("the back end `{isa}` needs ");
            assert!(ended.stderr.contains(&told), "{}", ended.stderr);
        } else {
            assert_eq!((ended.code, &ended.stdout), (Some(0), &expected), "{isa}");
        }
    }
}

/// Codes are multiplied with codes: `--activations q8` needs some tensor of codes, in the
/// description or in the file, and is never ignored.
#[test]
fn quantized_activations_need_weights_of_codes() {
    let folder = Folder::new();
    let mut model = gguf_model::model();
    model.storage.blocks = TensorStorage::F16;
    model.storage.embeddings = TensorStorage::F32;
    let path = folder.file("floats.thin", deepthin_dsl::print(&model));
    let parts = [
        "--activations q8: found no tensor that is stored as integer codes, expected f32",
        "fix: leave out --activations, or take f32",
    ];
    for (verb, rest) in [("run", &["-p", "a"][..]), ("logits", &["-p", "a"]), ("info", &[])] {
        let random: &[&str] = if verb == "info" { &[] } else { &["--random", "1"] };
        let words = [&[verb, &path, "--activations", "q8"], random, rest].concat();
        refused(&words, 2, &parts);
    }
    let file = folder.file("m.gguf", gguf_model::writer(&model, 1).build().bytes);
    refused(&["run", &file, "--activations", "q8", "-p", "a"], 2, &parts);
    model.storage.embeddings = TensorStorage::Codes { bits: 6, group: Group::Row, minimum: true };
    let path = folder.file("codes.thin", deepthin_dsl::print(&model));
    let words = ["logits", &path, "--random", "1", "-p", "a", "--activations", "q8"];
    assert_eq!(ended(&words).code, Some(0));
}

#[test]
fn a_context_past_the_models_own_is_told() {
    let folder = Folder::new();
    let path = folder.file("m.thin", deepthin_dsl::print(&gguf_model::model()));
    let words = ["logits", &path, "--random", "1", "-p", "a", "-c", "65"];
    let noted = ended(&words);
    assert_eq!(noted.code, Some(0), "{noted:?}");
    let notes: Vec<&str> = noted.stderr.lines().collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes.iter().all(|note| note.starts_with("deepthin: note: ")), "{notes:?}");
    let quiet = ended(&[&words[..7], &["64"]].concat());
    assert_eq!(quiet.stderr, "", "what is asked for is no news");
    assert_eq!(quiet.stdout, noted.stdout);
}

#[test]
fn a_prompt_longer_than_the_context_is_refused() {
    let folder = Folder::new();
    let small = folder.small();
    let prompt = "a".repeat(65);
    for verb in ["run", "logits"] {
        let words = [verb, &small, "--random", "1", "-p", &prompt];
        refused(
            &words,
            65,
            &["at least 65 tokens, expected at most the 64 of the context", "-c 65"],
        );
        refused(
            &[&words[..], &["-c", "9"]].concat(),
            65,
            &["expected at most the 9 of the context"],
        );
    }
    let fits = ended(&["run", &small, "--random", "1", "-p", &prompt[1..], "-n", "1"]);
    assert_eq!(fits.code, Some(0), "{fits:?}");
}

#[test]
fn texts_without_ids_are_refused() {
    let folder = Folder::new();
    let small_vocabulary = Model { vocab: 100, ..gguf_model::model() };
    let path = folder.file("m.thin", deepthin_dsl::print(&small_vocabulary));
    let words = ["logits", &path, "--random", "1", "-p"];
    refused(&[&words[..], &["abcd"]].concat(), 65, &["byte 0x64 at 3", "has 100", "fix: "]);
    refused(&[&words[..], &[""]].concat(), 65, &["the prompt is empty", "fix: "]);
    let file = folder.file("m.gguf", gguf_model::writer(&gguf_model::model(), 1).build().bytes);
    let text = folder.file("text", b"caf\xe9 au lait");
    refused(&["tokenize", &file, "-f", &text], 65, &["text@0x3: ", "fix: "]);
}

#[test]
fn texts_too_short_to_score_are_refused() {
    let folder = Folder::new();
    let small = folder.small();
    let text = folder.file("text", "ten bytes.");
    let words = ["perplexity", &small, "--random", "1", "-f", &text, "-c"];
    refused(&[&words[..], &["2"]].concat(), 2, &["chunks of 2 tokens", "fix: "]);
    refused(&[&words[..], &["11"]].concat(), 65, &["10 tokens", "one chunk of 11", "fix: "]);
}

#[test]
fn a_context_past_all_memory_is_refused() {
    let folder = Folder::new();
    let small = folder.small();
    let model = Model { depth: 1000, ..gguf_model::model() };
    let deep = folder.file("deep.thin", deepthin_dsl::print(&model));
    refused(
        &["run", &deep, "--random", "1", "-p", "a", "-c", "16777216"],
        71,
        &["MiB", "fix: ask for a context that fits: -c "],
    );
    let ended = ended(&["info", &small, "-c", "16777216"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn files_that_are_no_weights_are_told_for_what_they_are() {
    let folder = Folder::new();
    let small = folder.small();
    let sound = gguf_model::writer(&gguf_model::model(), 1).build();
    let cases: &[(&str, &[u8], &str)] = &[
        ("truncated.gguf", &sound.bytes[..sound.bytes.len() / 2], "fetch it again"),
        ("header.gguf", &sound.bytes[..10], "file ends inside"),
        ("empty.gguf", b"", "file ends inside"),
        ("archive.gguf", b"PK\x03\x04\x14\0\0\0\x08\0 and so on", "zip"),
        ("page.gguf", b"<!DOCTYPE html><html>404</html>", "found a web page"),
        ("text.gguf", b"hello, this is no model", "`hell`"),
    ];
    for (name, content, part) in cases {
        let path = folder.file(name, content);
        refused(&["run", &path, "-p", "a"], 65, &[name, part]);
        refused(&["run", &small, "--weights", &path, "-p", "a"], 65, &[name, part]);
    }
}

#[test]
fn weights_that_do_not_fit_are_told_in_a_table() {
    let folder = Folder::new();
    let file = folder.file("m.gguf", gguf_model::writer(&gguf_model::model(), 1).build().bytes);
    let mut other = gguf_model::model();
    other.depth = 3;
    other.vocab = 301;
    other.block.ffn_hidden = 96;
    let path = folder.file("other.thin", deepthin_dsl::print(&other));
    let rows = [
        "m.gguf does not fit the description `bytes`",
        "\n  vocab: the description says 301, the file 300\n",
        "\n  depth (stored blocks): the description says 3, the file 2\n",
        "\n  ffn hidden: the description says 96, the file 64\n",
        "fix: ",
    ];
    refused(&["run", &path, "--weights", &file, "-p", "a"], 65, &rows);
}

#[test]
fn a_file_without_a_sound_model_is_refused() {
    let folder = Folder::new();
    let file = |name: &str, key: &str| {
        let file = gguf_model::writer(&gguf_model::model(), 1);
        folder.file(name, file.str(key, "falcon").build().bytes)
    };
    // A second value for a key of the sound file: which of the two would hold?
    let twice = file("twice.gguf", "general.architecture");
    refused(&["info", &twice], 65, &["twice.gguf", "`general.architecture` again"]);
    let foreign = deepthin_tests::gguf_writer::GgufWriter::new()
        .str("general.architecture", "falcon")
        .build()
        .bytes;
    let foreign = folder.file("falcon.gguf", foreign);
    refused(&["info", &foreign], 65, &["found \"falcon\", expected \"llama\""]);
    let sound = gguf_model::writer(&gguf_model::model(), 1).build();
    let at = sound.values["tokenizer.ggml.pre"] + 12; // after the type and the length
    let pre = folder.file("pre.gguf", sound.put(at, b"odd-2").bytes);
    refused(&["tokenize", &pre, "-p", "a"], 65, &["pre.gguf: ", "\"odd-2\"", "`smollm`"]);
}
