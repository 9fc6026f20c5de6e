//! `deepthin quantize`: what it writes is what it says, whole or not at all, and runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

use deepthin::calibrate;
use deepthin::engine::{Engine, RunOptions};
use deepthin::fetch::Silent;
use deepthin::source::{GgufWeights, ModelName, Source, WeightChoice};
use deepthin::verify::exact::formulas::decode;
use deepthin_compiler::dequant::{dequantize_row, quantize_row};
use deepthin_compiler::fir::formats::tensor_name;
use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::Format;
use deepthin_compiler::quantize::{Importance, Requantized, TensorKey};
use deepthin_compiler::weights::{TensorBytes, WeightSource};
use deepthin_dsl::Model;
use deepthin_dsl::model::{Activations, Block, KvStorage, TensorStorage};
use deepthin_runtime::gguf::Gguf;
use deepthin_tests::engine::{Subject, feed};
use deepthin_tests::gguf_model;
use deepthin_tests::packed_weights::{self, Matrices};
use deepthin_tests::program::{Ended, deepthin, run as run_command};
use expect_test::expect;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Folder, assert_fails, ended, stdout};

/// A model with rows of 192 and 384, which every group divides, stored in 16 and 32 bits.
fn wide() -> Model {
    let model = gguf_model::plain_model();
    let block = Block { heads: 6, kv_heads: 2, head_dim: 32, ffn_hidden: 384, ..model.block };
    Model { name: "wide".to_owned(), width: 192, block, ..model }
}

/// Its file, with a tokenizer.
fn wide_file(folder: &Folder) -> String {
    folder.file("wide.gguf", gguf_model::writer(&wide(), 1).build().bytes)
}

/// The small model's file: rows of 32 and 64, codes of 4 and 8 bits.
fn small_file(folder: &Folder) -> String {
    folder.file("small.gguf", gguf_model::writer(&gguf_model::model(), 1).build().bytes)
}

/// Quantizes what the words name into a file of the folder; its path, and the summary.
fn quantize(folder: &Folder, words: &[&str], name: &str) -> (String, Value) {
    let path = folder.path(name);
    let words = [&["quantize"], words, &["-o", &path, "--json"]].concat();
    let told = ended(&words);
    assert_eq!(told.code, Some(0), "{words:?}: {told:?}");
    let summary: Value = serde_json::from_str(&told.stdout).unwrap();
    let bytes = fs::metadata(&path).unwrap().len();
    let wrote = format!("deepthin: wrote {path} ({bytes} bytes)\n");
    assert!(told.messages().ends_with(&wrote), "{told:?}");
    assert_eq!((&summary["file"], &summary["bytes"]), (&path.as_str().into(), &bytes.into()));
    (path, summary)
}

/// A file's weights as the program reads them.
fn weights(path: &str) -> (Model, GgufWeights) {
    let name = ModelName::Gguf(path.into());
    let source = Source::open(&name, &WeightChoice::Own, &mut Silent).unwrap();
    let weights = GgufWeights::new(Gguf::open(Path::new(path)).unwrap(), &source.model).unwrap();
    (source.model, weights)
}

/// All matrices of a source in f64, each row by the formulas of its format.
fn matrices(source: &dyn WeightSource, keys: impl Iterator<Item = TensorKey>) -> Matrices {
    let read = |key: TensorKey| {
        let tensor = source.tensor(key.0, key.1).unwrap();
        let columns = tensor.columns as usize;
        let rows = decode(tensor.format, columns, &tensor.bytes);
        (key, rows.chunks(columns).map(<[f64]>::to_vec).collect())
    };
    keys.map(read).collect()
}

/// The root of the weighted squared errors of a matrix over its weighted squares.
fn relative_error(meant: &[Vec<f64>], found: &[Vec<f64>], importance: Option<&Vec<f32>>) -> f64 {
    let (mut error, mut power) = (0.0, 0.0);
    assert_eq!(meant.len(), found.len());
    for (meant, found) in meant.iter().zip(found) {
        for (column, (meant, found)) in meant.iter().zip(found).enumerate() {
            let counts = importance.map_or(1.0, |importance| f64::from(importance[column]));
            error += counts * (found - meant).powi(2);
            power += counts * meant.powi(2);
        }
    }
    (error / power).sqrt()
}

