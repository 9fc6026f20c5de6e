//! The lane-level interpreter: the definition of what each VIR instruction does.
//!
//! Every back end is judged by this file, bit for bit (a NaN equals a NaN). So it is written to
//! be read: one `u32` for each lane whatever its type, one match arm for each instruction, no
//! cleverness. It checks every access again that the verifier proved, which makes it the judge
//! of the verifier too.

use thiserror::Error;

use crate::id::Id;
use crate::vir::{
    Address, Affine, BinaryOp, Bound, BufferId, Carried, CompareOp, Elem, IndexId, Inst, ReduceOp,
    ScalarError, ShiftOp, UnaryOp, ValueId, Verified, check_scalars,
};

/// The bytes behind a kernel's buffers.
///
/// Any slice of byte containers is one, buffer 0 first. A runtime that holds pointers implements
/// it for its own type; copying in and out lets several threads write disjoint parts.
pub trait Memory {
    /// Bytes behind a buffer, or `None` where there is no such buffer.
    fn size(&self, buffer: BufferId) -> Option<usize>;

    /// Fills `into` from `offset` on; `false`, with `into` as it was, where bytes are missing.
    #[must_use]
    fn read(&self, buffer: BufferId, offset: usize, into: &mut [u8]) -> bool;

    /// Writes `from` at `offset`; `false`, with nothing written, where bytes are missing.
    #[must_use]
    fn write(&mut self, buffer: BufferId, offset: usize, from: &[u8]) -> bool;
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Memory for [B] {
    fn size(&self, buffer: BufferId) -> Option<usize> {
        self.get(buffer.index()).map(|bytes| bytes.as_ref().len())
    }

    fn read(&self, buffer: BufferId, offset: usize, into: &mut [u8]) -> bool {
        let bytes = self.get(buffer.index()).and_then(|bytes| bytes.as_ref().get(offset..));
        let Some(bytes) = bytes.and_then(|bytes| bytes.get(..into.len())) else { return false };
        into.copy_from_slice(bytes);
        true
    }

    fn write(&mut self, buffer: BufferId, offset: usize, from: &[u8]) -> bool {
        let bytes = self.get_mut(buffer.index()).and_then(|bytes| bytes.as_mut().get_mut(offset..));
        let Some(bytes) = bytes.and_then(|bytes| bytes.get_mut(..from.len())) else { return false };
        bytes.copy_from_slice(from);
        true
    }
}

/// Why a kernel did not run, or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RunError {
    /// The scalars are not what the kernel declares.
    #[error(transparent)]
    Scalars(#[from] ScalarError),
    /// A buffer is missing or too small.
    #[error("buffer `{name}` of kernel `{kernel}` has {found} bytes, declared {expected}")]
    BufferSize {
        /// The kernel's name.
        kernel: String,
        /// The buffer's name.
        name: String,
        /// Bytes declared.
        expected: u32,
        /// Bytes found; 0 where there is no buffer.
        found: usize,
    },
    /// An access outside its buffer: a fault of the verifier.
    #[error("kernel `{kernel}` touches bytes {offset}..{end} of {buffer}, which has {size}")]
    OutOfBounds {
        /// The kernel's name.
        kernel: String,
        /// The buffer.
        buffer: BufferId,
        /// First byte.
        offset: i64,
        /// One past the last byte.
        end: i64,
        /// Bytes declared.
        size: u32,
    },
}

/// The lanes of one value; those past the kernel's lane count stay 0. A mask lane is 0 or 1.
type Lanes = [u32; 16];

/// Runs a kernel once. Buffers larger than declared are fine; nothing past the declared size is
/// touched. `scalars` are in the order of the parameters, a range as two.
pub fn run(
    kernel: &Verified,
    memory: &mut (impl Memory + ?Sized),
    scalars: &[i64],
) -> Result<(), RunError> {
    check_scalars(kernel, scalars)?;
    for (id, buffer) in kernel.buffers.iter() {
        let found = memory.size(id).unwrap_or(0);
        if usize::try_from(buffer.bytes).map_or(true, |expected| found < expected) {
            let (kernel, name) = (kernel.name.clone(), buffer.name.clone());
            return Err(RunError::BufferSize { kernel, name, expected: buffer.bytes, found });
        }
    }
    let mut indices = scalars.to_vec();
    indices.resize(kernel.indices.len(), 0);
    let values = vec![[0; 16]; kernel.values.len()];
    Machine { kernel, memory, indices, values }.body(&kernel.body)
}

/// The state of a run. The ids of a verified kernel index its tables.
struct Machine<'r, M: ?Sized> {
    kernel: &'r Verified,
    memory: &'r mut M,
    indices: Vec<i64>,
    values: Vec<Lanes>,
}

