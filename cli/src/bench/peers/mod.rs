//! Other engines, measured by a script of the user's: one repetition at a time, in rounds with ours.
//!
//! The script is Python; deepthin brings none and knows no engine. It is called as
//!
//! ```text
//! PYTHON SCRIPT FILE.gguf [--peers NAME] -t THREADS -p PROMPT -n GENERATE -d DEPTH --reps 1
//! ```
//!
//! and prints a JSON object a line for each engine that it measured, with at least
//!
//! ```text
//! {"peer": NAME, "version": TEXT, "threads": THREADS, "pp": PROMPT, "pp_tps": RATE,
//!  "tg": GENERATE, "tg_tps": RATE}
//! ```
//!
//! where rates are tokens a second, that of the prompt from an empty KV cache on and that of
//! generation behind DEPTH tokens. What it warms up, it does not count.

mod output;
mod pairs;

pub use output::Measured;
pub use pairs::{Pair, pairs};

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use deepthin_runtime::shown::Shown;
use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;

/// How often a script is looked after.
const POLL: Duration = Duration::from_millis(20);

/// Most bytes of a script's output, and how much of the end of its messages is told.
const MAX_OUTPUT: u64 = 1 << 20;
const LOG_BYTES: u64 = 4096;
const LOG_LINES: usize = 6;

/// A script, and how it is run.
#[derive(Debug, Clone)]
pub struct Script {
    /// The script.
    pub path: PathBuf,
    /// The interpreter.
    pub python: PathBuf,
    /// Longest time of one call.
    pub limit: Duration,
}

/// What a script is asked to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The model.
    pub file: &'a Path,
    /// Which engine; the script's own choice where it is not named.
    pub peer: Option<&'a str>,
    /// Threads.
    pub threads: usize,
    /// What to measure.
    pub pair: Pair,
}

/// Why a script gave no figures.
#[derive(Debug, Error)]
pub enum PeerError {
    /// The interpreter did not start.
    #[error("cannot start {}: {cause}", Shown(.python))]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// Its streams could not be kept or read, or it could not be waited for.
    #[error("{}: cannot follow what the script does: {cause}", Shown(.script))]
    Follow {
        /// The script.
        script: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// It ended with an error.
    #[error("{}: the script ended with {status}, expected it to end with 0{log}", Shown(.script))]
    Failed {
        /// The script.
        script: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to stderr, each line indented on its own.
        log: String,
    },
    /// It took too long.
    #[error(
        "{}: the script still ran after {} s, expected one repetition in that time{log}",
        Shown(.script), limit.as_secs()
    )]
    Hangs {
        /// The script.
        script: PathBuf,
        /// The longest that it may take.
        limit: Duration,
        /// The end of what it wrote to stderr, each line indented on its own.
        log: String,
    },
    /// It printed something else than figures of what it was asked for.
    #[error("{}: the script printed {found}, expected {expected}{log}", Shown(.script))]
    Output {
        /// The script.
        script: PathBuf,
        /// What it printed.
        found: String,
        /// What it was to print.
        expected: String,
        /// The end of what it wrote to stderr, each line indented on its own.
        log: String,
    },
    /// Whoever waited wanted no more.
    #[error("interrupted")]
    Stopped,
}

impl Script {
    /// One call of the script; what it says of each engine.
    ///
    /// # Errors
    /// A script that does not start, fails, prints something else or takes too long; `stop` said so.
    pub fn ask(
        &self,
        question: &Question<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<Measured>, PeerError> {
        let follow = |cause| PeerError::Follow { script: self.path.clone(), cause };
        let mut stdout = tempfile::tempfile().map_err(follow)?;
        let mut stderr = tempfile::tempfile().map_err(follow)?;
        let streams = [stdout.try_clone(), stderr.try_clone()];
        let [out, err] = streams.map(|stream| stream.map_err(follow));
        let mut child = Group(self.start(question, out?, err?)?);
        let status = self.wait(&mut child, stop, &mut stderr)?;
        let log = last_lines(&mut stderr);
        if !status.success() {
            return Err(PeerError::Failed { script: self.path.clone(), status, log });
        }
        let mut text = Vec::new();
        stdout.seek(SeekFrom::Start(0)).map_err(follow)?;
        stdout.take(MAX_OUTPUT).read_to_end(&mut text).map_err(follow)?;
        output::measured(&String::from_utf8_lossy(&text), question).map_err(|found| {
            PeerError::Output {
                script: self.path.clone(),
                found,
                expected: output::expected(question),
                log,
            }
        })
    }

    /// Starts the script in a process group of its own.
    fn start(&self, question: &Question<'_>, out: File, err: File) -> Result<Child, PeerError> {
        let Question { file, peer, threads, pair } = question;
        let mut command = Command::new(&self.python);
        command.arg(&self.path).arg(file);
        if let Some(peer) = peer {
            command.args(["--peers", peer]);
        }
        command.args(["-t", &threads.to_string(), "-p", &pair.prompt.to_string()]);
        command.args(["-n", &pair.generate.to_string(), "-d", &pair.depth.to_string()]);
        command.args(["--reps", "1"]);
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        command.spawn().map_err(|cause| PeerError::Start { python: self.python.clone(), cause })
    }

    /// Waits for the script to end.
    fn wait(
        &self,
        child: &mut Group,
        stop: &dyn Fn() -> bool,
        stderr: &mut File,
    ) -> Result<ExitStatus, PeerError> {
        let start = Instant::now();
        loop {
            let ended = child.0.try_wait();
            let ended =
                ended.map_err(|cause| PeerError::Follow { script: self.path.clone(), cause })?;
            if let Some(status) = ended {
                return Ok(status);
            }
            if stop() {
                return Err(PeerError::Stopped);
            }
            if start.elapsed() >= self.limit {
                let (script, log) = (self.path.clone(), last_lines(stderr));
                return Err(PeerError::Hangs { script, limit: self.limit, log });
            }
            thread::sleep(POLL);
        }
    }
}

/// A child that leads a process group: none of it is left when nobody waits for it any more.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // It may end by itself meanwhile: then there is nothing left to kill.
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

/// The last lines of what a script wrote, each after a line break and an indent, empty ones left
/// out; nothing where it cannot be read.
fn last_lines(stream: &mut File) -> String {
    let mut tail = Vec::new();
    let read = stream
        .seek(SeekFrom::End(0))
        .and_then(|end| stream.seek(SeekFrom::Start(end.saturating_sub(LOG_BYTES))))
        .and_then(|_| stream.take(LOG_BYTES).read_to_end(&mut tail));
    if read.is_err() {
        return String::new();
    }
    let tail = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
    let kept = lines.iter().skip(lines.len().saturating_sub(LOG_LINES));
    kept.map(|line| format!("\n  {}", line.trim_end())).collect()
}
