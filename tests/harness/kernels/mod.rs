//! Random verified VIR kernels and calls of them.
//!
//! A generated kernel has buffers of every element and access, scalars, a range, nested loops
//! with carried values, and every instruction and operator; its addresses favor the first and
//! the last byte that is still inside. No NaN reaches an integer: there engines may differ, and
//! numerics forbid it.
//!
//! Everything grows from a list of numbers ([`Choices`]), so proptest shrinks a failing kernel by
//! shortening the list.

mod choices;
mod data;
mod generate;
mod mutate;

use deepthin_compiler::vir::{Elem, Kernel};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::strategy::Strategy;

pub use self::choices::Choices;
pub use self::data::{corner_scalars, elements, first_difference};
pub use self::mutate::mutate;

/// A call of a kernel.
#[derive(Debug, Clone)]
pub struct Case {
    /// A kernel that verifies.
    pub kernel: Kernel,
    /// Contents of each buffer before the call, exactly of the declared size.
    pub buffers: Vec<Vec<u8>>,
    /// What each buffer holds, for comparing: see [`first_difference`].
    pub elements: Vec<Option<Elem>>,
    /// Scalars within the declared bounds.
    pub scalars: Vec<i64>,
}

/// Numbers that decide a kernel of a few to some two hundred instructions.
fn entropy() -> impl Strategy<Value = Vec<u32>> {
    vec(any::<u32>(), 20..700)
}

/// Kernels of `lanes` lanes that verify.
pub fn kernel(lanes: u32) -> impl Strategy<Value = Kernel> {
    entropy().prop_map(move |entropy| generate::kernel(lanes, &mut Choices::new(entropy)))
}

/// Kernels with contents for their buffers, special values among them, and scalars.
pub fn case(lanes: u32) -> impl Strategy<Value = Case> {
    (kernel(lanes), vec(any::<u32>(), 64)).prop_map(|(kernel, seed)| {
        let elements = elements(&kernel);
        let mut choices = Choices::endless(seed);
        let contents = kernel.buffers.values().zip(&elements);
        let buffers =
            contents.map(|(b, elem)| data::contents(b.bytes, *elem, &mut choices)).collect();
        let scalars = data::scalars(&kernel, &mut choices);
        Case { kernel, buffers, elements, scalars }
    })
}
