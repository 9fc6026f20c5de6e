//! The `deepthin` program: reads the command line, runs the verb, ends with its exit code.

mod answers;
mod args;
mod cmd;
mod exit;
mod interrupt;
mod output;
mod table;

use std::env;
use std::panic;
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    panic::set_hook(Box::new(exit::report_panic));
    match panic::catch_unwind(run) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(failure)) => failure.report().into(),
        Err(_) => Exit::Bug.into(), // the hook has told
    }
}

/// Everything that may fail or panic.
fn run() -> Result<Exit, Failure> {
    // Not a verb for people, so clap does not know it: neither help nor completions list it.
    if env::args_os().nth(1).is_some_and(|verb| verb == cmd::template::VERB) {
        return cmd::template::run();
    }
    match args::Cli::try_parse_from(args::words(env::args_os())) {
        Ok(cli) => cmd::run(cli.command),
        Err(answer) => answer_from_clap(&answer),
    }
}

/// Prints what clap has to say: help and version on stdout, usage errors on stderr in the form of
/// every other failure.
fn answer_from_clap(answer: &clap::Error) -> Result<Exit, Failure> {
    let text = answer.render().to_string();
    match text.strip_prefix("error: ") {
        Some(message) if answer.use_stderr() => {
            let message = message.trim_end().trim_end_matches(SEE_HELP).trim_end();
            Err(Failure::new(Exit::Usage, message).fix(usage_fix(answer)))
        }
        _ => {
            answer.print().map_err(Failure::stdout)?;
            Ok(if answer.use_stderr() { Exit::Usage } else { Exit::Success })
        }
    }
}

/// What the user can do about a usage error.
fn usage_fix(answer: &clap::Error) -> &'static str {
    let is_word = match answer.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(found)) => !found.starts_with('-'),
        _ => false,
    };
    let has_text = env::args_os().any(|word| TEXT_OPTIONS.iter().any(|option| word == *option));
    let takes_text =
        env::args_os().nth(1).is_some_and(|verb| TEXT_VERBS.iter().any(|text| verb == *text));
    match answer.kind() {
        ErrorKind::UnknownArgument if is_word && takes_text && has_text => {
            "put the whole text in quotes, behind one -p"
        }
        ErrorKind::UnknownArgument if is_word && takes_text => "give a text with -p",
        ErrorKind::InvalidUtf8 => {
            "give every argument in UTF-8: convert the text with iconv, or rename the file"
        }
        _ => "see what is possible with --help",
    }
}

/// The verbs that take a text behind an option, and are easily given it without.
const TEXT_VERBS: [&str; 3] = ["run", "logits", "tokenize"];

/// The options that a text stands behind.
const TEXT_OPTIONS: [&str; 4] = ["-p", "--prompt", "-f", "--file"];

/// The last line of clap's own messages.
const SEE_HELP: &str = "For more information, try '--help'.";
