//! The thread pool: every unit once, barriers that order writes, threads that come and go.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use deepthin::hw::system::System;
use deepthin_runtime::threads::{MAX_THREADS, Pool, Worker, YIELDING};
use deepthin_tests::alone;
use rustix::thread::CpuSet;

/// As many counters at zero.
fn counters(count: usize) -> Vec<AtomicU32> {
    (0..count).map(|_| AtomicU32::new(0)).collect()
}

#[test]
fn every_unit_is_done_once() {
    for threads in 1..=8 {
        let mut pool = Pool::new(threads).unwrap();
        assert_eq!(pool.threads(), threads);
        for count in [0, 1, 2, 3, 7, 8, 9, 64, 1000] {
            let done = counters(count);
            let least = count as u64 / threads as u64;
            pool.run(&|worker: &Worker<'_>| {
                let (begin, end) = worker.share(count as u64);
                assert!((least..=least + 1).contains(&(end - begin)), "shares are even");
                for unit in begin..end {
                    done[usize::try_from(unit).unwrap()].fetch_add(1, Ordering::Relaxed);
                }
            });
            let times = done.iter().map(|done| done.load(Ordering::Relaxed));
            assert!(times.eq(std::iter::repeat_n(1, count)), "{count} units, {threads} threads");
        }
    }
}

#[test]
fn a_job_runs_once_on_each_thread_with_its_number() {
    for threads in 1..=8 {
        let mut pool = Pool::new(threads).unwrap();
        let ran = counters(threads);
        pool.run(&|worker: &Worker<'_>| {
            assert_eq!(worker.threads, threads);
            ran[worker.thread].fetch_add(1, Ordering::Relaxed);
        });
        assert!(ran.iter().all(|ran| ran.load(Ordering::Relaxed) == 1));
    }
}

/// In each round a thread writes its slot, and after the barrier reads all others: the slots
/// themselves order nothing, so that the barrier must.
fn rounds(pool: &mut Pool, rounds: u64, pause: impl Fn(&Worker<'_>, u64) + Sync) {
    let slots: Vec<AtomicU64> = (0..pool.threads()).map(|_| AtomicU64::new(0)).collect();
    pool.run(&|worker: &Worker<'_>| {
        for round in 1..=rounds {
            pause(worker, round);
            slots[worker.thread].store(round, Ordering::Relaxed);
            worker.barrier();
            for slot in &slots {
                assert_eq!(slot.load(Ordering::Relaxed), round);
            }
            worker.barrier();
        }
    });
}

#[test]
fn barriers_order_writes() {
    for threads in 1..=8 {
        rounds(&mut Pool::new(threads).unwrap(), 300, |_, _| ());
    }
}

#[test]
fn more_threads_than_cores_work() {
    rounds(&mut Pool::new(24).unwrap(), 60, |_, _| ());
}

#[test]
fn ten_thousand_jobs_in_a_row() {
    let mut pool = Pool::new(3).unwrap();
    let sum = AtomicUsize::new(0);
    for job in 0..10_000 {
        pool.run(&|worker: &Worker<'_>| {
            sum.fetch_add(job + worker.thread, Ordering::Relaxed);
        });
    }
    assert_eq!(sum.into_inner(), 3 * (9_999 * 10_000 / 2) + 10_000 * 3);
}

/// Pauses from nothing to longer than a waiting thread spins and yields: it wakes from each way of
/// waiting, and those who come late find the others asleep.
#[test]
fn threads_that_wait_long_wake_up() {
    let pause = |worker: &Worker<'_>, round: u64| {
        let mixed = (worker.thread as u64 + 1).wrapping_mul(0x9e37_79b9)
            ^ round.wrapping_mul(2_654_435_761);
        match mixed % 5 {
            _ if round % 40 == worker.thread as u64 => {
                thread::sleep(YIELDING + Duration::from_millis(5));
            }
            0 => thread::sleep(Duration::from_micros(mixed / 5 % 3000)),
            1 => assert!((0..mixed % 2000).all(|i| black_box(i) < 2000)),
            _ => (),
        }
    };
    for threads in [2, 3, 8] {
        rounds(&mut Pool::new(threads).unwrap(), 150, pause);
    }
}

/// Thousands of generations of every gate: jobs that follow at once, after a yield or after a
/// sleep, on threads that do the same before each barrier, more of them than there are cores. The
/// model checker sees all orders of a few steps; this sees a few orders of very many.
#[test]
fn thousands_of_jobs_in_random_order() {
    let linger = |random: u64| match random % 97 {
        0 => thread::sleep(Duration::from_micros(random / 97 % 300)),
        1..=9 => thread::yield_now(),
        10..=19 => assert!((0..random / 97 % 5000).all(|i| black_box(i) < 5000)),
        _ => (),
    };
    for (threads, jobs) in [(2, 4000), (3, 3000), (7, 1200), (19, 400)] {
        let mut pool = Pool::new(threads).unwrap();
        let slots = counters(threads);
        for job in 0..jobs {
            let random = |thread: u64, barrier: u64| {
                let mixed = (job * 64 + thread * 2 + barrier).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 24
            };
            linger(random(31, 0));
            let expected = u32::try_from(job).unwrap() + 1;
            pool.run(&|worker: &Worker<'_>| {
                linger(random(worker.thread as u64, 0));
                slots[worker.thread].store(expected, Ordering::Relaxed);
                worker.barrier();
                let all_wrote = slots.iter().all(|slot| slot.load(Ordering::Relaxed) == expected);
                assert!(all_wrote, "job {job} on {threads} threads");
                linger(random(worker.thread as u64, 1));
                worker.barrier();
            });
        }
    }
}

