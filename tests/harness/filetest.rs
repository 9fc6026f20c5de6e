//! Test files of VIR: a kernel as text, and above it in `;;` lines what must become of it.
//!
//! | first line | what is tested |
//! |---|---|
//! | `;; test parse error` | the parser refuses the text with the `;; error: ..` that follows |
//! | `;; test roundtrip` | the text is what its kernel prints |
//! | `;; test verify ok` | the verifier accepts the kernel |
//! | `;; test verify error V-12` | the verifier refuses it, by this rule alone |
//! | `;; test run` | every engine gives the bits that `;; expect` lines say, a NaN for a NaN |
//! | `;; test asm` | its machine code has the summaries of the `;; asm ..` lines |
//! | `;; test asm alderlake ..` | the same, for these processors |
//!
//! What a file that runs looks like stands in [`deepthin::verify::filetest`]. `UPDATE_EXPECT=1`
//! writes what is found into the file, of a run what the first engine gives.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use deepthin::verify::filetest::{Expectation, Filetest};
use deepthin_compiler::vir::{Kernel, Verified, parse, verify};

use crate::asm;

/// The first words of test lines: a suite asserts that each occurs.
pub const KINDS: [&str; 5] = ["parse", "verify", "roundtrip", "run", "asm"];

/// Runs a verified kernel on buffers of exactly the declared sizes; the error is shown.
pub type Run = fn(&Verified, &mut [Vec<u8>], &[i64]) -> Result<(), String>;

/// Something that runs kernels.
#[derive(Clone, Copy)]
pub struct Engine {
    /// The name in failures.
    pub name: &'static str,
    /// Lane counts of the kernels that it runs; files of others it leaves out.
    pub lanes: &'static [u32],
    /// Runs one.
    pub run: Run,
}

/// The VIR interpreter.
pub const INTERPRETER: Engine = Engine {
    name: "interpreter",
    lanes: &[4, 8, 16],
    run: |kernel, buffers, scalars| {
        deepthin_compiler::interp::vir::run(kernel, buffers, scalars).map_err(|e| e.to_string())
    },
};

/// The directory of test files about `subject`, such as `vir/run`.
pub fn directory(subject: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests").join(subject)
}

/// The test files in `directory`, with their texts, by name.
///
/// # Panics
/// Where there are none.
pub fn files(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", directory.display()));
    let mut files: Vec<(PathBuf, String)> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "vir"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a test file is UTF-8");
            (path, text)
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no test files in {}", directory.display());
    files
}

/// Runs all files of a directory on all engines.
///
/// # Panics
/// With every file that failed.
pub fn check_directory(directory: &Path, engines: &[Engine]) {
    let mut failures = String::new();
    for (path, text) in files(directory) {
        match check_file(&path, &text, engines) {
            Ok(updated) if updated == text => {}
            Ok(updated) if env::var_os("UPDATE_EXPECT").is_some() => {
                fs::write(&path, updated).expect("a test file can be written");
            }
            Ok(updated) => {
                let _ =
                    writeln!(failures, "{}: expected\n{text}\nfound\n{updated}", path.display());
            }
            Err(failure) => {
                let _ = writeln!(failures, "{}: {failure}", path.display());
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Checks one file; what it would be with all expectations as found.
fn check_file(path: &Path, text: &str, engines: &[Engine]) -> Result<String, String> {
    let (first, rest) = text.split_once('\n').ok_or("the file has no second line")?;
    let test: Vec<&str> = first
        .strip_prefix(";; test ")
        .ok_or("the first line is no `;; test ..`")?
        .split(' ')
        .collect();
    match test[..] {
        ["parse", "error"] => match parse(text) {
            Err(error) => Ok(with_errors(first, rest, &[error.to_string()])),
            Ok(_) => Err("the text parses".to_owned()),
        },
        ["verify", "ok"] => {
            verify(parsed(text)?).map_err(|errors| errors.to_string())?;
            Ok(text.to_owned())
        }
        ["verify", "error", rule] => {
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(rule)) {
                return Err(format!("the file's name does not start with {rule}"));
            }
            let Err(errors) = verify(parsed(text)?) else {
                return Err("the kernel verifies".to_owned());
            };
            if let Some(other) = errors.errors.iter().find(|error| error.rule.code() != rule) {
                return Err(format!("another rule is broken too: {other}"));
            }
            let errors: Vec<String> = errors.errors.iter().map(ToString::to_string).collect();
            Ok(with_errors(first, rest, &errors))
        }
        ["roundtrip"] => {
            let comments = text.lines().filter(|line| line.starts_with(';'));
            let comments: String = comments.map(|line| format!("{line}\n")).collect();
            Ok(format!("{comments}\n{}", parsed(text)?))
        }
        ["asm", ref processors @ ..] => {
            let kernel = verify(parsed(text)?).map_err(|errors| errors.to_string())?;
            let found = asm::summaries(&kernel, processors)?;
            Ok(with_lines(first, rest, ";; asm ", &found))
        }
        ["run"] => check_run(text, engines),
        _ => Err(format!("unknown test `{}`", test.join(" "))),
    }
}

/// The kernel of a text, which must print to a text that is the same kernel.
fn parsed(text: &str) -> Result<Kernel, String> {
    let kernel = parse(text).map_err(|error| error.to_string())?;
    let printed = kernel.to_string();
    match parse(&printed) {
        Ok(again) if again == kernel => Ok(kernel),
        Ok(_) => Err(format!("the printed text is another kernel:\n{printed}")),
        Err(error) => Err(format!("the printed text does not parse: {error}\n{printed}")),
    }
}

/// The file with its `error` lines replaced. Line numbers in errors count the old ones, so a
/// file is rewritten with as many lines as it should have before its places are right.
fn with_errors(first: &str, rest: &str, errors: &[String]) -> String {
    with_lines(first, rest, ";; error: ", errors)
}

/// The file with all lines that start with `prefix` replaced.
fn with_lines(first: &str, rest: &str, prefix: &str, found: &[String]) -> String {
    let mut text = format!("{first}\n");
    for line in found {
        let _ = writeln!(text, "{prefix}{line}");
    }
    for line in rest.lines().filter(|line| !line.starts_with(prefix)) {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn check_run(text: &str, engines: &[Engine]) -> Result<String, String> {
    parsed(text)?;
    let Filetest { kernel, case, expected } =
        Filetest::read(text).map_err(|error| error.to_string())?;
    let case = case.ok_or("the file has no call")?;
    if expected.is_empty() {
        return Err("nothing is expected of the run".to_owned());
    }
    let mut updated = text.to_owned();
    let engines = engines.iter().filter(|engine| engine.lanes.contains(&kernel.lanes));
    for (position, engine) in engines.enumerate() {
        let mut results: Vec<Vec<u8>> = case.buffers.iter().map(|b| b.to_vec()).collect();
        (engine.run)(&kernel, &mut results, &case.scalars)
            .map_err(|error| format!("{}: {error}", engine.name))?;
        for Expectation { line, part } in &expected {
            let Some(difference) = part.difference(&results) else { continue };
            if position > 0 {
                return Err(format!("{} differs in {} {difference}", engine.name, part.buffer));
            }
            let found = part.found_in(&results);
            updated = updated.replace(line, &format!(";; expect {}", found.text(false)));
        }
    }
    Ok(updated)
}