impl<M: Memory + ?Sized> Machine<'_, M> {
    fn body(&mut self, body: &[Inst]) -> Result<(), RunError> {
        body.iter().try_for_each(|inst| self.step(inst))
    }

    fn step(&mut self, inst: &Inst) -> Result<(), RunError> {
        match inst {
            Inst::Const { dst, bits } => self.fill(*dst, *bits),
            Inst::Iota { dst } => {
                let lanes = self.values[dst.index()].iter_mut();
                lanes.zip(0..self.kernel.lanes).for_each(|(lane, number)| *lane = number);
            }
            Inst::Index { dst, index } => {
                // Rule V-20: the low half is the whole value.
                let [a, b, c, d, ..] = self.affine(index).to_le_bytes();
                self.fill(*dst, u32::from_le_bytes([a, b, c, d]));
            }
            Inst::Load { dst, elem, at, count } => {
                let mut lanes = [0; 16];
                for (lane, i) in lanes.iter_mut().zip(0..*count) {
                    *lane = self.read(at, *elem, i * elem.bytes())?;
                }
                self.values[dst.index()] = lanes;
            }
            Inst::Splat { dst, elem, at } => {
                let element = self.read(at, *elem, 0)?;
                self.fill(*dst, element);
            }
            Inst::Store { src, elem, at, stride, count } => {
                let lanes = self.values[src.index()];
                for (lane, i) in lanes.into_iter().zip(0..*count) {
                    self.write(at, *elem, i * stride, lane)?;
                }
            }
            // Time is not interpreted.
            Inst::Prefetch { .. } => {}
            Inst::Unary { dst, op, src } => self.map(*dst, [*src], |[x]| unary(*op, x)),
            Inst::Binary { dst, op, lhs, rhs } => {
                self.map(*dst, [*lhs, *rhs], |[a, b]| binary(*op, a, b));
            }
            Inst::Shift { dst, op, src, amount } => {
                self.map(*dst, [*src], |[x]| shift(*op, x, *amount));
            }
            Inst::Fma { dst, a, b, c } => self.map(*dst, [*a, *b, *c], |lane| {
                let [a, b, c] = lane.map(f32::from_bits);
                a.mul_add(b, c).to_bits()
            }),
            Inst::Dot4 { dst, u8s, s8s, acc } => {
                self.map(*dst, [*u8s, *s8s, *acc], |[u8s, s8s, acc]| dot4(u8s, s8s, acc));
            }
            Inst::Compare { dst, op, lhs, rhs } => {
                self.map(*dst, [*lhs, *rhs], |[a, b]| u32::from(compare(*op, a, b)));
            }
            Inst::Select { dst, mask, on, off } => {
                self.map(
                    *dst,
                    [*mask, *on, *off],
                    |[mask, on, off]| {
                        if mask == 1 { on } else { off }
                    },
                );
            }
            Inst::Reduce { dst, op, src } => {
                let lanes = self.values[src.index()];
                self.fill(*dst, reduce(*op, lanes, self.kernel.lanes));
            }
            Inst::Loop { var, begin, end, carried, body } => {
                self.repeat(*var, [begin, end], carried, body)?;
            }
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        var: IndexId,
        [begin, end]: [&Bound; 2],
        carried: &[Carried],
        body: &[Inst],
    ) -> Result<(), RunError> {
        let (begin, end) = (self.bound(begin), self.bound(end));
        // All of a round move at once: the next of one may be the param of another.
        let mut round: Vec<Lanes> = carried.iter().map(|c| self.values[c.init.index()]).collect();
        for position in begin..end {
            self.indices[var.index()] = position;
            for (c, lanes) in carried.iter().zip(&round) {
                self.values[c.param.index()] = *lanes;
            }
            self.body(body)?;
            for (c, lanes) in carried.iter().zip(&mut round) {
                *lanes = self.values[c.next.index()];
            }
        }
        for (c, lanes) in carried.iter().zip(&round) {
            self.values[c.result.index()] = *lanes;
        }
        Ok(())
    }

    fn bound(&self, bound: &Bound) -> i64 {
        match bound {
            Bound::Const(value) => i64::from(*value),
            Bound::Scalar(index) => self.indices[index.index()],
            Bound::Clamp { scalar, minus, lo, hi } => (self.indices[scalar.index()]
                - self.affine(minus))
            .clamp(i64::from(*lo), i64::from(*hi)),
        }
    }

    /// Rule V-11 keeps the sum within 64 bits.
    fn affine(&self, affine: &Affine) -> i64 {
        let term = |(index, factor): &(IndexId, i64)| self.indices[index.index()] * factor;
        affine.base + affine.terms.iter().map(term).sum::<i64>()
    }

    /// Sets every lane to `bits`.
    fn fill(&mut self, dst: ValueId, bits: u32) {
        self.map(dst, [], |[]| bits);
    }

    /// Sets each lane of `dst` to what `f` makes of that lane of the operands.
    fn map<const N: usize>(
        &mut self,
        dst: ValueId,
        operands: [ValueId; N],
        f: impl Fn([u32; N]) -> u32,
    ) {
        let operands = operands.map(|value| self.values[value.index()]);
        for lane in 0..self.kernel.lanes as usize {
            self.values[dst.index()][lane] = f(operands.map(|lanes| lanes[lane]));
        }
    }

    /// The place of an element in its buffer, proved again to be in bounds.
    fn place(&self, at: &Address, elem: Elem, skip: u32) -> Result<usize, RunError> {
        let offset = self.affine(&at.offset) + i64::from(skip);
        let end = offset + i64::from(elem.bytes());
        let size = self.kernel.buffers[at.buffer].bytes;
        match usize::try_from(offset) {
            Ok(place) if end <= i64::from(size) => Ok(place),
            Ok(_) | Err(_) => {
                let kernel = self.kernel.name.clone();
                Err(RunError::OutOfBounds { kernel, buffer: at.buffer, offset, end, size })
            }
        }
    }

    fn read(&self, at: &Address, elem: Elem, skip: u32) -> Result<u32, RunError> {
        let place = self.place(at, elem, skip)?;
        let mut bytes = [0; 4];
        let width = elem.bytes() as usize;
        if self.memory.read(at.buffer, place, &mut bytes[..width]) {
            Ok(widened(elem, u32::from_le_bytes(bytes)))
        } else {
            Err(self.missing(at.buffer))
        }
    }

    fn write(&mut self, at: &Address, elem: Elem, skip: u32, lane: u32) -> Result<(), RunError> {
        let place = self.place(at, elem, skip)?;
        let width = elem.bytes() as usize;
        if self.memory.write(at.buffer, place, &lane.to_le_bytes()[..width]) {
            Ok(())
        } else {
            Err(self.missing(at.buffer))
        }
    }

    /// The memory holds less than it said before the run.
    fn missing(&self, buffer: BufferId) -> RunError {
        let (kernel, declared) = (self.kernel.name.clone(), &self.kernel.buffers[buffer]);
        let found = self.memory.size(buffer).unwrap_or(0);
        RunError::BufferSize {
            kernel,
            name: declared.name.clone(),
            expected: declared.bytes,
            found,
        }
    }
}

