//! A persistent pool of threads for one token at a time: spin and yield a bounded while, then park.
//!
//! A job runs on every thread of the pool at once, the caller's included, and meets at barriers
//! inside. Who waits spins shortly, then yields its core to whoever else wants it, and sleeps when
//! that has taken long: between jobs the next token comes at once while generating. More threads
//! than cores work, somewhat slower: who waits yields at once.
#![expect(unsafe_code, reason = "a job borrows from the caller's stack; the pool outlives no job")]

mod error;
mod together;

use crate::memory::Region;
use crate::sync::{
    Arc, AtomicBool, AtomicU32, AtomicUsize, Builder, Condvar, JoinHandle, Mutex, Ordering,
    spin_loop, yield_now,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

pub use error::ThreadError;
pub use together::together;

/// Spins before a waiting thread yields. A barrier crossing takes some tens of nanoseconds when
/// everyone is running, a step some tens of microseconds. To the model checker one look while awake
/// is as good as many.
const SPINS: u32 = if cfg!(loom) { 1 } else { 4_000 };

/// How long it yields before it sleeps; for as long after a job a pool's threads are in the way of
/// those of another one. Who waits longer than a step takes waits for a thread whose
/// core another process has for some slices of 3 ms. Yielding lets others have this core too, but
/// sleeping would invite that process to it, and the threads would wait for each other in turn
/// (specs/performance.md).
pub const YIELDING: Duration = Duration::from_millis(if cfg!(loom) { 0 } else { 16 });

/// Most threads of a pool.
pub const MAX_THREADS: usize = 1024;

/// Bytes of a worker's stack.
const STACK: usize = 2 << 20;

/// Bytes set aside for starting a worker: its stack, the page that guards it, its record.
const ROOM: u64 = STACK as u64 + (64 << 10);

/// A word that threads wait on: a generation number that only grows.
struct Gate {
    /// Spins before a waiting thread yields: none where threads outnumber cores, since the one
    /// that is waited for may need this core.
    spins: u32,
    generation: AtomicU32,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Gate {
    fn new(threads: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Gate {
            spins: if threads <= cores { SPINS } else { 0 },
            generation: AtomicU32::new(0),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            changed: Condvar::new(),
        }
    }

    /// Waits until the generation is not `seen`.
    fn wait(&self, seen: u32) {
        for _ in 0..self.spins {
            if self.generation.load(Ordering::Acquire) != seen {
                return;
            }
            spin_loop();
        }
        let begin = Instant::now();
        while begin.elapsed() < YIELDING {
            if self.generation.load(Ordering::Acquire) != seen {
                return;
            }
            yield_now();
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        // Adding nothing reads like a load, and takes its place in the order of all additions:
        // `open` comes later and sees the sleeper, or came earlier and is seen here.
        while self.generation.fetch_add(0, Ordering::AcqRel) == seen {
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Lets everyone through who waits on the present generation.
    fn open(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            // A sleeper holds the lock from its last look at the generation until it waits:
            // behind the lock it either waits, and wakes up now, or has seen the generation.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_all();
        }
    }
}

/// What a job knows of itself on one thread.
pub struct Worker<'a> {
    /// This thread's number, 0 to `threads` - 1.
    pub thread: usize,
    /// Threads that run the job.
    pub threads: usize,
    barrier: &'a Barrier,
}

impl Worker<'_> {
    /// Waits for all threads of the job. What they wrote before, all see after.
    pub fn barrier(&self) {
        self.barrier.wait(self.threads);
    }

    /// This thread's contiguous share of `0..count`: shares differ by at most one unit.
    pub fn share(&self, count: u64) -> (u64, u64) {
        let (thread, threads) = (self.thread as u64, self.threads as u64);
        (count * thread / threads, count * (thread + 1) / threads)
    }
}

struct Barrier {
    arrived: AtomicUsize,
    gate: Gate,
}

impl Barrier {
    fn new(threads: usize) -> Self {
        Barrier { arrived: AtomicUsize::new(0), gate: Gate::new(threads) }
    }

    fn wait(&self, threads: usize) {
        if threads == 1 {
            return;
        }
        let seen = self.gate.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.gate.open();
        } else {
            self.gate.wait(seen);
        }
    }
}

type Job<'a> = dyn Fn(&Worker<'_>) + Sync + 'a;

