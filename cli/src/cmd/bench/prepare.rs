//! Makes the variants of a benchmark: engines, their sessions, and a run that is not counted.

use std::path::PathBuf;

use deepthin::bench::footprint::{self, Meter, Took};
use deepthin::bench::test::{Ids, Test, repeat};
use deepthin::bench::traffic::Traffic;
use deepthin::engine::{self, Engine, EngineError, RunOptions};
use deepthin::memory::Available;
use deepthin::source::{Source, Weights};
use deepthin_runtime::program::Regions;
use deepthin_runtime::session::Session;

use crate::args::bench::BenchArgs;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;

use super::super::input;

/// A model with one choice of formats.
pub(super) struct Subject {
    /// Which of the command line's models, and what that calls it.
    pub(super) model: usize,
    pub(super) name: String,
    /// Its file of weights, where all of them come from one.
    pub(super) file: Option<PathBuf>,
    pub(super) traffic: Traffic,
    pub(super) engine: Engine,
}

/// A subject on a number of threads.
pub(super) struct Variant {
    /// Index of the subject.
    pub(super) subject: usize,
    pub(super) session: Session,
    /// The memory that a process with this variant alone would have at most.
    pub(super) peak: Option<u64>,
}

/// Everything that is measured but the peers.
pub(super) struct Prepared {
    pub(super) subjects: Vec<Subject>,
    /// In the order of models, formats, threads.
    pub(super) variants: Vec<Variant>,
}

/// A subject that is not made yet.
struct Planned {
    model: usize,
    name: String,
    file: Option<PathBuf>,
    options: RunOptions,
    traffic: Traffic,
    regions: Regions,
    source: Source,
}

/// Makes all variants and runs each test once on each.
pub(super) fn prepare(
    args: &BenchArgs,
    tests: &[Test],
    threads: &[usize],
    interrupt: &Interrupt,
) -> Result<Prepared, Failure> {
    let program = footprint::resident_bytes();
    let planned = plan(args, interrupt)?;
    check_memory(&planned, threads)?;
    let mut prepared = Prepared { subjects: Vec::new(), variants: Vec::new() };
    for Planned { model, name, file, options, traffic, source, .. } in planned {
        let meter = Meter::start();
        let options = RunOptions { threads: threads.iter().copied().max(), ..options };
        let engine = input::engine_until(source, &options, &|| interrupt.requested())?;
        let made = meter.stop();
        let subject = prepared.subjects.len();
        for &threads in threads {
            let meter = Meter::start();
            let mut session = engine.session_with_threads(threads)?;
            warm_up(&mut session, tests, interrupt)?;
            let peak = peak(program, made, meter.stop());
            prepared.variants.push(Variant { subject, session, peak });
        }
        prepared.subjects.push(Subject { model, name, file, traffic, engine });
    }
    Ok(prepared)
}

/// Plans every model with every choice of formats, before anything takes memory.
fn plan(args: &BenchArgs, interrupt: &Interrupt) -> Result<Vec<Planned>, Failure> {
    let mut planned = Vec::new();
    for (model, name) in args.models.iter().enumerate() {
        for options in args.options() {
            let source = input::source(&args.source(name), interrupt)?;
            let file = match &source.weights {
                Weights::Gguf(weights) => Some(weights.gguf().path().to_path_buf()),
                // In our own layout, which no other engine reads.
                Weights::Packed(_) | Weights::Random(_) => None,
                Weights::None => {
                    let model = source.model.name;
                    return Err(EngineError::NoWeights { model }.into());
                }
            };
            let lowered = engine::lower_source(&source, &options)?;
            let (traffic, regions) = (Traffic::of(&lowered.plan), lowered.plan.regions);
            let name = name.clone();
            planned.push(Planned { model, name, file, options, traffic, regions, source });
        }
    }
    let has_none = planned.iter().all(|planned| planned.file.is_none());
    if args.peers.peers.is_some() && has_none {
        let message = "--peers: all weights are packed or drawn at random, expected a GGUF file \
                       that other engines read";
        let failure = Failure::new(Exit::Usage, message);
        return Err(failure.fix("name a GGUF file, or leave out --peers"));
    }
    Ok(planned)
}

/// Refuses variants that do not fit into memory together. One alone the engine looks at itself.
fn check_memory(planned: &[Planned], threads: &[usize]) -> Result<(), Failure> {
    let variants = planned.len() * threads.len();
    let needed = planned.iter().map(|planned| bytes(&planned.regions, threads));
    let needed = needed.fold(0, u64::saturating_add);
    let available = Available::now().filter(|available| available.bytes < needed);
    let Some(available) = available.filter(|_| variants > 1) else { return Ok(()) };
    let message = format!(
        "the {variants} variants need {} MiB together, expected at most the {} MiB that {} leaves",
        needed.div_ceil(1 << 20),
        available.bytes >> 20,
        available.bound
    );
    let failure = Failure::new(Exit::Resource, message);
    Err(failure.fix("compare fewer models or settings at a time, or shorter tests"))
}

/// Bytes of an engine and of a session for each number of threads.
fn bytes(regions: &Regions, threads: &[usize]) -> u64 {
    let session = |threads: &usize| {
        let scratch = regions.scratch.saturating_mul(*threads as u64);
        let parts = [regions.arena, regions.logits, regions.kv, scratch];
        parts.into_iter().fold(0, u64::saturating_add)
    };
    threads.iter().map(session).fold(regions.image, u64::saturating_add)
}

/// Runs each test once: what is slow the first time is not counted.
fn warm_up(session: &mut Session, tests: &[Test], interrupt: &Interrupt) -> Result<(), Failure> {
    let mut ids = Ids::new(0, session.program().vocab);
    for test in tests {
        if interrupt.requested() {
            return Err(EngineError::Stopped.into());
        }
        repeat(session, *test, &mut ids)?;
    }
    Ok(())
}

/// The memory of a process with one variant alone.
fn peak(program: Option<u64>, engine: Option<Took>, session: Option<Took>) -> Option<u64> {
    Some(footprint::peak(program?, engine?, session?))
}