/// `op` on one lane.
pub fn unary(op: UnaryOp, x: u32) -> u32 {
    match op {
        UnaryOp::Sqrt => f32::from_bits(x).sqrt().to_bits(),
        // Nearest even is what Rust's conversion of an integer to f32 does.
        UnaryOp::I32ToF32 => (x.cast_signed() as f32).to_bits(),
        UnaryOp::AsF32 | UnaryOp::AsI32 => x,
        UnaryOp::F16ToF32 => {
            let [low, high, ..] = x.to_le_bytes();
            half::f16::from_le_bytes([low, high]).to_f32().to_bits()
        }
        UnaryOp::FiniteF16ToF32 => {
            // Exponent and mantissa move to their f32 places; 2^112 is the difference of biases.
            let moved = ((x << 16).cast_signed() >> 3).cast_unsigned() & 0x8fff_e000;
            (f32::from_bits(moved) * f32::from_bits((127 + 112) << 23)).to_bits()
        }
        UnaryOp::F32ToF16 => u32::from(half::f16::from_f32(f32::from_bits(x)).to_bits()),
    }
}

/// `op` on one lane.
pub fn binary(op: BinaryOp, lhs: u32, rhs: u32) -> u32 {
    let float = |f: fn(f32, f32) -> f32| f(f32::from_bits(lhs), f32::from_bits(rhs)).to_bits();
    match op {
        BinaryOp::FAdd => float(|a, b| a + b),
        BinaryOp::FSub => float(|a, b| a - b),
        BinaryOp::FMul => float(|a, b| a * b),
        BinaryOp::FDiv => float(|a, b| a / b),
        BinaryOp::FMax => float(|a, b| if a > b { a } else { b }),
        BinaryOp::FMin => float(|a, b| if a < b { a } else { b }),
        BinaryOp::IAdd => lhs.wrapping_add(rhs),
        BinaryOp::ISub => lhs.wrapping_sub(rhs),
        BinaryOp::IMax => lhs.cast_signed().max(rhs.cast_signed()).cast_unsigned(),
        BinaryOp::IAnd => lhs & rhs,
        BinaryOp::IOr => lhs | rhs,
        BinaryOp::IXor => lhs ^ rhs,
    }
}

