//! The generator: one kernel from one list of choices.

use deepthin::verify::values::{SPECIAL, extreme_bytes};
use deepthin_compiler::vir::{
    Access, Affine, BinaryOp, Bound, BufferId, Builder, CompareOp, Elem, IndexId, Kernel, Locality,
    ReduceOp, ShiftOp, Ty, UnaryOp, ValueId,
};

use super::Choices;

/// Loops inside each other.
const DEPTH: u32 = 3;
/// Values of each type that are stored at the end.
const STORED: usize = 8;

/// A kernel of `lanes` lanes that verifies.
pub(super) fn kernel(lanes: u32, choices: &mut Choices) -> Kernel {
    let mut b = Builder::new("generated", lanes);
    let mut generator = Generator {
        choices,
        lanes,
        buffers: Vec::new(),
        parameters: Vec::new(),
        indices: Vec::new(),
        values: Vec::new(),
    };
    generator.parameters(&mut b);
    let (zero, lane, on) = (b.f32(0.0), b.iota(), b.mask(true));
    generator.values.extend([(zero, Ty::F32), (lane, Ty::I32), (on, Ty::Mask)]);
    let [floats, ints] = [Elem::F32, Elem::I32].map(|elem| {
        let bytes = u32::try_from(STORED).unwrap_or(0) * lanes * elem.bytes();
        b.buffer(if elem == Elem::F32 { "floats" } else { "ints" }, bytes, Access::Write)
    });
    generator.body(&mut b, 0);
    while !generator.choices.is_empty() {
        generator.body(&mut b, 0);
    }
    generator.store_values(&mut b, floats, ints);
    b.finish()
}

/// Masks of codes: of 4 and 7 bits, of 4 high ones, and of some bytes that may be 128 and more.
const MASKS: [u32; 4] = [0x0f0f_0f0f, 0x7f7f_7f7f, 0xf0f0_f0f0, 0x7f80_7f7f];

#[derive(Debug, Clone, Copy)]
struct Buffer {
    id: BufferId,
    elem: Elem,
    access: Access,
    bytes: u32,
}

/// An index with the least and greatest value that the generator counts on.
type Span = (IndexId, i64, i64);

struct Generator<'c> {
    choices: &'c mut Choices,
    lanes: u32,
    buffers: Vec<Buffer>,
    /// Scalars and ends of ranges.
    parameters: Vec<Span>,
    /// All visible indices.
    indices: Vec<Span>,
    /// All visible values.
    values: Vec<(ValueId, Ty)>,
}