/// The job at hand: a borrowed closure whose lifetime is that of one `run`.
#[derive(Clone, Copy)]
struct JobPointer(*const Job<'static>);

// SAFETY: the closure behind the pointer is `Sync`, and `run` keeps it alive until every worker
// has finished with it.
unsafe impl Send for JobPointer {}

struct Shared {
    job: Mutex<Option<JobPointer>>,
    start: Gate,
    done: Barrier,
    inner: Barrier,
    stop: AtomicBool,
}

/// A pool of threads.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts a pool of `threads` threads, the caller's own included.
    ///
    /// # Errors
    /// A count that makes no sense; too little memory for the stacks; the system's.
    pub fn new(threads: usize) -> Result<Self, ThreadError> {
        if threads == 0 || threads > MAX_THREADS {
            return Err(ThreadError::Count(threads));
        }
        let mut rooms = rooms(threads)?;
        let shared = Arc::new(Shared {
            job: Mutex::new(None),
            start: Gate::new(threads),
            done: Barrier::new(threads),
            inner: Barrier::new(threads),
            stop: AtomicBool::new(false),
        });
        let mut pool = Pool { shared, workers: Vec::with_capacity(threads - 1) };
        for thread in 1..threads {
            rooms.pop();
            let shared = Arc::clone(&pool.shared);
            let spawned = Builder::new()
                .stack_size(STACK)
                .name(format!("deepthin-{thread}"))
                .spawn(move || work(&shared, thread, threads));
            match spawned {
                Ok(handle) => pool.workers.push(handle),
                Err(cause) => {
                    return Err(ThreadError::Spawn { started: thread, wanted: threads, cause });
                }
            }
        }
        Ok(pool)
    }

    /// Threads of the pool, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Pins each worker to a logical processor: the thread of number i to `processors[i]`. The
    /// caller's own thread, number 0, stays where the system puts it, for what it does between jobs
    /// and the threads that it starts are not the pool's; its processor is left to it.
    ///
    /// # Errors
    /// Fewer processors than threads; a processor that the system does not give to this process.
    /// Some workers may be pinned then.
    pub fn pin(&mut self, processors: &[usize]) -> Result<(), ThreadError> {
        let threads = self.threads();
        if processors.len() < threads {
            return Err(ThreadError::Processors { threads, processors: processors.len() });
        }
        let refused = std::sync::Mutex::new(None);
        self.run(&|worker: &Worker<'_>| {
            let (thread, processor) = (worker.thread, processors[worker.thread]);
            if let Some(cause) = (thread > 0).then(|| pin_here(processor)).and_then(Result::err) {
                let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
                *refused = Some(ThreadError::Pin { thread, processor, cause });
            }
        });
        refused.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Runs `job` on all threads and returns when all are done. A job that panics ends the
    /// process with exit code 70: the other threads could wait for it at a barrier for ever.
    pub fn run(&mut self, job: &Job<'_>) {
        let threads = self.threads();
        let worker = Worker { thread: 0, threads, barrier: &self.shared.inner };
        if threads == 1 {
            job(&worker);
            return;
        }
        let _guard = ExitOnPanic;
        let pointer: *const Job<'_> = job;
        // SAFETY: only the lifetime changes; no worker uses the pointer after the barrier `done`
        // below, which this call waits for.
        let pointer = JobPointer(unsafe {
            std::mem::transmute::<*const Job<'_>, *const Job<'static>>(pointer)
        });
        *self.shared.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(pointer);
        self.shared.start.open();
        job(&worker);
        self.shared.done.wait(threads);
    }
}

/// Memory for each worker's start and one more, given back one by one as they start: a process at
/// its limit is told so here, where a message can still be made. What starting a thread allocates
/// besides its stack ends the process where there is nothing left.
fn rooms(threads: usize) -> Result<Vec<Region>, ThreadError> {
    if threads == 1 {
        return Ok(Vec::new());
    }
    let room = |fit: usize| {
        let refused = |cause| ThreadError::Stacks { fit: fit.max(1), wanted: threads, cause };
        Region::new("a thread's stack", ROOM).map_err(refused)
    };
    let mut rooms = (0..threads).map(room).collect::<Result<Vec<_>, _>>()?;
    rooms.pop();
    Ok(rooms)
}

/// Pins the thread that calls to a logical processor.
fn pin_here(processor: usize) -> std::io::Result<()> {
    if processor >= CpuSet::MAX_CPU {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let mut only = CpuSet::new();
    only.set(processor);
    Ok(sched_setaffinity(None, &only)?)
}

/// Ends the process when a panic passes.
struct ExitOnPanic;

impl Drop for ExitOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(70);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.start.open();
        for handle in self.workers.drain(..) {
            // Workers end normally or end the process: there is no panic to pass on.
            let _ = handle.join();
        }
    }
}

fn work(shared: &Shared, thread: usize, threads: usize) {
    let mut seen = 0;
    loop {
        shared.start.wait(seen);
        seen = seen.wrapping_add(1);
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let job = *shared.job.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(JobPointer(job)) = job {
            let worker = Worker { thread, threads, barrier: &shared.inner };
            let _guard = ExitOnPanic;
            // SAFETY: `run` has put the pointer there and waits for `done` before the closure
            // ends.
            let job = unsafe { &*job };
            job(&worker);
        }
        shared.done.wait(threads);
    }
}
