//! Generation and scoring through the library: where they end, and that a model gives the same
//! tokens however it is stored and run.

use std::cell::Cell;
use std::ops::ControlFlow;

use deepthin::codec::{Codec, CodecError};
use deepthin::distribution::Distribution;
use deepthin::engine::{Engine, RunOptions};
use deepthin::fetch::Silent;
use deepthin::generate::{End, GenerateError, Request, generate};
use deepthin::perplexity::{self, Chunks, PerplexityError};
use deepthin::source::{ModelName, Source, WeightChoice};
use deepthin_dsl::Model;
use deepthin_dsl::model::Sharing;
use deepthin_runtime::sampler::{Sampler, SamplerSettings};
use deepthin_runtime::session::RunError;
use deepthin_tests::gguf_model::{self, BEGIN, END, USER};
use deepthin_tests::gguf_writer::GgufWriter;
use tempfile::NamedTempFile;

const PROMPT: &[u32] = &[104, 101, 108, 108, 111];

/// The small model with random weights.
fn engine(options: &RunOptions) -> Engine {
    let source =
        Source::described(gguf_model::model(), &WeightChoice::Random(1), &mut Silent).unwrap();
    Engine::new(source, options).unwrap()
}

/// The small model from a file.
fn engine_of(file: &GgufWriter) -> Engine {
    let path = NamedTempFile::with_suffix(".gguf").unwrap();
    std::fs::write(path.path(), file.build().bytes).unwrap();
    let name = ModelName::parse(path.path().to_str().unwrap()).unwrap();
    let source = Source::open(&name, &WeightChoice::Own, &mut Silent).unwrap();
    Engine::new(source, &RunOptions::default()).unwrap()
}

/// What greedy generation hands over and why it ends, with `stop` asked after each token.
fn greedy(
    engine: &Engine,
    limit: u32,
    end: Option<u32>,
    stop: &dyn Fn() -> bool,
) -> (Vec<u32>, End) {
    let mut session = engine.session().unwrap();
    let mut sampler = Sampler::new(SamplerSettings::GREEDY).unwrap();
    let request = Request { prompt: PROMPT, limit, is_end: &|id| Some(id) == end, stop };
    let mut ids = Vec::new();
    let ended = generate::<GenerateError>(&mut session, &mut sampler, &request, |id| {
        ids.push(id);
        Ok(ControlFlow::Continue(()))
    });
    (ids, ended.unwrap())
}