/// Each line of a summary against the errors of the file: with the weights that were meant, and the
/// importance of their columns.
#[track_caller]
fn assert_told(path: &str, summary: &Value, meant: &dyn WeightSource, importance: &Importance) {
    let (_, formats, found) = packed_weights::read(path);
    let meant = matrices(meant, found.keys().copied());
    let lines = summary["tensors"].as_array().unwrap();
    assert_eq!(lines.len(), found.len());
    let lines: BTreeMap<&str, &Value> =
        lines.iter().map(|line| (line["tensor"].as_str().unwrap(), line)).collect();
    for (key, rows) in &found {
        let line = lines[tensor_name(key.0, key.1).as_str()];
        let format = formats.get(key.0, key.1).unwrap();
        assert_eq!((&line["to"], &line["tensors"]), (&format.to_string().into(), &1.into()));
        let (rows_there, columns) = (rows.len(), rows[0].len());
        assert_eq!(line["weights"], rows_there * columns);
        let bits = 8.0 * format.row_bytes(columns).unwrap() as f64 / columns as f64;
        assert!((line["bits"].as_f64().unwrap() - bits).abs() < 1e-12, "{line}");
        let expected = relative_error(&meant[key], rows, importance.get(key));
        let told = line["relative_error"].as_f64().unwrap();
        // The formulas round no weight to f32.
        assert!((told - expected).abs() <= 1e-5 * expected + 1e-9, "{line}: {expected}");
    }
}

/// Storages of every kind, for blocks and for table and head.
const STORAGES: [[&str; 2]; 7] = [
    ["q4g32m", "q6g64"],
    ["q4g64", "q8row"],
    ["q6g96m", "q4rowm"],
    ["q8g192", "q6g32"],
    ["q4_1", "q8_0"],
    ["q4_0", "f16"],
    ["f32", "bf16"],
];

#[test]
fn what_is_told_is_what_the_file_has() {
    let folder = Folder::new();
    let file = wide_file(&folder);
    let (model, weights) = weights(&file);
    for [blocks, embeddings] in STORAGES {
        let words = [file.as_str(), "--blocks", blocks, "--embeddings", embeddings];
        let (path, summary) = quantize(&folder, &words, "q.gguf");
        assert_told(&path, &summary, &weights, &Importance::new());
        assert_eq!((&summary["model"], &summary["calibrated"]), (&"wide".into(), &false.into()));
        let (found, formats, _) = packed_weights::read(&path);
        let [blocks, embeddings]: [Format; 2] = [blocks, embeddings].map(|f| f.parse().unwrap());
        for (block, role) in packed_weights::read(&path).2.into_keys() {
            let expected = if block.is_some() { blocks } else { embeddings };
            assert_eq!(formats.get(block, role), Some(expected));
        }
        assert_eq!((found.width, found.depth, found.name), (192, 2, model.name.clone()));
    }
}

/// Tensor by tensor, the searched scales are at least as good as those that cover each group.
#[test]
#[expect(clippy::cast_possible_truncation, reason = "they were f32 or f16")]
fn no_tensor_is_worse_than_rounding_to_nearest() {
    let folder = Folder::new();
    let file = wide_file(&folder);
    let (_, weights) = weights(&file);
    for [blocks, embeddings] in &STORAGES[..5] {
        let words = [file.as_str(), "--blocks", blocks, "--embeddings", embeddings];
        let (path, _) = quantize(&folder, &words, "q.gguf");
        let (_, formats, found) = packed_weights::read(&path);
        let meant = matrices(&weights, found.keys().copied());
        for (key, rows) in &found {
            let format = formats.get(key.0, key.1).unwrap();
            let rounded = |row: &Vec<f64>| -> Vec<f64> {
                let row: Vec<f32> = row.iter().map(|w| *w as f32).collect();
                let row = dequantize_row(format, &quantize_row(format, &row).unwrap()).unwrap();
                row.into_iter().map(f64::from).collect()
            };
            let rounded: Vec<Vec<f64>> = meant[key].iter().map(rounded).collect();
            let [own, rounded] =
                [rows, &rounded].map(|rows| relative_error(&meant[key], rows, None));
            assert!(own < rounded, "{key:?} as {format}: {own} and {rounded}");
        }
    }
}

