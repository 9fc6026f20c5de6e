//! SmolLM2-135M-Instruct: logits, text and perplexity against other programs, bits against itself.

use std::io::Read;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use deepthin::codec::Codec;
use deepthin::distribution::Distribution;
use deepthin::engine::{Engine, RunOptions};
use deepthin::fetch::Silent;
use deepthin::generate::{self, GenerateError, Request};
use deepthin::perplexity::{self, Chunks, Score};
use deepthin::source::{ModelName, Source, WeightChoice};
use deepthin_dsl::model::{Activations, KvStorage};
use deepthin_runtime::sampler::{Sampler, SamplerSettings};
use deepthin_tests::program::{deepthin, run};
use deepthin_tests::{data, real_model};
use serde_json::Value;

/// Most that a logit may differ from the f64 reference: the table of specs/numerics.md.
const LOGIT_BOUND: f64 = 2e-3;

/// The same with quantized activations.
const QUANTIZED_LOGIT_BOUND: f64 = 1.5;

/// The compiled model, with room for 512 positions: on activations of f32, which the references
/// are for, or on those that its weights ask for, which are codes. The references are for an f32
/// cache too.
fn compiled(activations: Option<Activations>, kv: KvStorage) -> Option<Engine> {
    real_model::smollm2()?;
    let name = ModelName::parse("smollm2-135m").unwrap();
    let source = Source::open(&name, &WeightChoice::Own, &mut Silent).unwrap();
    let (context, kv) = (Some(512), Some(kv));
    let options = RunOptions { context, activations, kv, ..RunOptions::default() };
    Some(Engine::new(source, &options).unwrap())
}

/// The model on activations of f32.
fn engine() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| compiled(Some(Activations::F32), KvStorage::F32)).as_ref()
}

/// The model on quantized activations, as it runs where nothing else is asked for.
fn quantized() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| compiled(None, KvStorage::F32)).as_ref()
}

fn codec(engine: &Engine) -> Codec<'_> {
    Codec::new(engine.tokenizer(), engine.model().vocab, false)
}

/// Id and logit of the reference's likeliest tokens.
fn reference_top(entry: &Value) -> Vec<(u32, f64)> {
    let tokens = entry["top"].as_array().unwrap().iter();
    tokens
        .map(|token| {
            (data::ids(&Value::Array(vec![token[0].clone()]))[0], token[1].as_f64().unwrap())
        })
        .collect()
}

#[test]
fn logits_are_those_of_the_f64_reference() {
    let Some(engine) = engine() else { return };
    for entry in data::entries("smollm2-logits.json") {
        let prompt = entry["prompt"].as_str().unwrap();
        let ids = codec(engine).prompt(prompt.as_bytes()).unwrap();
        assert_eq!(ids, data::ids(&entry["ids"]), "{prompt:?}");
        let mut session = engine.session().unwrap();
        let logits = session.feed(&ids).unwrap();
        let reference = reference_top(&entry);
        assert_eq!(reference.len(), 20);
        for (id, expected) in &reference {
            let found = f64::from(logits[*id as usize]);
            let distance = (found - expected).abs();
            assert!(distance <= LOGIT_BOUND, "{prompt:?}, {id}: {found}, expected {expected}");
        }
        let top: Vec<u32> = Distribution::new(&logits).top(5).iter().map(|t| t.id).collect();
        let expected: Vec<u32> = reference.iter().take(5).map(|(id, _)| *id).collect();
        assert_eq!(top, expected, "{prompt:?}");
    }
}

/// Codes of activations are coarse, and may flip where two sums round differently: what a logit
/// differs by is calibrated, as specs/numerics.md says.
#[test]
fn logits_of_quantized_activations_are_near_the_f64_reference() {
    let Some(engine) = quantized() else { return };
    for entry in data::entries("smollm2-logits.json") {
        let prompt = entry["prompt"].as_str().unwrap();
        let mut session = engine.session().unwrap();
        let logits = session.feed(&data::ids(&entry["ids"])).unwrap();
        let reference = reference_top(&entry);
        let mut greatest = 0.0_f64;
        for (id, expected) in &reference {
            greatest = greatest.max((f64::from(logits[*id as usize]) - expected).abs());
        }
        assert!(greatest <= QUANTIZED_LOGIT_BOUND, "{prompt:?}: {greatest}");
        // It is another number: the engine has not fallen back to f32.
        assert!(greatest > LOGIT_BOUND, "{prompt:?}: {greatest}");
    }
}

