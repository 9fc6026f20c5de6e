//! `deepthin compile`: the files that it writes, what it tells of them, and what it refuses.

use std::fs;

use serde_json::Value;

use super::{Folder, assert_fails, ended, stdout};

#[test]
fn an_object_and_a_header_are_written() {
    let folder = Folder::new();
    let (small, out) = (folder.small(), folder.path("new/out"));
    let told = ended(&["compile", &small, "-o", &out]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), ""), "{told:?}");
    let [object, header] = ["o", "h"].map(|extension| format!("{out}/bytes.{extension}"));
    assert!(fs::read(&object).unwrap().starts_with(b"\x7fELF"));
    assert!(fs::read_to_string(&header).unwrap().starts_with("/*\n * bytes.h: the kernels of"));
    for part in [&object, &header, "kernels for ", "deepthin: wrote "] {
        assert!(told.stderr.contains(part), "no {part} in {}", told.stderr);
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2, "nothing else is left");
    // Again, in place of the old ones, which are as long.
    let before = fs::read(&object).unwrap();
    assert_eq!(ended(&["compile", &small, "-o", &out]).code, Some(0));
    assert_eq!(fs::read(&object).unwrap(), before);
}

#[test]
fn what_was_written_is_told_as_json() {
    let folder = Folder::new();
    let (small, out) = (folder.small(), folder.path("out"));
    let arm = "aarch64-unknown-linux-gnu";
    let words = ["compile", &small, "-o", &out, "--json", "--target", arm, "--emit", "asm,obj"];
    let answer: Value = serde_json::from_str(&stdout(&words)).unwrap();
    assert_eq!((&answer["model"], &answer["target"]), (&"bytes".into(), &arm.into()));
    assert_eq!(answer["cpu"], "armv8-a");
    let files = answer["files"].as_array().unwrap();
    let kinds: Vec<&Value> = files.iter().map(|file| &file["kind"]).collect();
    assert_eq!(kinds, ["obj", "asm"]);
    for file in files {
        let length = fs::metadata(file["path"].as_str().unwrap()).unwrap().len();
        assert_eq!(file["bytes"], length);
    }
    let asm = fs::read_to_string(format!("{out}/bytes.asm")).unwrap();
    let symbols = answer["symbols"].as_array().unwrap();
    assert!(symbols.len() > 5);
    for symbol in symbols {
        let kernel = symbol.as_str().unwrap().strip_prefix("deepthin_bytes_").unwrap();
        assert!(asm.contains(&format!("; {kernel}\n")), "{kernel}");
    }
    assert!(asm.contains("fmla v"), "{asm}");
    assert!(
        !folder.path("out/bytes.h").is_empty() && fs::metadata(folder.path("out/bytes.h")).is_err()
    );
}

#[test]
fn objects_and_headers_are_made_for_another_machine() {
    let folder = Folder::new();
    let (small, out) = (folder.small(), folder.path("out"));
    let arm = "aarch64-unknown-linux-gnu";
    let words = ["compile", &small, "-o", &out, "--target", arm, "--emit", "obj,header"];
    stdout(&words);
    let object = fs::read(folder.path("out/bytes.o")).unwrap();
    // ELF's machine number of aarch64.
    assert_eq!((&object[..4], object[18]), (&b"\x7fELF"[..], 183));
    let header = fs::read_to_string(folder.path("out/bytes.h")).unwrap();
    assert!(header.contains(arm) && header.contains("void deepthin_bytes_"), "{header}");
}

#[test]
fn a_longer_context_makes_longer_caches() {
    let folder = Folder::new();
    let (small, out) = (folder.small(), folder.path("out"));
    let words = ["compile", &small, "-o", &out, "-c", "200", "--emit", "header"];
    assert_eq!(ended(&words).code, Some(0));
    let header = fs::read_to_string(format!("{out}/bytes.h")).unwrap();
    let value = |name: &str| {
        let line =
            header.lines().find(|line| line.contains(&format!("#define DEEPTHIN_BYTES_{name} ")));
        line.unwrap().split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!([value("CONTEXT"), value("POSITIONS")], ["200", "256"]);
}

#[test]
fn a_header_tells_the_cache_that_was_asked_for() {
    let folder = Folder::new();
    let small = folder.small();
    let out = folder.path("out");
    let ended = ended(&["compile", &small, "-o", &out, "--emit", "header", "--kv", "q8"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let header = fs::read_to_string(format!("{out}/bytes.h")).unwrap();
    assert!(header.contains("kv_cache     q8") && header.contains("_VALUE_SCALE_BYTES "));
}

#[test]
fn wrong_targets_are_refused() {
    let folder = Folder::new();
    let small = folder.small();
    let compile =
        |words: &[&str]| ended(&[&["compile", &small, "-o", &folder.path("out")], words].concat());
    let arm = "aarch64-unknown-linux-gnu";
    assert_fails(&compile(&["--target", "riscv64"]), 2, &["`riscv64`", arm, "fix: choose one"]);
    assert_fails(&compile(&["--target", "aarch64-unknown-linux-gni"]), 2, &["did you mean", arm]);
    let cpu = compile(&["--target", arm, "--cpu", "x86-64-v3"]);
    assert_fails(&cpu, 2, &["`x86-64-v3`", arm, "armv8-a", "fix: "]);
    let cpu = compile(&["--target", arm, "--cpu", "armv8.6-a+i8m"]);
    assert_fails(&cpu, 2, &["did you mean `armv8.6-a+i8mm`?"]);
    assert_fails(&compile(&["--emit", "elf"]), 2, &["'elf'", "obj, header, asm"]);
    assert!(fs::metadata(folder.path("out")).is_err(), "nothing is written before");
}

#[test]
fn places_that_cannot_be_written_to_are_told() {
    let folder = Folder::new();
    let small = folder.small();
    let file = folder.file("file", "text");
    for directory in [file.clone(), format!("{file}/below")] {
        let words = ["compile", &small, "-o", &directory];
        assert_fails(&ended(&words), 73, &[&directory, "cannot create it", "fix: "]);
    }
    // A directory where the header is to be.
    fs::create_dir_all(folder.path("out/bytes.h")).unwrap();
    let words = ["compile", &small, "-o", &folder.path("out")];
    assert_fails(&ended(&words), 73, &["bytes.h: cannot create it", "fix: "]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
    let left = fs::read_dir(folder.path("out")).unwrap().count();
    assert_eq!(left, 2, "the object and the directory, no half of a file");
}
