//! Packed files at the command line: made by `compile`, taken by every verb, cut while they are
//! mapped.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};

use deepthin_dsl::Model;
use deepthin_dsl::model::{Sharing, TensorStorage};
use deepthin_tests::gguf_model;
use deepthin_tests::program::{Ended, deepthin, run as run_command};
use serde_json::Value;

use super::{Folder, assert_fails, ended, stdout};

/// A model file with a tokenizer and a chat template.
fn gguf(folder: &Folder) -> String {
    let file = gguf_model::writer(&gguf_model::model(), 1);
    let file = file.str("tokenizer.chat_template", "<user>{{ messages[0].content }}");
    folder.file("model.gguf", file.build().bytes)
}

/// Packs what the words name into a file of the folder.
fn pack(folder: &Folder, words: &[&str], name: &str) -> String {
    let path = folder.path(name);
    let words = [&["compile"], words, &["--emit", "packed", "-o", &path]].concat();
    let told = ended(&words);
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), ""), "{told:?}");
    let bytes = fs::metadata(&path).unwrap().len();
    let messages = told.messages();
    assert!(messages.ends_with(&format!("deepthin: wrote {path} ({bytes} bytes)\n")), "{messages}");
    path
}

/// The same answer, to the byte, from a source and from what was packed of it.
#[track_caller]
fn assert_same(source: &[&str], packed: &str, words: &[&str]) {
    let of = |model: &[&str]| stdout(&[&words[..1], model, &words[1..]].concat());
    assert_eq!(of(source), of(&[packed]), "{words:?}");
}

/// Logits after every token, by any source, context and number of threads.
#[test]
fn logits_are_those_of_the_source() {
    let folder = Folder::new();
    let small = folder.small();
    let file = gguf(&folder);
    let ways = Model { sharing: Sharing::Reverse, ..gguf_model::model() };
    let shared = folder.file("shared.thin", deepthin_dsl::print(&ways));
    let mut untied = Model { tied: false, ..gguf_model::model() };
    untied.storage.blocks = TensorStorage::Bf16;
    let untied = folder.file("untied.thin", deepthin_dsl::print(&untied));
    let sources: [&[&str]; 4] = [
        &[&file],
        &[&small, "--random", "7"],
        &[&shared, "--weights", &file],
        &[&untied, "--random", "2"],
    ];
    for (number, source) in sources.iter().enumerate() {
        let packed = pack(&folder, source, &format!("{number}.gguf"));
        for how in [&["-t", "1"][..], &["-c", "17", "-t", "2"], &["-c", "100", "-t", "3"]] {
            let words = ["logits", "-p", "a longer text", "--all", "--top", "300", "-o", "jsonl"];
            assert_same(source, &packed, &[&words[..], how].concat());
        }
        let words = ["run", "-p", "once", "-n", "20", "--temp", "0", "--raw"];
        assert_same(source, &packed, &words);
        assert_same(source, &packed, &["dump", "--stage", "plan"]);
        assert_same(source, &packed, &["dump", "--stage", "asm", "--kernel", "embed"]);
    }
}

#[test]
fn every_verb_takes_a_packed_file() {
    let folder = Folder::new();
    let file = gguf(&folder);
    let packed = pack(&folder, &[&file], "packed.gguf");
    let text = folder.file("text", "some words of a text, to be predicted one by one");
    assert_same(&[&file], &packed, &["tokenize", "-p", "hi <user>", "--json"]);
    assert_same(&[&file], &packed, &["tokenize", "--chat", "-p", "hi"]);
    assert_same(&[&file], &packed, &["perplexity", "-f", &text, "-c", "16"]);
    assert_same(&[&file], &packed, &["dump", "--stage", "model"]);
    assert_eq!(ended(&["verify", &packed, "--cases", "2"]).code, Some(0));
    let bench = stdout(&["bench", &packed, "-p", "4", "-n", "2", "-r", "1", "-o", "jsonl"]);
    assert_eq!(bench.lines().count(), 2);
    // The kernels that are compiled for it, and it itself, packed again.
    let [one, two] = ["one", "two"].map(|name| folder.path(name));
    stdout(&["compile", &file, "-o", &one]);
    stdout(&["compile", &packed, "-o", &two, "--emit", "obj,header,packed"]);
    for name in ["bytes.o", "bytes.h"] {
        assert!(
            fs::read(format!("{one}/{name}")).unwrap()
                == fs::read(format!("{two}/{name}")).unwrap()
        );
    }
    let again = fs::read(format!("{two}/bytes.packed.gguf")).unwrap();
    assert!(again == fs::read(&packed).unwrap(), "a packed file packs to itself");
}

