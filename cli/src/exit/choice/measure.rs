//! Errors of measuring, calibrating and verifying.

use std::io::ErrorKind;

use deepthin::bench::kernel::ProbeError;
use deepthin::bench::peers::PeerError;
use deepthin::calibrate::CalibrateError;
use deepthin::perplexity::PerplexityError;
use deepthin::quantize::Misfit;
use deepthin::verify::VerifyError;
use deepthin::verify::ladder::LadderError;
use deepthin::verify::machine::CallError;
use deepthin_compiler::pack::PackError;
use deepthin_compiler::pipeline::CompileError;

use crate::exit::{Exit, Failure, please_report};

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
