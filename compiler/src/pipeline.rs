//! THE list of stages: from a checked model to a program that the runtime can run.

use crate::codegen::clif::Clif;
use crate::codegen::{Backend, Code, CodegenError, jit, object};
use crate::fir::{self, BuildError, Formats, Graph};
use crate::plan::{Plan, PlanError, PlanOptions, plan};
use crate::vir::{Index, Kernel, Verified, VerifyErrors, verify};
use deepthin_dsl::Model;
use deepthin_runtime::abi::{BufferInfo, KernelCode, KernelInfo, ScalarInfo};
use deepthin_runtime::program::Program;
use std::sync::Arc;
use thiserror::Error;

/// Why a model did not compile.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The model asks for something that is not there.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The graph has no layout.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Lowering made a kernel that breaks a rule; a bug, except where a buffer is too large.
    #[error("kernel `{kernel}` does not verify (too large a matrix or cache, or a bug): {errors}")]
    Invalid {
        /// The kernel.
        kernel: String,
        /// The rules broken.
        errors: VerifyErrors,
    },
    /// No machine code.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
}

/// A model at every stage down to verified kernels.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// FIR in plain ops.
    pub plain: Graph,
    /// FIR after fusion.
    pub fused: Graph,
    /// Kernels, memory and steps.
    pub plan: Plan,
    /// The plan's kernels, verified.
    pub kernels: Vec<Verified>,
}

/// Model to verified kernels: build, fuse, plan, lower, verify.
pub fn lower(
    model: &Model,
    formats: &Formats,
    options: &PlanOptions,
) -> Result<Lowered, CompileError> {
    let plain = fir::build(model, formats)?;
    let mut fused = plain.clone();
    fir::fuse(&mut fused);
    let plan = plan(&fused, options)?;
    let kernels = plan
        .kernels
        .iter()
        .map(|k| {
            verify(k.lowered.kernel.clone())
                .map_err(|errors| CompileError::Invalid { kernel: k.name.clone(), errors })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Lowered { plain, fused, plan, kernels })
}

/// Machine code for all kernels, emitted on as many threads as there are cores.
pub fn emit(backend: &dyn Backend, kernels: &[Verified]) -> Result<Vec<Code>, CodegenError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    emit_on(backend, kernels, cores)
}

/// Machine code for all kernels in their order, emitted on at most `threads` threads.
pub fn emit_on(
    backend: &dyn Backend,
    kernels: &[Verified],
    threads: usize,
) -> Result<Vec<Code>, CodegenError> {
    let threads = threads.clamp(1, kernels.len().max(1));
    std::thread::scope(|scope| {
        // Neighbors in the list are alike in size: deal them out in turn.
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let own = kernels.iter().enumerate().skip(first).step_by(threads);
                scope.spawn(move || own.map(|(i, k)| (i, backend.emit(k))).collect::<Vec<_>>())
            })
            .collect();
        let mut codes = Vec::with_capacity(kernels.len());
        for worker in workers {
            match worker.join() {
                Ok(part) => codes.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        codes.sort_by_key(|(i, _)| *i);
        codes.into_iter().map(|(_, code)| code).collect()
    })
}

/// The program of a lowered model with machine code for this host.
pub fn jit_program(lowered: &Lowered, clif: &Clif) -> Result<Program, CompileError> {
    let codes = emit(clif, &lowered.kernels)?;
    let entries = jit::link(clif, &codes)?;
    Ok(program(lowered, entries))
}

/// A relocatable object file with machine code of a lowered model; [`Header`](crate::header)
/// tells what is in it.
pub fn object(lowered: &Lowered, clif: &Clif) -> Result<Vec<u8>, CompileError> {
    let codes = emit(clif, &lowered.kernels)?;
    Ok(object::object(clif, &lowered.plan.name, &codes)?)
}

/// The program of a lowered model with `entries` as the code of its kernels.
pub fn program(lowered: &Lowered, entries: Vec<Arc<dyn KernelCode>>) -> Program {
    let plan = &lowered.plan;
    let kernels =
        lowered.kernels.iter().zip(entries).map(|(k, code)| kernel_info(k, code)).collect();
    Program {
        name: plan.name.clone(),
        vocab: plan.vocab,
        context: plan.options.context,
        chunk: plan.options.chunk,
        head_tile: plan.options.tiles.first().copied().unwrap_or(1),
        kernels,
        body: plan.body.clone(),
        head: plan.head.clone(),
        application_ends: plan.application_ends.clone(),
        stream: plan.stream,
        regions: plan.regions,
    }
}

/// The declarations of a kernel, as the runtime checks them.
fn kernel_info(kernel: &Kernel, code: Arc<dyn KernelCode>) -> KernelInfo {
    let buffers = kernel
        .buffers
        .values()
        .map(|b| BufferInfo {
            name: b.name.clone(),
            bytes: u64::from(b.bytes),
            writes: b.access != crate::vir::Access::Read,
        })
        .collect();
    let scalars = kernel
        .indices
        .values()
        .filter_map(|index| match index {
            Index::Scalar { name, lo, hi } => {
                Some(ScalarInfo { name: name.clone(), lo: *lo, hi: *hi })
            }
            Index::RangeBegin { name, count } => {
                Some(ScalarInfo { name: name.clone(), lo: 0, hi: i64::from(*count) })
            }
            Index::RangeEnd { count } => {
                Some(ScalarInfo { name: "end".to_owned(), lo: 0, hi: i64::from(*count) })
            }
            Index::Loop => None,
        })
        .collect();
    KernelInfo { name: kernel.name.clone(), buffers, scalars, code }
}
