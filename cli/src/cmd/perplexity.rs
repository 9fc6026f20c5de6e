//! `deepthin perplexity`: measures how well a model predicts a text.

use std::ops::ControlFlow;

use deepthin::codec::Codec;
use deepthin::engine::{Engine, RunOptions};
use deepthin::perplexity::{self, Chunks, Divergence, MIN_CHUNK, PerplexityError, Score};
use deepthin_dsl::model::{Activations, KvStorage};
use serde::Serialize;

use crate::answers::{self, Answer};
use crate::args::model::SourceArgs;
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
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<f64>,
    chunk: u32,
    chunks: usize,
    text_tokens: usize,
    scored_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    divergence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    divergence_error: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    same_top: Option<f64>,
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
    let other = args.against.as_deref().map(|model| against(args, model, chunk)).transpose()?;
    if let Some(other) = &other {
        check_vocabulary(&engine, other, &text, &ids)?;
    }
    let mut session = engine.session()?;
    let mut reference = other.as_ref().map(Engine::session).transpose()?;

    let text = Chunks { ids: &ids, chunk, start: codec.chunk_start() };
    let mut shown = false;
    let mut after = |score: &Score| {
        let comma = if shown { "," } else { "" };
        output::log_part(format_args!("{comma}[{}]{:.4}", score.chunks, score.perplexity));
        shown = true;
        ControlFlow::Continue(())
    };
    let measured = match &mut reference {
        None => perplexity::measure(&mut session, &text, &mut after).map(|score| (score, None)),
        Some(reference) => perplexity::compare(&mut session, reference, &text, &mut after)
            .map(|(score, divergence)| (score, Some(divergence))),
    };
    if shown {
        output::log(format_args!(""));
    }
    let (score, divergence) = measured?;
    // One number has no spread.
    let is_one = score.tokens == 1;
    match args.output.form() {
        Some(form) => answers::print_one(
            form,
            &Measured {
                perplexity: score.perplexity,
                error: Some(score.error).filter(|_| !is_one),
                chunk,
                chunks: score.chunks,
                text_tokens: ids.len(),
                scored_tokens: score.tokens,
                divergence: divergence.map(|d| d.mean),
                divergence_error: divergence.map(|d| d.error).filter(|_| !is_one),
                same_top: divergence.map(|d| d.same_top),
            },
        )?,
        None => {
            let spread = |error: f64| match is_one {
                true => " of one token".to_owned(),
                false => format!(" +/- {error:.5}"),
            };
            let (perplexity, error) = (score.perplexity, spread(score.error));
            let mut stdout = Stdout::new();
            stdout.line(format_args!("PPL = {perplexity:.4}{error}"))?;
            if let Some(Divergence { mean, error, same_top }) = divergence {
                let (error, same) = (spread(error), 100.0 * same_top);
                stdout.line(format_args!("KL = {mean:.5}{error}, same top {same:.2} %"))?;
            }
        }
    }
    Ok(Exit::Success)
}

/// The model to compare with, computed as exactly as there is.
fn against(args: &PerplexityArgs, model: &str, chunk: u32) -> Result<Engine, Failure> {
    let source = SourceArgs { model: model.to_owned(), weights: None, random: None };
    let source = input::source_for_short(&source)?;
    let options = RunOptions {
        context: Some(chunk),
        activations: Some(Activations::F32),
        kv: Some(KvStorage::F32),
        ..args.model.options()
    };
    input::engine(source, &options)
}

/// Refuses a model whose tokens are not those of the measured one: their distributions would be of
/// different things.
fn check_vocabulary(
    engine: &Engine,
    other: &Engine,
    text: &[u8],
    ids: &[u32],
) -> Result<(), Failure> {
    let refuse = |message: String| {
        Err(Failure::new(Exit::Usage, message).fix("compare models that were made from one"))
    };
    let [own, others] = [engine, other].map(|engine| engine.model().vocab);
    if own != others {
        return refuse(format!(
            "--against: found a vocabulary of {others} tokens, expected the model's {own}"
        ));
    }
    let [own, others] =
        [engine, other].map(|engine| Codec::new(engine.tokenizer(), engine.model().vocab, false));
    if own.chunk_start() != others.chunk_start() || others.encode(text)? != ids {
        return refuse(
            "--against: found a tokenizer that cuts the text otherwise, expected the model's own"
                .to_owned(),
        );
    }
    Ok(())
}

impl Answer for Measured {
    const COLUMNS: &'static [Column] = &[
        ("perplexity", Align::Right),
        ("error", Align::Right),
        ("chunk", Align::Right),
        ("chunks", Align::Right),
        ("text_tokens", Align::Right),
        ("scored_tokens", Align::Right),
        ("divergence", Align::Right),
        ("divergence_error", Align::Right),
        ("same_top", Align::Right),
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let Measured { perplexity, error, chunk, chunks, text_tokens, scored_tokens, .. } = self;
        let counts =
            [u64::from(*chunk), *chunks as u64, *text_tokens as u64, *scored_tokens as u64];
        let shown = |number: Option<f64>| number.map_or("-".to_owned(), |n| format!("{n:.5}"));
        let mut row = vec![format!("{perplexity:.4}"), shown(*error)];
        row.extend(counts.map(|count| count.to_string()));
        row.extend([self.divergence, self.divergence_error, self.same_top].map(shown));
        vec![row]
    }
}
