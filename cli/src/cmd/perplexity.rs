//! `deepthin perplexity`: measures how well a model predicts a text.

use std::ops::ControlFlow;

use deepthin::codec::Codec;
use deepthin::perplexity::{self, MIN_CHUNK, PerplexityError};
use serde::Serialize;

use crate::answers::{self, Answer};
use crate::args::text::PerplexityArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Stdout};
use crate::table::{Align, Column};

use super::input;

/// Most tokens of a chunk where the user names no number.
const CHUNK: u32 = 512;

/// A perplexity as JSON has it, with the keys in this order.
#[derive(Serialize)]
struct Measured {
    perplexity: f64,
    error: f64,
    chunk: u32,
    chunks: usize,
    text_tokens: usize,
    scored_tokens: usize,
}

/// Measures; the score so far is shown on stderr after each chunk.
pub(crate) fn run(args: &PerplexityArgs) -> Result<Exit, Failure> {
    let check = |chunk| match chunk < MIN_CHUNK {
        true => Err(PerplexityError::Chunk { found: chunk }),
        false => Ok(chunk),
    };
    args.model.context.map(check).transpose()?;
    let text = input::text_file(&args.file)?;
    let source = input::source_for_short(&args.model.source)?;
    let chunk = check(args.model.context.unwrap_or(CHUNK.min(source.model.context)))?;
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
    match args.output.form() {
        Some(form) => answers::print_one(
            form,
            &Measured {
                perplexity: score.perplexity,
                error: score.error,
                chunk,
                chunks: score.chunks,
                text_tokens: ids.len(),
                scored_tokens: score.tokens,
            },
        )?,
        None => {
            let (perplexity, error) = (score.perplexity, score.error);
            Stdout::new().line(format_args!("PPL = {perplexity:.4} +/- {error:.5}"))?;
        }
    }
    Ok(Exit::Success)
}

impl Answer for Measured {
    const COLUMNS: &'static [Column] = &[
        ("perplexity", Align::Right),
        ("error", Align::Right),
        ("chunk", Align::Right),
        ("chunks", Align::Right),
        ("text_tokens", Align::Right),
        ("scored_tokens", Align::Right),
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let Measured { perplexity, error, chunk, chunks, text_tokens, scored_tokens } = self;
        let counts =
            [u64::from(*chunk), *chunks as u64, *text_tokens as u64, *scored_tokens as u64];
        let mut row = vec![format!("{perplexity:.4}"), format!("{error:.5}")];
        row.extend(counts.map(|count| count.to_string()));
        vec![row]
    }
}
