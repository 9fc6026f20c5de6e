//! Proof on this machine: kernels between guard pages against the interpreter, on generated input.
//!
//! The interpreter defines what a kernel computes; [`machine`] runs the same kernel as machine code
//! on the same bytes, and no bit may differ. A [`Case`] is a kernel, the bytes of its buffers and
//! its scalars; everything in it follows from a seed ([`choices`]), so that a case is replayed by
//! its number.

pub mod case;
pub mod check;
pub mod choices;
pub mod compare;
pub mod cost;
pub mod exact;
pub mod filetest;
pub mod guard;
pub mod ladder;
pub mod machine;
pub mod minimize;
pub mod models;
pub mod own;
pub mod planned;
pub mod random;
pub mod report;
pub mod scalars;
pub mod values;
pub mod whole;

pub use case::Case;
pub use check::{Settings, Unwatched, Watch};
pub use own::verify_kernels;
pub use random::verify_random;
pub use report::Report;
