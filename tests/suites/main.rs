//! All suites, linked into one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod cli;
mod gguf;
mod sampling;
mod tidy;
mod tokenizer;
