//! Kernels that only read or only compute: what the machine gives to code such as ours.
//!
//! They are written in VIR and compiled as a model's kernels are, so that a figure is that of the
//! 128-bit code which runs models, in any build of this program. A kernel repeats its work `passes`
//! times and stores what came out, so that nothing of it can be left out.
#![expect(unsafe_code, reason = "kernels are called through the ABI, which is a raw call")]

use std::sync::Arc;

use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::codegen::{Backend, CodegenError, jit};
use deepthin_compiler::vir::{
    Access, Affine, BinaryOp, Bound, Builder, Elem, Kernel, ValueId, VerifyErrors, verify,
};
use deepthin_runtime::abi::KernelCode;
use deepthin_runtime::memory::{OutOfMemory, Region};
use deepthin_runtime::threads::ThreadError;
use thiserror::Error;

/// Lanes of the kernels: those of `Clif`.
const LANES: u32 = 4;

/// Bytes of a vector.
const VECTOR: u32 = LANES * 4;

/// Bytes that [`read`] takes in one iteration: four lines.
pub const READ_BLOCK: u32 = 256;

/// Independent chains of [`read`]: more than loads and exclusive-ors can be under way at a time.
const READ_CHAINS: u32 = 8;

/// Independent chains of the computing kernels: enough to keep two units of four cycles each busy,
/// and few enough for the 16 registers of x86-64; aarch64 has 32 registers and up to four units.
const CHAINS: u32 = if cfg!(target_arch = "aarch64") { 24 } else { 12 };

/// Links of each chain in one iteration.
const LINKS: u32 = 4;

/// Iterations of one pass of a computing kernel.
const ITERATIONS: u32 = 1000;

/// Most passes of one call.
pub const MAX_PASSES: u32 = 1 << 30;

/// Why the machine could not be measured.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// No machine code.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// A kernel of this file breaks a rule; a bug.
    #[error("a kernel that measures does not verify: {0}")]
    Invalid(VerifyErrors),
    /// No memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// No threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
}

/// A kernel with its machine code, of which threads make instances of their own.
#[derive(Clone)]
pub struct ProbeCode {
    code: Arc<dyn KernelCode>,
    /// Bytes of the buffers.
    buffers: Vec<u32>,
}

/// A kernel with memory of its own.
pub struct ProbeKernel {
    code: Arc<dyn KernelCode>,
    buffers: Vec<Region>,
}

impl ProbeCode {
    /// Compiles a kernel of this file: one whose only scalar is the number of passes.
    fn new(clif: &Clif, kernel: Kernel) -> Result<ProbeCode, ProbeError> {
        let kernel = verify(kernel).map_err(ProbeError::Invalid)?;
        let buffers = kernel.buffers.values().map(|buffer| buffer.bytes).collect();
        let mut codes = jit::link(clif, &[clif.emit(&kernel)?])?;
        match codes.pop() {
            Some(code) => Ok(ProbeCode { code, buffers }),
            None => unreachable!("as many kernels are linked as were emitted"),
        }
    }

    /// The kernel with memory of its own. Called by the thread that is going to run it, it puts the
    /// pages near to that thread: all of them are written.
    ///
    /// # Errors
    /// No memory.
    pub fn instance(&self) -> Result<ProbeKernel, OutOfMemory> {
        let region = |bytes: &u32| {
            let mut region = Region::in_large_pages("a measurement", u64::from(*bytes))?;
            region.bytes_mut().fill(0);
            Ok(region)
        };
        let buffers = self.buffers.iter().map(region).collect::<Result<_, OutOfMemory>>()?;
        Ok(ProbeKernel { code: Arc::clone(&self.code), buffers })
    }
}

