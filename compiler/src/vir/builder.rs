//! The typed builder: the one way to write a kernel in Rust.
//!
//! Mistakes of the generator (a type that does not fit) are not reported here: they are stored
//! as written, and the verifier names them.

use super::{
    Access, Address, Affine, BinaryOp, Bound, Buffer, BufferId, Carried, CompareOp, Elem, Index,
    IndexId, Inst, Kernel, Locality, ReduceOp, ShiftOp, Ty, UnaryOp, ValueId,
};
use crate::id::Arena;

/// Builds one kernel; instructions go to the innermost open loop.
pub struct Builder {
    kernel: Kernel,
    /// Bodies of the open loops, outermost (the kernel's own) first.
    bodies: Vec<Vec<Inst>>,
}

/// A value's handle with what the builder methods need; just the id.
pub type Val = ValueId;

impl Builder {
    /// A kernel without parameters or code.
    pub fn new(name: impl Into<String>, lanes: u32) -> Self {
        let kernel = Kernel {
            name: name.into(),
            lanes,
            buffers: Arena::new(),
            indices: Arena::new(),
            values: Arena::new(),
            body: Vec::new(),
        };
        Builder { kernel, bodies: vec![Vec::new()] }
    }

    /// The lane count.
    pub fn lanes(&self) -> u32 {
        self.kernel.lanes
    }

    /// Declares a buffer parameter of `bytes` bytes.
    pub fn buffer(&mut self, name: &str, bytes: u32, access: Access) -> BufferId {
        self.kernel.buffers.push(Buffer { name: name.to_owned(), bytes, access })
    }

    /// Declares a scalar parameter with values `lo..=hi`. Before any loop.
    pub fn scalar(&mut self, name: &str, lo: i64, hi: i64) -> IndexId {
        self.kernel.indices.push(Index::Scalar { name: name.to_owned(), lo, hi })
    }

    /// Declares a range parameter: begin and end of a share of `0..count`. Before any loop.
    pub fn range(&mut self, name: &str, count: u32) -> (IndexId, IndexId) {
        let begin = self.kernel.indices.push(Index::RangeBegin { name: name.to_owned(), count });
        let end = self.kernel.indices.push(Index::RangeEnd { count });
        (begin, end)
    }

    /// The finished kernel.
    pub fn finish(mut self) -> Kernel {
        self.kernel.body = self.bodies.pop().unwrap_or_default();
        self.kernel
    }

    fn push(&mut self, inst: Inst) {
        if let Some(body) = self.bodies.last_mut() {
            body.push(inst);
        }
    }

    fn value(&mut self, ty: Ty) -> ValueId {
        self.kernel.values.push(ty)
    }

    fn ty(&self, v: ValueId) -> Ty {
        self.kernel.values[v]
    }

    /// An f32 constant in every lane.
    pub fn f32(&mut self, x: f32) -> ValueId {
        let dst = self.value(Ty::F32);
        self.push(Inst::Const { dst, bits: x.to_bits() });
        dst
    }

    /// An i32 constant in every lane, given by its bits.
    pub fn i32(&mut self, bits: u32) -> ValueId {
        let dst = self.value(Ty::I32);
        self.push(Inst::Const { dst, bits });
        dst
    }

    /// A mask constant.
    pub fn mask(&mut self, on: bool) -> ValueId {
        let dst = self.value(Ty::Mask);
        self.push(Inst::Const { dst, bits: u32::from(on) });
        dst
    }

    /// Lane numbers.
    pub fn iota(&mut self) -> ValueId {
        let dst = self.value(Ty::I32);
        self.push(Inst::Iota { dst });
        dst
    }

    /// The value of an index expression in every lane.
    pub fn index(&mut self, index: Affine) -> ValueId {
        let dst = self.value(Ty::I32);
        self.push(Inst::Index { dst, index });
        dst
    }

    /// Loads all lanes.
    pub fn load(&mut self, elem: Elem, buffer: BufferId, offset: Affine) -> ValueId {
        self.load_part(elem, buffer, offset, self.kernel.lanes)
    }

    /// Loads the first `count` lanes; the others are 0.
    pub fn load_part(
        &mut self,
        elem: Elem,
        buffer: BufferId,
        offset: Affine,
        count: u32,
    ) -> ValueId {
        let dst = self.value(elem.ty());
        self.push(Inst::Load { dst, elem, at: Address { buffer, offset }, count });
        dst
    }

    /// Loads one element into every lane.
    pub fn splat(&mut self, elem: Elem, buffer: BufferId, offset: Affine) -> ValueId {
        let dst = self.value(elem.ty());
        self.push(Inst::Splat { dst, elem, at: Address { buffer, offset } });
        dst
    }

    /// Stores all lanes side by side.
    pub fn store(&mut self, src: ValueId, elem: Elem, buffer: BufferId, offset: Affine) {
        self.store_strided(src, elem, buffer, offset, elem.bytes(), self.kernel.lanes);
    }

    /// Stores the first `count` lanes side by side.
    pub fn store_part(
        &mut self,
        src: ValueId,
        elem: Elem,
        buffer: BufferId,
        offset: Affine,
        count: u32,
    ) {
        self.store_strided(src, elem, buffer, offset, elem.bytes(), count);
    }

    /// Stores the first `count` lanes, `stride` bytes apart.
    pub fn store_strided(
        &mut self,
        src: ValueId,
        elem: Elem,
        buffer: BufferId,
        offset: Affine,
        stride: u32,
        count: u32,
    ) {
        self.push(Inst::Store { src, elem, at: Address { buffer, offset }, stride, count });
    }