/// Tensors as they are stored, row by row.
struct Rows(BTreeMap<TensorKey, TensorBytes<'static>>);

impl WeightSource for Rows {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        self.0.get(&(block, role)).cloned()
    }
}

/// The weights of a file in other storage, made in memory.
fn requantized(weights: &GgufWeights, model: &Model, formats: &Formats) -> Rows {
    let importance = Importance::new();
    let requantized = Requantized::new(weights, formats, &importance, 3);
    let in_block = |block| Role::ALL.map(move |role| (block, role)).into_iter();
    let keys = (0..model.depth).flat_map(|block| in_block(Some(block))).chain(in_block(None));
    let tensor = |key: TensorKey| {
        let TensorBytes { format, rows, columns, bytes } = requantized.tensor(key.0, key.1)?;
        let bytes = bytes.into_owned().into();
        Some((key, TensorBytes { format, rows, columns, bytes }))
    };
    Rows(keys.filter_map(tensor).collect())
}

/// The logits of the command line, by token id.
fn logits(words: &[&str]) -> Vec<Vec<f32>> {
    let words = [&["logits"], words, &["--all", "--top", "300", "-o", "jsonl"]].concat();
    let of_line = |line: &str| -> Vec<f32> {
        let answer: Value = serde_json::from_str(line).unwrap();
        let mut tokens: Vec<(u64, f32)> = answer["top"]
            .as_array()
            .unwrap()
            .iter()
            .map(|token| (token[0].as_u64().unwrap(), token[1].to_string().parse().unwrap()))
            .collect();
        tokens.sort_unstable_by_key(|(id, _)| *id);
        tokens.into_iter().map(|(_, logit)| logit).collect()
    };
    stdout(&words).lines().map(of_line).collect()
}

/// A quantized file gives the bits that the same weights give without a file.
#[test]
fn logits_are_those_of_the_same_weights_in_memory() {
    let folder = Folder::new();
    let file = wide_file(&folder);
    let (_, weights) = weights(&file);
    let text = "a text of some tokens";
    for [blocks, embeddings] in STORAGES {
        let words = [file.as_str(), "--blocks", blocks, "--embeddings", embeddings];
        let (path, _) = quantize(&folder, &words, "q.gguf");
        let (model, formats, _) = packed_weights::read(&path);
        let rows = requantized(&weights, &model, &formats);
        let subject = Subject::new(&model, &formats, 64, |_| rows);
        let ids: Vec<u32> = text.bytes().map(u32::from).collect();
        let expected = feed(&mut subject.session(1), &ids, &[ids.len()]);
        assert_eq!(logits(&[&path, "-p", text, "-c", "64"]), expected, "{blocks}, {embeddings}");
    }
}

#[test]
fn every_verb_takes_the_result() {
    let folder = Folder::new();
    let file = small_file(&folder);
    let (path, _) = quantize(&folder, &[&file], "q.packed.gguf");
    let text = folder.file("text", "some words of a text, to be predicted one by one");
    let run = ["run", &path, "-p", "once", "-n", "9", "--temp", "0", "--raw"];
    assert_eq!(stdout(&run), stdout(&[&run[..], &["-t", "3"]].concat()));
    assert!(stdout(&["perplexity", &path, "-f", &text, "-c", "16"]).starts_with("PPL = "));
    let info: Value = serde_json::from_str(&stdout(&["info", &path, "--json"])).unwrap();
    assert_eq!(info["storage"]["packed"], true, "{info}");
    assert!(stdout(&["info", &path]).contains("q4g32m"), "{}", stdout(&["info", &path]));
    assert_eq!(stdout(&["tokenize", &path, "-p", "ab"]), "97 98\n", "the tokenizer came along");
    assert_eq!(ended(&["verify", &path, "--cases", "2"]).code, Some(0));
    // It imports as a description of its storage, which has the same kernels.
    let described = folder.file("q.thin", stdout(&["import", &path]));
    let plan = |words: &[&str]| stdout(&[&["dump"], words, &["--stage", "plan"]].concat());
    assert_eq!(plan(&[&path]), plan(&[&described, "--random", "1"]));
}

