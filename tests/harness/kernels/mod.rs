//! Random verified VIR kernels and calls of them.
//!
//! A generated kernel has buffers of every element and access, scalars, a range, nested loops
//! with carried values, and every instruction and operator; its addresses favor the first and
//! the last byte that is still inside. No NaN reaches an integer: there engines may differ, and
//! numerics forbid it.
//!
//! Everything grows from a list of numbers ([`Choices`]), so proptest shrinks a failing kernel by
//! shortening the list.

mod generate;
mod mutate;

use deepthin::verify::scalars::any_scalars;
use deepthin::verify::values::{Class, contents};
use deepthin_compiler::vir::{Elem, Kernel};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::strategy::Strategy;

pub use deepthin::verify::choices::Choices;
pub use deepthin::verify::compare::{elements, first_difference};
pub use deepthin::verify::scalars::corner_scalars;

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

impl Case {
    /// A call of a kernel that verifies, with contents and scalars as the seed decides.
    pub fn new(kernel: Kernel, seed: Vec<u32>) -> Self {
        let elements = elements(&kernel);
        let mut choices = Choices::endless(seed);
        let mut contents_of = |bytes: u32, elem: Option<Elem>| {
            let class = choices.pick(&Class::ALL);
            contents(bytes as usize, elem, class, &mut choices)
        };
        let both = kernel.buffers.values().zip(&elements);
        let buffers = both.map(|(buffer, elem)| contents_of(buffer.bytes, *elem)).collect();
        let scalars = any_scalars(&kernel, &mut choices);
        Case { kernel, buffers, elements, scalars }
    }
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
    (kernel(lanes), vec(any::<u32>(), 64)).prop_map(|(kernel, seed)| Case::new(kernel, seed))
}