impl ProbeKernel {
    /// Runs the kernel, `passes` times its work (at least once, at most [`MAX_PASSES`]).
    pub fn run(&mut self, passes: u32) {
        let mut pointers = [std::ptr::null_mut(); 2];
        for (pointer, region) in pointers.iter_mut().zip(&self.buffers) {
            *pointer = region.as_ptr();
        }
        let scalars = [i64::from(passes.clamp(1, MAX_PASSES))];
        // SAFETY: `ProbeCode::new` takes kernels of this file alone, all with two buffers and one
        // scalar of 1 to `MAX_PASSES`. `instance` made a region of each buffer's declared bytes,
        // aligned to a page; they are apart, and `&mut self` keeps other calls out.
        unsafe { self.code.call(&pointers, &scalars) };
    }
}

/// Reads `bytes` bytes a pass, rounded down to whole [`READ_BLOCK`]s and at least one, in the order
/// of their addresses.
///
/// # Errors
/// No code.
pub fn read(clif: &Clif, bytes: u32) -> Result<ProbeCode, ProbeError> {
    let blocks = (bytes / READ_BLOCK).clamp(1, i32::MAX.unsigned_abs() / READ_BLOCK);
    let mut b = Builder::new("read", LANES);
    let data = b.buffer("data", blocks * READ_BLOCK, Access::Read);
    let out = b.buffer("out", READ_CHAINS * VECTOR, Access::Write);
    let passes = b.scalar("passes", 1, i64::from(MAX_PASSES));
    let zeros: Vec<ValueId> = (0..READ_CHAINS).map(|_| b.i32(0)).collect();
    let sums = b.for_range_vec(Bound::Const(0), Bound::Scalar(passes), &zeros, |b, _, sums| {
        b.for_range_vec(Bound::Const(0), Bound::Const(blocks), sums, |b, block, sums| {
            let mut sums = sums.to_vec();
            for vector in 0..READ_BLOCK / (READ_CHAINS * VECTOR) {
                for (chain, sum) in (0..).zip(&mut sums) {
                    let at = i64::from((vector * READ_CHAINS + chain) * VECTOR);
                    let at = Affine::constant(at).plus(block, i64::from(READ_BLOCK));
                    let loaded = b.load(Elem::I32, data, at);
                    *sum = b.binary(BinaryOp::IXor, *sum, loaded);
                }
            }
            sums
        })
    });
    for (chain, sum) in (0..).zip(sums) {
        b.store(sum, Elem::I32, out, Affine::constant(chain * i64::from(VECTOR)));
    }
    ProbeCode::new(clif, b.finish())
}

/// Fused multiply-adds of f32 and nothing else; [`FMA_OPERATIONS`] tells how many.
///
/// # Errors
/// No code.
pub fn fma(clif: &Clif) -> Result<ProbeCode, ProbeError> {
    ProbeCode::new(clif, chains("fma", Elem::F32, |b, sum, [x, y]| b.fma(sum, x, y)))
}

/// Floating-point operations of a pass of [`fma`]: a product and a sum for each lane.
pub const FMA_OPERATIONS: u64 = 2 * LANES as u64 * steps();

/// Dot products of four bytes each and nothing else; [`DOT4_OPERATIONS`] tells how many.
///
/// # Errors
/// No code.
pub fn dot4(clif: &Clif) -> Result<ProbeCode, ProbeError> {
    ProbeCode::new(clif, chains("dot4", Elem::I32, |b, sum, [x, y]| b.dot4(x, y, sum)))
}

/// Integer operations of a pass of [`dot4`]: four products and four sums for each lane.
pub const DOT4_OPERATIONS: u64 = 8 * LANES as u64 * steps();

/// Links of one pass, of all chains.
const fn steps() -> u64 {
    CHAINS as u64 * LINKS as u64 * ITERATIONS as u64
}

