//! Kernels that are wrong on purpose: what a verifier of kernels must notice.
#![expect(unsafe_code, reason = "a kernel is called, and writes, through raw pointers")]

use std::sync::Arc;

use deepthin_runtime::abi::KernelCode;

/// What goes wrong after the real kernel has run.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// A byte is written at this offset, wherever that is.
    Store(isize),
    /// A bit of this byte is flipped.
    Flip(usize),
}

/// A kernel with a fault behind it.
pub struct Faulty {
    code: Arc<dyn KernelCode>,
    buffer: usize,
    fault: Fault,
}

impl Faulty {
    /// A kernel that also writes byte `offset` of a buffer, be it inside or beside it. Beside it
    /// there must be memory, as there is up to the next guard page.
    pub fn stray(code: Arc<dyn KernelCode>, buffer: usize, offset: isize) -> Arc<dyn KernelCode> {
        Arc::new(Faulty { code, buffer, fault: Fault::Store(offset) })
    }

    /// A kernel that flips the lowest bit of byte `offset` of a buffer, which has that byte.
    pub fn flipped(code: Arc<dyn KernelCode>, buffer: usize, offset: usize) -> Arc<dyn KernelCode> {
        Arc::new(Faulty { code, buffer, fault: Fault::Flip(offset) })
    }
}

impl KernelCode for Faulty {
    unsafe fn call(&self, buffers: &[*mut u8], scalars: &[i64]) {
        // SAFETY: the caller keeps the contract of the kernel.
        unsafe { self.code.call(buffers, scalars) };
        let Some(first) = buffers.get(self.buffer) else { return };
        match self.fault {
            // SAFETY: the test that asks for it gives memory at this offset.
            Fault::Store(offset) => unsafe { first.offset(offset).write(1) },
            Fault::Flip(offset) => {
                let byte = first.wrapping_add(offset);
                // SAFETY: the byte is one of the buffer's own.
                unsafe { *byte ^= 1 };
            }
        }
    }
}
