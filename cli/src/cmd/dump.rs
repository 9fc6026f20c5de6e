//! `deepthin dump`: prints a model as it is at one stage of compilation.

use std::fmt::Write;

use deepthin::engine::{self, RunOptions};
use deepthin::source::{self, ModelName, Source, SourceError, Weights};
use deepthin_compiler::codegen::choice::Vectors;
use deepthin_compiler::codegen::target::Target;
use deepthin_compiler::codegen::{Backend, CodegenError};
use deepthin_compiler::pipeline::{CompileError, Lowered};
use deepthin_compiler::vir::Verified;
use deepthin_dsl::nearest_name;
use deepthin_runtime::shown::Shown;

use crate::args::text::{DumpArgs, Stage};
use crate::exit::{Exit, Failure};
use crate::output::Stdout;

use super::input;

/// Prints one stage; no weights are needed for it.
pub(crate) fn run(args: &DumpArgs) -> Result<Exit, Failure> {
    refuse_options(args)?;
    let text = if args.stage == Stage::Ast { ast(&args.model.source.model)? } else { stage(args)? };
    Stdout::new().bytes(text.as_bytes())?;
    Ok(Exit::Success)
}

/// Refuses options that the stage has no use for.
fn refuse_options(args: &DumpArgs) -> Result<(), Failure> {
    let of_kernels = match args.stage {
        Stage::Ast | Stage::Model | Stage::Fir | Stage::Fused | Stage::Plan => false,
        Stage::Vir | Stage::Clif | Stage::Asm => true,
    };
    if args.kernel.is_some() && !of_kernels {
        let message = "--kernel chooses kernels, and this stage has none";
        return Err(Failure::new(Exit::Usage, message).fix("ask for --stage vir, clif or asm"));
    }
    if args.target.named().is_some() && !matches!(args.stage, Stage::Clif | Stage::Asm) {
        let message =
            "--target and --cpu choose a machine, and this stage is the same on every one";
        return Err(Failure::new(Exit::Usage, message).fix("ask for --stage clif or asm"));
    }
    Ok(())
}

/// The back end for the machine that is named, or for this one as it is.
fn back_end(args: &DumpArgs, options: &RunOptions) -> Result<Box<dyn Backend>, Failure> {
    let target = match args.target.named() {
        Some(target) => target?,
        None => Target::host().map_err(CompileError::from)?,
    };
    let vectors = match (args.stage, options.isa) {
        (Stage::Clif, None | Some(Vectors::Clif128)) => Some(Vectors::Clif128),
        (Stage::Clif, Some(_)) => {
            let message = "--stage clif is what Cranelift receives: found the --isa of another back \
                           end, expected clif128 or none";
            return Err(
                Failure::new(Exit::Usage, message).fix("ask for --stage asm, or leave out --isa")
            );
        }
        (_, isa) => isa,
    };
    let backend = match vectors {
        Some(vectors) => vectors.backend(&target),
        None => Vectors::widest(&target),
    };
    Ok(backend.map_err(CompileError::from)?)
}

/// A description as written.
fn ast(model: &str) -> Result<String, Failure> {
    let ModelName::Description { path, model } = ModelName::parse(model)? else {
        let message = format!("`{model}` has no stage ast: it is not made from a description");
        return Err(Failure::new(Exit::Usage, message).fix("name a .thin file"));
    };
    let wrong = |diagnostics| Failure::Description { exit: Exit::BadData, diagnostics };
    let bytes = source::read_description(&path)?;
    let file = Shown(&path).to_string();
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Err(wrong(deepthin_dsl::parse_bytes(&bytes, &file).err().unwrap_or_default()));
    };
    let mut ast = deepthin_dsl::parse_ast(text, &file).map_err(wrong)?;
    if let Some(name) = model {
        let names = ast.models.iter().map(|model| model.name.text.to_owned()).collect();
        ast.models.retain(|model| model.name.text == name);
        if ast.models.is_empty() {
            return Err(SourceError::NoSuchModel { path, name, names }.into());
        }
    }
    Ok(ast.to_string())
}

/// A model at a stage after the text.
fn stage(args: &DumpArgs) -> Result<String, Failure> {
    let source = input::source_for_short(&args.model.source)?;
    let options = args.model.options();
    if args.stage == Stage::Model {
        return Ok(model(&source, &options));
    }
    let backend = match args.stage {
        Stage::Clif | Stage::Asm => Some(back_end(args, &options)?),
        _ => None,
    };
    let lowered = match &backend {
        Some(backend) => engine::lower_for(&source, &options, backend.lanes())?,
        None => engine::lower_source(&source, &options)?,
    };
    let listing = |kernel: &Verified| match &backend {
        Some(backend) => backend.listing(kernel),
        None => unreachable!("made above for the two stages that list code"),
    };
    Ok(match args.stage {
        Stage::Ast | Stage::Model => unreachable!("printed above, without lowering"),
        Stage::Fir => lowered.plain.to_string(),
        Stage::Fused => lowered.fused.to_string(),
        Stage::Plan => lowered.plan.to_string(),
        Stage::Vir => kernels(&lowered, args, |kernel| Ok(kernel.to_string()))?,
        Stage::Clif => kernels(&lowered, args, |kernel| Ok(listing(kernel)?.ir))?,
        Stage::Asm => kernels(&lowered, args, |kernel| Ok(listing(kernel)?.asm))?,
    })
}

/// A checked model as it runs, as a description. A file's tensors may be in formats that
/// descriptions have no word for, so they are told beside it.
fn model(source: &Source, options: &RunOptions) -> String {
    let note = match source.weights {
        Weights::Gguf(_) | Weights::Packed(_) => {
            "// Tensors run in the formats in which the weights file has them.\n"
        }
        Weights::None | Weights::Random(_) => "",
    };
    format!("{note}{}", deepthin_dsl::print(&options.model(source)))
}

/// The chosen kernels, each as `text` has it.
fn kernels(
    lowered: &Lowered,
    args: &DumpArgs,
    text: impl Fn(&Verified) -> Result<String, CodegenError>,
) -> Result<String, Failure> {
    let part = args.kernel.as_deref().unwrap_or_default();
    let mut all = String::new();
    for kernel in lowered.kernels.iter().filter(|kernel| kernel.name.contains(part)) {
        let text = text(kernel).map_err(CompileError::from)?;
        // Writing to a string cannot fail. VIR names its kernel itself.
        let _ = match args.stage {
            Stage::Vir => writeln!(all, "{text}"),
            _ => writeln!(all, "; {}\n{text}", kernel.name),
        };
    }
    if all.is_empty() {
        let names: Vec<&str> = lowered.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
        let choose = format!("choose among {}", names.join(", "));
        return Err(Failure::new(Exit::Usage, format!("no kernel has `{part}` in its name")).fix(
            match nearest_name(part, &names) {
                Some(meant) => format!("did you mean `{meant}`? Else {choose}"),
                None => choose,
            },
        ));
    }
    Ok(all)
}
