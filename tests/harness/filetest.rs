//! Test files of VIR: a kernel as text, and above it in `;;` lines what must become of it.
//!
//! The first line says which test: `;; test parse error`, `;; test verify ok`,
//! `;; test verify error V-12` or `;; test run`. A file with errors lists them all as
//! `;; error: ..`. A file that runs gives `;; input b0 = f32 [1, nan, 0x7f800001]` (or
//! `iota(64)`, `splat(0.5, 64)`), `;; scalar 3` for each scalar in order, and
//! `;; expect b1 = f32 [..]`; a buffer without input holds zeros. Every engine must give the
//! expected bits, a NaN for a NaN. `UPDATE_EXPECT=1` rewrites the `error` and `expect` lines, the
//! latter with what the first engine gives.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use deepthin_compiler::vir::{BufferId, Elem, Kernel, Verified, parse, verify};

use crate::kernels::first_difference;

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
    let mut text = format!("{first}\n");
    for error in errors {
        let _ = writeln!(text, ";; error: {error}");
    }
    for line in rest.lines().filter(|line| !line.starts_with(";; error: ")) {
        let _ = writeln!(text, "{line}");
    }
    text
}

// Runs.

/// Contents of a buffer as a file writes them.
struct Data {
    elem: Elem,
    bytes: Vec<u8>,
}

fn check_run(text: &str, engines: &[Engine]) -> Result<String, String> {
    let kernel = verify(parsed(text)?).map_err(|errors| errors.to_string())?;
    let sizes = kernel.buffers.values().map(|buffer| buffer.bytes as usize);
    let mut buffers: Vec<Vec<u8>> = sizes.map(|bytes| vec![0; bytes]).collect();
    let mut scalars = Vec::new();
    let mut expected = Vec::new();
    for line in text.lines() {
        if let Some(assignment) = line.strip_prefix(";; input ") {
            let (buffer, data) = assigned(&kernel, assignment)?;
            let bytes = &mut buffers[buffer.0 as usize];
            if bytes.len() != data.bytes.len() {
                let (found, size) = (data.bytes.len(), bytes.len());
                return Err(format!("`{assignment}` has {found} bytes, {buffer} has {size}"));
            }
            *bytes = data.bytes;
        } else if let Some(value) = line.strip_prefix(";; scalar ") {
            scalars.push(value.parse().map_err(|_| format!("`{value}` is no scalar"))?);
        } else if let Some(assignment) = line.strip_prefix(";; expect ") {
            expected.push((line, assigned(&kernel, assignment)?));
        }
    }
    if expected.is_empty() {
        return Err("nothing is expected of the run".to_owned());
    }
    let mut updated = text.to_owned();
    let engines = engines.iter().filter(|engine| engine.lanes.contains(&kernel.lanes));
    for (position, engine) in engines.enumerate() {
        let mut results = buffers.clone();
        (engine.run)(&kernel, &mut results, &scalars)
            .map_err(|error| format!("{}: {error}", engine.name))?;
        for (line, (buffer, data)) in &expected {
            let found = &results[buffer.0 as usize];
            let Some(difference) = first_difference(Some(data.elem), &data.bytes, found) else {
                continue;
            };
            if position > 0 {
                return Err(format!("{} differs in {buffer} {difference}", engine.name));
            }
            let found = Data { elem: data.elem, bytes: found.clone() };
            updated = updated.replace(line, &format!(";; expect {buffer} = {}", found.text()));
        }
    }
    Ok(updated)
}

/// `b0 = f32 [..]`: the buffer and the bytes.
fn assigned(kernel: &Kernel, assignment: &str) -> Result<(BufferId, Data), String> {
    let wrong = || format!("`{assignment}` does not read like `b0 = f32 [1, 2]`");
    let (name, data) = assignment.split_once(" = ").ok_or_else(wrong)?;
    let id = kernel.buffers.ids().find(|id| id.to_string() == name).ok_or_else(wrong)?;
    let (elem, values) = data.split_once(' ').ok_or_else(wrong)?;
    let elem = Elem::from_name(elem).ok_or_else(wrong)?;
    let words = if let Some(list) = inside(values, "[", "]") {
        list.split(", ").map(|value| word(elem, value)).collect::<Option<Vec<u32>>>()
    } else if let Some(count) = inside(values, "iota(", ")") {
        let count: u16 = count.parse().map_err(|_| wrong())?;
        (0..count).map(|number| word(elem, &number.to_string())).collect()
    } else {
        let (value, count) =
            inside(values, "splat(", ")").and_then(|v| v.split_once(", ")).ok_or_else(wrong)?;
        let count: u16 = count.parse().map_err(|_| wrong())?;
        word(elem, value).map(|word| vec![word; count.into()])
    };
    let width = elem.bytes() as usize;
    let words = words.ok_or_else(wrong)?;
    let bytes: Vec<u8> =
        words.iter().flat_map(|w| w.to_le_bytes().into_iter().take(width)).collect();
    Ok((id, Data { elem, bytes }))
}

fn inside<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.strip_prefix(before)?.strip_suffix(after)
}

/// The bits of one element: a number of its type or `0x` bits.
fn word(elem: Elem, text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    match elem {
        Elem::F32 => text.parse().ok().map(f32::to_bits),
        Elem::I32 => text.parse().ok().map(i32::cast_unsigned),
        Elem::U16 => text.parse().ok().map(|x: u16| x.into()),
    }
}

impl Data {
    fn text(&self) -> String {
        let words = self.bytes.chunks_exact(self.elem.bytes() as usize).map(|bytes| {
            let bits = bytes.iter().rev().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
            match self.elem {
                Elem::F32 if f32::from_bits(bits).is_nan() => "nan".to_owned(),
                Elem::F32 => format!("{}", Shortest(f32::from_bits(bits))),
                Elem::I32 => format!("{}", bits.cast_signed()),
                Elem::U16 => format!("{bits:#06x}"),
            }
        });
        format!("{} [{}]", self.elem, words.collect::<Vec<_>>().join(", "))
    }
}

/// An f32 as the shortest decimal that reads back, without `.0`.
struct Shortest(f32);

impl std::fmt::Display for Shortest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:?}", self.0);
        f.write_str(text.strip_suffix(".0").unwrap_or(&text))
    }
}
