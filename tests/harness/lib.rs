//! What the suites share: the project's files, its program, and the real model.

#![allow(clippy::print_stderr, reason = "tests say why they leave something out")]

pub mod alone;
pub mod asm;
pub mod c_tools;
pub mod cases;
pub mod child;
pub mod data;
pub mod elementwise;
pub mod emulated;
pub mod engine;
pub mod faults;
pub mod faulty;
pub mod filetest;
pub mod gguf_model;
pub mod gguf_writer;
pub mod graphs;
pub mod graphtest;
pub mod jit;
pub mod kernels;
pub mod ops;
pub mod oracle;
pub mod packed_file;
pub mod packed_weights;
pub mod piece_vocabulary;
pub mod processor;
pub mod program;
pub mod project;
pub mod real_model;
pub mod reference;
pub mod sources;
pub mod terminal;

pub use deepthin::verify::{guard, models};
