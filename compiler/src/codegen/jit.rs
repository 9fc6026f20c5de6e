//! Executable memory for a compiled model: filled once, then read and execute only, freed on drop.
#![expect(
    unsafe_code,
    reason = "machine code is called through a pointer, and its memory unmapped"
)]

use super::define::define;
use super::target::Target;
use super::{Backend, Code, CodegenError};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, ModuleError, default_libcall_names};
use deepthin_runtime::abi::{KernelCode, KernelFn};
use std::sync::Arc;

/// The code of all kernels of one model. Pages are writable until everything is defined and
/// never writable and executable at once.
struct CodeMemory {
    module: Option<JITModule>,
}

// SAFETY: after construction the module is only kept alive and freed; nothing reads or changes
// it, and the code it holds is immutable.
unsafe impl Send for CodeMemory {}
// SAFETY: as above: no method takes `&CodeMemory`.
unsafe impl Sync for CodeMemory {}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: each `JitKernel` holds an `Arc` of this memory, so that none is left that
            // could call into it.
            unsafe { module.free_memory() };
        }
    }
}

/// One kernel in executable memory.
struct JitKernel {
    entry: KernelFn,
    _memory: Arc<CodeMemory>,
}

impl KernelCode for JitKernel {
    unsafe fn call(&self, buffers: &[*mut u8], scalars: &[i64]) {
        // SAFETY: the caller keeps the contract of the kernel ABI; the code was generated from
        // verified VIR, which stays inside the declared buffers for all declared scalars.
        unsafe { (self.entry)(buffers.as_ptr(), scalars.as_ptr()) }
    }
}

/// Places what `backend` emitted into executable memory; the result is in the same order.
///
/// # Errors
/// Code for another target than this machine; no memory.
pub fn link(
    backend: &dyn Backend,
    codes: &[Code],
) -> Result<Vec<Arc<dyn KernelCode>>, CodegenError> {
    if Target::host()? != *backend.target() {
        return Err(CodegenError::Foreign { target: *backend.target() });
    }
    let size: usize = codes.iter().map(|c| c.bytes.len() + 256).sum();
    let provider = ArenaMemoryProvider::new_with_size(size.next_multiple_of(1 << 16) + (1 << 16))
        .map_err(|e| CodegenError::Memory(e.to_string()))?;
    let mut builder = JITBuilder::with_isa(backend.isa().clone(), default_libcall_names());
    builder.memory_provider(Box::new(provider));
    let mut module = JITModule::new(builder);
    let defined = define_all(&mut module, codes);
    let memory = Arc::new(CodeMemory { module: Some(module) });
    let ids = defined.map_err(|e| CodegenError::Memory(e.to_string()))?;
    let Some(module) = &memory.module else { unreachable!("taken only on drop") };
    let kernels = ids
        .into_iter()
        .map(|id| {
            let code = module.get_finalized_function(id);
            // SAFETY: the pointer is the start of a function that was generated with the
            // signature of `KernelFn`.
            let entry = unsafe { std::mem::transmute::<*const u8, KernelFn>(code) };
            Arc::new(JitKernel { entry, _memory: Arc::clone(&memory) }) as Arc<dyn KernelCode>
        })
        .collect();
    Ok(kernels)
}

/// Defines the code of all kernels and makes it executable; only `perf` sees the symbols.
fn define_all(module: &mut JITModule, codes: &[Code]) -> Result<Vec<FuncId>, Box<ModuleError>> {
    let symbols: Vec<String> =
        codes.iter().enumerate().map(|(i, code)| format!("deepthin_{i}_{}", code.name)).collect();
    let ids = define(module, codes, &symbols, Linkage::Local)?;
    module.finalize_definitions()?;
    Ok(ids)
}
