//! Runs a compiled program: memory, threads, tokens in, logits out; knows neither IR nor Cranelift.
//!
//! The compiler makes a [`program::Program`]; with a packed image of weights it becomes a
//! [`session::Session`], which takes tokens and gives logits:
//!
//! ```text
//! GGUF file --gguf--> tensors, metadata --tokenizer--> token ids --session--> logits --sampler--> next id
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`abi`] | how a kernel is called |
//! | [`program`] | kernels, regions, operands, the flat list of steps, and the proof that calls stay inside |
//! | [`session`] | one sequence: walks the steps for a chunk of tokens |
//! | [`threads`] | the pool: spin, then park |
//! | [`memory`] | regions: zeroed memory, or part of a mapped file |
//! | [`mapping`] | mapped files, and what happens when one loses bytes |
//! | [`gguf`] | the reader of GGUF files, and the writer of their headers |
//! | [`digest`] | whether bytes are still those that were written |
//! | [`tokenizer`] | text to ids and back, by a file's own vocabulary |
//! | [`logits`] | one for each token, with the greatest of each block |
//! | [`sampler`] | from logits to a token |
//! | [`text`] | from token bytes to whole code points, and to what a terminal may be shown |
//! | [`stop`] | ends a text before stop strings |
//! | [`shown`] | names and texts from outside, as messages show them |

pub mod abi;
pub mod digest;
pub mod gguf;
pub mod logits;
pub mod mapping;
pub mod memory;
pub mod program;
pub mod sampler;
pub mod session;
pub mod shown;
mod stamp;
pub mod stop;
mod sync;
pub mod text;
pub mod threads;
pub mod tokenizer;
