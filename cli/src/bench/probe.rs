//! The machine in this moment: how long a barrier takes, and how fast memory is read.
//!
//! Both change within seconds on shared machines: the host moves virtual cores between caches, and
//! neighbors take their share of the memory. A figure of speed is told with both beside it. A look
//! takes some 100 ms, with a barrier of the runtime's own thread pool and a kernel of our own that
//! reads half a GiB in the order of its addresses.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deepthin_compiler::codegen::clif::Clif;
use deepthin_runtime::memory::OutOfMemory;
use deepthin_runtime::threads::{Pool, Worker, YIELDING};

use super::kernel::{self, ProbeCode, ProbeError, ProbeKernel, READ_BLOCK};
use super::statistics::median;

/// Bytes that a look reads: many times what caches hold.
pub const READ_BYTES: u64 = 512 << 20;

/// Least bytes that are worth a look: less lies in caches.
pub const LEAST_READ_BYTES: u64 = 64 << 20;

/// Batches of barrier crossings in a look, of which the median counts.
const BATCHES: u32 = 5;

/// Crossings of a batch, at least and at most, and the time that it is to take in between: where
/// threads outnumber cores a crossing takes milliseconds.
const LEAST_CROSSINGS: u32 = 10;
const MOST_CROSSINGS: u32 = 10_000;
const BATCH: Duration = Duration::from_micros(500);

/// A crossing that takes as long is one of threads that share a core, and how long the system is
/// given to part them: new threads may begin on the same core, beside an idle one.
const TOGETHER: Duration = Duration::from_micros(10);
const PARTING: Duration = Duration::from_millis(50);

/// A pause in which threads without work go to sleep.
const REST: Duration = YIELDING.saturating_add(Duration::from_millis(4));

/// Reads of a look, of which the median is told.
const READS: usize = 3;

/// What a look at the machine found.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Regime {
    /// Nanoseconds of one barrier crossing; `None` of one thread alone.
    pub barrier_ns: Option<f64>,
    /// Bytes a second of a linear read, all threads together; `None` where it was left out.
    pub read_rate: Option<f64>,
}

/// Threads that measure together, as a session's threads compute.
pub struct Team {
    pool: Pool,
}

/// An instance of a kernel for each thread of a team.
pub struct Instances(Vec<Mutex<ProbeKernel>>);

impl Team {
    /// So many threads, the caller's included.
    ///
    /// # Errors
    /// Too few threads to be had.
    pub fn new(threads: usize) -> Result<Team, ProbeError> {
        Ok(Team { pool: Pool::new(threads)? })
    }

    /// Threads.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// An instance for each thread, whose memory that thread has touched first.
    ///
    /// # Errors
    /// No memory.
    pub fn instances(&mut self, code: &ProbeCode) -> Result<Instances, OutOfMemory> {
        let slots: Vec<_> = (0..self.threads()).map(|_| Mutex::new(None)).collect();
        self.pool.run(&|worker: &Worker<'_>| {
            if let Some(slot) = slots.get(worker.thread) {
                *lock(slot) = Some(code.instance());
            }
        });
        let made = slots
            .into_iter()
            .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(Instances(made.map(|made| made.map(Mutex::new)).collect::<Result<_, _>>()?))
    }

    /// The time in which all threads run their instances, `passes` times the work, from the moment
    /// at which all begin to the one at which the last has ended.
    pub fn time(&mut self, instances: &Instances, passes: u32) -> Duration {
        let whole = Mutex::new(Duration::ZERO);
        self.pool.run(&|worker: &Worker<'_>| {
            let mut instance = instances.0.get(worker.thread).map(lock);
            worker.barrier();
            let start = Instant::now();
            if let Some(instance) = &mut instance {
                instance.run(passes);
            }
            worker.barrier();
            if worker.thread == 0 {
                *lock(&whole) = start.elapsed();
            }
        });
        whole.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds of a barrier crossing; `None` of one thread, which waits for nobody.
    pub fn barrier_ns(&mut self) -> Option<f64> {
        if self.threads() == 1 {
            return None;
        }
        let begin = Instant::now();
        let mut first = self.crossings(LEAST_CROSSINGS).as_nanos() / u128::from(LEAST_CROSSINGS);
        while first > TOGETHER.as_nanos() && begin.elapsed() < PARTING {
            first = self.crossings(LEAST_CROSSINGS).as_nanos() / u128::from(LEAST_CROSSINGS);
        }
        let count = u32::try_from(BATCH.as_nanos() / first.max(1)).unwrap_or(MOST_CROSSINGS);
        let count = count.clamp(LEAST_CROSSINGS, MOST_CROSSINGS);
        let one = |batch: Duration| batch.as_secs_f64() * 1e9 / f64::from(count);
        let batches: Vec<f64> = (0..BATCHES).map(|_| one(self.crossings(count))).collect();
        median(&batches)
    }

    /// The time of `count` crossings.
    fn crossings(&mut self, count: u32) -> Duration {
        let whole = Mutex::new(Duration::ZERO);
        self.pool.run(&|worker: &Worker<'_>| {
            worker.barrier(); // all are awake
            let start = Instant::now();
            for _ in 0..count {
                worker.barrier();
            }
            if worker.thread == 0 {
                *lock(&whole) = start.elapsed();
            }
        });
        whole.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What looks at the machine, on a number of threads.