/// A kernel of [`CHAINS`] chains, each link of which is `link` of the chain so far and two vectors
/// that stay in registers.
fn chains(
    name: &str,
    element: Elem,
    link: impl Fn(&mut Builder, ValueId, [ValueId; 2]) -> ValueId,
) -> Kernel {
    let mut b = Builder::new(name, LANES);
    let operands = b.buffer("operands", 3 * VECTOR, Access::Read);
    let out = b.buffer("out", CHAINS * VECTOR, Access::Write);
    let passes = b.scalar("passes", 1, i64::from(MAX_PASSES));
    let mut operand = |i: u32| b.load(element, operands, Affine::constant(i64::from(i * VECTOR)));
    let (start, fixed) = (operand(0), [operand(1), operand(2)]);
    let starts = vec![start; CHAINS as usize];
    let sums = b.for_range_vec(Bound::Const(0), Bound::Scalar(passes), &starts, |b, _, sums| {
        b.for_range_vec(Bound::Const(0), Bound::Const(ITERATIONS), sums, |b, _, sums| {
            let mut sums = sums.to_vec();
            for _ in 0..LINKS {
                sums.iter_mut().for_each(|sum| *sum = link(b, *sum, fixed));
            }
            sums
        })
    });
    for (chain, sum) in (0..).zip(sums) {
        b.store(sum, element, out, Affine::constant(chain * i64::from(VECTOR)));
    }
    b.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_verify_and_run_in_their_memory() {
        let clif = Clif::host().unwrap();
        for code in [read(&clif, 0), read(&clif, 4095), fma(&clif), dot4(&clif)] {
            let mut kernel = code.unwrap().instance().unwrap();
            kernel.run(0);
            kernel.run(3);
        }
    }

    #[test]
    fn every_byte_of_the_buffer_is_read() {
        let clif = Clif::host().unwrap();
        for bytes in [READ_BLOCK, 3 * READ_BLOCK] {
            let mut kernel = read(&clif, bytes).unwrap().instance().unwrap();
            for at in 0..bytes as usize {
                kernel.buffers[0].bytes_mut().fill(0);
                kernel.buffers[0].bytes_mut()[at] = 0x81;
                kernel.run(1);
                let out = &kernel.buffers[1].bytes_mut()[..(READ_CHAINS * VECTOR) as usize];
                assert!(out.contains(&0x81), "byte {at} of {bytes}");
                // Exclusive-or of the same bytes twice: each is read once a pass.
                kernel.run(2);
                let out = &kernel.buffers[1].bytes_mut()[..(READ_CHAINS * VECTOR) as usize];
                assert!(!out.contains(&0x81), "byte {at} of {bytes}");
            }
        }
    }

    #[test]
    fn every_chain_has_all_its_links() {
        let mut kernel = fma(&Clif::host().unwrap()).unwrap().instance().unwrap();
        // x + 1 as x * 1 + 1: a chain ends as the number of its links.
        let one = 1f32.to_le_bytes();
        let operands = &mut kernel.buffers[0].bytes_mut()[VECTOR as usize..3 * VECTOR as usize];
        operands.chunks_mut(4).for_each(|lane| lane.copy_from_slice(&one));
        kernel.run(2);
        let links = (2 * LINKS * ITERATIONS) as f32;
        let out = kernel.buffers[1].floats(0, CHAINS * LANES).unwrap();
        assert!(out.iter().all(|sum| *sum == links), "{out:?}");
        let lanes = u64::from(CHAINS * LANES);
        assert_eq!(FMA_OPERATIONS, lanes * u64::from(LINKS * ITERATIONS) * 2);

        // 4 products of 1 and -1 a link.
        let mut kernel = dot4(&Clif::host().unwrap()).unwrap().instance().unwrap();
        let vectors = kernel.buffers[0].bytes_mut();
        vectors[VECTOR as usize..2 * VECTOR as usize].fill(1);
        vectors[2 * VECTOR as usize..3 * VECTOR as usize].fill(0xff);
        kernel.run(2);
        let out = &kernel.buffers[1].bytes_mut()[..(CHAINS * VECTOR) as usize];
        let expected = (-4 * i32::try_from(2 * LINKS * ITERATIONS).unwrap()).to_le_bytes();
        assert!(out.chunks(4).all(|sum| sum == expected), "{out:?}");
        assert_eq!(DOT4_OPERATIONS, lanes * u64::from(LINKS * ITERATIONS) * 8);
    }
}
