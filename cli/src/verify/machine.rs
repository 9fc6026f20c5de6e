//! Machine code of a kernel against the interpreter, its buffers between guard pages.
//!
//! A [`KernelEngine`] makes code that runs kernels; a [`Bench`] holds one kernel's code and its
//! memory, and runs cases on it: flush against a guard page in front, then behind.
#![expect(unsafe_code, reason = "kernels are called through the ABI, which is a raw call")]

use std::sync::Arc;

use deepthin_compiler::codegen::choice::Vectors;
use deepthin_compiler::codegen::{Backend, CodegenError, jit};
use deepthin_compiler::interp::vir::RunError;
use deepthin_compiler::pipeline::emit_on;
use deepthin_compiler::vir::{Elem, ScalarError, Verified, check_scalars};
use deepthin_runtime::abi::KernelCode;
use deepthin_runtime::memory::OutOfMemory;
use thiserror::Error;

use super::case::Case;
use super::compare::{Difference, difference, elements};
use super::guard::{GuardedBuffer, POISON, Placement};

/// Something that runs kernels and owes the interpreter's bits.
pub trait KernelEngine: Sync {
    /// The name in reports.
    fn name(&self) -> &str;

    /// Lanes of the kernels that it runs.
    fn lanes(&self) -> u32;

    /// What runs each of `kernels`, in their order.
    ///
    /// # Errors
    /// A kernel that the back end refuses, or no memory for code.
    fn code(&self, kernels: &[Verified]) -> Result<Vec<Arc<dyn KernelCode>>, CodegenError>;
}

/// Machine code of this host.
pub struct MachineCode {
    name: String,
    backend: Box<dyn Backend>,
}

impl MachineCode {
    /// The widest back end of this host.
    ///
    /// # Errors
    /// A processor that lacks what the kernels' arithmetic needs.
    pub fn host() -> Result<Self, CodegenError> {
        Ok(MachineCode::from(Vectors::for_host(None)?))
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        MachineCode { name: name.to_owned(), ..self }
    }
}

impl From<Box<dyn Backend>> for MachineCode {
    fn from(backend: Box<dyn Backend>) -> Self {
        MachineCode { name: backend.name().to_owned(), backend }
    }
}

impl KernelEngine for MachineCode {
    fn name(&self) -> &str {
        &self.name
    }

    fn lanes(&self) -> u32 {
        self.backend.lanes()
    }

    fn code(&self, kernels: &[Verified]) -> Result<Vec<Arc<dyn KernelCode>>, CodegenError> {
        let codes = emit_on(&*self.backend, kernels, 1)?;
        jit::link(&*self.backend, &codes)
    }
}

/// Why a case could not be run.
#[derive(Debug, Error)]
pub enum CallError {
    /// Scalars that are not as declared.
    #[error(transparent)]
    Scalars(#[from] ScalarError),
    /// A buffer that is not as declared.
    #[error("buffer `{name}` of kernel `{kernel}` has {found} bytes, declared {expected}")]
    Buffer {
        /// The kernel.
        kernel: String,
        /// The buffer.
        name: String,
        /// Bytes declared.
        expected: usize,
        /// Bytes of the case; 0 where there is no such buffer.
        found: usize,
    },
    /// The interpreter refused the case.
    #[error(transparent)]
    Interpreter(#[from] RunError),
    /// No pages for the buffers.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// A store beside a buffer.
    #[error("byte {byte} of `{name}` was written, which has {bytes}")]
    Stray {
        /// The buffer.
        name: String,
        /// The byte, counted from the buffer's first.
        byte: isize,
        /// Bytes of the buffer.
        bytes: usize,
    },
}

/// Where an engine and the interpreter differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The buffer's name.
    pub buffer: String,
    /// Its first byte that differs, where that is one of its own.
    pub byte: Option<usize>,
    /// Place, expected and found, in words.
    pub difference: String,
}

/// One kernel's code with memory for its calls.
pub struct Bench {
    kernel: Arc<Verified>,
    code: Arc<dyn KernelCode>,
    elements: Vec<Option<Elem>>,
    /// Buffers for either placement, mapped when they are first needed.
    placed: [Vec<GuardedBuffer>; 2],
}

impl Bench {
    /// Room for the calls of a kernel that `code` runs.
    pub fn new(kernel: Arc<Verified>, code: Arc<dyn KernelCode>) -> Self {
        let elements = elements(&kernel);
        Bench { kernel, code, elements, placed: [Vec::new(), Vec::new()] }
    }

