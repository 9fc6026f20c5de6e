//! `deepthin compile`: writes a model's kernels as an object file with a C header, and its weights
//! as a packed file.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use deepthin::engine::{self, EngineError, RunOptions};
use deepthin::file;
use deepthin::packed::{self, Draft};
use deepthin::source::{Source, Weights};
use deepthin_compiler::codegen::Backend;
use deepthin_compiler::codegen::choice::Vectors;
use deepthin_compiler::codegen::target::Target;
use deepthin_compiler::header::Header;
use deepthin_compiler::pipeline::{self, CompileError, Lowered};
use deepthin_runtime::program::Regions;
use deepthin_runtime::shown::Shown;
use serde::Serialize;

use crate::args::compile::{CompileArgs, Emit};
use crate::args::model::KvFormat;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::{self, PackProgress, Stdout};

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
    bytes: u64,
}

/// Compiles a model and writes what is asked for; weights are needed to pack them alone.
pub(crate) fn run(args: &CompileArgs) -> Result<Exit, Failure> {
    let target = match args.target.named() {
        Some(target) => target?,
        None => Target::named(None, None)?,
    };
    let interrupt = Interrupt::watch()?;
    let source = input::source(&args.source, &interrupt)?;
    let packs = args.emit.contains(&Emit::Packed);
    match source.weights {
        Weights::None if packs => {
            return Err(EngineError::NoWeights { model: source.model.name }.into());
        }
        _ if !packs => interrupt.stop_watching(),
        _ => {}
    }
    let kv = args.kv.map(KvFormat::of_model);
    let options = RunOptions { context: args.context, kv, ..RunOptions::default() };
    let backend = Vectors::widest(&target).map_err(CompileError::from)?;
    let lowered = engine::lower_for(&source, &options, backend.lanes())?;
    input::notes(&engine::notices(&source, &options));
    let model = options.model(&source);
    let header = Header { model: &model, lowered: &lowered, target };
    let name = source.model.name.clone();

    let mut files: Vec<Written> = Vec::new();
    let has_kernels = args.emit.iter().any(|emit| *emit != Emit::Packed);
    if has_kernels {
        file::create_directory(&args.output)?;
    }
    for emit in [Emit::Obj, Emit::Header, Emit::Asm] {
        if !args.emit.contains(&emit) {
            continue;
        }
        let (kind, extension, bytes) = match emit {
            Emit::Obj => ("obj", "o", pipeline::object(&lowered, &*backend)?),
            Emit::Header => ("header", "h", header.to_string().into_bytes()),
            Emit::Asm => ("asm", "asm", listing(&lowered, &*backend)?.into_bytes()),
            Emit::Packed => unreachable!("not in the list above"),
        };
        files.push(write(&args.output, &name, kind, extension, &bytes)?);
    }
    let symbols = header.symbols();
    if packs {
        files.push(pack(args, source, &lowered, &interrupt)?);
    }
    summary(&files, has_kernels.then_some((&lowered, &target)));
    if args.json {
        let (target, cpu) = (target.triple(), target.cpu().name);
        Stdout::new().json(&Answer { model: &name, target, cpu, files, symbols })?;
    }
    Ok(Exit::Success)
}

/// Packs the model's weights and writes them; Ctrl-C leaves nothing behind.
fn pack(
    args: &CompileArgs,
    source: Source,
    lowered: &Lowered,
    interrupt: &Interrupt,
) -> Result<Written, Failure> {
    let is_file = args.output.extension().is_some_and(|extension| extension == "gguf");
    let path: PathBuf = match args.emit.as_slice() {
        [Emit::Packed] if is_file => args.output.clone(),
        _ => {
            file::create_directory(&args.output)?;
            args.output.join(format!("{}.{}", source.model.name, packed::EXTENSION))
        }
    };
    let (plan, threads) = (&lowered.plan, engine::default_threads());
    let needed = Regions { image: plan.regions.image, ..Regions::default() };
    engine::check_memory(&needed, plan.options.context, threads)?;
    let draft = Draft::new(source.metadata(), &source.model, &source.formats, plan);
    let stop = &|| interrupt.requested();
    let mut image = input::image(source, lowered, threads, stop)?;
    let mut progress = PackProgress::writing();
    let watch = &mut |done, total| progress.told(done, total, stop);
    let bytes = draft.write(&path, &mut image, threads, watch)?;
    Ok(Written { kind: "packed", path: path.display().to_string(), bytes })
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
    Ok(Written { kind, path: path.display().to_string(), bytes: bytes.len() as u64 })
}

/// The machine code of all kernels as text, as `dump --stage asm` prints it.
fn listing(lowered: &Lowered, backend: &dyn Backend) -> Result<String, Failure> {
    let mut text = String::new();
    for kernel in &lowered.kernels {
        let listing = backend.listing(kernel).map_err(CompileError::from)?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "; {}\n{}", kernel.name, listing.asm);
    }
    Ok(text)
}

/// Tells what was written, a line each, and of which kernels.
fn summary(files: &[Written], kernels: Option<(&Lowered, &Target)>) {
    for Written { path, bytes, .. } in files {
        let path = Shown(Path::new(path));
        output::log(format_args!("deepthin: wrote {path} ({bytes} bytes)"));
    }
    if let Some((lowered, target)) = kernels {
        let kernels = lowered.kernels.len();
        output::log(format_args!("deepthin: {kernels} kernels for {target}"));
    }
}
