//! Proof on this machine: kernels between guard pages against the interpreter, on generated input.
//!
//! The interpreter defines what a kernel computes; [`machine`] runs the same kernel as machine code
//! on the same bytes, and no bit may differ. A [`Case`] is a kernel, the bytes of its buffers and
//! its scalars; everything in it follows from a seed ([`choices`]), so that a case is replayed by
//! its number.

pub mod caches;
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
mod partials;
pub mod planned;
pub mod random;
pub mod report;
pub mod scalars;
pub mod text;
pub mod values;
pub mod whole;

pub use case::Case;
pub use check::{Settings, Unwatched, Watch};
pub use own::verify_kernels;
pub use random::verify_random;
pub use report::Report;
pub use text::verify_text;

use filetest::FiletestError;
use ladder::LadderError;
use machine::CallError;
use thiserror::Error;

/// Why something could not be verified.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// A model does not compile or run.
    #[error(transparent)]
    Ladder(#[from] LadderError),
    /// A call cannot be made.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A text is no call of a kernel.
    #[error(transparent)]
    Text(#[from] FiletestError),
    /// A kernel that this machine's code is not for.
    #[error("kernel `{kernel}` has {found} lanes, expected the {expected} of {engine}")]
    Lanes {
        /// The kernel.
        kernel: String,
        /// Its lanes.
        found: u32,
        /// The engine.
        engine: String,
        /// Its lanes.
        expected: u32,
    },
    /// A kernel of which every call that was drawn runs too long.
    #[error("kernel `{kernel}` runs more than {most} instructions, too many to interpret")]
    TooLong {
        /// The kernel.
        kernel: String,
        /// Most instructions.
        most: u64,
    },
    /// Any of these, of a generated model: always a fault, for all of them are sound.
    #[error("model 0 of seed {seed}: {cause}")]
    Generated {
        /// The seed.
        seed: u64,
        /// What happened.
        cause: Box<VerifyError>,
    },
}
