//! The library behind the `deepthin` program: what a Rust program needs to use a model by name.

pub mod bench;
pub mod catalog;
pub mod chat;
pub mod codec;
pub mod distribution;
pub mod engine;
pub mod fetch;
pub mod file;
pub mod generate;
pub mod import;
pub mod info;
pub mod memory;
pub mod perplexity;
pub mod source;
pub mod verify;
