//! Errors of compiling a model and of running it.

use deepthin::engine::EngineError;
use deepthin_compiler::codegen::CodegenError;
use deepthin_compiler::codegen::target::{Isa, TargetError};
use deepthin_compiler::pack::PackError;
use deepthin_compiler::pipeline::CompileError;
use deepthin_compiler::plan::PlanError;
use deepthin_runtime::memory::OutOfMemory;
use deepthin_runtime::session::RunError;
use deepthin_runtime::threads::ThreadError;

use crate::exit::{Exit, Failure, please_report};

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        match error {
            EngineError::Source(error) => error.into(),
            EngineError::Compile(error) => error.into(),
            EngineError::Run(error) => error.into(),
            EngineError::Memory(error) => error.into(),
            EngineError::Pack { cause: PackError::Memory(error), .. } => error.into(),
            EngineError::Pack { cause: PackError::Image { .. }, .. } => {
                Failure::new(Exit::Bug, error).fix(please_report())
            }
            EngineError::Pack { .. } | EngineError::NonFinite { .. } => {
                Failure::new(Exit::BadData, error)
                    .fix("the file is damaged or was converted badly: fetch or convert it anew")
            }
            EngineError::Beyond { .. } => Failure::new(Exit::Usage, error)
                .fix("choose bf16, f32 or codes of our own for them"),
            EngineError::NoWeights { .. } => Failure::new(Exit::Usage, error)
                .fix("give it weights with --weights FILE.gguf, or draw some with --random SEED"),
            EngineError::Packed { .. } => {
                Failure::new(Exit::Usage, error).fix("quantize the file that it was made from")
            }
            EngineError::NoCodes => {
                Failure::new(Exit::Usage, error).fix("leave out --activations, or take f32")
            }
            EngineError::Stopped => Failure::new(Exit::Interrupted, error),
            EngineError::Context { fits, described, .. } => {
                let exit = if described { Exit::BadData } else { Exit::Usage };
                Failure::new(exit, error).fix(format!("ask for at most -c {fits}"))
            }
            EngineError::TooLarge { fits: 0, .. } => Failure::new(Exit::Resource, error)
                .fix("take a smaller model or storage, or give the process more memory"),
            EngineError::TooLarge { fits, .. } => Failure::new(Exit::Resource, error)
                .fix(format!("ask for a context that fits: -c {fits}")),
        }
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Failure {
        let fix = match (&error, error.meant()) {
            (_, Some(meant)) => format!("did you mean `{meant}`?"),
            (TargetError::Triple { .. } | TargetError::Cpu { .. }, None) => {
                "choose one of these; `deepthin compile --help` tells what they are".to_owned()
            }
            (TargetError::Native { .. }, None) => "name one of its processors".to_owned(),
            (TargetError::Host { .. }, None) => {
                format!("as in --target {}", Isa::X86_64.triple())
            }
        };
        Failure::new(Exit::Usage, error).fix(fix)
    }
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Failure {
        match &error {
            CompileError::Build(_) | CompileError::Plan(PlanError::PairFormats { .. }) => {
                Failure::new(Exit::BadData, error).fix(
                    "choose other storage in the description, or convert the file to another type",
                )
            }
            CompileError::TooLarge { .. } => Failure::new(Exit::BadData, error)
                .fix("store them in fewer bits, or lower the vocabulary or the widths"),
            CompileError::Codegen(CodegenError::HostFeature { .. }) => {
                Failure::new(Exit::HostFeature, error)
                    .fix("use a processor of level x86-64-v3 (2013 or later) or an aarch64 one")
            }
            CompileError::Codegen(CodegenError::Feature { .. }) => {
                Failure::new(Exit::HostFeature, error)
                    .fix("leave out --isa: without it the best back end of the processor is taken")
            }
            CompileError::Codegen(CodegenError::Memory(_)) => Failure::new(Exit::Resource, error)
                .fix("let the process have executable memory (a security policy may forbid it)"),
            CompileError::Plan(_) | CompileError::Invalid { .. } | CompileError::Codegen(_) => {
                Failure::new(Exit::Bug, error).fix(please_report())
            }
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        let fix = match error {
            RunError::Memory(error) => return error.into(),
            RunError::Threads(error) => return error.into(),
            RunError::Mapping(error) => {
                let fix = error.fix();
                return Failure::new(Exit::Io, error).fix(fix);
            }
            RunError::Program(_) | RunError::Parameters { .. } | RunError::Constants { .. } => {
                return Failure::new(Exit::Bug, error).fix(please_report());
            }
            RunError::NoTokens => "give it at least one character".to_owned(),
            RunError::ContextFull { position, tokens, .. } => {
                let needed = tokens.saturating_add(usize::try_from(position).unwrap_or(usize::MAX));
                format!("give a shorter text, or make room for it with -c {needed}")
            }
            RunError::TokenId { .. } => "use the tokenizer of the model's own file".to_owned(),
            RunError::NonFinite { .. } => {
                "take other weights: with this text these leave the range of 32-bit floats"
                    .to_owned()
            }
        };
        Failure::new(Exit::BadData, error).fix(fix)
    }
}

impl From<OutOfMemory> for Failure {
    fn from(error: OutOfMemory) -> Failure {
        Failure::new(Exit::Resource, error)
            .fix("ask for a shorter context with -c, or take a smaller model")
    }
}

impl From<ThreadError> for Failure {
    fn from(error: ThreadError) -> Failure {
        match error {
            ThreadError::Count(_) => {
                Failure::new(Exit::Usage, error).fix("ask for a possible number with -t")
            }
            ThreadError::Stacks { fit: most, .. } | ThreadError::Spawn { started: most, .. } => {
                Failure::new(Exit::Resource, error)
                    .fix(format!("ask for no more than can be had: -t {most}"))
            }
            ThreadError::Processors { processors, .. } => Failure::new(Exit::Usage, error)
                .fix(format!("ask for fewer threads with -t {processors}, or leave out --pin")),
            ThreadError::Pin { .. } => Failure::new(Exit::Resource, error)
                .fix("leave out --pin: the system then places threads itself"),
        }
    }
}
