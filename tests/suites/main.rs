//! All suites, linked into one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod cli;
mod fir;
mod fir_interp;
mod generation;
mod gguf;
mod guard;
mod language;
mod numerics;
mod real_model;
mod sampling;
mod tidy;
mod tokenizer;
mod vir;
