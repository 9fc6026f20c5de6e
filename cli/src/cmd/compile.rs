//! `deepthin compile`: writes a model's kernels as an object file with a C header.

use std::fmt::Write;
use std::path::Path;

use deepthin::engine::{self, RunOptions};
use deepthin::file;
use deepthin_compiler::codegen::Backend;
use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::codegen::target::Target;
use deepthin_compiler::header::Header;
use deepthin_compiler::pipeline::{self, CompileError, Lowered};
use deepthin_runtime::shown::Shown;
use serde::Serialize;

use crate::args::compile::{CompileArgs, Emit};
use crate::exit::{Exit, Failure};
use crate::output::{self, Stdout};

use super::input;

/// What was written, as JSON has it, with the keys in this order.
#[derive(Serialize)]
struct Answer<'a> {
    model: &'a str,
    target: &'a str,
    cpu: &'a str,
    files: Vec<Written>,
    symbols: Vec<String>,
}

/// A file that was written.
#[derive(Serialize)]
struct Written {
    kind: &'static str,
    path: String,
    bytes: usize,
}

/// Compiles a model and writes what is asked for; no weights are needed for it.
pub(crate) fn run(args: &CompileArgs) -> Result<Exit, Failure> {
    let target = match args.target.named() {
        Some(target) => target?,
        None => Target::named(None, None)?,
    };
    let source = input::source_for_short(&args.source)?;
    let options = RunOptions { context: args.context, ..RunOptions::default() };
    let lowered = engine::lower_source(&source, &options)?;
    input::notes(&engine::notices(&source, &options));
    let clif = Clif::new(&target).map_err(CompileError::from)?;
    let model = &source.model;
    let header = Header { model, lowered: &lowered, target };

    file::create_directory(&args.output)?;
    let mut files: Vec<Written> = Vec::new();
    for emit in [Emit::Obj, Emit::Header, Emit::Asm] {
        if !args.emit.contains(&emit) {
            continue;
        }
        let (kind, extension, bytes) = match emit {
            Emit::Obj => ("obj", "o", pipeline::object(&lowered, &clif)?),
            Emit::Header => ("header", "h", header.to_string().into_bytes()),
            Emit::Asm => ("asm", "asm", listing(&lowered, &clif)?.into_bytes()),
        };
        files.push(write(&args.output, &model.name, kind, extension, &bytes)?);
    }
    summary(&files, &lowered, &target);
    if args.json {
        let (target, cpu) = (target.triple(), target.cpu().name);
        let symbols = header.symbols();
        Stdout::new().json(&Answer { model: &model.name, target, cpu, files, symbols })?;
    }
    Ok(Exit::Success)
}

/// Writes one file of the model.
fn write(
    directory: &Path,
    model: &str,
    kind: &'static str,
    extension: &str,
    bytes: &[u8],
) -> Result<Written, Failure> {
    let path = directory.join(format!("{model}.{extension}"));
    file::write(&path, bytes)?;
    Ok(Written { kind, path: path.display().to_string(), bytes: bytes.len() })
}

/// The machine code of all kernels as text, as `dump --stage asm` prints it.
fn listing(lowered: &Lowered, clif: &Clif) -> Result<String, Failure> {
    let mut text = String::new();
    for kernel in &lowered.kernels {
        let listing = clif.listing(kernel).map_err(CompileError::from)?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "; {}\n{}", kernel.name, listing.asm);
    }
    Ok(text)
}

/// Tells what was written, a line each.
fn summary(files: &[Written], lowered: &Lowered, target: &Target) {
    for Written { path, bytes, .. } in files {
        let path = Shown(Path::new(path));
        output::log(format_args!("deepthin: wrote {path} ({bytes} bytes)"));
    }
    let kernels = lowered.kernels.len();
    output::log(format_args!("deepthin: {kernels} kernels for {target}"));
}
