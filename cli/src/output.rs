//! The two output streams: data on stdout, messages and progress on stderr.
//!
//! Nothing else in the program writes to them. A closed or full stdout is an error value rather
//! than a panic. stderr is the last resort: when it fails there is nowhere left to say so.
//!
//! Models, files and templates write texts that nobody has looked at. A terminal obeys some
//! characters in place of showing them, so on a terminal stdout shows those by their numbers, and
//! stderr does so always. A pipe gets the bytes as they are.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, StdoutLock, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use deepthin::catalog::CatalogModel;
use deepthin::fetch::{Progress, Stage};
use deepthin::verify::Watch;
use deepthin_runtime::shown::Shown;
use deepthin_runtime::text::{steers_terminal, visible};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;

/// The data that a verb produces.
pub(crate) struct Stdout {
    stream: StdoutLock<'static>,
    /// Whether characters that steer a terminal are shown by their numbers.
    shows: bool,
}

impl Stdout {
    /// Takes hold of stdout.
    pub(crate) fn new() -> Stdout {
        let stdout = io::stdout();
        Stdout { shows: stdout.is_terminal(), stream: stdout.lock() }
    }

    /// Writes everything as it is, whatever stdout is.
    pub(crate) fn raw(self) -> Stdout {
        Stdout { shows: false, ..self }
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, line: Arguments<'_>) -> Result<(), Failure> {
        if self.shows {
            let line = line.to_string();
            return writeln!(self.stream, "{}", visible(&line)).map_err(Failure::stdout);
        }
        writeln!(self.stream, "{line}").map_err(Failure::stdout)
    }

    /// Writes bytes at once: to a terminal as text, elsewhere as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let shown = self.shows.then(|| String::from_utf8_lossy(bytes));
        let shown = shown.as_deref().map(visible);
        let bytes = shown.as_deref().map_or(bytes, str::as_bytes);
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).map_err(Failure::stdout)
    }

    /// Writes one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = json(value)?;
        self.line(format_args!("{text}"))
    }
}

/// A value as JSON on one line.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    // Maps with keys that are no strings are all that JSON cannot hold.
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::new(Exit::Bug, format!("cannot write JSON: {error}")))?;
    Ok(escaped(text))
}

/// JSON with the characters that steer a terminal, of which serde leaves some, escaped as JSON
/// escapes them: the same value. They stand only within strings.
fn escaped(json: String) -> String {
    if !json.contains(steers_terminal) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if steers_terminal(character) {
            text += &format!("\\u{:04x}", u32::from(character));
        } else {
            text.push(character);
        }
    }
    text
}

/// Writes a part of a line to stderr.
pub(crate) fn log_part(part: Arguments<'_>) {
    let _ = write!(io::stderr().lock(), "{}", visible(&part.to_string()));
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
    let _ = writeln!(io::stderr().lock(), "{}", visible(&line.to_string()));
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
        if stage == Stage::Downloading {
            // Stays when the bar is gone: no verb fetches without saying so.
            let CatalogModel { name, about, license, .. } = model;
            log(format_args!("deepthin: downloading {name}: {about} ({license})"));
        } else if self.bar.is_hidden() {
            log(format_args!("deepthin: {label} {}", model.name));
        }
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{label} {}", model.name));
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    fn replaces(&mut self, path: &Path, found: &str, expected: &str) {
        self.bar.suspend(|| {
            note(format_args!(
                "{}: found {found}, expected {expected}: fetching it anew",
                Shown(path)
            ));
        });
    }

    fn advance(&mut self, done: u64) {
        self.bar.set_position(done);
    }

    fn cancelled(&self) -> bool {
        self.interrupt.requested()
    }
}

/// Shows on stderr how far the weights of a model are drawn, read or written, where that takes long:
/// a bar on a terminal, one line elsewhere.
pub(crate) struct PackProgress {
    what: &'static str,
    bar: ProgressBar,
    start: Instant,
    shown: bool,
}

/// Time for which nobody wonders what a program does.
const QUIET: Duration = Duration::from_secs(1);

impl PackProgress {
    /// Nothing is shown before it has taken a second.
    pub(crate) fn new() -> PackProgress {
        PackProgress::of("preparing weights")
    }

    /// The same for weights that are written.
    pub(crate) fn writing() -> PackProgress {
        PackProgress::of("writing weights")
    }

    fn of(what: &'static str) -> PackProgress {
        PackProgress { what, bar: ProgressBar::hidden(), start: Instant::now(), shown: false }
    }

    /// So many bytes of how many are done: whether to go on, which `stop` decides.
    pub(crate) fn told(
        &mut self,
        done: u64,
        total: u64,
        stop: &dyn Fn() -> bool,
    ) -> ControlFlow<()> {
        self.show(done, total);
        if stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// So many bytes of how many are done.
    fn show(&mut self, done: u64, total: u64) {
        if !self.shown && self.start.elapsed() >= QUIET {
            self.shown = true;
            self.bar = ProgressBar::new(total)
                .with_style(style("deepthin: {msg} [{bar:30}] {bytes}/{total_bytes} {eta}"))
                .with_message(self.what);
            if self.bar.is_hidden() {
                let (done, total) = (done >> 20, total >> 20);
                log(format_args!("deepthin: {}, {done} of {total} MiB so far", self.what));
            }
        }
        self.bar.set_position(done);
    }
}

impl Drop for PackProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Shows on stderr how much is verified: a bar on a terminal, one line elsewhere.
pub(crate) struct VerifyProgress {
    bar: ProgressBar,
    interrupt: Interrupt,
}

impl VerifyProgress {
    /// Nothing of so much is done.
    pub(crate) fn new(what: &str, interrupt: Interrupt) -> VerifyProgress {
        let bar = ProgressBar::new(0)
            .with_style(style("deepthin: {msg} [{bar:30}] {pos}/{len} {eta}"))
            .with_message(format!("verifying {what}"));
        if bar.is_hidden() {
            log(format_args!("deepthin: verifying {what}"));
        }
        VerifyProgress { bar, interrupt }
    }
}

impl Watch for VerifyProgress {
    fn done(&self, done: usize, total: usize) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }

    fn cancelled(&self) -> bool {
        self.interrupt.requested()
    }
}

impl Drop for VerifyProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Shows on stderr how many rounds are measured: a bar on a terminal, nothing elsewhere. It moves
/// between rounds alone, so that drawing it takes no time from what is measured.
pub(crate) struct RoundProgress {
    bar: ProgressBar,
}

impl RoundProgress {
    /// Nothing of so many rounds is done.
    pub(crate) fn new(rounds: u32) -> RoundProgress {
        let bar = ProgressBar::new(rounds.into())
            .with_style(style("deepthin: {msg} [{bar:30}] {pos}/{len} {eta}"))
            .with_message("measuring, round");
        bar.tick();
        RoundProgress { bar }
    }

    /// So many rounds are done.
    pub(crate) fn done(&self, rounds: u32) {
        self.bar.set_position(rounds.into());
    }
}

impl Drop for RoundProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The style of a template; indicatif's own where it does not take the template.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
