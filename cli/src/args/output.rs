//! The options that say in which form a verb prints its numbers: the same for every verb.

use clap::{Args, ValueEnum};

/// The form of what a verb prints.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Form of the output [default: for people]
    #[arg(short, long, value_name = "FORM", value_enum)]
    output: Option<Form>,

    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl OutputArgs {
    /// The form that is asked for, if one is.
    pub(crate) fn form(&self) -> Option<Form> {
        if self.json { Some(Form::Json) } else { self.output }
    }
}

/// Forms of a verb's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A table in Markdown
    Md,
    /// Comma-separated values under a line of their names
    Csv,
    /// One JSON value: an array where there are several answers
    Json,
    /// A JSON object a line, one for each answer, as soon as it is there
    Jsonl,
}
