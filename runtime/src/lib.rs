//! Runs a program.
pub mod gguf;
pub mod sampler;
pub mod text;
pub mod tokenizer;
