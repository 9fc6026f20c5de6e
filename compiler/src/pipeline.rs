//! THE list of stages: from a checked model to a program that the runtime can run.

use crate::codegen::{Backend, Code, CodegenError, jit, object};
use crate::fir::formats::tensor_name;
use crate::fir::{self, BuildError, Formats, Graph, Role};
use crate::pack::{self, Content, PackError, PackedTensor, tables};
use crate::plan::{Plan, PlanError, PlanOptions, plan};
use crate::vir::{Index, Kernel, Verified, VerifyErrors, verify};
use crate::weights::WeightSource;
use deepthin_dsl::Model;
use deepthin_runtime::abi::{BufferInfo, KernelCode, KernelInfo, ScalarInfo};
use deepthin_runtime::memory::Region;
use deepthin_runtime::program::Program;
use deepthin_runtime::session::Constants;
use deepthin_runtime::threads::together;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// A matrix, or several that one kernel reads as one, that no kernel can address.
    #[error(
        "the weights of {tensors} take {bytes} bytes, expected at most the {MAX_BUFFER_BYTES} that \
         a kernel can address"
    )]
    TooLarge {
        /// The tensors in words.
        tensors: String,
        /// Bytes of their packed weights.
        bytes: u64,
    },
    /// Lowering made a kernel that breaks a rule; a bug, except where a cache is too large.
    #[error("kernel `{kernel}` does not verify (too large a cache, or a bug): {errors}")]
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

/// Most bytes of one buffer of a kernel: rule V-03 of specs/vir.md.
const MAX_BUFFER_BYTES: u64 = i32::MAX.unsigned_abs() as u64;

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
    plan.image.iter().try_for_each(check_size)?;
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

/// Refuses packed weights that no kernel can address.
fn check_size(tensor: &PackedTensor) -> Result<(), CompileError> {
    let bytes = tensor.content.bytes();
    if bytes <= MAX_BUFFER_BYTES {
        return Ok(());
    }
    let roles: Vec<Role> = match &tensor.content {
        Content::Panels { parts, .. } => parts.iter().flat_map(|part| part.roles()).collect(),
        Content::Gain { role, .. } => vec![*role],
    };
    let names: Vec<String> =
        roles.into_iter().map(|role| format!("`{}`", tensor_name(tensor.block, role))).collect();
    Err(CompileError::TooLarge { tensors: names.join(" and "), bytes })
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
    let next = AtomicUsize::new(0);
    let work = || {
        let own = std::iter::from_fn(|| {
            let i = next.fetch_add(1, Ordering::Relaxed);
            Some((i, backend.emit(kernels.get(i)?)))
        });
        own.collect::<Vec<_>>()
    };
    let parts = together(threads.min(kernels.len()), work, work);
    let mut codes: Vec<_> = parts.into_iter().flatten().collect();
    codes.sort_by_key(|(i, _)| *i);
    codes.into_iter().map(|(_, code)| code).collect()
}

/// The program of a lowered model with machine code for this host.
pub fn jit_program(lowered: &Lowered, backend: &dyn Backend) -> Result<Program, CompileError> {
    let codes = emit(backend, &lowered.kernels)?;
    let entries = jit::link(backend, &codes)?;
    Ok(program(lowered, entries))
}

/// A relocatable object file with machine code of a lowered model; [`Header`](crate::header)
/// tells what is in it.
pub fn object(lowered: &Lowered, backend: &dyn Backend) -> Result<Vec<u8>, CompileError> {
    let codes = emit(backend, &lowered.kernels)?;
    Ok(object::object(backend, &lowered.plan.name, &codes)?)
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

/// What sessions of a plan's program share: the packed weights of `source`, and the tables, made on
/// `threads` threads.
///
/// # Errors
/// As [`pack::pack`], and no memory.
pub fn constants(
    plan: &Plan,
    source: &dyn WeightSource,
    threads: usize,
) -> Result<Constants, PackError> {
    let mut image = Region::in_large_pages("weights", plan.regions.image)?;
    pack::pack(&plan.image, source, image.bytes_mut(), threads)?;
    let mut tables = Region::new("tables", plan.regions.tables)?;
    let watch = &mut |_| ControlFlow::Continue(());
    let _ = tables::fill(&plan.tables, tables.bytes_mut(), threads, watch); // nobody stops it
    Ok(Constants { image, tables })
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
