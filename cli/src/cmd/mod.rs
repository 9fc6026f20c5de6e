//! The verbs, one file each.

mod bench;
mod check;
mod compile;
mod completions;
mod dump;
mod fetch;
mod fmt;
mod hw;
mod import;
mod info;
mod input;
mod logits;
mod perplexity;
mod profile;
mod quantize;
mod run;
pub(crate) mod template;
mod tokenize;
mod verify;

use crate::args::Command;
use crate::exit::{Exit, Failure};

/// Runs the verb of the command line.
pub(crate) fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Hw(args) => hw::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}
