//! The thread pool in every order that the memory model allows, by the model checker loom.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p deepthin-runtime --release --target-dir target/loom
//! --test loom -- --nocapture` runs it and prints how many orders it saw; without the flag there
//! is nothing here. A job that panics ends the process (`threads::Pool::run`), so that a wrong
//! order ends it with exit code 70, behind the message.

#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]
#![allow(clippy::print_stdout, reason = "the number of orders is what a run is worth")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as CounterOrdering};

use deepthin_runtime::threads::{Pool, Worker};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Runs `model` in all orders with at most `preemptions` switches away from a thread that could
/// go on (those away from a thread that waits are free), and says how many there are.
/// `LOOM_MAX_PREEMPTIONS` asks for another bound.
fn check(name: &str, preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let orders = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&orders);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 100_000;
    builder.check(move || {
        counted.fetch_add(1, CounterOrdering::Relaxed);
        model();
    });
    let orders = orders.load(CounterOrdering::Relaxed);
    println!("{name}, {:?} preemptions: {orders} orders", builder.preemption_bound.unwrap());
    assert!(orders > 1, "the model leaves the order open");
}

/// In each round every thread writes its slot and, after a barrier, reads all of them: the slots
/// order nothing themselves. The caller sees what all have written.
fn rounds(threads: usize, rounds: usize) {
    let mut pool = Pool::new(threads).unwrap();
    let slots: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
    pool.run(&|worker: &Worker<'_>| {
        for round in 1..=rounds {
            slots[worker.thread].store(round, Relaxed);
            worker.barrier();
            // A neighbor may be one barrier ahead, and no more.
            let met = |slot: &AtomicUsize| (round..=round + 1).contains(&slot.load(Relaxed));
            assert!(slots.iter().all(met));
        }
    });
    assert!(slots.iter().all(|slot| slot.load(Relaxed) == rounds));
}

/// The sum of what jobs add, each on all threads.
fn jobs(threads: usize, jobs: usize) {
    let mut pool = Pool::new(threads).unwrap();
    let sum = AtomicUsize::new(0);
    for job in 1..=jobs {
        let before = sum.load(Relaxed);
        pool.run(&|_: &Worker<'_>| {
            sum.fetch_add(job, Relaxed);
        });
        assert_eq!(sum.load(Relaxed), before + threads * job, "each thread ran the job once");
    }
}

#[test]
fn two_threads_meet_at_barriers() {
    check("two threads, a barrier", 4, || rounds(2, 1));
    check("two threads, three barriers", 2, || rounds(2, 3));
}

#[test]
fn three_threads_meet_at_barriers() {
    check("three threads, a barrier", 1, || rounds(3, 1));
}

#[test]
fn two_threads_take_one_job_after_the_other() {
    check("two threads, a job", 100, || jobs(2, 1));
    check("two threads, three jobs", 3, || jobs(2, 3));
}

#[test]
fn three_threads_take_a_job() {
    check("three threads, a job", 2, || jobs(3, 1));
    check("three threads, two jobs", 1, || jobs(3, 2));
}

/// What a job borrows from its caller is used no more once `run` has returned.
#[test]
fn nothing_of_a_job_outlives_its_run() {
    check("two threads, a borrowed flag", 4, || {
        let mut pool = Pool::new(2).unwrap();
        let over = loom::sync::Arc::new(AtomicBool::new(false));
        pool.run(&|_: &Worker<'_>| assert!(!over.load(Relaxed)));
        over.store(true, Relaxed);
    });
}

/// Threads that sleep, look or have not begun to wait hear of the end.
#[test]
fn a_pool_ends_whatever_its_threads_do() {
    check("two threads, no job", 100, || drop(Pool::new(2).unwrap()));
    check("three threads, no job", 3, || drop(Pool::new(3).unwrap()));
}
