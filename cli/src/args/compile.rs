//! The verb that compiles ahead of time, and the options that name a machine.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use deepthin_compiler::codegen::target::{Isa, Target, TargetError};

use super::model::{KvFormat, SourceArgs};

/// Compile a model to an object file and a C header, or pack its weights
///
/// Writes MODEL.o with every kernel of the model as a function, and MODEL.h, which documents each:
/// what it computes, its buffers and their layouts, its scalars and their bounds. The kernels are
/// for exactly the shapes and storage of the model; weights are not in the object.
///
/// With `--emit packed` it writes MODEL.packed.gguf: the weights as the kernels read them, with
/// everything else that the model's file says. Every command takes it as a model, and maps it
/// instead of packing the weights anew.
#[derive(Debug, Args)]
#[command(after_help = compile_help())]
pub(crate) struct CompileArgs {
    /// Which model.
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// For which machine.
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// What to write, a list
    #[arg(
        long,
        value_name = "KIND,..",
        value_enum,
        value_delimiter = ',',
        default_value = "obj,header"
    )]
    pub(crate) emit: Vec<Emit>,

    /// Directory to write to; it is made where there is none. With `--emit packed` alone also the
    /// name of that file, if it ends in .gguf
    #[arg(short, long, value_name = "OUT", default_value = ".")]
    pub(crate) output: PathBuf,

    /// Number of token positions that caches have room for [default: the model's own context]
    #[arg(short, long, value_name = "N",
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub(crate) context: Option<u32>,

    /// Number format of the KV cache, in place of the description's
    #[arg(long, value_name = "FORMAT")]
    pub(crate) kv: Option<KvFormat>,

    /// Print a JSON object with the files and symbols to stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// A machine to compile for.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Machine to compile for: x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu [default: this
    /// one]
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Option<String>,

    /// Least processor that the code has to run on, as `-march` of C compilers takes it; x86-64:
    /// x86-64-v3, x86-64-v4, alderlake, cascadelake; aarch64: armv8-a, armv8.2-a+dotprod,
    /// armv8.6-a+i8mm; native: this one
    #[arg(long, value_name = "NAME")]
    pub(crate) cpu: Option<String>,
}

impl TargetArgs {
    /// The machine that is named, if any is: without a processor the least of its kind.
    pub(crate) fn named(&self) -> Option<Result<Target, TargetError>> {
        let (triple, cpu) = (self.target.as_deref(), self.cpu.as_deref());
        (triple.is_some() || cpu.is_some()).then(|| Target::named(triple, cpu))
    }
}

/// Kinds of output files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Emit {
    /// MODEL.o, a relocatable object (ELF)
    Obj,
    /// MODEL.h, its C header
    Header,
    /// MODEL.asm, the machine code, instruction by instruction: to read, not to assemble
    Asm,
    /// MODEL.packed.gguf, the weights in the kernels' layout: to be mapped at the next start
    Packed,
}

/// The machines and processors, as the help of `compile` lists them.
fn compile_help() -> String {
    let mut help = "Targets, and processors (the first is the default):\n".to_owned();
    for isa in Isa::ALL {
        help.push_str(&format!("  {}\n", isa.triple()));
        for cpu in isa.cpus() {
            help.push_str(&format!("    {:18} {}\n", cpu.name, cpu.about));
        }
    }
    help + "\nExamples:\n  deepthin compile examples/mobilellm-125m.thin -o out\n  \
            deepthin compile model.gguf --target aarch64-unknown-linux-gnu --cpu armv8.2-a+dotprod\n  \
            deepthin compile smollm2-135m --emit packed -o out"
}
