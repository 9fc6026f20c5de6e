//! One VIR instruction to CLIF: memory, and the dispatch to arithmetic.

use super::{Emitter, Slot, clif_type};
use crate::id::Id;
use crate::vir::{Address, Elem, Inst, Ty, ValueId};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};

impl<'k> Emitter<'k, '_> {
    /// Emits one instruction.
    pub(super) fn inst(&mut self, inst: &'k Inst) {
        match inst {
            Inst::Const { dst, bits } => self.values[dst.index()] = Slot::Const(*bits),
            Inst::Iota { dst } => {
                let value = self.vector([0, 1, 2, 3]);
                self.set(*dst, value);
            }
            Inst::Index { dst, index } => {
                let wide = self.affine(index);
                let scalar = self.fb.ins().ireduce(types::I32, wide);
                let value = self.fb.ins().splat(types::I32X4, scalar);
                self.set(*dst, value);
            }
            Inst::Load { dst, elem, at, count } => {
                let value = self.load(*elem, at, *count);
                self.set(*dst, value);
            }
            Inst::Splat { dst, elem, at } => {
                let value = self.splat(*elem, at);
                self.set(*dst, value);
            }
            Inst::Store { src, elem, at, stride, count } => {
                self.store(*src, *elem, at, *stride, *count);
            }
            // Cranelift has no instruction for it, and a load in its place may fault.
            Inst::Prefetch { .. } => {}
            Inst::Unary { dst, op, src } => {
                let value = self.unary(*op, *src);
                self.set(*dst, value);
            }
            Inst::Binary { dst, op, lhs, rhs } => {
                let (lhs, rhs) = (self.get(*lhs), self.get(*rhs));
                let value = self.binary(*op, lhs, rhs);
                self.set(*dst, value);
            }
            Inst::Shift { dst, op, src, amount } => {
                let src = self.get(*src);
                let value = self.shift(*op, src, *amount);
                self.set(*dst, value);
            }
            Inst::Fma { dst, a, b, c } => {
                let (a, b, c) = (self.get(*a), self.get(*b), self.get(*c));
                let value = self.fb.ins().fma(a, b, c);
                self.set(*dst, value);
            }
            Inst::Dot4 { dst, u8s, s8s, acc } => {
                let value = self.dot4(*u8s, *s8s, *acc);
                self.set(*dst, value);
            }
            Inst::Compare { dst, op, lhs, rhs } => {
                let (lhs, rhs) = (self.get(*lhs), self.get(*rhs));
                let value = self.compare(*op, lhs, rhs);
                self.set(*dst, value);
            }
            Inst::Select { dst, mask, on, off } => {
                let ty = clif_type(self.kernel.values[*dst]);
                let (mask, on, off) = (self.get(*mask), self.get(*on), self.get(*off));
                let mask = self.cast(mask, ty);
                let value = self.fb.ins().bitselect(mask, on, off);
                self.set(*dst, value);
            }
            Inst::Reduce { dst, op, src } => {
                let src = self.get(*src);
                let value = self.reduce(*op, src);
                self.set(*dst, value);
            }
            Inst::Loop { var, begin, end, carried, body } => {
                self.emit_loop(*var, begin, end, carried, body);
            }
        }
    }

    fn load(&mut self, elem: Elem, at: &Address, count: u32) -> Value {
        let (pointer, base) = self.address(at);
        let flags = MemFlagsData::trusted();
        if count == self.kernel.lanes {
            return match elem {
                Elem::F32 | Elem::I32 => {
                    self.fb.ins().load(clif_type(elem.ty()), flags, pointer, base)
                }
                Elem::U16 => self.fb.ins().uload16x4(flags, pointer, base),
                Elem::S8 => self.load_bytes(pointer, base),
            };
        }
        // Element by element: nothing past the last one is touched.
        let mut vector = self.constant(elem.ty(), 0);
        for lane in 0..count {
            let offset = base.saturating_add(lane_offset(lane, elem.bytes()));
            let scalar = self.load_scalar(elem, pointer, offset);
            vector = self.fb.ins().insertlane(vector, scalar, lane_number(lane));
        }
        vector
    }

    /// The four bytes at a place, each widened with its sign. They come through a float load, as
    /// in `splat`; what stands in the other lanes is not looked at.
    fn load_bytes(&mut self, pointer: Value, offset: i32) -> Value {
        let four = self.load_scalar(Elem::F32, pointer, offset);
        let vector = self.fb.ins().splat(types::F32X4, four);
        let bytes = self.as_bytes(vector);
        let halves = self.fb.ins().swiden_low(bytes);
        self.fb.ins().swiden_low(halves)
    }

    fn load_scalar(&mut self, elem: Elem, pointer: Value, offset: i32) -> Value {
        let flags = MemFlagsData::trusted();
        match elem {
            Elem::F32 => self.fb.ins().load(types::F32, flags, pointer, offset),
            Elem::I32 => self.fb.ins().load(types::I32, flags, pointer, offset),
            Elem::U16 => {
                let half = self.fb.ins().load(types::I16, flags, pointer, offset);
                self.fb.ins().uextend(types::I32, half)
            }
            Elem::S8 => self.fb.ins().sload8(types::I32, flags, pointer, offset),
        }
    }

    fn splat(&mut self, elem: Elem, at: &Address) -> Value {
        let (pointer, base) = self.address(at);
        // An i32 goes through the float load: a broadcast in the vector unit, without the
        // crossing from an integer register.
        let through = if elem == Elem::I32 { Elem::F32 } else { elem };
        let scalar = self.load_scalar(through, pointer, base);
        let vector = self.fb.ins().splat(clif_type(through.ty()), scalar);
        if elem.ty() == Ty::I32 { self.cast(vector, types::I32X4) } else { vector }
    }

    fn store(&mut self, src: ValueId, elem: Elem, at: &Address, stride: u32, count: u32) {
        let value = self.get(src);
        let (pointer, base) = self.address(at);
        let flags = MemFlagsData::trusted();
        let dense = stride == elem.bytes() && count == self.kernel.lanes;
        if dense {
            // Narrow elements leave as one scalar, a float for the sake of its register.
            let whole = match elem {
                Elem::F32 | Elem::I32 => value,
                Elem::U16 => self.front(value, 2, types::F64X2),
                Elem::S8 => self.front(value, 1, types::F32X4),
            };
            self.fb.ins().store(flags, whole, pointer, base);
            return;
        }
        // The low part of a lane is one of the smaller lanes of the same bits.
        let parts = match elem {
            Elem::F32 | Elem::I32 => value,
            Elem::U16 => self.of_bytes(value, types::I16X8),
            Elem::S8 => self.as_bytes(value),
        };
        for lane in 0..count {
            let offset = base.saturating_add(lane_offset(lane, stride));
            let scalar = self.fb.ins().extractlane(parts, lane_number(lane * (4 / elem.bytes())));
            self.fb.ins().store(flags, scalar, pointer, offset);
        }
    }

    /// The low `width` bytes of each lane side by side, as the first lane of a vector of `ty`.
    fn front(&mut self, value: Value, width: u8, ty: Type) -> Value {
        let bytes = self.narrow(value, width);
        let vector = self.of_bytes(bytes, ty);
        self.fb.ins().extractlane(vector, 0)
    }
}

/// Byte offset of a lane. The verifier keeps lane and stride far below the limit.
fn lane_offset(lane: u32, stride: u32) -> i32 {
    i32::try_from(u64::from(lane) * u64::from(stride)).unwrap_or(i32::MAX)
}

fn lane_number(lane: u32) -> u8 {
    u8::try_from(lane).unwrap_or(u8::MAX)
}