pub struct Probe {
    team: Team,
    /// The readers, and the bytes that all of them read together.
    read: Option<(Instances, u64)>,
}

impl Probe {
    /// Makes ready to read `bytes` bytes in each look, shared evenly by the threads; with less than
    /// a block for each of them, looks leave the read rate out.
    ///
    /// # Errors
    /// No code, memory or threads.
    pub fn new(clif: &Clif, threads: usize, bytes: u64) -> Result<Probe, ProbeError> {
        let mut team = Team::new(threads)?;
        let each = bytes / team.threads() as u64 / u64::from(READ_BLOCK) * u64::from(READ_BLOCK);
        // What one kernel can address, in whole blocks.
        let most = i32::MAX.unsigned_abs() / READ_BLOCK * READ_BLOCK;
        let each = u32::try_from(each).map_or(most, |each| each.min(most));
        if each == 0 {
            return Ok(Probe { team, read: None });
        }
        let instances = team.instances(&kernel::read(clif, each)?)?;
        let bytes = u64::from(each) * team.threads() as u64;
        Ok(Probe { team, read: Some((instances, bytes)) })
    }

    /// Threads that look.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// Bytes that a look reads; 0 where it leaves that out.
    pub fn bytes(&self) -> u64 {
        self.read.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Looks, and lets the threads of those who are timed before and behind it go to sleep, and its
    /// own: a thread that yields takes its part of a core, and what is timed meanwhile up to three
    /// times as long.
    pub fn look(&mut self) -> Regime {
        self.rest();
        let regime = self.measured();
        self.rest();
        regime
    }

    fn rest(&self) {
        if self.threads() > 1 {
            std::thread::sleep(REST);
        }
    }

    fn measured(&mut self) -> Regime {
        let read_rate = self.read.as_ref().and_then(|(instances, bytes)| {
            let mut rate = || *bytes as f64 / self.team.time(instances, 1).as_secs_f64().max(1e-9);
            // What nobody has touched for some time the host may have put away: not its memory's rate.
            rate();
            median(&[(); READS].map(|()| rate()))
        });
        // Behind the reads: what another program leaves for the system to clear away is done by then.
        let barrier_ns = self.team.barrier_ns();
        Regime { barrier_ns, read_rate }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_finds_what_there_is_to_find() {
        let clif = Clif::host().unwrap();
        for (threads, bytes, read) in [(1, 0, 0), (1, 1 << 20, 1 << 20), (3, 1 << 20, 1_048_320)] {
            let mut probe = Probe::new(&clif, threads, bytes).unwrap();
            assert_eq!((probe.threads(), probe.bytes()), (threads, read));
            let regime = probe.look();
            assert_eq!(regime.barrier_ns.is_some(), threads > 1, "{regime:?}");
            assert_eq!(regime.read_rate.is_some(), bytes > 0, "{regime:?}");
            let figures = [regime.barrier_ns, regime.read_rate];
            assert!(figures.into_iter().flatten().all(|x| x.is_finite() && x > 0.0), "{regime:?}");
        }
    }

    #[test]
    fn less_than_a_block_for_each_thread_is_left_out() {
        let clif = Clif::host().unwrap();
        let probe = Probe::new(&clif, 2, 2 * u64::from(READ_BLOCK) - 1).unwrap();
        assert_eq!(probe.bytes(), 0);
        assert!(Probe::new(&clif, 0, 1).is_err(), "no threads");
    }
}
