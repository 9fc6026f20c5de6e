//! Machine code from verified VIR: one trait, and nothing above it that names an ISA.
//!
//! A [`Backend`] turns one verified kernel into position-independent bytes for its [`target`].
//! [`jit`] places the bytes of all kernels of a model into executable memory, [`object`] into a
//! relocatable file; both define them in a Cranelift module by the same few lines (`define`).
//! Verified VIR never makes a back end panic: it returns [`CodegenError`] or code.

mod bits;
pub mod choice;
pub mod clif;
mod define;
pub mod host;
pub mod jit;
pub mod object;
pub mod target;
pub mod x64wide;

use crate::vir::verify::Verified;
use cranelift_codegen::isa::OwnedTargetIsa;
use target::Target;
use thiserror::Error;

/// A kernel's machine code: a function of the kernel ABI (`specs/abi.md`), without relocations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The kernel's name, also its symbol.
    pub name: String,
    /// Instructions, and constants behind them.
    pub bytes: Vec<u8>,
    /// Alignment that the bytes need, a power of two.
    pub alignment: u64,
}

/// Something that emits machine code for kernels of its own lane count.
pub trait Backend: Send + Sync {
    /// Name as `--isa` takes it.
    fn name(&self) -> &'static str;
    /// Lanes that kernels for this back end must have.
    fn lanes(&self) -> u32;
    /// What it emits code for.
    fn target(&self) -> &Target;
    /// The target as Cranelift knows it, for the module that links the code.
    fn isa(&self) -> &OwnedTargetIsa;
    /// Emits one kernel.
    fn emit(&self, kernel: &Verified) -> Result<Code, CodegenError>;
    /// The same code as text: the back end's own IR (`clif`) and the instructions (`asm`).
    fn listing(&self, kernel: &Verified) -> Result<Listing, CodegenError>;
}

/// Refuses a kernel of other lanes than the back end's, which no back end can emit.
fn check_lanes(backend: &dyn Backend, kernel: &Verified) -> Result<(), CodegenError> {
    let (found, expected) = (kernel.lanes, backend.lanes());
    if found == expected {
        return Ok(());
    }
    let kernel = kernel.name.clone();
    Err(CodegenError::Lanes { kernel, found, backend: backend.name(), expected })
}

/// Human-readable forms of one kernel's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The back end's input IR.
    pub ir: String,
    /// Machine instructions.
    pub asm: String,
}

/// Why no code came out.
#[derive(Debug, Error)]
pub enum CodegenError {
    /// The host lacks instructions that the kernels' arithmetic needs.
    #[error("this CPU lacks {missing}, which the kernels' exact arithmetic needs")]
    HostFeature {
        /// Feature names.
        missing: String,
    },
    /// The back end needs instructions that the processor lacks.
    #[error("the back end `{backend}` needs {missing}, which {target} has not")]
    Feature {
        /// The back end.
        backend: &'static str,
        /// The machine.
        target: Target,
        /// Feature names.
        missing: String,
    },
    /// The kernel was lowered for another back end.
    #[error("kernel `{kernel}` has {found} lanes, the back end `{backend}` needs {expected}")]
    Lanes {
        /// The kernel.
        kernel: String,
        /// Its lanes.
        found: u32,
        /// The back end.
        backend: &'static str,
        /// Its lanes.
        expected: u32,
    },
    /// Cranelift refused; always a bug here or there.
    #[error("kernel `{kernel}`: code generation failed: {message}")]
    Backend {
        /// The kernel.
        kernel: String,
        /// What the back end said.
        message: String,
    },
    /// Code for another machine was to be run on this one.
    #[error("code for {target} is not run here: only that for this machine as it was found is")]
    Foreign {
        /// What the code is for.
        target: Target,
    },
    /// Memory for code could not be had.
    #[error("no memory for machine code: {0}")]
    Memory(String),
    /// An object file could not be made; always a bug here or in Cranelift.
    #[error("no object file: {0}")]
    Object(String),
}
