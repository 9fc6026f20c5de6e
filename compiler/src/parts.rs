//! Work that falls into parts, on several threads.

use deepthin_runtime::threads::together;
use std::sync::{Mutex, PoisonError};

/// Does `work` on each part, on at most `threads` threads: the caller's is one of them, and does
/// alone what no other thread can be had for.
///
/// Parts are handed out in their order. A thread stops at its first error, and what comes back is
/// the result of each thread: the error of the first wrong part is always among them.
pub(crate) fn on_threads<T: Send, E: Send>(
    threads: usize,
    parts: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Vec<Result<(), E>> {
    let parts = Mutex::new(parts);
    let run = || -> Result<(), E> {
        loop {
            let next = parts.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(part) = next else { return Ok(()) };
            work(part)?;
        }
    };
    together(threads, run, run)
}
