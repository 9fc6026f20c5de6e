//! The two output streams: data on stdout, messages and progress on stderr.
//!
//! Nothing else in the program writes to them. A closed or full stdout is an error value rather
//! than a panic. stderr is the last resort: when it fails there is nowhere left to say so.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use deepthin::catalog::CatalogModel;
use deepthin::fetch::{Progress, Stage};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;

/// The data that a verb produces.
pub(crate) struct Stdout(StdoutLock<'static>);

impl Stdout {
    /// Takes hold of stdout.
    pub(crate) fn new() -> Stdout {
        Stdout(io::stdout().lock())
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, line: Arguments<'_>) -> Result<(), Failure> {
        writeln!(self.0, "{line}").map_err(Failure::stdout)
    }

    /// Writes bytes as they are, at once.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).and_then(|()| self.0.flush()).map_err(Failure::stdout)
    }

    /// Writes one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        // Maps with keys that are no strings are all that JSON cannot hold.
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::new(Exit::Bug, format!("cannot write JSON: {error}")))?;
        self.line(format_args!("{text}"))
    }
}

/// Writes a part of a line to stderr.
pub(crate) fn log_part(part: Arguments<'_>) {
    let _ = write!(io::stderr().lock(), "{part}");
}

/// Tells the user something that is no error.
pub(crate) fn note(note: Arguments<'_>) {
    log(format_args!("deepthin: note: {note}"));
}

/// Whether people read both streams on one terminal.
pub(crate) fn is_one_terminal() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Writes one line to stderr.
pub(crate) fn log(line: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Shows a fetch on stderr: a bar on a terminal, one line for each stage elsewhere.
pub(crate) struct FetchProgress {
    bar: ProgressBar,
    interrupt: Interrupt,
}

impl FetchProgress {
    /// Nothing is shown before the first stage.
    pub(crate) fn new(interrupt: Interrupt) -> FetchProgress {
        FetchProgress { bar: ProgressBar::hidden(), interrupt }
    }
}

impl Drop for FetchProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for FetchProgress {
    fn begin(&mut self, stage: Stage, model: &CatalogModel, total: Option<u64>) {
        let label = match stage {
            Stage::Waiting => "waiting for another fetch of",
            Stage::Downloading => "downloading",
            Stage::Extracting => "extracting",
            Stage::Verifying => "verifying",
        };
        self.bar.finish_and_clear();
        self.bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style(
                "deepthin: {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            )),
            None => ProgressBar::new_spinner()
                .with_style(style("deepthin: {msg} {spinner} {bytes} {elapsed}")),
        };
        if self.bar.is_hidden() {
            log(format_args!("deepthin: {label} {}", model.name));
        } else {
            self.bar.set_message(format!("{label} {}", model.name));
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    fn advance(&mut self, done: u64) {
        self.bar.set_position(done);
    }

    fn cancelled(&self) -> bool {
        self.interrupt.requested()
    }
}

/// The style of a template; indicatif's own where it does not take the template.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
