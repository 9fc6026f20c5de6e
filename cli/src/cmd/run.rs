//! `deepthin run`: writes a model's continuation of a text while it is generated.

use std::time::{Duration, Instant};

use deepthin::codec::Codec;
use deepthin::engine::Engine;
use deepthin::generate::{self, End, Request};
use deepthin_runtime::sampler::{Sampler, SamplerSettings};
use deepthin_runtime::text::Utf8Stream;

use crate::args::text::{RunArgs, SamplingArgs};
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::{self, Stdout};

use super::input;

/// Generates; Ctrl-C ends it after the token at hand.
pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let text = input::text(&args.text)?;
    let mut sampler = Sampler::new(settings(&args.sampling))?;
    let interrupt = Interrupt::watch()?;
    let source = input::source(&args.model.source, &interrupt)?;
    let engine = input::engine(source, &args.model.options())?;
    let codec = Codec::new(engine.tokenizer(), engine.model().vocab, args.special);
    let prompt = codec.prompt(&text)?;
    let mut session = engine.session()?;

    let mut stdout = Stdout::new();
    let mut characters = Utf8Stream::new();
    let mut clock = Clock::start();
    let request = Request {
        prompt: &prompt,
        limit: args.tokens,
        is_end: &|id| codec.is_end(id),
        stop: &|| interrupt.requested(),
    };
    let mut echo = args.echo.then_some(&text);
    let end = generate::generate(&mut session, &mut sampler, &request, |id| {
        // Not before the prompt has been found to fit the context.
        if let Some(prompt) = echo.take() {
            stdout.bytes(prompt)?;
        }
        clock.token();
        stdout.bytes(characters.push(&codec.output(id)?).as_bytes())
    })?;
    if let Some(prompt) = echo {
        stdout.bytes(prompt)?; // there was nothing to add
    }
    stdout.bytes(characters.flush().as_bytes())?;

    clock.stop();
    if output::is_one_terminal() {
        output::log(format_args!(""));
    }
    if end == End::Context {
        let context = engine.program().context;
        output::note(format_args!(
            "stopped because the context of {context} tokens is full; -c makes room for more"
        ));
    }
    output::log(format_args!("deepthin: {}", clock.summary(prompt.len(), &engine)));
    Ok(if end == End::Stopped { Exit::Interrupted } else { Exit::Success })
}

/// The settings of the command line.
fn settings(args: &SamplingArgs) -> SamplerSettings {
    SamplerSettings {
        temperature: args.temp,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repeat_penalty: args.repeat_penalty,
        seed: args.seed,
    }
}

/// Takes the times of a generation.
struct Clock {
    start: Instant,
    tokens: u32,
    first: Option<Duration>,
    whole: Duration,
}

impl Clock {
    fn start() -> Clock {
        Clock { start: Instant::now(), tokens: 0, first: None, whole: Duration::ZERO }
    }

    /// A token is there.
    fn token(&mut self) {
        self.tokens += 1;
        self.first.get_or_insert_with(|| self.start.elapsed());
    }

    /// No more tokens come.
    fn stop(&mut self) {
        self.whole = self.start.elapsed();
    }

    /// Counts and speed. The speed is that of the tokens after the first: the time up to that one
    /// is the prompt's.
    fn summary(&self, prompt: usize, engine: &Engine) -> String {
        let mut summary = format!("{prompt} prompt tokens, {} generated", self.tokens);
        if let Some(first) = self.first {
            let seconds = self.whole.saturating_sub(first).as_secs_f64();
            if self.tokens > 1 && seconds > 0.0 {
                let speed = f64::from(self.tokens - 1) / seconds;
                summary += &format!(", {speed:.1} t/s");
            }
            summary += &format!(", first token after {:.2} s", first.as_secs_f64());
        }
        let compiled = engine.compile_time().as_secs_f64() * 1e3;
        summary + &format!(" (compiled in {compiled:.1} ms)")
    }
}
