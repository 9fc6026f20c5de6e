//! The kernel ABI: how the runtime calls a kernel, whoever made it.
//!
//! | argument | meaning |
//! |---|---|
//! | `buffers` | table of base pointers, one for each buffer parameter, each aligned to its elements |
//! | `scalars` | table of `i64`, one for each scalar parameter; a range is two: begin, end |
//!
//! A kernel touches only the declared bytes of its buffers, provided that every scalar lies in
//! its declared bounds. [`KernelInfo`] carries both declarations, and `Program::validate` checks
//! every call that a program can make against them once.
#![expect(unsafe_code, reason = "the contract of a raw call can only be stated as unsafe")]

use std::sync::Arc;

/// Machine code of a kernel: System V on x86-64, AAPCS64 on aarch64.
pub type KernelFn = unsafe extern "C" fn(buffers: *const *mut u8, scalars: *const i64);

/// Something that can run a kernel: machine code, or an interpreter.
pub trait KernelCode: Send + Sync {
    /// Runs the kernel once.
    ///
    /// # Safety
    /// `buffers` holds one pointer for each declared buffer, valid for its declared bytes and
    /// access, aligned to 4 bytes, and not overlapping a buffer that is written; no other thread
    /// writes what this call reads or touches what it writes. `scalars` holds one value for each
    /// declared scalar, inside its bounds.
    unsafe fn call(&self, buffers: &[*mut u8], scalars: &[i64]);
}

/// A declared buffer parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferInfo {
    /// Name, for messages.
    pub name: String,
    /// Bytes that the kernel may touch.
    pub bytes: u64,
    /// Whether it may write them.
    pub writes: bool,
}

/// A declared scalar parameter: `lo <= value <= hi`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalarInfo {
    /// Name, for messages.
    pub name: String,
    /// Least value.
    pub lo: i64,
    /// Greatest value.
    pub hi: i64,
}

/// A kernel with its declarations.
#[derive(Clone)]
pub struct KernelInfo {
    /// Name: operation, storage, shape, token tile.
    pub name: String,
    /// Buffer parameters.
    pub buffers: Vec<BufferInfo>,
    /// Scalar parameters.
    pub scalars: Vec<ScalarInfo>,
    /// What runs it.
    pub code: Arc<dyn KernelCode>,
}

impl std::fmt::Debug for KernelInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelInfo")
            .field("name", &self.name)
            .field("buffers", &self.buffers)
            .field("scalars", &self.scalars)
            .finish_non_exhaustive()
    }
}