    /// Runs a case with every buffer flush against a guard page on one side.
    ///
    /// The result is what the buffers hold after the run.
    ///
    /// # Errors
    /// A case that is not as the kernel declares, no memory, and a store beside a buffer.
    pub fn run(&mut self, case: &Case<'_>, placement: Placement) -> Result<Vec<&[u8]>, CallError> {
        check_scalars(&self.kernel, &case.scalars)?;
        let placed = match placement {
            Placement::Front => &mut self.placed[0],
            Placement::Back => &mut self.placed[1],
        };
        for (i, buffer) in self.kernel.buffers.values().enumerate() {
            let (expected, given) = (buffer.bytes as usize, case.buffers.get(i));
            let given = given.filter(|given| given.len() == expected);
            let given = given.ok_or_else(|| CallError::Buffer {
                kernel: self.kernel.name.clone(),
                name: buffer.name.clone(),
                expected,
                found: case.buffers.get(i).map_or(0, |bytes| bytes.len()),
            })?;
            if placed.len() == i {
                // Whole words, so that the end can touch the guard page while the start is
                // aligned to 4, as the kernel ABI wants it.
                placed.push(GuardedBuffer::new(expected.next_multiple_of(4), placement)?);
            }
            if let Some(place) = placed.get_mut(i) {
                place.bytes_mut()[..expected].copy_from_slice(given);
            }
        }
        let pointers: Vec<*mut u8> = placed.iter_mut().map(GuardedBuffer::as_mut_ptr).collect();
        // SAFETY: each pointer is aligned to 4 and has its buffer's declared bytes, no two
        // overlap, and the scalars have passed `check_scalars`.
        unsafe { self.code.call(&pointers, &case.scalars) };
        let mut found = Vec::with_capacity(pointers.len());
        for (buffer, place) in self.kernel.buffers.values().zip(placed) {
            let bytes = buffer.bytes as usize;
            let stray = beside(place, bytes);
            if let Some(byte) = stray {
                place.poison(); // for the runs to come
                return Err(CallError::Stray { name: buffer.name.clone(), byte, bytes });
            }
            found.push(&place.bytes()[..bytes]);
        }
        Ok(found)
    }

    /// Runs a case in both placements and compares all buffers with what is expected of it.
    ///
    /// # Errors
    /// As [`Bench::run`]; a store beside a buffer is a mismatch, not an error.
    pub fn compare(
        &mut self,
        case: &Case<'_>,
        expected: &[impl AsRef<[u8]>],
    ) -> Result<Option<Mismatch>, CallError> {
        for placement in Placement::ALL {
            let elements = self.elements.clone();
            let kernel = Arc::clone(&self.kernel);
            let found = match self.run(case, placement) {
                Ok(found) => found,
                Err(CallError::Stray { name, byte, bytes }) => {
                    let difference = format!("byte {byte} of {bytes} was written");
                    return Ok(Some(Mismatch { buffer: name, byte: None, difference }));
                }
                Err(error) => return Err(error),
            };
            let both = expected.iter().zip(found).zip(elements).zip(kernel.buffers.values());
            for (((expected, found), elem), buffer) in both {
                if let Some(Difference { byte, text }) = difference(elem, expected.as_ref(), found)
                {
                    let buffer = buffer.name.clone();
                    return Ok(Some(Mismatch { buffer, byte: Some(byte), difference: text }));
                }
            }
        }
        Ok(None)
    }

    /// Runs a case on the interpreter and on the engine; where they differ.
    ///
    /// # Errors
    /// A case that is not as the kernel declares, and no memory.
    pub fn check(&mut self, case: &Case<'_>) -> Result<Option<Mismatch>, CallError> {
        let expected = case.expected()?;
        self.compare(case, &expected)
    }
}

/// A byte that was written past the `bytes` of a kernel's own.
fn beside(place: &GuardedBuffer, bytes: usize) -> Option<isize> {
    let padding = place.bytes().get(bytes..).unwrap_or_default();
    let written = padding.iter().position(|byte| *byte != POISON);
    written.map(|at| (bytes + at).cast_signed()).or_else(|| place.stray_write())
}
