//! The copy of the project that holds the faults.

use deepthin_tests::faults::{Fault, MODULE, seed};
use deepthin_tests::project::root;
use std::fs;
use std::path::{Path, PathBuf};

/// What is copied: all that the suites are built from or read.
const PARTS: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "README.md",
    "dsl",
    "compiler",
    "runtime",
    "cli",
    "tests",
    "examples",
];
/// Pages that suites read.
const PAGES: &str = "specs";
/// Crates that faults lie in: each gets the module that answers for them.
const SEEDED_CRATES: [&str; 3] = ["compiler", "runtime", "cli"];

/// Where the copy lies.
pub(super) fn folder() -> PathBuf {
    root().join("target").join("faults")
}

/// Copies the project and seeds all faults. Files that would not change are left untouched, so
/// that a second build is short.
pub(super) fn seed_copy(faults: &[Fault]) -> Result<(), String> {
    let to = folder();
    fs::create_dir_all(&to).map_err(|e| format!("{}: cannot make it: {e}", to.display()))?;
    for part in PARTS.into_iter().chain([PAGES]) {
        copy(&root().join(part), &to.join(part), part, faults)?;
    }
    for name in SEEDED_CRATES {
        let source = to.join(name).join("src");
        write(&source.join("fault.rs"), MODULE.as_bytes())?;
    }
    Ok(())
}

/// Copies a file or folder; `path` is its name from the top folder.
fn copy(from: &Path, to: &Path, path: &str, faults: &[Fault]) -> Result<(), String> {
    let error = |e: std::io::Error| format!("{}: cannot copy it: {e}", from.display());
    if from.is_dir() {
        fs::create_dir_all(to).map_err(error)?;
        remove_what_is_gone(from, to).map_err(error)?;
        for entry in fs::read_dir(from).map_err(error)? {
            let name = entry.map_err(error)?.file_name();
            let name = name.to_string_lossy();
            if name != "target" {
                let path = format!("{path}/{name}");
                copy(&from.join(&*name), &to.join(&*name), &path, faults)?;
            }
        }
        return Ok(());
    }
    let content = fs::read(from).map_err(error)?;
    let is_seeded = SEEDED_CRATES.iter().any(|name| path.starts_with(&format!("{name}/src/")));
    if !is_seeded {
        return write(to, &content);
    }
    let text = String::from_utf8(content).map_err(|e| format!("{path}: is no UTF-8: {e}"))?;
    let mut text = seed(path, &text, faults)?;
    if path.ends_with("/src/lib.rs") {
        text.push_str("\nmod fault;\n");
    }
    write(to, text.as_bytes())
}

/// Removes from a copied folder what its original no longer has: a module that became a folder
/// would else be there twice.
fn remove_what_is_gone(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let name = entry.file_name();
        if from.join(&name).exists() || name == "target" || name == "fault.rs" {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Writes a file where its content is another.
fn write(to: &Path, content: &[u8]) -> Result<(), String> {
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(to, content).map_err(|e| format!("{}: cannot write it: {e}", to.display()))
}
