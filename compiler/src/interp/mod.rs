//! The interpreters: what each level means, written to be read rather than to be fast.
//!
//! An interpreter is the definition of its level. It is complete (every match is exhaustive), it
//! uses neither lowering nor code generation, and whatever disagrees with it is wrong.
pub mod fir;
pub mod kernel_code;
pub mod vir;
