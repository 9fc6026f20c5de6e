//! What the suites share: the project's files, its program, and the real model.

#![allow(clippy::print_stderr, reason = "tests say why they leave something out")]

pub mod gguf_writer;
pub mod program;
pub mod project;
pub mod real_model;
pub mod shared_data;