/// `op` on one lane; `amount` is at most 31.
pub fn shift(op: ShiftOp, src: u32, amount: u32) -> u32 {
    match op {
        ShiftOp::Shl => src << amount,
        ShiftOp::Shr => src >> amount,
        ShiftOp::Sar => (src.cast_signed() >> amount).cast_unsigned(),
    }
}

/// The bytes of `u8s`, unsigned, times those of `s8s`, signed, all added to `acc`; on one lane.
pub fn dot4(u8s: u32, s8s: u32, acc: u32) -> u32 {
    let pairs = u8s.to_le_bytes().into_iter().zip(s8s.to_le_bytes());
    pairs.fold(acc, |sum, (u, s)| {
        let product = i32::from(u) * i32::from(s.cast_signed());
        sum.wrapping_add(product.cast_unsigned())
    })
}

/// A loaded element, whose bytes are the low ones of `bits`, as a lane.
fn widened(elem: Elem, bits: u32) -> u32 {
    match elem {
        Elem::F32 | Elem::I32 | Elem::U16 => bits,
        Elem::S8 => ((bits << 24).cast_signed() >> 24).cast_unsigned(),
    }
}

/// `op` on one lane.
pub fn compare(op: CompareOp, lhs: u32, rhs: u32) -> bool {
    match op {
        CompareOp::FLt => f32::from_bits(lhs) < f32::from_bits(rhs),
        CompareOp::FGt => f32::from_bits(lhs) > f32::from_bits(rhs),
        CompareOp::ILt => lhs.cast_signed() < rhs.cast_signed(),
        CompareOp::ILe => lhs.cast_signed() <= rhs.cast_signed(),
    }
}

/// Lanes combined by halves: j with j + h for h = lanes/2, .., 1.
pub fn reduce(op: ReduceOp, mut lanes: [u32; 16], count: u32) -> u32 {
    let op = op.of_lanes();
    let mut half = count as usize / 2;
    while half > 0 {
        for j in 0..half {
            lanes[j] = binary(op, lanes[j], lanes[j + half]);
        }
        half /= 2;
    }
    lanes[0]
}