/// A line for each role, and nothing else on stdout. The table's rows are too short for q6g64.
#[test]
fn a_summary_is_a_table_of_roles() {
    let folder = Folder::new();
    let told = ended(&["quantize", &small_file(&folder), "-o", &folder.path("q.gguf")]);
    assert_eq!(told.code, Some(0), "{told:?}");
    expect![[r#"
        | tensor           | count | from | to     | bits a weight | relative error |
        | ---------------- | ----: | ---- | ------ | ------------: | -------------: |
        | token_embedding  |     1 | q8_0 | q6g32  |         6.500 |        0.01894 |
        | query            |     2 | q4_0 | q4g32m |         5.000 |        0.03375 |
        | key              |     2 | q4_0 | q4g32m |         5.000 |        0.03801 |
        | value            |     2 | q4_0 | q4g32m |         5.000 |        0.03314 |
        | attention_output |     2 | q4_0 | q4g32m |         5.000 |        0.02153 |
        | ffn_gate         |     2 | q4_0 | q4g32m |         5.000 |        0.03344 |
        | ffn_up           |     2 | q4_0 | q4g32m |         5.000 |        0.03419 |
        | ffn_down         |     2 | q4_0 | q4g32m |         5.000 |        0.02931 |
    "#]]
    .assert_eq(&told.stdout);
}

#[test]
fn descriptions_say_what_storage_is_meant() {
    let folder = Folder::new();
    let mut model = wide();
    model.storage.blocks =
        TensorStorage::Codes { bits: 6, group: deepthin_dsl::model::Group::Of(64), minimum: true };
    let thin = folder.file("wide.thin", deepthin_dsl::print(&model));
    let file = wide_file(&folder);
    let formats = |words: &[&str]| -> [String; 2] {
        let (path, _) = quantize(&folder, words, "q.gguf");
        let formats = packed_weights::read(&path).1;
        let of = |block, role| formats.get(block, role).unwrap().to_string();
        [of(Some(1), Role::FfnDown), of(None, Role::TokenEmbedding)]
    };
    assert_eq!(formats(&[&thin, "--weights", &file]), ["q6g64m", "f32"]);
    assert_eq!(formats(&[&thin, "--weights", &file, "--blocks", "q8row"]), ["q8row", "f32"]);
    assert_eq!(formats(&[&thin, "--random", "3"]), ["q6g64m", "f32"]);
    assert_eq!(formats(&[&file]), ["q4g32m", "q6g64"]);
    assert_eq!(formats(&[&file, "--random", "3", "--embeddings", "bf16"]), ["q4g32m", "bf16"]);
    assert_eq!(formats(&[&small_file(&folder)]), ["q4g32m", "q6g32"], "rows of 32");
}

/// A tensor that has its storage already is copied, and the rest is quantized.
#[test]
fn the_same_storage_loses_nothing() {
    let folder = Folder::new();
    let file = small_file(&folder);
    let (path, summary) =
        quantize(&folder, &[&file, "--blocks", "q4_0", "--embeddings", "q8_0"], "q.gguf");
    for line in summary["tensors"].as_array().unwrap() {
        assert_eq!((&line["from"], &line["relative_error"]), (&line["to"], &0.0.into()), "{line}");
    }
    let same = ["-p", "a text", "-c", "64"];
    let of = |model: &str| logits(&[&[model], &same[..]].concat());
    assert_eq!(of(&path), of(&file));
}

#[test]
fn the_same_words_give_the_same_bytes() {
    let folder = Folder::new();
    let file = wide_file(&folder);
    let text = folder.file("text", "a text to calibrate with, over and over. ".repeat(9));
    for how in [&[][..], &["--calibrate", &text]] {
        let bytes = |threads: &str| {
            let words = [&[file.as_str(), "-t", threads], how].concat();
            let (path, mut summary) = quantize(&folder, &words, "q.gguf");
            summary["file"] = Value::Null;
            (fs::read(path).unwrap(), summary)
        };
        let first = bytes("1");
        for threads in ["1", "2", "8"] {
            assert!(bytes(threads) == first, "{how:?} on {threads} threads");
        }
    }
}

/// The importance that a text gives, by the library.
fn calibrated(file: &str, text: &str) -> Importance {
    let (model, gains) = weights(file);
    let name = ModelName::Gguf(file.into());
    let source = Source::open(&name, &WeightChoice::Own, &mut Silent).unwrap();
    let options = RunOptions {
        activations: Some(Activations::F32),
        kv: Some(KvStorage::F32),
        context: Some(model.context),
        ..RunOptions::default()
    };
    let engine = Engine::new(source, &options).unwrap();
    let ids: Vec<u32> = text.bytes().map(u32::from).collect();
    let watch = &mut || ControlFlow::Continue(());
    let mut session = engine.session().unwrap();
    calibrate::importance(&mut session, engine.model(), &gains, &ids, watch).unwrap()
}

/// The errors that are told are weighted by the text's importance, and lower than those of scales
/// that were searched without it. A text may come by stdin.
#[test]
fn a_text_lowers_the_error_that_it_weighs() {
    let folder = Folder::new();
    let file = wide_file(&folder);
    let (_, weights) = weights(&file);
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(5);
    let importance = calibrated(&file, &text);
    let path = folder.file("text", &text);
    let (plain, _) = quantize(&folder, &[&file], "plain.gguf");
    let (weighed, summary) = quantize(&folder, &[&file, "--calibrate", &path], "weighed.gguf");
    assert_eq!(summary["calibrated"], true);
    assert_told(&weighed, &summary, &weights, &importance);
    let [plain, found] = [&plain, &weighed].map(|path| packed_weights::read(path).2);
    let meant = matrices(&weights, found.keys().copied());
    for (key, rows) in &found {
        let error = |rows: &[Vec<f64>]| relative_error(&meant[key], rows, importance.get(key));
        assert!(error(rows) < error(&plain[key]), "{key:?}");
    }
    let piped = folder.path("piped.gguf");
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat \"$0\" | \"$@\"", &path]).arg(deepthin().get_program());
    shell.args(["quantize", &file, "--calibrate", "-", "-o", &piped]);
    assert_eq!(run_command(&mut shell).code, Some(0));
    assert!(fs::read(&piped).unwrap() == fs::read(&weighed).unwrap());
}

