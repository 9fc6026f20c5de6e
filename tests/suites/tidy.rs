//! The rules of the sources, as tests: sizes, words, folders and directions of dependency.

use std::collections::BTreeMap;
use std::fs;

use deepthin_tests::project::{Source, root, sources};

/// Most lines of a source file.
const FILE_LINES: usize = 600;
/// Source files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Most lines of a function.
const FUNCTION_LINES: usize = 80;
/// Functions that may be longer, by path and name, each with the reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// Most lines of a page in `specs/`.
const PAGE_LINES: usize = 400;

/// The files that may contain `unsafe`, each with what it needs it for.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("cli/src/bench/kernel.rs", "calls kernels that measure the machine"),
    ("cli/src/verify/guard.rs", "puts buffers before guard pages"),
    ("cli/src/verify/machine.rs", "calls kernels under test"),
    ("compiler/src/codegen/jit.rs", "turns finished code into callable functions"),
    ("compiler/src/interp/kernel_code.rs", "lets a session call interpreted kernels"),
    ("runtime/src/abi.rs", "calls kernels"),
    ("runtime/src/mapping.rs", "answers the signal of a page that a mapped file has lost"),
    ("runtime/src/memory.rs", "allocates the arena"),
    ("runtime/src/session/walk.rs", "hands buffers to kernels"),
    ("runtime/src/threads/mod.rs", "shares a step between threads"),
    ("tests/fuzz/src/lib.rs", "bounds what a fuzz target allocates"),
    ("tests/harness/emulated/mod.rs", "stands for kernels in another process"),
    ("tests/harness/faulty.rs", "writes where a wrong kernel would"),
];

/// The crates of the project, and those of them that each may depend on.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("dsl", &[]),
    ("runtime", &[]),
    ("compiler", &["deepthin-dsl", "deepthin-runtime"]),
    ("cli", &["deepthin-compiler", "deepthin-dsl", "deepthin-runtime"]),
    ("tests", &["deepthin", "deepthin-compiler", "deepthin-dsl", "deepthin-runtime"]),
];

/// Folders of the compiler, and the modules of the compiler that each must not use.
const LEVELS: &[(&str, &[&str])] = &[
    ("compiler/src/fir/", &["lower", "codegen", "interp", "plan"]),
    ("compiler/src/vir/", &["lower", "codegen", "interp", "plan", "fir"]),
    ("compiler/src/interp/", &["lower", "codegen"]),
];

/// Fails with all findings at once.
#[track_caller]
fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

/// The lines of a source with their numbers, counted from 1.
fn numbered(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.text.lines().zip(1..).map(|(line, number)| (number, line))
}

/// `path:line` of each line that `is_bad`.
fn lines_where<'a>(
    sources: impl IntoIterator<Item = &'a Source>,
    is_bad: impl Fn(&str) -> bool,
) -> Vec<String> {
    let in_one = |source: &'a Source| {
        let bad = numbered(source).filter(|(_, line)| is_bad(line));
        bad.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
            .collect::<Vec<_>>()
    };
    sources.into_iter().flat_map(in_one).collect()
}

/// The part of a line before a comment, without the insides of string literals.
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut in_string = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => drop(characters.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => code.push(character),
        }
    }
    code
}

/// Whether `text` contains `word` as a whole identifier.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn every_source_says_first_what_it_is_for() {
    let all = sources("rs");
    assert!(all.len() > 10, "the sources were not found");
    let silent = all.iter().filter(|source| !source.text.starts_with("//! "));
    assert_none("no `//!` first", &silent.map(|source| source.path.clone()).collect::<Vec<_>>());
}

#[test]
fn sources_are_short() {
    let all = sources("rs");
    let lengths: BTreeMap<&str, usize> =
        all.iter().map(|source| (source.path.as_str(), source.text.lines().count())).collect();
    let excepted = |path: &str| LONG_FILES.iter().any(|(long, _)| *long == path);
    let long = lengths.iter().filter(|(path, lines)| **lines > FILE_LINES && !excepted(path));
    let long: Vec<String> = long.map(|(path, lines)| format!("{path}: {lines} lines")).collect();
    assert_none("longer than 600 lines", &long);
    let needless =
        LONG_FILES.iter().filter(|(path, _)| lengths.get(path).is_none_or(|n| *n <= FILE_LINES));
    let needless: Vec<String> = needless.map(|(path, _)| (*path).to_owned()).collect();
    assert_none("excepted without need", &needless);
}

