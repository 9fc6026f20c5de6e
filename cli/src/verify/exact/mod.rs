//! The truth in f64, and how far from it a correct result may be: the table of specs/numerics.md.
//!
//! [`formulas`] are the model's formulas as they stand on paper, [`bounds`] the rows of the table,
//! [`kernels`] asks each step of a kernel for its distance on that step's own inputs. None of them
//! uses the compiler's definitions; what they share with it are types, and [`packed`] its table of
//! layouts.

pub mod bounds;
pub mod formulas;
pub mod kernels;
pub mod packed;

pub use kernels::{Distance, distance};
