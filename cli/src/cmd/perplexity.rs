//! `deepthin perplexity`: measures how well a model predicts a text.

use std::ops::ControlFlow;

use deepthin::codec::Codec;
use deepthin::perplexity::{self, MIN_CHUNK, PerplexityError};
use serde::Serialize;

use crate::args::text::PerplexityArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Stdout};

use super::input;

/// Tokens of a chunk where the user names no number.
const CHUNK: u32 = 512;

/// A perplexity as JSON has it, with the keys in this order.
#[derive(Serialize)]
struct Answer {
    perplexity: f64,
    error: f64,
    chunk: u32,
    chunks: usize,
    text_tokens: usize,
    scored_tokens: usize,
}

/// Measures; the score so far is shown on stderr after each chunk.
pub(crate) fn run(args: &PerplexityArgs) -> Result<Exit, Failure> {
    let chunk = args.model.context.unwrap_or(CHUNK);
    if chunk < MIN_CHUNK {
        return Err(PerplexityError::Chunk { found: chunk }.into());
    }
    let text = input::text_file(&args.file)?;
    let source = input::source_for_short(&args.model.source)?;
    let mut options = args.model.options();
    options.context = Some(chunk);
    let engine = input::engine(source, &options)?;
    let codec = Codec::new(engine.tokenizer(), engine.model().vocab, false);
    let ids = codec.encode(&text)?;
    let mut session = engine.session()?;

    let mut shown = false;
    let measured =
        perplexity::measure(&mut session, &ids, chunk, codec.chunk_start(), &mut |score| {
            let comma = if shown { "," } else { "" };
            output::log_part(format_args!("{comma}[{}]{:.4}", score.chunks, score.perplexity));
            shown = true;
            ControlFlow::Continue(())
        });
    if shown {
        output::log(format_args!(""));
    }
    let score = measured?;
    let mut stdout = Stdout::new();
    if args.json {
        stdout.json(&Answer {
            perplexity: score.perplexity,
            error: score.error,
            chunk,
            chunks: score.chunks,
            text_tokens: ids.len(),
            scored_tokens: score.tokens,
        })?;
    } else {
        stdout.line(format_args!("PPL = {:.4} +/- {:.5}", score.perplexity, score.error))?;
    }
    Ok(Exit::Success)
}
