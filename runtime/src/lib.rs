//! Runs a program.
pub mod gguf;
pub mod sampler;
pub mod text;
pub mod tokenizer;
pub mod abi;
pub mod memory;
pub mod program;
pub mod session;
pub mod threads;