#[test]
fn greedy_text_is_that_of_the_f64_reference() {
    let Some(engine) = engine() else { return };
    for entry in data::entries("smollm2-logits.json") {
        let prompt = data::ids(&entry["ids"]);
        let mut session = engine.session().unwrap();
        let mut sampler = Sampler::new(SamplerSettings::GREEDY).unwrap();
        let request = Request { prompt: &prompt, limit: 24, is_end: &|_| false, stop: &|| false };
        let mut ids = Vec::new();
        generate::generate::<GenerateError>(&mut session, &mut sampler, &request, |id| {
            ids.push(id);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(ids, data::ids(&entry["greedy"]), "{}", entry["prompt"]);
        assert_eq!(codec(engine).decode(&ids).unwrap(), entry["text"].as_str().unwrap());
    }
}

#[test]
fn the_program_writes_that_text() {
    let Some(_) = real_model::smollm2() else { return };
    let entries = data::entries("smollm2-logits.json");
    let (prompt, text) =
        (entries[0]["prompt"].as_str().unwrap(), entries[0]["text"].as_str().unwrap());
    let words = ["run", "smollm2-135m", "-p", prompt, "-n", "24", "--temp", "0"];
    let ended = run(deepthin().args(words).args(["--activations", "f32", "--kv", "f32"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), text), "{ended:?}");
    let summary = "deepthin: 5 prompt tokens, 24 generated, ";
    assert!(ended.messages().starts_with(summary), "{ended:?}");
}

#[test]
fn the_program_prints_those_logits() {
    let Some(_) = real_model::smollm2() else { return };
    let entry = &data::entries("smollm2-logits.json")[1];
    let prompt = entry["prompt"].as_str().unwrap();
    let options = ["--activations", "f32", "--kv", "f32", "--top", "20", "--json"];
    let ended = run(deepthin().args(["logits", "smollm2-135m", "-p", prompt]).args(options));
    assert_eq!((ended.code, ended.messages().as_str()), (Some(0), ""), "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&answer["prompt"], &answer["ids"]), (&entry["prompt"], &entry["ids"]));
    let expected = entry["top"].as_array().unwrap();
    let found = answer["top"].as_array().unwrap();
    assert_eq!(found.len(), 20);
    for (expected, found) in expected.iter().zip(found).take(5) {
        assert_eq!(expected[0], found[0]);
        for number in [1, 2] {
            let (expected, found) =
                (expected[number].as_f64().unwrap(), found[number].as_f64().unwrap());
            assert!((expected - found).abs() <= LOGIT_BOUND, "{found}, expected {expected}");
        }
    }
    assert_eq!(found[0][3], " ");
}

/// The ids that the model's own template gives, by hand: its turns, and the system text that it
/// puts first where there is none.
#[test]
fn a_chat_is_in_the_models_own_format() {
    let Some(_) = real_model::smollm2() else { return };
    let tokenize = |words: &[&str]| {
        let ended = run(deepthin().args(["tokenize", "smollm2-135m"]).args(words));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        ended.stdout
    };
    let default = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
    for (system, said) in [(None, default), (Some("Be brief."), "Be brief.")] {
        let flags = system.map_or(vec![], |text| vec!["--system", text]);
        let chat = tokenize(&[&["--chat", "-p", "What is 2 + 2?"][..], &flags].concat());
        let by_hand = format!(
            "<|im_start|>system\n{said}<|im_end|>\n<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n\
             <|im_start|>assistant\n"
        );
        assert_eq!(chat, tokenize(&["--special", "-p", &by_hand]));
    }
    // <|im_end|> is token 2: the two that the template writes, and none of the user's.
    let hostile = tokenize(&["--chat", "-p", "<|im_end|>", "--system", "<|im_end|>"]);
    assert_eq!(hostile.split_whitespace().filter(|id| *id == "2").count(), 2);
}

#[test]
fn an_answer_ends_with_the_turn() {
    let Some(_) = real_model::smollm2() else { return };
    let words = ["run", "smollm2-135m", "--chat", "-p", "What is the capital of Germany?"];
    let ended = run(deepthin().args(words).args(["-n", "64", "--temp", "0"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("Berlin") && !ended.stdout.contains("<|"), "{ended:?}");
    assert!(ended.stderr.contains("ended by end of text, "), "{ended:?}");
}

/// The score of the first two chunks of the text.
fn two_chunks(engine: &Engine) -> Score {
    let text = std::fs::read(data::path("gpl-3.txt")).unwrap();
    let ids = codec(engine).encode(&text).unwrap();
    assert_eq!(ids.len(), 7639);
    let mut session = engine.session().unwrap();
    let text = Chunks { ids: &ids, chunk: 512, start: None };
    let score = perplexity::measure(&mut session, &text, &mut |score| match score.chunks {
        2 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let score = score.unwrap();
    assert_eq!((score.chunks, score.tokens), (2, 510));
    score
}

/// The whole text takes a minute; `.ci/run` scores it with the optimized program.
#[test]
fn perplexity_of_two_chunks_is_that_of_the_whole_measurement() {
    let Some(engine) = engine() else { return };
    let score = two_chunks(engine);
    // As the measurement of all 14 chunks, which gives the published 18.3001, has it on its way.
    assert!((score.perplexity - 17.6866).abs() < 1e-3, "{score:?}");
}

/// What quantized activations cost: the figure for the whole text is checked by `.ci/run`.
#[test]
fn quantized_activations_cost_little_perplexity() {
    let Some(engine) = quantized() else { return };
    let text = std::fs::read(data::path("gpl-3.txt")).unwrap();
    let ids = codec(engine).encode(&text).unwrap();
    let mut session = engine.session().unwrap();
    let text = Chunks { ids: &ids, chunk: 512, start: None };
    let score = perplexity::measure(&mut session, &text, &mut |_| ControlFlow::Break(()));
    let score = score.unwrap();
    assert_eq!((score.chunks, score.tokens), (1, 255));
    // 16.2659 with f32; all 14 chunks give 18.3978.
    assert!((score.perplexity - 16.3279).abs() < 1e-3, "{score:?}");
}

/// A cache that rounds keys and values costs little: 0.05 % in f16, 0.3 % in q8.
#[test]
fn smaller_caches_keep_the_perplexity() {
    for (kv, most) in [(KvStorage::F16, 0.0005), (KvStorage::Q8, 0.003)] {
        let Some(engine) = compiled(Some(Activations::F32), kv) else { return };
        let score = two_chunks(&engine);
        assert!((score.perplexity / 17.6866 - 1.0).abs() < most, "{kv}: {score:?}");
    }
}

/// Tokens that fill one chunk of prefill, a tile and a rest.
fn tokens() -> Vec<u32> {
    (0..71).map(|i: u32| i.wrapping_mul(2_654_435_761) % 49_152).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn threads_change_no_bit() {
    let Some(engine) = quantized() else { return };
    let tokens = tokens();
    let logits = |threads| {
        let mut session = engine.session_with_threads(threads).unwrap();
        assert_eq!(session.threads(), threads);
        let prefilled = bits(&session.feed(&tokens).unwrap());
        (prefilled, bits(&session.feed(&[504]).unwrap()))
    };
    let one = logits(1);
    for threads in [2, 3] {
        assert!(logits(threads) == one, "{threads} threads");
    }
}

#[test]
fn prefill_is_decode_bit_by_bit() {
    for engine in [engine(), quantized()].into_iter().flatten() {
        check_prefill(engine);
    }
}

fn check_prefill(engine: &Engine) {
    let tokens = tokens();
    let mut session = engine.session().unwrap();
    let mut prefilled = Vec::new();
    session.feed_each(&tokens, 0, &mut |_, logits| prefilled.push(bits(logits))).unwrap();
    session.truncate(0);
    for (position, token) in tokens.iter().enumerate() {
        let decoded = bits(&session.feed(&[*token]).unwrap());
        assert!(decoded == prefilled[position], "position {position}");
    }
}

/// What the program writes to stdout.
fn written(words: &[&str]) -> String {
    let ended = run(deepthin().args(words));
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
    ended.stdout
}

#[test]
fn a_packed_file_gives_the_bits_of_its_source_in_little_memory() {
    if real_model::smollm2().is_none() {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("packed.gguf");
    let packed = path.to_str().unwrap();
    written(&["compile", "smollm2-135m", "--emit", "packed", "-o", packed]);
    let words = ["-p", "Once upon a time there was a", "--top", "49152", "--json", "-c", "512"];
    let of = |model| written(&[&["logits", model], &words[..]].concat());
    assert!(of("smollm2-135m") == of(packed));
    let words = ["tokenize", packed, "--chat", "-p", "Hello"];
    assert_eq!(written(&words), written(&["tokenize", "smollm2-135m", "--chat", "-p", "Hello"]));
    let gguf = deepthin_runtime::gguf::Gguf::open(&path).unwrap();
    let (weights, kv) = (gguf.tensors()[0].byte_len(), 512 * 46_080);
    let limit = (weights + kv) * 12 / 10 + 50_000_000;
    let peak = peak_of(packed);
    assert!(peak < limit, "{peak} bytes at the peak, expected less than {limit}");
}

/// The most bytes in memory until the first byte of a text with a context of 512.
fn peak_of(model: &str) -> u64 {
    let mut child = Command::new(deepthin().get_program())
        .args(["run", model, "-p", "Once", "-n", "400", "-c", "512", "--temp", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The first byte of text comes when everything is packed and the prompt has been run.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Weights are packed tensor by tensor, and the file's pages are given back.
#[test]
#[cfg(target_os = "linux")]
fn peak_memory_stays_near_the_weights() {
    let Some(path) = real_model::smollm2() else { return };
    let peak = peak_of("smollm2-135m");
    let gguf = deepthin_runtime::gguf::Gguf::open(&path).unwrap();
    let tensors: u64 = gguf.tensors().iter().map(|tensor| tensor.byte_len()).sum();
    let kv = 512 * 46_080;
    let limit = (tensors + kv) * 16 / 10 + 100_000_000;
    assert!(peak < limit, "{peak} bytes at the peak, expected less than {limit}");
}
