//! `deepthin run`: writes a model's continuation of a text while it is generated.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use deepthin::bench::rate_means_something;
use deepthin::codec::{Codec, CodecDecoder};
use deepthin::engine::Engine;
use deepthin::generate::{self, End, Request};
use deepthin_runtime::sampler::{Sampler, SamplerSettings};
use deepthin_runtime::stop::StopStrings;
use deepthin_runtime::text::Utf8Stream;

use crate::args::text::{RunArgs, SamplingArgs};
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::{self, Stdout};

use super::{input, template};

/// Generates; Ctrl-C ends it after the token at hand.
pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let text = input::text(&args.text)?;
    let mut sampler = Sampler::new(settings(&args.sampling))?;
    let stops = StopStrings::new(&args.stop)?;
    let interrupt = Interrupt::watch()?;
    let source = input::source(&args.model.source, &interrupt)?;
    let template = template::wanted(&args.chat, &source)?;
    let engine = input::engine_until(source, &args.model.options(), &|| interrupt.requested())?;
    let tokenizer = engine.tokenizer();
    let codec = Codec::new(tokenizer, engine.model().vocab, args.special);
    codec.check_room(&text, engine.program().context)?;
    let prompt = template::prompt(template.as_deref(), &args.chat, &codec, tokenizer, &text)?;
    let prompt = codec.at_least_one(prompt)?;
    let mut session = engine.session()?;

    let stdout = if args.raw { Stdout::new().raw() } else { Stdout::new() };
    let (decoder, characters) = (codec.decoder(&prompt), Utf8Stream::new());
    let mut writer = Writer { decoder, characters, stops, stdout };
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
            writer.stdout.bytes(prompt)?;
        }
        clock.token();
        writer.token(id)
    })?;
    if let Some(prompt) = echo {
        writer.stdout.bytes(prompt)?; // there was nothing to add
    }
    writer.finish()?;

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
    let reason = reason(end, writer.stops.met());
    output::log(format_args!("deepthin: {}", clock.summary(prompt.len(), &reason, &engine)));
    Ok(if end == End::Stopped { Exit::Interrupted } else { Exit::Success })
}

/// Why a text ended, in words.
fn reason(end: End, stop: Option<&str>) -> String {
    match (end, stop) {
        (_, Some(stop)) => format!("stop string {stop:?}"),
        (End::Text, None) => "end of text".to_owned(),
        (End::Limit | End::Enough, None) => "length".to_owned(),
        (End::Context, None) => "full context".to_owned(),
        (End::Stopped, None) => "interrupt".to_owned(),
    }
}

/// Writes tokens as the text that they are, up to a stop string.
struct Writer<'t> {
    decoder: CodecDecoder<'t>,
    characters: Utf8Stream,
    stops: StopStrings,
    stdout: Stdout,
}

impl Writer<'_> {
    /// Writes what a token adds, as far as it is whole characters and no stop string.
    fn token(&mut self, id: u32) -> Result<ControlFlow<()>, Failure> {
        let text = self.characters.push(&self.decoder.push(id)?);
        self.stdout.bytes(self.stops.push(&text).as_bytes())?;
        Ok(match self.stops.met() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        })
    }

    /// Writes what was held back.
    fn finish(&mut self) -> Result<(), Failure> {
        let text = self.stops.push(&self.characters.flush()) + &self.stops.flush();
        self.stdout.bytes(text.as_bytes())
    }
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

    /// Counts, why it ended, and speed. The speed is that of the tokens after the first: the time
    /// up to that one is the prompt's.
    fn summary(&self, prompt: usize, reason: &str, engine: &Engine) -> String {
        let tokens = if prompt == 1 { "token" } else { "tokens" };
        let mut summary =
            format!("{prompt} prompt {tokens}, {} generated, ended by {reason}", self.tokens);
        if let Some(first) = self.first {
            let (rest, time) = (self.tokens.saturating_sub(1), self.whole.saturating_sub(first));
            let seconds = time.as_secs_f64();
            if rate_means_something(rest.into(), time) {
                summary += &format!(", {:.1} t/s", f64::from(rest) / seconds);
            } else if rest > 0 {
                summary += &format!(", {rest} after the first in {:.1} ms", seconds * 1e3);
            }
            summary += &format!(", first token {:.2} s after loading", first.as_secs_f64());
        }
        let compiled = engine.compile_time().as_secs_f64() * 1e3;
        summary + &format!(" (compiled in {compiled:.1} ms)")
    }
}
