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
//! bad command line. All choices of a code for an error of the libraries are in `choice`.

mod choice;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use deepthin_dsl::Diagnostic;

use crate::output;

/// The exit codes of every verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Success = 0,
    /// What was to be checked is wrong.
    CheckFailed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A file was read and is wrong.
    BadData = 65,
    /// An input cannot be opened or obtained.
    NoInput = 66,
    /// The processor lacks a feature, or there are no kernels for it yet.
    HostFeature = 69,
    /// A bug in deepthin.
    Bug = 70,
    /// The system lacks memory or threads.
    Resource = 71,
    /// An output cannot be created.
    CannotCreate = 73,
    /// Reading or writing failed half-way.
    Io = 74,
    /// The system refuses access.
    Permission = 77,
    /// Stopped by Ctrl-C or SIGTERM.
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
    /// A description that is wrong. Each diagnostic brings its own advice.
    Description {
        /// The code to end with.
        exit: Exit,
        /// All that is wrong, in the order of the text; not empty.
        diagnostics: Vec<Diagnostic>,
    },
}

impl Failure {
    /// A failure without advice; [`Failure::fix`] adds some.
    pub(crate) fn new(exit: Exit, message: impl Display) -> Failure {
        Failure::Error { exit, message: message.to_string(), fix: None }
    }

    /// The same failure with advice, in place of any that it had.
    pub(crate) fn fix(mut self, advice: impl Display) -> Failure {
        if let Failure::Error { fix, .. } = &mut self {
            *fix = Some(advice.to_string());
        }
        self
    }

    /// The same failure with `place`, where it lies, before its message.
    pub(crate) fn at(mut self, place: impl Display) -> Failure {
        if let Failure::Error { message, .. } = &mut self {
            *message = format!("{place}{message}");
        }
        self
    }

    /// Writing to stdout failed.
    pub(crate) fn stdout(error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::new(Exit::Io, format!("stdout: cannot write: {error}"))
                .fix("make room where the output goes, or send it elsewhere"),
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
            Failure::Description { exit, diagnostics } => {
                for diagnostic in &diagnostics {
                    output::log(format_args!("deepthin: {diagnostic}"));
                }
                let file = diagnostics.first().map_or("", |first| first.file.as_str());
                let count = diagnostics.len();
                let errors = if count == 1 { "error" } else { "errors" };
                output::log(format_args!("deepthin: error: {file}: {count} {errors}"));
                exit
            }
        }
    }
}

/// The panic hook: a panic is a bug of ours, and is told as one.
pub(crate) fn report_panic(panic: &PanicHookInfo<'_>) {
    let cause = panic.payload_as_str().unwrap_or("panic without a message");
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    output::log(format_args!("deepthin: error: internal bug{place}: {cause}"));
    output::log(format_args!("fix: {}", please_report()));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        output::log(format_args!("{trace}"));
    }
}

/// The advice for bugs.
fn please_report() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "this is a bug in deepthin {version}; please report it with the command line and the \
         lines above"
    )
}
