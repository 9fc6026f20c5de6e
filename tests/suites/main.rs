//! All suites, linked into one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod bench;
mod chat;
mod cli;
mod codegen;
mod codes;
mod corpus;
mod engines;
mod faults;
mod fir;
mod fir_interp;
mod generation;
mod gguf;
mod guard;
mod kernels;
mod language;
mod mapping;
mod numerics;
mod object;
mod pack;
mod packed;
mod plan;
mod properties;
mod quantize;
mod quantized;
mod real_model;
mod sampling;
mod sentence_piece;
mod text;
mod threads;
mod tidy;
mod tokenizer;
mod verify;
mod vir;
mod wide;