/// No more than the first 8192 tokens are run.
#[test]
fn the_beginning_of_a_long_text_is_enough() {
    let folder = Folder::new();
    let file = small_file(&folder);
    let (long, short) = ("abc def ".repeat(1100), "abc def ".repeat(1024));
    let bytes = |text: &str| {
        let text = folder.file("text", text);
        let words = ["quantize", &file, "--calibrate", &text, "-o", &folder.path("q.gguf")];
        let told = ended(&words);
        assert!(told.stderr.contains("deepthin: calibrating with 8192 tokens\n"), "{told:?}");
        fs::read(folder.path("q.gguf")).unwrap()
    };
    assert!(bytes(&long) == bytes(&short));
}

/// Nothing but the old file, and what the test itself put there.
#[track_caller]
fn assert_untouched(folder: &Folder, target: &str, files: usize) {
    assert_eq!(fs::read_to_string(target).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path(".")).unwrap().count(), files, "nothing else is left");
}

#[test]
fn a_full_disk_ends_with_74_and_leaves_the_old_file() {
    let folder = Folder::new();
    let file = wide_file(&folder);
    let target = folder.file("q.gguf", "old");
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"]);
    shell.arg(deepthin().get_program()).args(["quantize", &file, "-o", &target]);
    let told = run_command(&mut shell);
    assert_fails(&told, 74, &["q.gguf: cannot write it: ", "fix: see to the disk"]);
    assert_eq!(told.stdout, "", "no summary of what is not there");
    assert_untouched(&folder, &target, 2);
}

/// Signals that come while the program waits for a text: it looks for them before it does more,
/// and the second ends it at once.
#[test]
fn a_signal_leaves_the_old_file() {
    let folder = Folder::new();
    let file = wide_file(&folder);
    let target = folder.file("q.gguf", "old");
    for (which, twice) in [(Signal::INT, false), (Signal::TERM, false), (Signal::INT, true)] {
        let mut child = deepthin()
            .args(["quantize", &file, "--calibrate", "-", "-o", &target])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // The pipe has room for one page: a text that does not fit is being read when it is written.
        rustix::pipe::fcntl_setpipe_size(&stdin, 4096).unwrap();
        stdin.write_all(&b"words ".repeat(2000)).unwrap();
        kill_process(Pid::from_child(&child), which).unwrap();
        if twice {
            while child.try_wait().unwrap().is_none() {
                kill_process(Pid::from_child(&child), which).unwrap();
                std::thread::yield_now();
            }
        }
        drop(stdin);
        let told: Ended = child.wait_with_output().unwrap().into();
        assert_eq!((told.code, told.stdout.as_str()), (Some(130), ""), "{told:?}");
        assert_untouched(&folder, &target, 2);
    }
}

