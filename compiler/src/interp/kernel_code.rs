//! The VIR interpreter behind the kernel ABI: a program whose kernels are interpreted.
#![expect(unsafe_code, reason = "the kernel ABI passes buffers as raw pointers")]

use super::vir::{Memory, run};
use crate::id::Id;
use crate::vir::{BufferId, Verified};
use deepthin_runtime::abi::KernelCode;
use std::sync::Arc;

/// A verified kernel, run by the interpreter.
struct Interpreted(Verified);

/// The kernels as code that the runtime can call, in the same order.
pub fn interpreted(kernels: &[Verified]) -> Vec<Arc<dyn KernelCode>> {
    kernels.iter().map(|k| Arc::new(Interpreted(k.clone())) as Arc<dyn KernelCode>).collect()
}

/// The buffers of one call.
struct RawBuffers<'a> {
    kernel: &'a Verified,
    pointers: &'a [*mut u8],
}

impl RawBuffers<'_> {
    /// The first of `len` bytes at `offset`, where the buffer has them.
    fn place(&self, buffer: BufferId, offset: usize, len: usize) -> Option<*mut u8> {
        let size = self.size(buffer)?;
        let pointer = self.pointers.get(buffer.index())?;
        (offset.checked_add(len)? <= size).then(|| pointer.wrapping_add(offset))
    }
}

impl Memory for RawBuffers<'_> {
    fn size(&self, buffer: BufferId) -> Option<usize> {
        self.kernel.buffers.get(buffer).map(|b| b.bytes as usize)
    }

    fn read(&self, buffer: BufferId, offset: usize, into: &mut [u8]) -> bool {
        let Some(place) = self.place(buffer, offset, into.len()) else { return false };
        // SAFETY: the caller of the kernel promises the buffer's declared bytes, `place` has
        // checked that the range lies inside, and `into` is memory of the interpreter's own.
        unsafe { std::ptr::copy_nonoverlapping(place.cast_const(), into.as_mut_ptr(), into.len()) };
        true
    }

    fn write(&mut self, buffer: BufferId, offset: usize, bytes: &[u8]) -> bool {
        let Some(place) = self.place(buffer, offset, bytes.len()) else { return false };
        // SAFETY: as for `read`; a verified kernel writes only buffers that it may write.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        true
    }
}

impl KernelCode for Interpreted {
    unsafe fn call(&self, buffers: &[*mut u8], scalars: &[i64]) {
        let mut memory = RawBuffers { kernel: &self.0, pointers: buffers };
        if let Err(error) = run(&self.0, &mut memory, scalars) {
            unreachable!("a verified kernel called by a validated program failed: {error}");
        }
    }
}
