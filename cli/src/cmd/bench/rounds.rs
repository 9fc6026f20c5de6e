//! Runs the rounds of a benchmark and keeps what each of them measured.

use std::path::Path;
use std::time::Duration;

use deepthin::bench::peers::{Pair, PeerError, Question, Script, pairs};
use deepthin::bench::probe::{Probe, Regime};
use deepthin::bench::test::{Ids, Repetition, Test, repeat};

use crate::args::bench::BenchArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::output::RoundProgress;

use super::prepare::Prepared;

/// What was measured, round by round. A series that ends early was interrupted.
pub(super) struct Measured {
    /// By test and variant, a repetition for each round.
    pub(super) own: Vec<Vec<Vec<Repetition>>>,
    /// The machine in each round, by number of threads.
    pub(super) regimes: Vec<(usize, Vec<Regime>)>,
    /// Other engines, in the order in which they appeared.
    pub(super) peers: Vec<PeerSeries>,
}

/// The rates of a peer in one test.
pub(super) struct PeerSeries {
    /// The engine and its version.
    pub(super) peer: String,
    pub(super) version: String,
    /// Index of the test, and of our first variant of the same file and threads.
    pub(super) test: usize,
    pub(super) ours: usize,
    /// Tokens a second in each round.
    pub(super) rates: Vec<f64>,
}

/// Measures until all rounds are done or the user wants no more.
pub(super) fn run(
    args: &BenchArgs,
    tests: &[Test],
    prepared: &mut Prepared,
    probes: &mut [Probe],
    interrupt: &Interrupt,
) -> Result<Measured, Failure> {
    let progress = RoundProgress::new(args.repetitions);
    let mut measured = Measured {
        own: tests.iter().map(|_| vec![Vec::new(); prepared.variants.len()]).collect(),
        regimes: probes.iter().map(|probe| (probe.threads(), Vec::new())).collect(),
        peers: Vec::new(),
    };
    let script = script(args);
    for round in 1..=args.repetitions {
        for (probe, (_, regimes)) in probes.iter_mut().zip(&mut measured.regimes) {
            regimes.push(probe.look());
        }
        for (test, series) in tests.iter().zip(&mut measured.own) {
            for (variant, repetitions) in prepared.variants.iter_mut().zip(series) {
                if interrupt.requested() {
                    return Ok(measured);
                }
                let vocab = variant.session.program().vocab;
                let mut ids = Ids::new(round.into(), vocab);
                repetitions.push(repeat(&mut variant.session, *test, &mut ids)?);
            }
        }
        if let Some(script) = &script {
            let names = &args.peers.peer_names;
            match peers(script, names, tests, prepared, &mut measured.peers, interrupt) {
                Err(PeerError::Stopped) => return Ok(measured),
                asked => asked?,
            }
        }
        if interrupt.requested() {
            break;
        }
        progress.done(round);
    }
    Ok(measured)
}

/// The script of the command line.
fn script(args: &BenchArgs) -> Option<Script> {
    let path = args.peers.peers.clone()?;
    let limit = Duration::from_secs(args.peers.peer_limit.into());
    Some(Script { path, python: args.peers.python.clone(), limit })
}

/// One repetition of each peer: for each file and number of threads, each of its names, each pair.
fn peers(
    script: &Script,
    names: &[String],
    tests: &[Test],
    prepared: &Prepared,
    series: &mut Vec<PeerSeries>,
    interrupt: &Interrupt,
) -> Result<(), PeerError> {
    let names: Vec<Option<&str>> = match names {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    for (ours, file, threads) in places(prepared) {
        for peer in &names {
            for pair in pairs(tests) {
                let question = Question { file, peer: *peer, threads, pair };
                for said in script.ask(&question, &|| interrupt.requested())? {
                    let Pair { prompt_test, generate_test, .. } = pair;
                    let rates = [(prompt_test, said.pp_tps), (generate_test, said.tg_tps)];
                    for (test, rate) in rates {
                        let Some(test) = test else { continue };
                        push(series, (&said.peer, &said.version, test, ours), rate);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Each file and number of threads, with the first of our variants that has them.
fn places(prepared: &Prepared) -> Vec<(usize, &Path, usize)> {
    let mut places: Vec<(usize, &Path, usize)> = Vec::new();
    let mut seen: Vec<(usize, usize)> = Vec::new();
    for (index, variant) in prepared.variants.iter().enumerate() {
        let Some(subject) = prepared.subjects.get(variant.subject) else { continue };
        let place = (subject.model, variant.session.threads());
        if let (Some(file), false) = (&subject.file, seen.contains(&place)) {
            seen.push(place);
            places.push((index, file, place.1));
        }
    }
    places
}

/// Adds a rate to the series that it belongs to.
fn push(series: &mut Vec<PeerSeries>, place: (&str, &str, usize, usize), rate: f64) {
    let (peer, version, test, ours) = place;
    let known = |series: &&mut PeerSeries| {
        (series.peer.as_str(), series.test, series.ours) == (peer, test, ours)
    };
    match series.iter_mut().find(known) {
        Some(series) => series.rates.push(rate),
        None => series.push(PeerSeries {
            peer: peer.to_owned(),
            version: version.to_owned(),
            test,
            ours,
            rates: vec![rate],
        }),
    }
}
