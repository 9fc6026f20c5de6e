//! Text in, tokens out: deepthin as a library.
//!
//! ```sh
//! cargo run --release --example embed -- smollm2-135m "The capital of France is"
//! ```

use deepthin::codec::Codec;
use deepthin::engine::{Engine, RunOptions};
use deepthin::fetch::Silent;
use deepthin::generate::{GenerateError, Request, generate};
use deepthin::source::{ModelName, Source, WeightChoice};
use deepthin_runtime::sampler::{Sampler, SamplerSettings};
use std::error::Error;
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let name = ModelName::parse(&args.next().ok_or("usage: embed MODEL TEXT")?)?;
    let text = args.next().ok_or("usage: embed MODEL TEXT")?;

    // Weights are those of the model's own file, read without a word about the progress.
    let source = Source::open(&name, &WeightChoice::Own, &mut Silent)?;
    let engine = Engine::new(source, &RunOptions { context: Some(512), ..RunOptions::default() })?;
    // Names of control tokens in the text stay text.
    let codec = Codec::new(engine.tokenizer(), engine.model().vocab, false);
    let prompt = codec.prompt(text.as_bytes())?;

    let mut session = engine.session()?;
    let mut sampler = Sampler::new(SamplerSettings::GREEDY)?;
    let is_end = |id| codec.is_end(id);
    let request = Request { prompt: &prompt, limit: 24, is_end: &is_end, stop: &|| false };
    // Tokens come one by one; a program that shows them at once takes `codec.decoder`.
    let mut ids = Vec::new();
    generate(&mut session, &mut sampler, &request, |id| {
        ids.push(id);
        Ok::<_, GenerateError>(ControlFlow::Continue(()))
    })?;
    #[expect(clippy::print_stdout, reason = "an example shows its result")]
    {
        println!("{}", codec.decode(&ids)?);
    }
    Ok(())
}
