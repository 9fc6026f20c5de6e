//! Kernels that are wrong on purpose: what a verifier of kernels must notice.
#![expect(unsafe_code, reason = "a kernel is called, and writes, through raw pointers")]

use std::sync::Arc;

use deepthin::verify::machine::KernelEngine;
use deepthin_compiler::codegen::CodegenError;
use deepthin_compiler::vir::Verified;
use deepthin_runtime::abi::KernelCode;

use crate::jit::machine_code;

/// What goes wrong after the real kernel has run.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Byte `offset` of a buffer is written, be it inside or beside it.
    Store { buffer: usize, offset: isize },
    /// Where byte `offset` of one buffer is not zero, a bit of another's byte `flipped` changes.
    Flip { buffer: usize, offset: usize, other: usize, flipped: usize },
}

/// A kernel with a fault behind it.
pub struct Faulty {
    code: Arc<dyn KernelCode>,
    fault: Fault,
}

impl Faulty {
    /// A kernel that also writes byte `offset` of a buffer, be it inside or beside it. Beside it
    /// there must be memory, as there is up to the next guard page.
    pub fn stray(code: Arc<dyn KernelCode>, buffer: usize, offset: isize) -> Arc<dyn KernelCode> {
        Arc::new(Faulty { code, fault: Fault::Store { buffer, offset } })
    }
}

impl KernelCode for Faulty {
    unsafe fn call(&self, buffers: &[*mut u8], scalars: &[i64]) {
        // SAFETY: the caller keeps the contract of the kernel.
        unsafe { self.code.call(buffers, scalars) };
        match self.fault {
            Fault::Store { buffer, offset } => {
                let byte = buffers[buffer].wrapping_offset(offset);
                // SAFETY: the test that asks for it gives memory at this offset.
                unsafe { byte.write(1) };
            }
            Fault::Flip { buffer, offset, other, flipped } => {
                let byte = buffers[buffer].wrapping_add(offset);
                // SAFETY: the engine has seen that the buffer has this byte.
                if unsafe { byte.read() } != 0 {
                    let byte = buffers[other].wrapping_add(flipped);
                    // SAFETY: the engine has seen that the kernel may write this byte.
                    unsafe { *byte ^= 1 };
                }
            }
        }
    }
}

/// Machine code in which some kernels are wrong: where byte 7 of `x` (or `q`) is not zero, the last
/// bit of a byte of `out` is.
pub struct WrongEngine {
    /// What the names of the wrong kernels contain.
    pub part: &'static str,
    /// Byte of `out`.
    pub byte: usize,
}

impl KernelEngine for WrongEngine {
    fn name(&self) -> &str {
        "wrong on purpose"
    }

    fn lanes(&self) -> u32 {
        machine_code().lanes()
    }

    fn code(&self, kernels: &[Verified]) -> Result<Vec<Arc<dyn KernelCode>>, CodegenError> {
        let mut codes = machine_code().code(kernels)?;
        for (kernel, code) in kernels.iter().zip(&mut codes) {
            let number = |names: &[&str]| {
                let mut buffers = kernel.buffers.values();
                buffers.position(|b| names.contains(&b.name.as_str()) && b.bytes >= 8)
            };
            if let (true, Some(buffer), Some(other)) =
                (kernel.name.contains(self.part), number(&["x", "q"]), number(&["out"]))
            {
                let fault = Fault::Flip { buffer, offset: 7, other, flipped: self.byte };
                *code = Arc::new(Faulty { code: Arc::clone(code), fault });
            }
        }
        Ok(codes)
    }
}
