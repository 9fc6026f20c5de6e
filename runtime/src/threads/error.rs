//! Why a pool of threads could not be had.

use super::MAX_THREADS;
use crate::memory::OutOfMemory;
use thiserror::Error;

/// Threads could not be had.
#[derive(Debug, Error)]
pub enum ThreadError {
    /// A count that makes no sense.
    #[error("{0} threads asked for, expected 1 to {MAX_THREADS}")]
    Count(usize),
    /// The stacks do not fit into the memory that the process may have.
    #[error("found room for {fit} of {wanted} threads: {cause}")]
    Stacks {
        /// Threads that there is room for, the caller's included.
        fit: usize,
        /// Threads asked for.
        wanted: usize,
        /// What could not be had.
        cause: OutOfMemory,
    },
    /// The operating system refused.
    #[error("started {started} of {wanted} threads: {cause}")]
    Spawn {
        /// Threads that run, the caller's included.
        started: usize,
        /// Threads asked for.
        wanted: usize,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// More threads to pin than processors to pin them to.
    #[error(
        "found {threads} threads to pin, expected at most one for each of {processors} processors"
    )]
    Processors {
        /// Threads asked for.
        threads: usize,
        /// Processors at hand.
        processors: usize,
    },
    /// The operating system refused to bind a thread to a processor.
    #[error("thread {thread} cannot be pinned to processor {processor}: {cause}")]
    Pin {
        /// The thread's number.
        thread: usize,
        /// The logical processor's number.
        processor: usize,
        /// The system's answer.
        cause: std::io::Error,
    },
}