#[test]
fn info_and_import_say_what_it_is() {
    let folder = Folder::new();
    let file = gguf(&folder);
    let packed = pack(&folder, &[&file], "packed.gguf");
    let info = |path: &str| -> Value {
        let mut info: Value = serde_json::from_str(&stdout(&["info", path, "--json"])).unwrap();
        info["host"]["compile_ms"] = Value::Null;
        info
    };
    let (mut plain, made) = (info(&file), info(&packed));
    assert_eq!(
        (&plain["storage"]["packed"], &made["storage"]["packed"]),
        (&false.into(), &true.into())
    );
    plain["storage"]["packed"] = true.into();
    assert_eq!(plain, made, "nothing else differs");
    let page = stdout(&["info", &packed]);
    assert!(page.contains("; packed, mapped from the file\n"), "{page}");
    assert_eq!(stdout(&["import", &packed]), stdout(&["import", &file]));
}

/// A packed file of drawn weights has no vocabulary: bytes are ids, as they were.
#[test]
fn drawn_weights_pack_without_a_tokenizer() {
    let folder = Folder::new();
    let small = folder.small();
    let packed = pack(&folder, &[&small, "--random", "5"], "packed.gguf");
    assert_eq!(stdout(&["tokenize", &packed, "-p", "ab"]), "97 98\n");
    let info: Value = serde_json::from_str(&stdout(&["info", &packed, "--json"])).unwrap();
    assert_eq!(info["tokenizer"], Value::Null);
    // Other weights of the same model, drawn anew.
    let words = ["logits", "-p", "a", "--json"];
    let of = |model: &[&str]| ended(&[&words[..1], model, &words[1..]].concat());
    let anew = of(&[&packed, "--random", "6"]);
    assert_eq!(anew.stdout, of(&[&small, "--random", "6"]).stdout);
    assert!(anew.stderr.contains("random weights in place of those of "), "{}", anew.stderr);
    assert_fails(&of(&[&small]), 2, &["has no weights"]);
}

#[test]
fn packed_files_are_named_after_the_model_or_as_asked() {
    let folder = Folder::new();
    let (small, out) = (folder.small(), folder.path("new/out"));
    let words = ["compile", &small, "--random", "1", "-o", &out, "--emit", "packed", "--json"];
    let answer: Value = serde_json::from_str(&stdout(&words)).unwrap();
    let [written] = answer["files"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    let path = format!("{out}/bytes.packed.gguf");
    assert_eq!((&written["kind"], &written["path"]), (&"packed".into(), &path.as_str().into()));
    assert_eq!(written["bytes"], fs::metadata(&path).unwrap().len());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "nothing else is left");
    // With other kinds the name is that of a directory, whatever it ends in.
    let both = folder.path("both.gguf");
    stdout(&["compile", &small, "--random", "1", "-o", &both, "--emit", "packed,obj"]);
    assert_eq!(fs::read_dir(&both).unwrap().count(), 2);
}

#[test]
fn weights_are_needed_to_pack() {
    let folder = Folder::new();
    let (small, out) = (folder.small(), folder.path("out"));
    let words = ["compile", &small, "-o", &out, "--emit", "obj,packed"];
    assert_fails(&ended(&words), 2, &["the description `bytes` has no weights", "fix: "]);
    assert!(fs::metadata(&out).is_err(), "nothing is written before");
}

/// A packed file has its own description: it is no weights for another.
#[test]
fn packed_files_are_no_weights_of_other_models() {
    let folder = Folder::new();
    let small = folder.small();
    let packed = pack(&folder, &[&gguf(&folder)], "packed.gguf");
    for model in [small.as_str(), "smollm2-135m"] {
        let told = ended(&["run", model, "--weights", &packed, "-p", "a"]);
        assert_fails(&told, 2, &["--weights ", "packed.gguf: found a packed file", "fix: name "]);
    }
    let twice = ended(&["run", &packed, "--weights", &packed, "-p", "a"]);
    assert_fails(&twice, 2, &["packed.gguf brings its own weights", "fix: "]);
}

