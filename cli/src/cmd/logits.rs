//! `deepthin logits`: prints the distribution of the token that comes next.

use deepthin::codec::{Codec, CodecError};
use deepthin::distribution::{Distribution, Likely};
use deepthin::generate;
use serde::Serialize;

use crate::answers::{self, Answer, Answers};
use crate::args::output::Form;
use crate::args::text::LogitsArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;
use crate::table::{Align, Column};

use super::input;

/// A distribution as JSON has it, with the keys in this order.
#[derive(Serialize)]
struct Next<'a> {
    prompt: String,
    ids: &'a [u32],
    top: Vec<(u32, f32, f64, String)>,
}

/// Prints the distribution after the last token of the text, or after each.
pub(crate) fn run(args: &LogitsArgs) -> Result<Exit, Failure> {
    let text = input::text(&args.text)?;
    let source = input::source_for_short(&args.model.source)?;
    let engine = input::engine(source, &args.model.options())?;
    let codec = Codec::new(engine.tokenizer(), engine.model().vocab, args.special);
    codec.check_room(&text, engine.program().context)?;
    let ids = codec.prompt(&text)?;
    let mut session = engine.session()?;
    let top = usize::try_from(args.top).unwrap_or(usize::MAX);
    let mut printer = Printer { form: args.output.form(), top, codec, ids: &ids, all: None };
    if args.all {
        printer.all = printer.form.map(Answers::new);
        let mut printed = Ok(());
        session.feed_each(&ids, 0, &mut |index, logits| {
            if printed.is_ok() {
                printed = printer.print_at(index, logits);
            }
        })?;
        printed?;
        printer.all.map_or(Ok(()), Answers::finish)?;
    } else if let Some(logits) = generate::prefill(&mut session, &ids, &|| false)? {
        printer.print(&String::from_utf8_lossy(&text), ids.len(), &logits)?;
    }
    Ok(Exit::Success)
}

struct Printer<'a> {
    /// Form of the output; `None` is that for people.
    form: Option<Form>,
    /// How many of the likeliest tokens to print.
    top: usize,
    codec: Codec<'a>,
    ids: &'a [u32],
    /// Takes the distributions where there are several.
    all: Option<Answers<Next<'a>>>,
}

impl<'a> Printer<'a> {
    /// Prints the distribution after the token at `index`, as that of the text up to there.
    fn print_at(&mut self, index: usize, logits: &[f32]) -> Result<(), Failure> {
        let count = index + 1;
        let text = self.codec.decode(&self.ids[..count.min(self.ids.len())])?;
        self.print(&text, count, logits)
    }

    /// Prints the distribution after the first `count` ids, which are `prompt`.
    fn print(&mut self, prompt: &str, count: usize, logits: &[f32]) -> Result<(), Failure> {
        let ids = self.ids.get(..count).unwrap_or(self.ids);
        let top = Distribution::new(logits).top(self.top);
        let Some(form) = self.form else { return self.page(ids, &top) };
        let next = self.next(prompt, ids, &top)?;
        match &mut self.all {
            Some(all) => all.push(&next),
            None => answers::print_one(form, &next),
        }
    }

    fn next(&self, prompt: &str, ids: &'a [u32], top: &[Likely]) -> Result<Next<'a>, CodecError> {
        let entry = |likely: &Likely| {
            let piece = self.codec.piece(likely.id)?;
            Ok((likely.id, likely.logit, likely.log_probability, piece))
        };
        let top = top.iter().map(entry).collect::<Result<_, CodecError>>()?;
        Ok(Next { prompt: prompt.to_owned(), ids, top })
    }

    /// The table for people.
    fn page(&self, ids: &[u32], top: &[Likely]) -> Result<(), Failure> {
        let mut stdout = Stdout::new();
        let last = ids.last().map(|id| self.codec.piece(*id)).transpose()?.unwrap_or_default();
        stdout.line(format_args!("after {last:?}, token {}:", ids.len()))?;
        stdout.line(format_args!("      id      logit    log p       p  piece"))?;
        for Likely { id, logit, log_probability } in top {
            let piece = self.codec.piece(*id)?;
            let probability = libm::exp(*log_probability);
            stdout.line(format_args!(
                "{id:8} {logit:10.5} {log_probability:8.5} {probability:7.5}  {piece:?}"
            ))?;
        }
        Ok(())
    }
}

impl Answer for Next<'_> {
    const COLUMNS: &'static [Column] = &[
        ("token", Align::Right),
        ("id", Align::Right),
        ("logit", Align::Right),
        ("log_probability", Align::Right),
        ("piece", Align::Left),
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let token = self.ids.len().to_string();
        let row = |(id, logit, log_probability, piece): &(u32, f32, f64, String)| {
            vec![
                token.clone(),
                id.to_string(),
                format!("{logit:.5}"),
                format!("{log_probability:.5}"),
                piece.clone(),
            ]
        };
        self.top.iter().map(row).collect()
    }
}
