//! Finds the files of the project.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders that hold the project's sources and documents.
const FOLDERS: [&str; 7] = ["dsl", "compiler", "runtime", "cli", "tests", "examples", "specs"];

/// The top folder of the project.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file of the project.
#[derive(Debug)]
pub struct Source {
    /// Path from the top folder, with `/` between its parts.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// All files with that extension in the project's folders, in the order of their paths.
///
/// # Panics
/// If a file cannot be read, or is not UTF-8.
pub fn sources(extension: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in FOLDERS {
        collect(&root().join(folder), extension, &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// Adds the files below `folder` to `paths`; a folder that is not there has none, nor has one that
/// cargo builds in.
fn collect(folder: &Path, extension: &str, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, extension, paths);
        } else if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: cannot read it: {error}", path.display()));
    let inside = path.strip_prefix(root()).unwrap_or(path);
    Source { path: inside.to_string_lossy().into_owned(), text }
}
