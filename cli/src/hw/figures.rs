//! Which figures there are of a machine, and how they are taken.

use std::time::Duration;

use deepthin_compiler::codegen::clif::Clif;
use serde::Serialize;

use super::system::Cache;
use crate::bench::kernel::{self, MAX_PASSES, ProbeCode, ProbeError, READ_BLOCK};
use crate::bench::probe::{Instances, Team};
use crate::bench::statistics::median;

/// Rounds, of which median and best are told.
const ROUNDS: u32 = 5;

/// How long a kernel runs in a round, at least.
const RUN: Duration = Duration::from_millis(10);

/// What the figures of arithmetic are.
const FMA: &str = "fused multiply-adds of f32, 4 lanes at a time, two operations each";
const DOT4: &str =
    "products of 8-bit integers summed by fours, 4 lanes at a time, two operations each";

/// A figure of the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Its name: `read L1`, `f32 fma`.
    pub name: String,
    /// Threads that did it together.
    pub threads: usize,
    /// Bytes that all threads read in turn.
    pub bytes: Option<u64>,
    /// The median of the rounds.
    pub median: f64,
    /// The best of the rounds.
    pub best: f64,
    /// The unit of both.
    pub unit: &'static str,
    /// What it is, in words.
    pub about: String,
}

/// A read rate to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    name: String,
    threads: usize,
    /// Bytes of each thread.
    each: u32,
    about: String,
}

/// What a figure is taken of.
enum Work {
    /// A kernel, its instances, passes of a run, and units of work in a pass of all threads.
    Kernel { team: usize, instances: Instances, passes: u32, per_pass: f64 },
    /// Crossings of a barrier by a team.
    Barrier { team: usize },
}

/// A figure in the making.
struct Taken {
    work: Work,
    figure: Figure,
    samples: Vec<f64>,
}