    /// Asks for the cache line of a byte, which may lie outside the buffer.
    pub fn prefetch(&mut self, locality: Locality, buffer: BufferId, offset: Affine) {
        self.push(Inst::Prefetch { locality, at: Address { buffer, offset } });
    }

    /// `op(src)`.
    pub fn unary(&mut self, op: UnaryOp, src: ValueId) -> ValueId {
        let dst = self.value(op.result_ty());
        self.push(Inst::Unary { dst, op, src });
        dst
    }

    /// `op(lhs, rhs)`.
    pub fn binary(&mut self, op: BinaryOp, lhs: ValueId, rhs: ValueId) -> ValueId {
        let dst = self.value(op.ty());
        self.push(Inst::Binary { dst, op, lhs, rhs });
        dst
    }

    /// `lhs + rhs`, f32.
    pub fn fadd(&mut self, lhs: ValueId, rhs: ValueId) -> ValueId {
        self.binary(BinaryOp::FAdd, lhs, rhs)
    }

    /// `lhs - rhs`, f32.
    pub fn fsub(&mut self, lhs: ValueId, rhs: ValueId) -> ValueId {
        self.binary(BinaryOp::FSub, lhs, rhs)
    }

    /// `lhs * rhs`, f32.
    pub fn fmul(&mut self, lhs: ValueId, rhs: ValueId) -> ValueId {
        self.binary(BinaryOp::FMul, lhs, rhs)
    }

    /// `lhs / rhs`, f32.
    pub fn fdiv(&mut self, lhs: ValueId, rhs: ValueId) -> ValueId {
        self.binary(BinaryOp::FDiv, lhs, rhs)
    }

    /// `src op amount`.
    pub fn shift(&mut self, op: ShiftOp, src: ValueId, amount: u32) -> ValueId {
        let dst = self.value(Ty::I32);
        self.push(Inst::Shift { dst, op, src, amount });
        dst
    }

    /// `a * b + c`, rounded once.
    pub fn fma(&mut self, a: ValueId, b: ValueId, c: ValueId) -> ValueId {
        let dst = self.value(Ty::F32);
        self.push(Inst::Fma { dst, a, b, c });
        dst
    }

    /// `acc` plus the four unsigned bytes of each lane of `u8s` times the four signed ones of
    /// `s8s`, wrapping.
    pub fn dot4(&mut self, u8s: ValueId, s8s: ValueId, acc: ValueId) -> ValueId {
        let dst = self.value(Ty::I32);
        self.push(Inst::Dot4 { dst, u8s, s8s, acc });
        dst
    }

    /// `lhs op rhs`, a mask.
    pub fn compare(&mut self, op: CompareOp, lhs: ValueId, rhs: ValueId) -> ValueId {
        let dst = self.value(Ty::Mask);
        self.push(Inst::Compare { dst, op, lhs, rhs });
        dst
    }

    /// `mask ? on : off`.
    pub fn select(&mut self, mask: ValueId, on: ValueId, off: ValueId) -> ValueId {
        let dst = self.value(self.ty(on));
        self.push(Inst::Select { dst, mask, on, off });
        dst
    }

    /// The lanes of `src` combined, in every lane.
    pub fn reduce(&mut self, op: ReduceOp, src: ValueId) -> ValueId {
        let dst = self.value(op.ty());
        self.push(Inst::Reduce { dst, op, src });
        dst
    }

    /// A loop of `begin..end`. `body` gets the variable and the carried values and returns the
    /// carried values of the next iteration; the values after the loop are returned.
    pub fn for_range<const N: usize>(
        &mut self,
        begin: Bound,
        end: Bound,
        init: [ValueId; N],
        body: impl FnOnce(&mut Builder, IndexId, [ValueId; N]) -> [ValueId; N],
    ) -> [ValueId; N] {
        let results = self.for_range_vec(begin, end, &init, |b, var, carried| {
            let mut params = init;
            params.copy_from_slice(carried);
            body(b, var, params).to_vec()
        });
        let mut out = init;
        out.copy_from_slice(&results);
        out
    }

    /// [`Builder::for_range`] with a number of carried values that is not known to the compiler.
    pub fn for_range_vec(
        &mut self,
        begin: Bound,
        end: Bound,
        init: &[ValueId],
        body: impl FnOnce(&mut Builder, IndexId, &[ValueId]) -> Vec<ValueId>,
    ) -> Vec<ValueId> {
        let var = self.kernel.indices.push(Index::Loop);
        let params: Vec<ValueId> = init
            .iter()
            .map(|v| {
                let ty = self.ty(*v);
                self.value(ty)
            })
            .collect();
        self.bodies.push(Vec::new());
        let next = body(self, var, &params);
        let body = self.bodies.pop().unwrap_or_default();
        let mut carried = Vec::with_capacity(init.len());
        for ((&init, &param), &next) in init.iter().zip(&params).zip(&next) {
            let result = self.value(self.kernel.values[init]);
            carried.push(Carried { param, init, next, result });
        }
        let results = carried.iter().map(|c| c.result).collect();
        self.push(Inst::Loop { var, begin, end, carried, body });
        results
    }

    /// A loop of `0..count` that carries nothing.
    pub fn repeat(&mut self, count: u32, body: impl FnOnce(&mut Builder, IndexId)) {
        self.for_range(Bound::Const(0), Bound::Const(count), [], |b, var, []| {
            body(b, var);
            []
        });
    }
}