#[test]
fn places_that_packed_files_cannot_go_to_are_told() {
    let folder = Folder::new();
    let small = folder.small();
    let compile =
        |out: &str| ended(&["compile", &small, "--random", "1", "--emit", "packed", "-o", out]);
    let file = folder.file("file", "text");
    assert_fails(&compile(&file), 73, &[&file, "cannot create it", "fix: "]);
    let below = format!("{file}/packed.gguf");
    assert_fails(&compile(&below), 73, &["packed.gguf: cannot create it", "fix: "]);
    fs::create_dir_all(folder.path("taken.gguf")).unwrap();
    assert_fails(&compile(&folder.path("taken.gguf")), 73, &["taken.gguf: cannot create it"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
}

/// A disk that takes some of the bytes and no more, as a limit on the size of files does.
#[test]
fn a_full_disk_ends_with_74_and_leaves_the_old_file() {
    let folder = Folder::new();
    let small = folder.small();
    let target = folder.path("packed.gguf");
    fs::write(&target, "old").unwrap();
    let program = deepthin();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"]).arg(program.get_program());
    shell.args(["compile", &small, "--random", "1", "--emit", "packed", "-o", &target]);
    let told = run_command(&mut shell);
    assert_fails(&told, 74, &["packed.gguf: cannot write it: ", "fix: see to the disk"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path(".")).unwrap().count(), 2, "nothing else is left");
}

/// A child that generates from a packed file, and has begun to; it stands still when the pipe that
/// nobody reads is full, long before the end of its text.
fn generating(packed: &str) -> Child {
    let mut child = deepthin()
        .args(["run", packed, "-p", "a", "-n", "60000", "-c", "65536", "--temp", "0", "--raw"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.as_mut().unwrap();
    rustix::pipe::fcntl_setpipe_size(&*stdout, 4096).unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    child
}

#[test]
fn a_file_that_is_cut_under_its_map_ends_with_74() {
    let folder = Folder::new();
    let small = folder.small();
    let packed = pack(&folder, &[&small, "--random", "1"], "packed.gguf");
    let whole = fs::metadata(&packed).unwrap().len();
    // Of a page that is cut in its middle the rest reads as zeros.
    for len in [0, 4096, whole - 1] {
        let packed = pack(&folder, &[&small, "--random", "1"], "packed.gguf");
        let child = generating(&packed);
        File::options().write(true).open(&packed).unwrap().set_len(len).unwrap();
        let told: Ended = child.wait_with_output().unwrap().into();
        let parts =
            ["deepthin: error: ", "packed.gguf: the file was cut", "\nfix: let the program"];
        assert_fails(&told, 74, &parts);
        assert_eq!(told.stderr.matches("error").count(), 1, "told once: {}", told.stderr);
        assert!(!told.stdout.is_empty(), "what was written stays readable");
    }
}

#[test]
fn a_file_that_is_edited_under_its_map_ends_with_74() {
    let folder = Folder::new();
    let small = folder.small();
    let packed = pack(&folder, &[&small, "--random", "1"], "packed.gguf");
    let child = generating(&packed);
    let file = File::options().write(true).open(&packed).unwrap();
    file.write_all_at(&[1], fs::metadata(&packed).unwrap().len() - 100).unwrap();
    let told: Ended = child.wait_with_output().unwrap().into();
    let parts = ["packed.gguf: the file was written to, or its time was set", "\nfix: let the "];
    assert_fails(&told, 74, &parts);
    assert!(!told.stdout.is_empty(), "what was written stays readable");
}

/// The map keeps the file that another one takes the place of.
#[test]
fn a_file_that_is_replaced_does_no_harm() {
    let folder = Folder::new();
    let small = folder.small();
    let packed = pack(&folder, &[&small, "--random", "1"], "packed.gguf");
    let words = ["run", &packed, "-p", "a", "-n", "2000", "-c", "2001", "--temp", "0", "--raw"];
    let expected = stdout(&words);
    let mut child =
        deepthin().args(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    pack(&folder, &[&small, "--random", "2"], "packed.gguf");
    let told: Ended = child.wait_with_output().unwrap().into();
    assert_eq!(told.code, Some(0));
    assert_eq!(String::from_utf8_lossy(&first).into_owned() + &told.stdout, expected);
    assert_ne!(stdout(&words), expected, "the new file has other weights");
}
