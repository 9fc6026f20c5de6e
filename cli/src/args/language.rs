//! The verbs that work on descriptions as texts.

use std::path::PathBuf;

use clap::Args;

use super::output::OutputArgs;

/// Check descriptions and show every error in them
///
/// Without errors, a line for each file names its models. Errors are told on stderr; with -o they
/// are the output.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deepthin check examples/mobilellm-125m.thin
  deepthin check models.thin:small -o jsonl")]
pub(crate) struct CheckArgs {
    /// Descriptions of models: FILE.thin, FILE.thin:NAME for one that has to be among its models,
    /// or - for stdin
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<String>,

    /// How the errors are printed.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Lay descriptions out in canonical form
///
/// Each file is rewritten in place, at once and as a whole; comments stay. A file with syntax errors
/// is left as it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deepthin fmt models.thin
  deepthin fmt --check examples/*.thin
  deepthin import model.gguf | deepthin fmt -")]
pub(crate) struct FmtArgs {
    /// Descriptions of models (.thin), or - for stdin, whose canonical form goes to stdout
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Write nothing: print the names of files that are not canonical, and end with 1 if any is not
    #[arg(long)]
    pub(crate) check: bool,

    /// Print the canonical form in place of writing it to the file
    #[arg(long, conflicts_with = "check")]
    pub(crate) stdout: bool,
}
