//! `deepthin tokenize`: prints the token ids of a text.

use deepthin::codec::{Codec, CodecError};
use serde::Serialize;

use crate::answers::{self, Answer};
use crate::args::text::TokenizeArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;
use crate::table::{Align, Column};

use super::{input, template};

/// Ids as JSON has them, with the keys in this order.
#[derive(Serialize)]
struct Tokens<'a> {
    ids: &'a [u32],
    pieces: Vec<String>,
}

/// Prints the ids that `run` would feed, on one line.
pub(crate) fn run(args: &TokenizeArgs) -> Result<Exit, Failure> {
    let text = input::text(&args.text)?;
    let source = input::source_for_short(&args.source)?;
    let template = template::wanted(&args.chat, &source)?;
    let tokenizer = source.tokenizer()?;
    let codec = Codec::new(tokenizer.as_ref(), source.model.vocab, args.special);
    let ids = template::prompt(template.as_deref(), &args.chat, &codec, tokenizer.as_ref(), &text)?;
    match args.output.form() {
        Some(form) => {
            let pieces =
                ids.iter().map(|id| codec.piece(*id)).collect::<Result<_, CodecError>>()?;
            answers::print_one(form, &Tokens { ids: &ids, pieces })?;
        }
        None => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            Stdout::new().line(format_args!("{}", ids.join(" ")))?;
        }
    }
    Ok(Exit::Success)
}

impl Answer for Tokens<'_> {
    const COLUMNS: &'static [Column] = &[("id", Align::Right), ("piece", Align::Left)];

    fn rows(&self) -> Vec<Vec<String>> {
        let tokens = self.ids.iter().zip(&self.pieces);
        tokens.map(|(id, piece)| vec![id.to_string(), piece.clone()]).collect()
    }
}
