//! `deepthin tokenize`: prints the token ids of a text.

use deepthin::codec::{Codec, CodecError};
use deepthin::engine::EngineError;
use deepthin::source::Weights;
use serde::Serialize;

use crate::args::text::TokenizeArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;

use super::input;

/// Ids as JSON has them, with the keys in this order.
#[derive(Serialize)]
struct Answer<'a> {
    ids: &'a [u32],
    pieces: Vec<String>,
}

/// Prints the ids that `run` would feed, on one line.
pub(crate) fn run(args: &TokenizeArgs) -> Result<Exit, Failure> {
    let text = input::text(&args.text)?;
    let source = input::source_for_short(&args.source)?;
    if let Weights::None = source.weights {
        return Err(EngineError::NoWeights { model: source.model.name }.into());
    }
    let tokenizer = source.tokenizer()?;
    let codec = Codec::new(tokenizer.as_ref(), source.model.vocab, args.special);
    let ids = codec.encode(&text)?;
    let mut stdout = Stdout::new();
    if args.json {
        let pieces = ids.iter().map(|id| codec.piece(*id)).collect::<Result<_, CodecError>>()?;
        stdout.json(&Answer { ids: &ids, pieces })?;
    } else {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        stdout.line(format_args!("{}", ids.join(" ")))?;
    }
    Ok(Exit::Success)
}
