//! Work that threads share for a while, without a pool: weights that are converted, kernels that
//! are emitted, files that are hashed.

use super::{ROOM, STACK};
use crate::memory::Region;
use std::thread::{Builder, ScopedJoinHandle};

/// Runs `own` on the caller's thread while at most `threads` - 1 others run `work`, and gives what
/// each returned, the caller's last. A panic of any of them goes on in the caller.
///
/// Where the system has no thread to give, or no memory for its stack, fewer run: each is to take
/// what there is to do until there is no more.
pub fn together<T: Send>(
    threads: usize,
    work: impl Fn() -> T + Sync,
    own: impl FnOnce() -> T,
) -> Vec<T> {
    std::thread::scope(|scope| {
        let spawn = |_| builder()?.spawn_scoped(scope, &work).ok();
        let others: Vec<_> = (1..threads).map_while(spawn).collect();
        let own = own();
        let join = |other: ScopedJoinHandle<'_, _>| match other.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        others.into_iter().map(join).chain([own]).collect()
    })
}

/// A builder of one more thread, where there is memory for its stack: one for which hardly anything
/// is left would end the process.
fn builder() -> Option<Builder> {
    let room = Region::new("a thread's stack", ROOM).is_ok();
    room.then(|| Builder::new().stack_size(STACK))
}