/// Name and length of each function of a formatted source: it ends at the first closing brace that
/// is indented like its beginning.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some((before, rest)) = line.split_once("fn ") else { continue };
        let qualifiers = ["pub", "const", "unsafe", "extern", "async"];
        let starts = |word: &str| qualifiers.iter().any(|qualifier| word.starts_with(qualifier));
        if !before.split_whitespace().all(|word| starts(word) || word == "\"C\"") {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines.iter().skip(start).position(|line| *line == end);
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next();
        found.extend(name.map(str::to_owned).zip(length.map(|length| length + 1)));
    }
    found
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for source in sources("rs") {
        for (name, lines) in functions(&source) {
            let excepted =
                LONG_FUNCTIONS.iter().any(|(path, long, _)| *path == source.path && *long == name);
            if lines > FUNCTION_LINES && !excepted {
                long.push(format!("{}: {name}: {lines} lines", source.path));
            }
        }
    }
    assert_none("longer than 80 lines", &long);
}

#[test]
fn function_lengths_are_counted_to_the_closing_brace() {
    let text = "impl A {\n    pub(crate) const fn one() {}\n    fn two(\n    ) {\n        {\n        }\n    }\n}\n";
    let source = Source { path: String::new(), text: text.to_owned() };
    let two = functions(&source).into_iter().find(|(name, _)| name == "two");
    assert_eq!(two, Some(("two".to_owned(), 5)));
}

#[test]
fn nothing_is_left_undone() {
    // Written in halves, for this file is searched too.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
        concat!("#[should", "_panic"),
    ];
    let undone = |line: &str| words.iter().any(|word| line.contains(word));
    assert_none("left undone", &lines_where(&sources("rs"), undone));
}

#[test]
fn containers_have_an_order() {
    let words = [concat!("Hash", "Map"), concat!("Hash", "Set")];
    let unordered = |line: &str| words.iter().any(|word| has_word(line, word));
    assert_none("output must be deterministic", &lines_where(&sources("rs"), unordered));
}

#[test]
fn unsafe_code_lies_in_the_named_files() {
    let all = sources("rs");
    let is_unsafe = |line: &str| has_word(&code(line), concat!("un", "safe"));
    let named = |path: &str| UNSAFE_FILES.iter().any(|(file, _)| *file == path);
    let others = all.iter().filter(|source| !named(&source.path));
    assert_none("unexpected unsafe code", &lines_where(others, is_unsafe));
    for (path, _) in UNSAFE_FILES {
        let source = all.iter().filter(|source| source.path == *path);
        assert!(!lines_where(source, is_unsafe).is_empty(), "{path} needs no unsafe code");
    }
}

#[test]
fn crates_depend_in_one_direction() {
    for (folder, allowed) in DEPENDENCIES {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if section.contains("dependencies") && name.starts_with("deepthin") {
                assert!(allowed.contains(&name), "{folder} must not depend on {name}");
            }
        }
    }
}

#[test]
fn levels_of_the_compiler_do_not_look_down() {
    for (folder, forbidden) in LEVELS {
        let all = sources("rs");
        let inside = all.iter().filter(|source| source.path.starts_with(folder));
        let looks_down = |line: &str| {
            forbidden.iter().any(|module| code(line).contains(&format!("crate::{module}::")))
        };
        assert_none(&format!("{folder} looks down"), &lines_where(inside, looks_down));
    }
}

#[test]
fn only_codegen_names_cranelift() {
    let all = sources("rs");
    let others = all.iter().filter(|source| !source.path.starts_with("compiler/src/codegen/"));
    let names_it = |line: &str| code(line).contains(concat!("crane", "lift_"));
    assert_none("names a crate of Cranelift", &lines_where(others, names_it));
    for folder in ["dsl", "runtime", "cli", "tests"] {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("cranelift"), "{folder} must not depend on Cranelift");
    }
}

#[test]
fn pages_that_sources_name_exist() {
    let mut missing = Vec::new();
    let all = ["rs", "toml", "md", "thin"].into_iter().flat_map(sources);
    for source in all {
        for (number, line) in numbered(&source) {
            for rest in line.split("specs/").skip(1) {
                let in_path = |c: char| c.is_alphanumeric() || "/_-.".contains(c);
                let page: String = rest.chars().take_while(|c| in_path(*c)).collect();
                let page = page.trim_end_matches('.');
                if !root().join("specs").join(page).exists() {
                    missing.push(format!("{}:{number}: specs/{page}", source.path));
                }
            }
        }
    }
    assert_none("no such page", &missing);
}

#[test]
fn pages_are_short() {
    let pages = sources("md");
    let long = pages.iter().filter(|page| page.text.lines().count() > PAGE_LINES);
    assert_none("longer than 400 lines", &long.map(|page| page.path.clone()).collect::<Vec<_>>());
}

/// A new user's two commands are those that are checked: what the README says and what `.ci/run`
/// does must not drift apart.
#[test]
fn the_commands_of_the_readme_are_run_by_ci() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    for command in [
        "cargo run --release -- run smollm2-135m -p \"The capital of France is\" -n 32 --temp 0",
        "cargo test --workspace",
    ] {
        assert!(readme.lines().any(|line| line.trim() == command), "README.md lacks: {command}");
        assert!(ci.contains(command), ".ci/run lacks: {command}");
    }
}
