//! deepthin as a library: a model by its name or its description, compiled for this machine and run.
//!
//! ```
//! use deepthin::codec::Codec;
//! use deepthin::engine::{Engine, RunOptions};
//! use deepthin::fetch::Silent;
//! use deepthin::generate::{GenerateError, Request, generate};
//! use deepthin::source::{Source, WeightChoice};
//! use deepthin_runtime::sampler::{Sampler, SamplerSettings};
//! use std::ops::ControlFlow;
//!
//! let text = "model tiny {
//!     vocab 300  context 64  width 32  depth 4
//!     block { attention gqa(heads: 2)  position rope(theta: 10_000)  ffn swiglu(hidden: 64) }
//!     sharing immediate(2)
//! }";
//! let model = deepthin_dsl::parse(text, "tiny.thin").expect("a valid description").remove(0);
//! let source = Source::described(model, &WeightChoice::Random(1), &mut Silent)?;
//! let engine = Engine::new(source, &RunOptions::default())?;
//!
//! // Random weights bring no tokenizer: the bytes of the text are its ids.
//! let codec = Codec::new(engine.tokenizer(), engine.model().vocab, false);
//! let prompt = codec.prompt(b"Once upon a time")?;
//! let request = Request { prompt: &prompt, limit: 8, is_end: &|_| false, stop: &|| false };
//! let mut ids = Vec::new();
//! generate(&mut engine.session()?, &mut Sampler::new(SamplerSettings::GREEDY)?, &request, |id| {
//!     ids.push(id);
//!     Ok::<_, GenerateError>(ControlFlow::Continue(()))
//! })?;
//! assert_eq!(ids.len(), 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! For a model with weights of its own, [`source::Source::open`] takes what
//! [`source::ModelName::parse`] makes of a catalog name, a GGUF file or a `.thin` file, as
//! `examples/embed.rs` does. The `deepthin` program is a thin layer over this crate: its verbs read
//! the command line, call one of these modules and print.
//!
//! | module | what |
//! |---|---|
//! | [`source`] | a model and where its weights are, found by what a user calls them |
//! | [`packed`] | files of weights as kernels read them: written once, mapped at each start |
//! | [`engine`] | a model ready to run: compiled for this host, its weights packed |
//! | [`codec`] | text to token ids and back, with a tokenizer or without |
//! | [`mod@generate`] | tokens one by one, until the text ends |
//! | [`chat`] | a turn of a chat in the format of the model's own template |
//! | [`distribution`] | logits as probabilities |
//! | [`mod@perplexity`] | how well a model predicts a text |
//! | [`mod@bench`] | tokens a second beside the machine's state, in rounds; other engines too |
//! | [`mod@profile`] | where a token's time goes, kernel by kernel |
//! | [`hw`] | what the machine gives: caches, read rates, arithmetic |
//! | [`info`] | parameters, bytes, operations and kernels of a model |
//! | [`verify`] | kernels of this machine against the interpreter that defines them |
//! | [`import`] | the description of the model that a GGUF file holds |
//! | [`catalog`], [`fetch`] | models known by name, and their download into the cache |
//! | [`file`](mod@file), [`memory`] | files that users name, and how much memory may be taken |
//!
//! Below it lie [`deepthin_dsl`], the language; [`deepthin_compiler`], from a checked model to
//! machine code; and [`deepthin_runtime`], which runs that: sessions, tokenizers and samplers are
//! its types.

pub mod bench;
pub mod calibrate;
pub mod catalog;
pub mod chat;
pub mod codec;
pub mod distribution;
pub mod engine;
pub mod fetch;
pub mod file;
pub mod generate;
pub mod hw;
pub mod import;
pub mod info;
pub mod memory;
pub mod packed;
pub mod perplexity;
pub mod profile;
pub mod quantize;
pub mod source;
pub mod verify;
