//! Proof on this machine: kernels between guard pages against the interpreter, on generated input.
//!
//! The interpreter defines what a kernel computes; [`machine`] runs the same kernel as machine code
//! on the same bytes, and no bit may differ. A [`Case`] is a kernel, the bytes of its buffers and
//! its scalars; everything in it follows from a seed ([`choices`]), so that a case is replayed by
//! its number.

pub mod case;
pub mod choices;
pub mod compare;
pub mod guard;
pub mod machine;
pub mod scalars;
pub mod values;

pub use case::Case;