/// A file is put in the place of another: what is no file stays what it is, and what is read stays
/// there to be read.
#[test]
fn targets_that_are_no_place_for_a_file_are_told_at_once() {
    let folder = Folder::new();
    let file = wide_file(&folder);
    let text = folder.file("text", "words");
    let quantize = |out: &str| {
        let told = ended(&["quantize", &file, "--calibrate", &text, "-o", out]);
        assert!(!told.stderr.contains("calibrating"), "before any work: {}", told.stderr);
        assert_eq!(told.stdout, "");
        told
    };
    fs::create_dir(folder.path("taken.gguf")).unwrap();
    assert_fails(
        &quantize(&folder.path("taken.gguf")),
        73,
        &["taken.gguf: cannot create it: it is a directory", "fix: see what is at "],
    );
    assert_fails(&quantize(&folder.path("none/q.gguf")), 73, &["q.gguf: cannot create it: "]);
    assert_fails(&quantize(&format!("{file}/q.gguf")), 73, &["q.gguf: cannot create it: "]);
    folder.pipe("pipe");
    let of_pipe = quantize(&folder.path("pipe"));
    assert_fails(&of_pipe, 73, &["pipe: cannot create it: it is a pipe or a device"]);
    assert_fails(&quantize("/dev/null"), 73, &["/dev/null: cannot create it: it is a pipe or"]);
    // A system that nobody writes files to.
    let told = quantize("/proc/q.gguf");
    assert!([Some(73), Some(77)].contains(&told.code), "{told:?}");
    assert_fails(&told, told.code.unwrap(), &["/proc/q.gguf: cannot create it: ", "fix: "]);
    // Other ways to write the source's name; and a link to it, which is a name of its own.
    let within = folder.path("taken.gguf/../wide.gguf");
    for source in [&file, &within, &text] {
        let parts = ["--output: found ", "which is read, expected a file of its own", "fix: give"];
        assert_fails(&quantize(source), 2, &parts);
    }
    std::os::unix::fs::symlink(&file, folder.path("link.gguf")).unwrap();
    assert_eq!(quantize_one(&file, &folder.path("link.gguf")), Some(0));
    assert_eq!(stdout(&["tokenize", &file, "-p", "a"]), "97\n", "the source is whole");
    assert!(!fs::symlink_metadata(folder.path("link.gguf")).unwrap().is_symlink());
}

fn quantize_one(file: &str, out: &str) -> Option<i32> {
    ended(&["quantize", file, "-o", out]).code
}

/// A file that is there is replaced as a whole, and the new one may be read by whom the mask lets.
#[test]
fn an_old_file_is_replaced() {
    let folder = Folder::new();
    let file = small_file(&folder);
    let (first, _) = quantize(&folder, &[&file], "new.gguf");
    let target = folder.file("q.gguf", "old");
    assert_eq!(quantize_one(&file, &target), Some(0));
    assert!(fs::read(&target).unwrap() == fs::read(&first).unwrap());
    assert_eq!(fs::read_dir(folder.path(".")).unwrap().count(), 3);
}

#[test]
fn help_tells_all_options_and_what_storage_there_is() {
    let help = stdout(&["quantize", "--help"]);
    let parts = [
        "<MODEL>",
        "--weights",
        "--random",
        "--output",
        "--blocks",
        "--embeddings",
        "--calibrate",
        "--threads",
        "--json",
        "q4g32m",
        "q6g64",
        "q6g32",
        "g192",
        "q8_0",
        "bf16",
        "8192",
        "Examples:",
    ];
    for part in parts {
        assert!(help.contains(part), "no `{part}` in:\n{help}");
    }
    assert!(stdout(&["--help"]).contains("quantize"));
}