/// Measures with one thread and with `threads`; no buffer is larger than `largest`, that of memory
/// has `memory` bytes.
///
/// # Errors
/// No code, memory or threads.
pub fn measure(
    clif: &Clif,
    caches: &[Cache],
    threads: usize,
    memory: u64,
    largest: u64,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<Figure>, ProbeError> {
    let mut teams = vec![Team::new(1)?];
    if threads > 1 {
        teams.push(Team::new(threads)?);
    }
    let mut taken = Vec::new();
    for read in reads(caches, threads, memory, largest) {
        let code = kernel::read(clif, read.each)?;
        let bytes = u64::from(read.each) * read.threads as u64;
        let figure = figure(read.name, read.threads, Some(bytes), "GB/s", read.about);
        let team = usize::from(read.threads > 1);
        taken.push(prepared(&mut teams, team, &code, bytes as f64 / 1e9, figure)?);
    }
    for (name, unit, about, code, operations) in [
        ("f32 fma", "GFLOP/s", FMA, kernel::fma(clif)?, kernel::FMA_OPERATIONS),
        ("int8 dot", "GOP/s", DOT4, kernel::dot4(clif)?, kernel::DOT4_OPERATIONS),
    ] {
        for team in 0..teams.len() {
            let threads = teams.get(team).map_or(1, Team::threads);
            let figure = figure(name.to_owned(), threads, None, unit, about.to_owned());
            let per_pass = operations as f64 * threads as f64 / 1e9;
            taken.push(prepared(&mut teams, team, &code, per_pass, figure)?);
        }
    }
    if threads > 1 {
        let about = "one crossing of the barrier behind each step of a token";
        let figure = figure("barrier".to_owned(), threads, None, "ns", about.to_owned());
        taken.push(Taken { work: Work::Barrier { team: 1 }, figure, samples: Vec::new() });
    }
    for _ in 0..ROUNDS {
        for taken in &mut taken {
            if !stop() {
                taken.samples.extend(sample(&mut teams, &taken.work));
            }
        }
    }
    Ok(taken.into_iter().filter_map(finished).collect())
}

/// The read rates: of each cache that is larger than the one before, then of memory.
fn reads(caches: &[Cache], threads: usize, memory: u64, largest: u64) -> Vec<Read> {
    let blocks = |bytes: u64| {
        let most = u64::from(i32::MAX.unsigned_abs());
        let each = bytes.min(most) / u64::from(READ_BLOCK) * u64::from(READ_BLOCK);
        u32::try_from(each).ok().filter(|each| *each > 0)
    };
    let mut reads = Vec::new();
    for count in [1, threads] {
        let mut nearer = 0;
        for cache in caches {
            // Half of the cache: the rest is for the system and for neighbors of its addresses.
            let each = cache.bytes / 2 / cache.shared_by.min(count).max(1) as u64;
            if let Some(each) = blocks(each.min(largest)).filter(|_| each > nearer) {
                let name = format!("read L{}", cache.level);
                let about = format!("linear read of half of the level {} cache", cache.level);
                reads.push(Read { name, threads: count, each, about });
            }
            nearer = cache.bytes;
        }
        if let Some(each) = blocks(memory / count as u64) {
            let about = "linear read of memory, more than caches hold".to_owned();
            reads.push(Read { name: "read memory".to_owned(), threads: count, each, about });
        }
        if threads == 1 {
            break;
        }
    }
    reads
}

fn figure(
    name: String,
    threads: usize,
    bytes: Option<u64>,
    unit: &'static str,
    about: String,
) -> Figure {
    Figure { name, threads, bytes, median: 0.0, best: 0.0, unit, about }
}

/// A kernel ready to run long enough on a team; `per_pass` is the work of a pass of all threads.
fn prepared(
    teams: &mut [Team],
    team: usize,
    code: &ProbeCode,
    per_pass: f64,
    figure: Figure,
) -> Result<Taken, ProbeError> {
    let Some(threads) = teams.get_mut(team) else {
        unreachable!("teams are numbered by the caller")
    };
    let instances = threads.instances(code)?;
    threads.time(&instances, 1); // the caches are cold
    let first = threads.time(&instances, 1).max(Duration::from_nanos(1));
    let passes = u32::try_from(RUN.as_nanos().div_ceil(first.as_nanos())).unwrap_or(MAX_PASSES);
    let work = Work::Kernel { team, instances, passes, per_pass };
    Ok(Taken { work, figure, samples: Vec::new() })
}

/// One sample, in the figure's unit.
fn sample(teams: &mut [Team], work: &Work) -> Option<f64> {
    match work {
        Work::Kernel { team, instances, passes, per_pass } => {
            let team = teams.get_mut(*team)?;
            team.time(instances, 1); // brings back what other figures took the place of
            let time = team.time(instances, *passes);
            Some(per_pass * f64::from(*passes) / time.as_secs_f64().max(1e-9))
        }
        Work::Barrier { team } => teams.get_mut(*team)?.barrier_ns(),
    }
}

/// The figure of all samples; `None` without any.
fn finished(taken: Taken) -> Option<Figure> {
    let samples = taken.samples;
    let best = match taken.work {
        Work::Kernel { .. } => samples.iter().copied().reduce(f64::max)?,
        Work::Barrier { .. } => samples.iter().copied().reduce(f64::min)?,
    };
    Some(Figure { median: median(&samples)?, best, ..taken.figure })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn cache(level: u32, kib: u64, shared_by: usize) -> Cache {
        Cache { level, bytes: kib << 10, line: 64, shared_by }
    }

    fn found(reads: &[Read]) -> Vec<(&str, usize, u32)> {
        reads.iter().map(|read| (read.name.as_str(), read.threads, read.each >> 10)).collect()
    }

    #[test]
    fn each_level_is_read_alone_and_together() {
        let caches = [cache(1, 32, 1), cache(2, 1024, 1), cache(3, 32 << 10, 2)];
        let reads = reads(&caches, 2, 512 << 20, u64::MAX);
        let expected = [
            ("read L1", 1, 16),
            ("read L2", 1, 512),
            ("read L3", 1, 16 << 10),
            ("read memory", 1, 512 << 10),
            ("read L1", 2, 16),
            ("read L2", 2, 512),
            ("read L3", 2, 8 << 10),
            ("read memory", 2, 256 << 10),
        ];
        assert_eq!(found(&reads), expected);
    }

    #[test]
    fn a_share_that_a_nearer_cache_holds_is_left_out() {
        // 64 threads share 32 MiB, and have 1 MiB each nearer by.
        let caches = [cache(1, 32, 1), cache(2, 1024, 1), cache(3, 32 << 10, 64)];
        let reads = reads(&caches, 64, 1 << 30, u64::MAX);
        let names: Vec<_> = reads[4..].iter().map(|read| read.name.as_str()).collect();
        assert_eq!(names, ["read L1", "read L2", "read memory"]);
    }

    #[test]
    fn buffers_have_their_bounds() {
        let caches = [cache(1, 32, 1), cache(2, 1024, 1)];
        let reads = |threads, memory| super::reads(&caches, threads, memory, 4 << 10);
        let expected = [("read L1", 1, 4), ("read L2", 1, 4), ("read memory", 1, 64)];
        assert_eq!(found(&reads(1, 64 << 10)), expected);
        assert_eq!(reads(1, 1 << 40).last().unwrap().each, (1 << 31) - READ_BLOCK);
        assert_eq!(super::reads(&[], 1, 1, u64::MAX), [], "less than a block");
    }

    #[test]
    fn all_figures_are_positive_and_may_be_stopped() {
        let clif = Clif::host().unwrap();
        let caches = [cache(1, 8, 1), cache(2, 64, 2)];
        let figures = measure(&clif, &caches, 2, 1 << 20, 1 << 20, &|| false).unwrap();
        let names: Vec<_> = figures.iter().map(|f| (f.name.as_str(), f.threads)).collect();
        let reads = ["read L1", "read L2", "read memory"];
        let expected: Vec<_> = [1, 2]
            .into_iter()
            .flat_map(|threads| reads.map(|name| (name, threads)))
            .chain([("f32 fma", 1), ("f32 fma", 2), ("int8 dot", 1), ("int8 dot", 2)])
            .chain([("barrier", 2)])
            .collect();
        assert_eq!(names, expected);
        for figure in &figures {
            let positive = figure.median.is_finite() && figure.median > 0.0 && figure.best > 0.0;
            assert!(positive, "{figure:?}");
            let is_better = match figure.unit {
                "ns" => figure.best <= figure.median,
                _ => figure.best >= figure.median,
            };
            assert!(is_better, "{figure:?}");
        }
        assert_eq!(measure(&clif, &caches, 2, 1 << 20, 1 << 20, &|| true).unwrap(), []);
    }
}
