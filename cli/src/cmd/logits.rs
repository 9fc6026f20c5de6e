//! `deepthin logits`: prints the distribution of the token that comes next.

use deepthin::codec::{Codec, CodecError};
use deepthin::distribution::{Distribution, Likely};
use deepthin::generate;
use serde::Serialize;

use crate::args::text::LogitsArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;

use super::input;

/// A distribution as JSON has it, with the keys in this order.
#[derive(Serialize)]
struct Answer<'a> {
    prompt: &'a str,
    ids: &'a [u32],
    top: Vec<(u32, f32, f64, String)>,
}

/// Prints the distribution after the last token of the text, or after each.
pub(crate) fn run(args: &LogitsArgs) -> Result<Exit, Failure> {
    let text = input::text(&args.text)?;
    let source = input::source_for_short(&args.model.source)?;
    let engine = input::engine(source, &args.model.options())?;
    let codec = Codec::new(engine.tokenizer(), engine.model().vocab, args.special);
    let ids = codec.prompt(&text)?;
    let mut session = engine.session()?;
    let mut printer = Printer { args, codec, ids: &ids, stdout: Stdout::new() };
    if args.all {
        let mut printed = Ok(());
        session.feed_each(&ids, 0, &mut |index, logits| {
            if printed.is_ok() {
                printed = printer.print_at(index, logits);
            }
        })?;
        printed?;
    } else if let Some(logits) = generate::prefill(&mut session, &ids, &|| false)? {
        printer.print(&String::from_utf8_lossy(&text), ids.len(), logits)?;
    }
    Ok(Exit::Success)
}

struct Printer<'a> {
    args: &'a LogitsArgs,
    codec: Codec<'a>,
    ids: &'a [u32],
    stdout: Stdout,
}

impl Printer<'_> {
    /// Prints the distribution after the token at `index`, as that of the text up to there.
    fn print_at(&mut self, index: usize, logits: &[f32]) -> Result<(), Failure> {
        let count = index + 1;
        let text = self.codec.decode(&self.ids[..count.min(self.ids.len())])?;
        self.print(&text, count, logits)
    }

    /// Prints the distribution after the first `count` ids, which are `prompt`.
    fn print(&mut self, prompt: &str, count: usize, logits: &[f32]) -> Result<(), Failure> {
        let ids = self.ids.get(..count).unwrap_or(self.ids);
        let top = usize::try_from(self.args.top).unwrap_or(usize::MAX);
        let top = Distribution::new(logits).top(top);
        if self.args.json {
            let entry = |likely: &Likely| {
                let piece = self.codec.piece(likely.id)?;
                Ok((likely.id, likely.logit, likely.log_probability, piece))
            };
            let top = top.iter().map(entry).collect::<Result<_, CodecError>>()?;
            return self.stdout.json(&Answer { prompt, ids, top });
        }
        let last = ids.last().map(|id| self.codec.piece(*id)).transpose()?.unwrap_or_default();
        self.stdout.line(format_args!("after {last:?}, token {count}:"))?;
        self.stdout.line(format_args!("      id      logit    log p       p  piece"))?;
        for Likely { id, logit, log_probability } in top {
            let piece = self.codec.piece(id)?;
            let probability = libm::exp(log_probability);
            self.stdout.line(format_args!(
                "{id:8} {logit:10.5} {log_probability:8.5} {probability:7.5}  {piece:?}"
            ))?;
        }
        Ok(())
    }
}