#[test]
fn an_idle_pool_takes_the_next_job() {
    let mut pool = Pool::new(4).unwrap();
    for idle in [0, 1, 20, 60] {
        thread::sleep(Duration::from_millis(idle));
        let ran = AtomicUsize::new(0);
        pool.run(&|_: &Worker<'_>| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.into_inner(), 4);
    }
}

/// Counts itself when its thread ends.
struct Farewell(Arc<AtomicUsize>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local! {
    static FAREWELL: RefCell<Option<Farewell>> = const { RefCell::new(None) };
}

#[test]
fn a_dropped_pool_has_ended_its_threads() {
    for threads in [1, 2, 5] {
        let ended = Arc::new(AtomicUsize::new(0));
        let mut pool = Pool::new(threads).unwrap();
        pool.run(&|worker: &Worker<'_>| {
            if worker.thread > 0 {
                FAREWELL.set(Some(Farewell(Arc::clone(&ended))));
            }
        });
        assert_eq!(ended.load(Ordering::SeqCst), 0);
        drop(pool);
        assert_eq!(ended.load(Ordering::SeqCst), threads - 1);
    }
}

#[test]
fn pools_that_never_run_end_too() {
    for _ in 0..50 {
        drop(Pool::new(4).unwrap());
    }
}

#[test]
fn counts_that_make_no_sense_are_refused() {
    let said = |threads| Pool::new(threads).map(|_| ()).unwrap_err().to_string();
    assert_eq!(said(0), "0 threads asked for, expected 1 to 1024");
    let many = MAX_THREADS + 1;
    assert_eq!(said(many), format!("{many} threads asked for, expected 1 to 1024"));
    assert!(Pool::new(usize::MAX).is_err());
}

#[test]
fn workers_are_pinned_and_the_caller_is_not() {
    let before = System::read().usable;
    // All on one processor works, as more threads than cores do.
    let last = *before.last().unwrap();
    for places in [vec![last; 3], before.iter().copied().cycle().take(3).collect()] {
        let mut pool = Pool::new(3).unwrap();
        pool.pin(&places).unwrap();
        pool.run(&|worker: &Worker<'_>| match worker.thread {
            0 => assert_eq!(System::read().usable, before),
            thread => assert_eq!(System::read().usable, [places[thread]]),
        });
        rounds(&mut pool, 20, |_, _| ());
    }
}

#[test]
fn processors_that_are_not_there_are_refused() {
    let said =
        |processors: &[usize]| Pool::new(3).unwrap().pin(processors).unwrap_err().to_string();
    let few = "found 3 threads to pin, expected at most one for each of 2 processors";
    assert_eq!(said(&[0, 0]), few);
    let none = CpuSet::MAX_CPU;
    let first = System::read().usable[0];
    let message = said(&[first, first, none]);
    assert!(message.starts_with(&format!("thread 2 cannot be pinned to processor {none}: ")));
    let message = said(&[first, none - 1, first]);
    let expected = format!("thread 1 cannot be pinned to processor {}: ", none - 1);
    assert!(message.starts_with(&expected), "{message}");
}

/// Kernels rely on subnormals and on rounding to nearest even, whichever thread they run on.
#[test]
fn pool_threads_compute_as_ieee_says() {
    Pool::new(4).unwrap().run(&|_: &Worker<'_>| {
        let least = f32::MIN_POSITIVE;
        assert_eq!((black_box(least) * black_box(0.5)).to_bits(), 0x0040_0000);
        assert_eq!((black_box(least * 0.5) * black_box(2.0)).to_bits(), least.to_bits());
        let tie = 16_777_216.0_f32;
        assert_eq!(black_box(tie) + black_box(1.0), tie);
        assert_eq!(black_box(tie) + black_box(3.0), tie + 4.0);
    });
}

/// A panic on one thread would leave the others at a barrier for ever: the process ends instead.
#[test]
fn a_job_that_panics_ends_the_process() {
    if let Some(thread) = alone::role() {
        Pool::new(3).unwrap().run(&|worker: &Worker<'_>| {
            assert_ne!(worker.thread.to_string(), thread, "asked for");
            worker.barrier();
        });
        return;
    }
    for (thread, code) in [("0", 70), ("2", 70), ("none", 0)] {
        let ended = alone::run("threads::a_job_that_panics_ends_the_process", thread);
        assert_eq!(ended.status.code(), Some(code), "a panic on thread {thread}");
    }
}
