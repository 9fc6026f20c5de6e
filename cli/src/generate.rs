//! Generation: a prompt goes in, tokens come out one by one.

use deepthin_runtime::logits::Logits;
use deepthin_runtime::sampler::{SampleError, Sampler};
use deepthin_runtime::session::{RunError, Session};
use std::ops::ControlFlow;
use thiserror::Error;

/// Why generation failed.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// The model could not be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No token could be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
}

/// What to generate.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    /// The tokens to continue.
    pub prompt: &'r [u32],
    /// Most tokens to generate.
    pub limit: u32,
    /// Whether a token ends the text.
    pub is_end: &'r dyn Fn(u32) -> bool,
    /// Whether to stop before the next token; asked several times a second.
    pub stop: &'r dyn Fn() -> bool,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The model chose a token that ends the text.
    Text,
    /// As many tokens as asked for.
    Limit,
    /// The context has no room for another token.
    Context,
    /// What takes the tokens wants no more.
    Enough,
    /// It was asked to stop.
    Stopped,
}

/// Appends the prompt to the session and hands tokens to `emit` as they are chosen, until it
/// breaks. A token that ends the text is not handed over.
///
/// # Errors
/// A prompt longer than the room in the context, before anything is computed; logits that are not
/// finite; what `emit` returns.
pub fn generate<E: From<GenerateError>>(
    session: &mut Session,
    sampler: &mut Sampler,
    request: &Request<'_>,
    mut emit: impl FnMut(u32) -> Result<ControlFlow<()>, E>,
) -> Result<End, E> {
    sampler.observe(request.prompt);
    let logits = prefill(session, request.prompt, request.stop).map_err(GenerateError::from)?;
    let Some(logits) = logits else { return Ok(End::Stopped) };
    let mut id = sampler.sample(logits).map_err(GenerateError::from)?;
    let mut generated = 0;
    loop {
        if (request.is_end)(id) {
            return Ok(End::Text);
        }
        if emit(id)?.is_break() {
            return Ok(End::Enough);
        }
        generated += 1;
        if generated >= request.limit {
            return Ok(End::Limit);
        }
        if session.position() >= session.program().context {
            return Ok(End::Context);
        }
        if (request.stop)() {
            return Ok(End::Stopped);
        }
        let logits = session.feed(&[id]).map_err(GenerateError::from)?;
        id = sampler.sample(logits).map_err(GenerateError::from)?;
    }
}

/// Appends tokens chunk by chunk and returns the logits after the last; `None` if `stop` said so
/// between two chunks.
///
/// # Errors
/// No tokens, or more than the context has room for, before anything is computed.
pub fn prefill<'s>(
    session: &'s mut Session,
    tokens: &[u32],
    stop: &dyn Fn() -> bool,
) -> Result<Option<Logits<'s>>, RunError> {
    let (position, context) = (session.position(), session.program().context);
    if tokens.len() as u64 > u64::from(context.saturating_sub(position)) {
        return Err(RunError::ContextFull { position, tokens: tokens.len(), context });
    }
    let chunk = session.program().chunk.max(1) as usize;
    let mut rest = tokens;
    while rest.len() > chunk {
        let (first, others) = rest.split_at(chunk);
        // Logits are asked for behind the end: none are computed.
        session.feed_each(first, first.len(), &mut |_, _| ())?;
        if stop() {
            return Ok(None);
        }
        rest = others;
    }
    session.feed(rest).map(Some)
}
