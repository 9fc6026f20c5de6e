//! The check before a call: are the scalars what the kernel declares?
//!
//! The verifier's proof rests on the declared bounds, so whoever calls a kernel, interpreted or
//! compiled, passes its scalars through here first. It is the only check at run time.

use thiserror::Error;

use super::{Index, Kernel};

/// Scalars that a kernel may not be called with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScalarError {
    /// Too few or too many.
    #[error("kernel `{kernel}` takes {expected} scalars, found {found}")]
    Count {
        /// The kernel's name.
        kernel: String,
        /// Parameters; a range counts two.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A scalar outside its declared bounds.
    #[error("`{name}` of kernel `{kernel}` is {value}, declared {lo}..={hi}")]
    Scalar {
        /// The kernel's name.
        kernel: String,
        /// The parameter's name.
        name: String,
        /// The value given.
        value: i64,
        /// Least value.
        lo: i64,
        /// Greatest value.
        hi: i64,
    },
    /// A range that is not part of the declared one.
    #[error("`{name}` of kernel `{kernel}` is {begin}..{end}, declared as a part of 0..{count}")]
    Range {
        /// The kernel's name.
        kernel: String,
        /// The parameter's name.
        name: String,
        /// The begin given.
        begin: i64,
        /// The end given.
        end: i64,
        /// Units in all.
        count: u32,
    },
}

/// Checks the scalar arguments of a call, in the order of the parameters, a range as two.
pub fn check_scalars(kernel: &Kernel, scalars: &[i64]) -> Result<(), ScalarError> {
    let expected = kernel.scalar_count();
    if scalars.len() != expected {
        let (kernel, found) = (kernel.name.clone(), scalars.len());
        return Err(ScalarError::Count { kernel, expected, found });
    }
    let mut open = ("", 0);
    for (index, &value) in kernel.indices.values().zip(scalars) {
        match index {
            Index::Scalar { name, lo, hi } => {
                if !(*lo..=*hi).contains(&value) {
                    let (kernel, name, lo, hi) = (kernel.name.clone(), name.clone(), *lo, *hi);
                    return Err(ScalarError::Scalar { kernel, name, value, lo, hi });
                }
            }
            Index::RangeBegin { name, .. } => open = (name, value),
            Index::RangeEnd { count } => {
                let (name, begin) = open;
                if begin < 0 || value < begin || value > i64::from(*count) {
                    let (kernel, name, end) = (kernel.name.clone(), name.to_owned(), value);
                    return Err(ScalarError::Range { kernel, name, begin, end, count: *count });
                }
            }
            Index::Loop => {}
        }
    }
    Ok(())
}
