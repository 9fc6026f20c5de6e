//! The library behind the `deepthin` program: what a Rust program needs to use a model by name.

pub mod catalog;
pub mod engine;
pub mod fetch;
pub mod source;