#[test]
fn generation_ends_for_each_of_its_reasons() {
    let engine = engine(&RunOptions::default());
    let (all, end) = greedy(&engine, 1000, None, &|| false);
    // Every position but the prompt's gets a token, and one more is chosen at the last.
    assert_eq!((all.len(), end), (64 - PROMPT.len() + 1, End::Context));
    assert_eq!(greedy(&engine, 7, None, &|| false), (all[..7].to_vec(), End::Limit));
    let left = Cell::new(3);
    let stop = || left.replace(left.get() - 1) == 1;
    assert_eq!(greedy(&engine, 7, None, &stop), (all[..3].to_vec(), End::Stopped));
    let last = *all.iter().find(|id| **id != all[0]).unwrap();
    let before = all.iter().position(|id| *id == last).unwrap();
    let ended = greedy(&engine, 1000, Some(last), &|| false);
    assert_eq!(ended, (all[..before].to_vec(), End::Text));
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_before_anything_is_computed() {
    let engine = engine(&RunOptions { context: Some(8), ..RunOptions::default() });
    let mut session = engine.session().unwrap();
    session.feed(&PROMPT[..4]).unwrap();
    let request =
        Request { prompt: PROMPT, limit: 1, is_end: &|_| false, stop: &|| unreachable!("asked") };
    let mut sampler = Sampler::new(SamplerSettings::GREEDY).unwrap();
    let refused = generate::<GenerateError>(&mut session, &mut sampler, &request, |_| {
        Ok(ControlFlow::Continue(()))
    });
    let expected = |error: &GenerateError| {
        matches!(
            error,
            GenerateError::Run(RunError::ContextFull { position: 4, tokens: 5, context: 8 })
        )
    };
    assert!(refused.as_ref().is_err_and(expected), "{refused:?}");
    assert_eq!(session.position(), 4);
}

#[test]
fn a_long_prompt_stops_between_chunks() {
    let engine = engine(&RunOptions { context: Some(400), ..RunOptions::default() });
    let mut session = engine.session().unwrap();
    let prompt = vec![7; 300];
    let logits = deepthin::generate::prefill(&mut session, &prompt, &|| true).unwrap();
    assert!(logits.is_none());
    assert_eq!(session.position(), engine.program().chunk);
}

#[test]
fn a_file_and_its_description_generate_the_same_tokens() {
    let model = gguf_model::plain_model();
    let generated = |model| {
        let source = Source::described(model, &WeightChoice::Random(1), &mut Silent).unwrap();
        greedy(&Engine::new(source, &RunOptions::default()).unwrap(), 40, None, &|| false)
    };
    let described = generated(model.clone());
    let file = gguf_model::writer(&model, 1);
    // The file has one application of each block, the description two.
    let once = generated(Model { sharing: Sharing::None, ..model });
    assert_eq!(greedy(&engine_of(&file), 40, None, &|| false), once);
    assert_ne!(once, described);
}

#[test]
fn texts_begin_and_end_as_the_file_says() {
    let plain = engine_of(&gguf_model::writer(&gguf_model::model(), 1));
    let codec = Codec::new(plain.tokenizer(), 300, false);
    assert_eq!(codec.encode(b"ab").unwrap(), [97, 98]);
    assert_eq!(codec.encode(b"").unwrap(), [0; 0]);
    assert_eq!((codec.prompt(b"").unwrap(), codec.chunk_start()), (vec![BEGIN], None));
    assert_eq!(codec.encode(b"<user>").unwrap(), b"<user>".map(u32::from));
    assert!(codec.is_end(END) && !codec.is_end(BEGIN));
    assert_eq!(codec.decoder(&[]).push(USER).unwrap().as_ref(), b"");
    assert_eq!(codec.piece(USER).unwrap(), "<user>");
    assert_eq!(codec.decode(&[BEGIN, 97, 0xc3]).unwrap(), "<begin>a\u{fffd}");
    assert!(matches!(codec.encode(b"a\xff"), Err(CodecError::NotUtf8 { offset: 1 })));

    let file =
        gguf_model::writer(&gguf_model::model(), 1).bool("tokenizer.ggml.add_bos_token", true);
    let adding = engine_of(&file);
    let special = Codec::new(adding.tokenizer(), 300, true);
    assert_eq!(special.encode(b"a<user>").unwrap(), [BEGIN, 97, USER]);
    assert_eq!(special.encode(b"<begin>a").unwrap(), [BEGIN, 97], "not twice");
    assert_eq!((special.prompt(b"").unwrap(), special.chunk_start()), (vec![BEGIN], Some(BEGIN)));
    assert_eq!(special.decoder(&[]).push(USER).unwrap().as_ref(), b"<user>");
}

#[test]
fn without_a_tokenizer_bytes_are_ids() {
    let codec = Codec::new(None, 200, false);
    assert_eq!(codec.prompt(b"a\x00\xc7").unwrap(), [97, 0, 199]);
    assert_eq!(codec.decoder(&[]).push(199).unwrap().as_ref(), b"<199>");
    assert!(!codec.is_end(0));
    assert!(matches!(codec.prompt(b""), Err(CodecError::Empty)));
    let error = codec.prompt(b"a\xc8").unwrap_err().to_string();
    assert_eq!(
        error,
        "byte 0xc8 at 1 of the text is no token: without a tokenizer bytes are ids, and the \
         vocabulary has 200"
    );
}

/// The scored tokens' `-ln p`, by the definition: each token is fed alone.
fn surprises(engine: &Engine, ids: &[u32], chunk: usize, start: Option<u32>) -> Vec<f64> {
    let mut surprises = Vec::new();
    for tokens in ids.chunks_exact(chunk) {
        let mut session = engine.session().unwrap();
        for (index, pair) in tokens.windows(2).enumerate() {
            let token = if index == 0 { start.unwrap_or(pair[0]) } else { pair[0] };
            let logits = session.feed(&[token]).unwrap();
            if index >= chunk / 2 {
                surprises.push(-Distribution::new(&logits).log_probability(pair[1]).unwrap());
            }
        }
    }
    surprises
}

#[test]
fn perplexity_scores_the_second_half_of_each_chunk() {
    let engine = engine(&RunOptions::default());
    let ids: Vec<u32> = (0..71).map(|i| i * i % 256).collect();
    for (chunk, start) in [(3, None), (16, None), (17, Some(BEGIN)), (64, None)] {
        let mut session = engine.session().unwrap();
        let mut chunks = 0;
        let score =
            perplexity::measure(&mut session, &Chunks { ids: &ids, chunk, start }, &mut |_| {
                chunks += 1;
                ControlFlow::Continue(())
            });
        let score = score.unwrap();
        let expected = surprises(&engine, &ids, chunk as usize, start);
        let count = expected.len() as f64;
        let mean = expected.iter().sum::<f64>() / count;
        let variance = expected.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / count;
        let error = (variance / (count - 1.0)).sqrt() * mean.exp();
        assert_eq!((score.tokens, score.chunks), (expected.len(), ids.len() / chunk as usize));
        assert_eq!(chunks, score.chunks);
        assert!((score.perplexity / mean.exp() - 1.0).abs() < 1e-12, "{score:?}");
        assert!((score.error / error - 1.0).abs() < 1e-6, "{score:?}, {error}");
    }
}

#[test]
fn perplexity_needs_a_chunk_that_scores_something() {
    let engine = engine(&RunOptions::default());
    let measure = |ids: &[u32], chunk| {
        let mut session = engine.session().unwrap();
        let text = Chunks { ids, chunk, start: None };
        perplexity::measure(&mut session, &text, &mut |_| ControlFlow::Break(()))
    };
    assert!(matches!(measure(&[1; 10], 2), Err(PerplexityError::Chunk { found: 2 })));
    let short = measure(&[1; 9], 10);
    assert!(matches!(short, Err(PerplexityError::TooShort { tokens: 9, chunk: 10 })));
    assert_eq!(measure(&[1; 40], 10).unwrap().chunks, 1, "ended after the first");
}

/// A model does not diverge from itself, in whatever pieces it is compared; from another it does,
/// by what their distributions say.
#[test]
fn divergence_is_that_of_the_distributions() {
    let engine = engine(&RunOptions::default());
    let ids: Vec<u32> = (0..71).map(|i| i * i % 256).collect();
    let text = Chunks { ids: &ids, chunk: 40, start: Some(BEGIN) };
    let measured = {
        let mut session = engine.session().unwrap();
        perplexity::measure(&mut session, &text, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let compared = |other: &Engine| {
        let (mut session, mut reference) = (engine.session().unwrap(), other.session().unwrap());
        let after = &mut |_: &perplexity::Score| ControlFlow::Continue(());
        perplexity::compare(&mut session, &mut reference, &text, after).unwrap()
    };
    let (score, divergence) = compared(&engine);
    assert_eq!(score, measured);
    assert_eq!((divergence.mean, divergence.same_top), (0.0, 1.0));
    let source = Source::described(gguf_model::model(), &WeightChoice::Random(2), &mut Silent);
    let other = Engine::new(source.unwrap(), &RunOptions::default()).unwrap();
    let (score, divergence) = compared(&other);
    assert_eq!(score, measured);
    assert!(divergence.mean > 1e-3 && divergence.same_top < 1.0, "{divergence:?}");
    let [mean, error, same_top] = divergences(&engine, &other, &text);
    assert!((divergence.mean / mean - 1.0).abs() < 1e-9, "{divergence:?}, {mean}");
    assert!((divergence.error / error - 1.0).abs() < 1e-6, "{divergence:?}, {error}");
    assert_eq!(divergence.same_top, same_top);
}

/// Mean and standard error of `sum p ln(p / q)` by the definition, p of `other`, and the share of
/// equal likeliest tokens: each token is fed alone.
fn divergences(engine: &Engine, other: &Engine, text: &Chunks<'_>) -> [f64; 3] {
    let logarithms = |logits: &[f32]| -> Vec<f64> {
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        logits.iter().map(|x| f64::from(*x) - sum.ln()).collect()
    };
    let likeliest = |p: &[f64]| (0..p.len()).max_by(|a, b| p[*a].total_cmp(&p[*b]));
    let (mut all, mut same) = (Vec::new(), 0.0);
    for tokens in text.ids.chunks_exact(text.chunk as usize) {
        let [mut session, mut reference] = [engine, other].map(|engine| engine.session().unwrap());
        for (index, token) in tokens[..tokens.len() - 1].iter().enumerate() {
            let token = text.start.filter(|_| index == 0).unwrap_or(*token);
            let q = logarithms(&session.feed(&[token]).unwrap());
            let p = logarithms(&reference.feed(&[token]).unwrap());
            if index >= tokens.len() / 2 {
                all.push(p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>());
                same += f64::from(u8::from(likeliest(&p) == likeliest(&q)));
            }
        }
    }
    let count = all.len() as f64;
    let mean = all.iter().sum::<f64>() / count;
    let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    [mean, (variance / (count - 1.0)).sqrt(), same / count]
}
