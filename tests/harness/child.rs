//! Runs of a program with what they cost: CPU time and peak memory of that one child.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use wait4::{ResUse, Wait4};

use crate::program::Ended;

/// A child that runs longer hangs: the shortest that anyone would wait.
const HANGS: Duration = Duration::from_secs(120);

/// How a child ended, and what it took.
#[derive(Debug)]
pub struct Measured {
    /// Exit code and streams.
    pub ended: Ended,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// CPU time of all its threads, user and system.
    pub cpu: Duration,
    /// The most bytes that were in memory at a time.
    ///
    /// The system counts a child from the moment at which it still shares the memory of its
    /// parent, so that this is never less than the parent's own peak: measure in a small process
    /// ([`crate::alone`]), against a child that does nothing.
    pub peak: u64,
}

/// Runs the command to its end.
///
/// # Panics
/// If it cannot be started, or does not end in two minutes.
pub fn measure(command: &mut Command) -> Measured {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program can be started");
    let stdout = gather(child.stdout.take());
    let stderr = gather(child.stderr.take());
    let start = Instant::now();
    let ResUse { status, rusage } = loop {
        match child.try_wait4().expect("a child of ours can be waited for") {
            Some(ended) => break ended,
            None if start.elapsed() < HANGS => thread::sleep(Duration::from_millis(1)),
            None => {
                child.kill().expect("a child of ours can be ended");
                panic!("{command:?} does not end");
            }
        }
    };
    let text = |bytes: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&bytes.join().expect("a pipe can be read")).into_owned()
    };
    Measured {
        ended: Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) },
        signal: status.signal(),
        cpu: rusage.utime + rusage.stime,
        peak: rusage.maxrss,
    }
}

/// Reads a stream to its end on a thread, so that the child never waits for room in a pipe.
fn gather(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            stream.read_to_end(&mut bytes).expect("a pipe can be read");
        }
        bytes
    })
}