impl Generator<'_> {
    fn parameters(&mut self, b: &mut Builder) {
        for &elem in Elem::ALL {
            for access in [Access::Read, Access::Write, Access::ReadWrite] {
                let elements = self.lanes + self.choices.below(4 * self.lanes);
                // A few odd bytes at the end, that no element fills.
                let odd =
                    if self.choices.once_in(3) { self.choices.below(elem.bytes()) } else { 0 };
                let bytes = elements * elem.bytes() + odd;
                let id = b.buffer(&format!("{elem}_{access}"), bytes, access);
                self.buffers.push(Buffer { id, elem, access, bytes });
            }
        }
        let hi = i64::from(self.choices.below(6));
        let position = b.scalar("position", 0, hi);
        let (lo, span) = (self.choices.within(-9, 9), self.choices.within(0, 5));
        let shift = b.scalar("shift", lo, lo + span);
        let count = self.choices.below(7);
        let (begin, end) = b.range("rows", count);
        let rows = i64::from(count);
        let spans = [(position, 0, hi), (shift, lo, lo + span), (begin, 0, rows), (end, 0, rows)];
        self.parameters.extend(spans);
        self.indices.extend(spans);
    }

    fn body(&mut self, b: &mut Builder, depth: u32) {
        for _ in 0..2 + self.choices.below(10) {
            self.step(b, depth);
        }
    }

    fn step(&mut self, b: &mut Builder, depth: u32) {
        let made = match self.choices.below(21) {
            0 => self.constant(b),
            1 => (b.iota(), Ty::I32),
            2 => (self.index(b), Ty::I32),
            3 | 4 => self.load(b),
            5 => self.splat(b),
            6 | 7 => return self.store(b),
            8 => self.unary(b),
            9 | 10 => self.binary(b),
            11 => {
                let (op, amount) = (self.choices.pick(ShiftOp::ALL), self.choices.below(32));
                let src = self.value(Ty::I32);
                (b.shift(op, src, amount), Ty::I32)
            }
            12 | 13 => {
                let [x, y, z] = [(); 3].map(|()| self.value(Ty::F32));
                (b.fma(x, y, z), Ty::F32)
            }
            14 => {
                let op = self.choices.pick(CompareOp::ALL);
                let [x, y] = [(); 2].map(|()| self.value(op.operand_ty()));
                (b.compare(op, x, y), Ty::Mask)
            }
            15 => {
                let ty = self.choices.pick(&[Ty::F32, Ty::I32]);
                let (mask, on, off) = (self.value(Ty::Mask), self.value(ty), self.value(ty));
                (b.select(mask, on, off), ty)
            }
            16 | 17 => (self.dot4(b), Ty::I32),
            18 => {
                let op = self.choices.pick(ReduceOp::ALL);
                let src = self.value(op.ty());
                (b.reduce(op, src), op.ty())
            }
            19 => return self.prefetch(b),
            _ if depth < DEPTH => return self.repeat(b, depth),
            _ => self.constant(b),
        };
        self.values.push(made);
    }

    /// A visible value of type `ty`, more often a late one.
    fn value(&mut self, ty: Ty) -> ValueId {
        let fitting = self.values.iter().rev().filter(|(_, t)| *t == ty);
        let fitting: Vec<ValueId> = fitting.map(|(v, _)| *v).collect();
        let window = fitting.len().min(if self.choices.once_in(3) { usize::MAX } else { 3 });
        self.choices.pick(&fitting[..window])
    }

    /// An f32 value without NaN: `-inf` in its place, which `max` gives for it.
    fn number(&mut self, b: &mut Builder) -> ValueId {
        let (value, least) = (self.value(Ty::F32), b.f32(f32::NEG_INFINITY));
        b.binary(BinaryOp::FMax, value, least)
    }

    fn constant(&mut self, b: &mut Builder) -> (ValueId, Ty) {
        match self.choices.below(6) {
            0 => (b.f32(self.choices.pick(&SPECIAL)), Ty::F32),
            1 => (b.f32(self.choices.within(-1000, 1000) as f32 / 8.0), Ty::F32),
            2 => (b.i32(self.choices.below(64)), Ty::I32),
            3 => (b.i32(self.choices.bits()), Ty::I32),
            4 => (b.i32(extreme_bytes(self.choices)), Ty::I32),
            _ => (b.mask(self.choices.once_in(2)), Ty::Mask),
        }
    }

    fn index(&mut self, b: &mut Builder) -> ValueId {
        let index = self.affine();
        b.index(index)
    }

    /// Any place: most lie outside the buffer.
    fn prefetch(&mut self, b: &mut Builder) {
        let buffer = self.buffer(|_| true);
        let offset = self.affine();
        let locality = self.choices.pick(Locality::ALL);
        b.prefetch(locality, buffer.id, offset);
    }

    fn affine(&mut self) -> Affine {
        let mut affine = Affine::constant(self.choices.within(-1_000_000, 1_000_000));
        for _ in 0..self.choices.below(3) {
            let (index, ..) = self.choices.pick(&self.indices);
            affine = affine.plus(index, self.choices.within(-1000, 1000));
        }
        affine
    }

    fn unary(&mut self, b: &mut Builder) -> (ValueId, Ty) {
        let op = self.choices.pick(UnaryOp::ALL);
        let src = match op {
            UnaryOp::AsI32 | UnaryOp::F32ToF16 => self.number(b),
            UnaryOp::Sqrt
            | UnaryOp::I32ToF32
            | UnaryOp::AsF32
            | UnaryOp::F16ToF32
            | UnaryOp::FiniteF16ToF32 => self.value(op.operand_ty()),
        };
        (b.unary(op, src), op.result_ty())
    }

    fn binary(&mut self, b: &mut Builder) -> (ValueId, Ty) {
        let op = self.choices.pick(BinaryOp::ALL);
        let (lhs, rhs) = (self.value(op.ty()), self.value(op.ty()));
        (b.binary(op, lhs, rhs), op.ty())
    }

    /// A dot product of bytes: of any values, of bytes at the ends of their range, and of codes
    /// cut out by a mask, before or behind a shift.
    fn dot4(&mut self, b: &mut Builder) -> ValueId {
        let u8s = match self.choices.below(3) {
            0 => self.value(Ty::I32),
            1 => b.i32(extreme_bytes(self.choices)),
            _ => {
                let (codes, mask) = (self.value(Ty::I32), self.choices.pick(&MASKS));
                let mask = b.i32(mask);
                let amount = self.choices.pick(&[0, 1, 4, 7, 8]);
                match self.choices.below(3) {
                    0 => b.binary(BinaryOp::IAnd, codes, mask),
                    1 => {
                        let codes = b.shift(ShiftOp::Shr, codes, amount);
                        b.binary(BinaryOp::IAnd, mask, codes)
                    }
                    _ => {
                        let codes = b.binary(BinaryOp::IAnd, codes, mask);
                        b.shift(self.choices.pick(ShiftOp::ALL), codes, amount)
                    }
                }
            }
        };
        let s8s = match self.choices.below(2) {
            0 => self.value(Ty::I32),
            _ => b.i32(extreme_bytes(self.choices)),
        };
        let acc = self.value(Ty::I32);
        b.dot4(u8s, s8s, acc)
    }

    // Memory.

    fn load(&mut self, b: &mut Builder) -> (ValueId, Ty) {
        let buffer = self.buffer(|access| access != Access::Write);
        let count = self.count();
        let offset = self.offset(buffer, count * buffer.elem.bytes());
        (b.load_part(buffer.elem, buffer.id, offset, count), buffer.elem.ty())
    }

    fn splat(&mut self, b: &mut Builder) -> (ValueId, Ty) {
        let buffer = self.buffer(|access| access != Access::Write);
        let offset = self.offset(buffer, buffer.elem.bytes());
        (b.splat(buffer.elem, buffer.id, offset), buffer.elem.ty())
    }

    fn store(&mut self, b: &mut Builder) {
        let buffer = self.buffer(|access| access != Access::Read);
        let elem = buffer.elem;
        let src = self.value(elem.ty());
        let count = self.count();
        let widest = (buffer.bytes - elem.bytes()) / elem.bytes() / (count - 1).max(1);
        let stride = match self.choices.below(2) {
            0 => elem.bytes(),
            _ => elem.bytes() * (1 + self.choices.below(widest.clamp(1, 5))),
        };
        let offset = self.offset(buffer, (count - 1) * stride + elem.bytes());
        b.store_strided(src, elem, buffer.id, offset.clone(), stride, count);
        // What was stored may be loaded, in a buffer that is only written too.
        if stride == elem.bytes() && self.choices.once_in(3) {
            self.values.push((b.load_part(elem, buffer.id, offset, count), elem.ty()));
        }
    }

    fn buffer(&mut self, usable: impl Fn(Access) -> bool) -> Buffer {
        let usable: Vec<Buffer> =
            self.buffers.iter().copied().filter(|buffer| usable(buffer.access)).collect();
        self.choices.pick(&usable)
    }

    /// Lanes moved: all, or some.
    fn count(&mut self) -> u32 {
        if self.choices.once_in(2) { 1 + self.choices.below(self.lanes) } else { self.lanes }
    }

    /// An offset at which `extent` bytes fit for all index values; often at either end.
    fn offset(&mut self, buffer: Buffer, extent: u32) -> Affine {
        let unit = i64::from(buffer.elem.bytes());
        let mut room = i64::from(buffer.bytes - extent);
        let mut affine = Affine::constant(0);
        for _ in 0..self.choices.below(4) {
            let (index, lo, hi) = self.choices.pick(&self.indices);
            let factor = unit * self.choices.pick(&[1, 1, 2, 3, -1, i64::from(self.lanes)]);
            let seen = affine.terms.iter().any(|(i, _)| *i == index);
            if !seen && (hi - lo) * factor.abs() <= room {
                room -= (hi - lo) * factor.abs();
                affine = affine.plus(index, factor).offset(-(lo * factor).min(hi * factor));
            }
        }
        let last = room / unit;
        let skip = match self.choices.below(3) {
            0 => 0,
            1 => last,
            _ => self.choices.within(0, last),
        };
        affine.offset(skip * unit)
    }

    // Loops.

    fn repeat(&mut self, b: &mut Builder, depth: u32) {
        let (begin, lo) = self.bound(2);
        let (end, hi) = self.bound(5);
        let visible = (self.values.len(), self.indices.len());
        let mut types = Vec::new();
        let mut init = Vec::new();
        for _ in 0..self.choices.below(4) {
            let ty = self.choices.pick(Ty::ALL);
            types.push(ty);
            init.push(self.value(ty));
        }
        let results = b.for_range_vec(begin, end, &init, |b, var, params| {
            // A loop that never runs is still built, as if for its first value.
            self.indices.push((var, lo.0, lo.0.max(hi.1 - 1)));
            self.values.extend(params.iter().copied().zip(types.iter().copied()));
            self.body(b, depth + 1);
            types.iter().map(|ty| self.value(*ty)).collect()
        });
        self.values.truncate(visible.0);
        self.indices.truncate(visible.1);
        self.values.extend(results.into_iter().zip(types));
    }

    /// A loop bound of at most about `most`, with its least and greatest value.
    fn bound(&mut self, most: u32) -> (Bound, (i64, i64)) {
        match self.choices.below(4) {
            0 | 1 => {
                let value = self.choices.below(most + 1);
                (Bound::Const(value), (value.into(), value.into()))
            }
            2 => {
                let counts = self.parameters.iter().copied().filter(|(_, lo, _)| *lo >= 0);
                let (scalar, lo, hi) = self.choices.pick(&counts.collect::<Vec<_>>());
                (Bound::Scalar(scalar), (lo, hi))
            }
            _ => {
                let (scalar, least, greatest) = self.choices.pick(&self.parameters);
                let base = self.choices.within(-3, 3);
                let (mut minus, mut span) = (Affine::constant(base), (base, base));
                if self.choices.once_in(2) {
                    let (index, first, last) = self.choices.pick(&self.indices);
                    let factor = self.choices.within(-2, 2);
                    let (first, last) = (first * factor, last * factor);
                    minus = minus.plus(index, factor);
                    span = (base + first.min(last), base + first.max(last));
                }
                let lo = self.choices.below(most + 1);
                let hi = lo + self.choices.below(most + 1 - lo);
                let clamp = |value: i64| value.clamp(lo.into(), hi.into());
                let ends = (clamp(least - span.1), clamp(greatest - span.0));
                (Bound::Clamp { scalar, minus, lo, hi }, ends)
            }
        }
    }

    /// Stores the latest values of each type, so that what was computed shows.
    fn store_values(&mut self, b: &mut Builder, floats: BufferId, ints: BufferId) {
        let (one, zero) = (b.i32(1), b.i32(0));
        let of = |ty| {
            let values = self.values.iter().rev().filter(move |(_, t)| *t == ty).map(|(v, _)| *v);
            values.take(STORED).collect::<Vec<_>>()
        };
        let mut offset = 0;
        for value in of(Ty::F32) {
            b.store(value, Elem::F32, floats, Affine::constant(offset));
            offset += i64::from(4 * self.lanes);
        }
        let masks: Vec<ValueId> =
            of(Ty::Mask).into_iter().take(2).map(|mask| b.select(mask, one, zero)).collect();
        let mut offset = 0;
        for value in of(Ty::I32).into_iter().take(STORED - 2).chain(masks) {
            b.store(value, Elem::I32, ints, Affine::constant(offset));
            offset += i64::from(4 * self.lanes);
        }
    }
}
