//! Compiled kernels in tests: machine code of one kernel, run on buffers between guard pages.
#![allow(
    unsafe_code,
    reason = "machine code is called through pointers; the buffers it gets are guarded"
)]

use std::sync::{Arc, OnceLock};

use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::codegen::{Backend, CodegenError, jit};
use deepthin_compiler::vir::{Verified, check_scalars};
use deepthin_runtime::abi::KernelCode;

use crate::filetest::Engine;
use crate::guard::{GuardedBuffer, POISON, Placement};

/// The back end of this host, made once.
///
/// # Panics
/// On a host that kernels cannot run on.
pub fn clif() -> &'static Clif {
    static CLIF: OnceLock<Clif> = OnceLock::new();
    CLIF.get_or_init(|| Clif::host().unwrap_or_else(|error| panic!("{error}")))
}

/// Machine code, as an engine of test files.
pub const JIT: Engine = Engine {
    name: "machine code",
    lanes: &[4],
    run: |kernel, buffers, scalars| {
        let compiled = Compiled::new(kernel).map_err(|error| error.to_string())?;
        let before = buffers.to_vec();
        for placement in Placement::ALL {
            buffers.clone_from_slice(&before);
            compiled.run(buffers, scalars, placement)?;
        }
        Ok(())
    },
};

/// A kernel and its machine code.
pub struct Compiled {
    kernel: Verified,
    code: Arc<dyn KernelCode>,
}

impl Compiled {
    /// Compiles a kernel.
    ///
    /// # Errors
    /// A kernel that the back end refuses.
    pub fn new(kernel: &Verified) -> Result<Self, CodegenError> {
        let code = clif().emit(kernel)?;
        let linked = jit::link(clif(), &[code])?;
        let code = linked.into_iter().next().expect("one kernel in, one kernel out");
        Ok(Compiled { kernel: kernel.clone(), code })
    }

    /// Runs the kernel on copies of `buffers` that touch guard pages, and copies them back.
    ///
    /// # Errors
    /// Scalars or buffers that are not as declared, and a store beside a buffer.
    pub fn run(
        &self,
        buffers: &mut [Vec<u8>],
        scalars: &[i64],
        placement: Placement,
    ) -> Result<(), String> {
        check_scalars(&self.kernel, scalars).map_err(|error| error.to_string())?;
        let declared = self.kernel.buffers.values().map(|buffer| buffer.bytes as usize);
        if !declared.eq(buffers.iter().map(Vec::len)) {
            return Err("buffers are not as declared".to_owned());
        }
        let mut guarded: Vec<GuardedBuffer> =
            buffers.iter().map(|bytes| aligned(bytes, placement)).collect();
        let pointers: Vec<*mut u8> = guarded.iter_mut().map(GuardedBuffer::as_mut_ptr).collect();
        // SAFETY: each pointer is aligned to 4 and has its buffer's declared bytes, no two
        // overlap, and the scalars have passed `check_scalars`.
        unsafe { self.code.call(&pointers, scalars) };
        for ((bytes, guarded), buffer) in
            buffers.iter_mut().zip(&guarded).zip(self.kernel.buffers.values())
        {
            let (own, rest) = guarded.bytes().split_at(bytes.len());
            let beside = rest.iter().position(|byte| *byte != POISON).map(|at| at + bytes.len());
            let stray = beside.map(usize::cast_signed).or_else(|| guarded.stray_writes());
            if let Some(stray) = stray {
                return Err(format!("byte {stray} of `{}` was written", buffer.name));
            }
            bytes.copy_from_slice(own);
        }
        Ok(())
    }
}

/// A guarded copy, rounded up to whole words so that its end can touch the guard page while its
/// start is aligned to 4, as the kernel ABI wants it.
fn aligned(bytes: &[u8], placement: Placement) -> GuardedBuffer {
    let mut buffer = GuardedBuffer::new(bytes.len().next_multiple_of(4), placement);
    buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
    buffer
}
