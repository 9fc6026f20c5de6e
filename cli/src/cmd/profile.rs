//! `deepthin profile`: prints where a token's time goes, kernel by kernel.

use std::fmt::Write;

use deepthin::bench::probe::{Probe, Regime};
use deepthin::engine::{self, Engine};
use deepthin::profile::{KernelTime, Profile, profile};
use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::pipeline::CompileError;
use serde::Serialize;

use crate::answers::{self, Answer};
use crate::args::bench::ProfileArgs;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::Stdout;
use crate::table::{Align, Column};

use super::{bench, input};

/// A profile beside the machine's state.
#[derive(Serialize)]
struct Answered {
    model: String,
    #[serde(flatten)]
    profile: Profile,
    /// Nanoseconds of a barrier; none of one thread.
    barrier_ns: Option<f64>,
    /// Bytes a second of a linear read of memory; none where there was no room for it.
    read_bytes_per_s: Option<f64>,
}

/// Measures and prints; Ctrl-C ends it with the tokens that were timed by then.
pub(crate) fn run(args: &ProfileArgs) -> Result<Exit, Failure> {
    let interrupt = Interrupt::watch()?;
    let stop = || interrupt.requested();
    let options = args.options();
    let source = input::source(&args.model.source, &interrupt)?;
    let lowered = engine::lower_source(&source, &options)?;
    let model = source.model.name.clone();
    let engine: Engine = input::engine_until(source, &options, &stop)?;
    let mut session = engine.session()?;
    let regime = look(args, session.threads())?;
    let (tokens, depth) = (args.generate, args.depth);
    let Some(profile) = profile(&mut session, &lowered.plan, tokens, depth, &stop)? else {
        return Ok(Exit::Interrupted);
    };
    let Regime { barrier_ns, read_rate } = regime;
    let answered = Answered { model, profile, barrier_ns, read_bytes_per_s: read_rate };
    match args.output.form() {
        Some(form) => answers::print_one(form, &answered)?,
        None => Stdout::new().bytes(page(&answered).as_bytes())?,
    }
    Ok(if stop() { Exit::Interrupted } else { Exit::Success })
}

/// What the machine gives at the moment.
fn look(args: &ProfileArgs, threads: usize) -> Result<Regime, Failure> {
    let clif = Clif::host().map_err(CompileError::from)?;
    Ok(Probe::new(&clif, threads, bench::read_bytes(args.probe << 20, 1))?.look())
}

impl Answer for Answered {
    const COLUMNS: &'static [Column] = &[
        ("kernel", Align::Left),
        ("steps", Align::Right),
        ("us", Align::Right),
        ("waiting us", Align::Right),
        ("share", Align::Right),
        ("MB", Align::Right),
        ("GB/s", Align::Right),
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |time: &KernelTime| {
            vec![
                time.kernel.clone(),
                time.steps.to_string(),
                format!("{:.1}", time.us),
                format!("{:.1}", time.waiting_us),
                format!("{:.3}", time.share),
                format!("{:.3}", time.bytes / 1e6),
                format!("{:.1}", time.rate / 1e9),
            ]
        };
        self.profile.kernels.iter().map(row).collect()
    }
}

/// The page for people: the token, the machine, then the kernels.
fn page(answered: &Answered) -> String {
    let Profile { threads, tokens, depth, token_us, bytes, kernels } = &answered.profile;
    let mut page = format!(
        "token       {token_us:.0} us on {threads} threads: the median of {tokens} behind {depth}; \
         {:.1} MB at {:.1} GB/s\n",
        bytes / 1e6,
        bytes / token_us.max(1e-9) / 1e3,
    );
    let barrier = answered.barrier_ns.map_or_else(|| "none".to_owned(), |ns| format!("{ns:.0} ns"));
    let read = answered.read_bytes_per_s;
    let read = read.map_or_else(|| "not measured".to_owned(), |r| format!("{:.1} GB/s", r / 1e9));
    // Writing to a string cannot fail.
    let _ = writeln!(page, "machine     barrier {barrier}, linear reads {read}");
    let names = kernels.iter().map(|time| time.kernel.len()).max().unwrap_or(0).max(6);
    let _ = writeln!(
        page,
        "  {:names$}  steps        us   waiting   share        MB    GB/s",
        "kernel"
    );
    for KernelTime { kernel, steps, us, waiting_us, share, bytes, rate } in kernels {
        let _ = writeln!(
            page,
            "  {kernel:names$}  {steps:5}  {us:8.1}  {waiting_us:8.1}  {:5.1}%  {:8.3}  {:6.1}",
            share * 100.0,
            bytes / 1e6,
            rate / 1e9
        );
    }
    page
}
