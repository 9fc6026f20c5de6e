//! The instructions of VIR, by operand shape; each comment is the meaning, lane by lane.

use super::{
    BinaryOp, BufferId, CompareOp, Elem, IndexId, Locality, ReduceOp, ShiftOp, UnaryOp, ValueId,
};

/// `base + Σ index * factor`: a linear expression over scalars and loop variables.
/// In addresses the unit is bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Affine {
    /// Constant part.
    pub base: i64,
    /// Index and factor, ascending by index, no zero factors, no index twice.
    pub terms: Vec<(IndexId, i64)>,
}

/// A place in a buffer: `offset` bytes from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The buffer.
    pub buffer: BufferId,
    /// Byte offset; the verifier proves it in bounds and a multiple of the element size.
    pub offset: Affine,
}

/// A loop bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// A constant.
    Const(u32),
    /// The value of a scalar parameter (declared with `lo >= 0`).
    Scalar(IndexId),
    /// `clamp(scalar - minus, lo, hi)`: the part of a thread's share that falls in a window.
    Clamp {
        /// A scalar parameter.
        scalar: IndexId,
        /// Subtracted first.
        minus: Affine,
        /// Least result.
        lo: u32,
        /// Greatest result.
        hi: u32,
    },
}

/// A value that a loop carries from one iteration to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Inside the body: `init` in the first iteration, then the previous `next`.
    pub param: ValueId,
    /// Defined before the loop.
    pub init: ValueId,
    /// Defined in the body (or a param of this loop, or a value from outside).
    pub next: ValueId,
    /// After the loop: the last `next`, or `init` where no iteration ran.
    pub result: ValueId,
}

/// One instruction. `dst` is defined exactly once.
#[derive(Debug, Clone, PartialEq)]
pub enum Inst {
    /// Every lane holds `bits`; a mask constant is 0 or 1.
    Const {
        /// Result; its type says how `bits` is read.
        dst: ValueId,
        /// The 32 bits of every lane.
        bits: u32,
    },
    /// Lane i holds i.
    Iota {
        /// Result, i32.
        dst: ValueId,
    },
    /// Every lane holds the value of `index`, which the verifier proves to fit an i32.
    Index {
        /// Result, i32.
        dst: ValueId,
        /// The expression.
        index: Affine,
    },
    /// Lane i < `count` holds the element at `at + i * elem.bytes()`, later lanes hold 0.
    /// Nothing past `count` elements is touched.
    Load {
        /// Result, of the element's type.
        dst: ValueId,
        /// Element in memory.
        elem: Elem,
        /// First element.
        at: Address,
        /// Lanes loaded, 1 to the lane count.
        count: u32,
    },
    /// Every lane holds the one element at `at`.
    Splat {
        /// Result, of the element's type.
        dst: ValueId,
        /// Element in memory.
        elem: Elem,
        /// The element.
        at: Address,
    },
    /// Writes lane i < `count` to `at + i * stride`.
    Store {
        /// Value, of the element's type.
        src: ValueId,
        /// Element in memory.
        elem: Elem,
        /// Place of lane 0.
        at: Address,
        /// Bytes from one lane's place to the next; at least the element's size.
        stride: u32,
        /// Lanes stored, 1 to the lane count.
        count: u32,
    },
    /// Asks for the cache line of a byte that will be read soon. A hint: it changes nothing and
    /// never faults, so that the place may lie outside the buffer.
    Prefetch {
        /// Where the line is to be kept.
        locality: Locality,
        /// The byte.
        at: Address,
    },
    /// `dst = op(src)`.
    Unary {
        /// Result.
        dst: ValueId,
        /// Operator.
        op: UnaryOp,
        /// Operand.
        src: ValueId,
    },
    /// `dst = op(lhs, rhs)`.
    Binary {
        /// Result.
        dst: ValueId,
        /// Operator.
        op: BinaryOp,
        /// First operand.
        lhs: ValueId,
        /// Second operand.
        rhs: ValueId,
    },
    /// `dst = src op amount`.
    Shift {
        /// Result, i32.
        dst: ValueId,
        /// Operator.
        op: ShiftOp,
        /// Operand, i32.
        src: ValueId,
        /// 0 to 31.
        amount: u32,
    },
    /// `dst = a * b + c`, rounded once.
    Fma {
        /// Result, f32.
        dst: ValueId,
        /// First factor.
        a: ValueId,
        /// Second factor.
        b: ValueId,
        /// Addend.
        c: ValueId,
    },
    /// `dst = acc + Σ u8s[k] * s8s[k]` over the four bytes k of a lane, wrapping. Bytes of `u8s`
    /// are 0 to 255, those of `s8s` -128 to 127; no product or sum of four is rounded or cut.
    Dot4 {
        /// Result, i32.
        dst: ValueId,
        /// Four unsigned bytes in each lane, i32.
        u8s: ValueId,
        /// Four signed bytes in each lane, i32.
        s8s: ValueId,
        /// Addend, i32.
        acc: ValueId,
    },
    /// `dst = lhs op rhs`, a mask.
    Compare {
        /// Result, mask.
        dst: ValueId,
        /// Operator.
        op: CompareOp,
        /// First operand.
        lhs: ValueId,
        /// Second operand.
        rhs: ValueId,
    },
    /// `dst = mask ? on : off`.
    Select {
        /// Result, of the type of `on` and `off`.
        dst: ValueId,
        /// The mask.
        mask: ValueId,
        /// Taken where the mask is true.
        on: ValueId,
        /// Taken elsewhere.
        off: ValueId,
    },
    /// Combines lane j with lane j + h for h = lanes/2, lanes/4, .., 1 and puts lane 0 of the
    /// result in every lane.
    Reduce {
        /// Result, of the type of the operator.
        dst: ValueId,
        /// Operator.
        op: ReduceOp,
        /// Operand, of the same type.
        src: ValueId,
    },
    /// Runs `body` for `var = begin, begin + 1, ..` below `end`.
    Loop {
        /// The loop variable, visible in `body` alone.
        var: IndexId,
        /// First value.
        begin: Bound,
        /// One past the last value; no iteration where `end <= begin`.
        end: Bound,
        /// Values carried round.
        carried: Vec<Carried>,
        /// Instructions in order. Values defined here are visible here alone.
        body: Vec<Inst>,
    },
}

impl Inst {
    /// The element and the address of an access to memory; a prefetch is none.
    pub const fn access(&self) -> Option<(Elem, &Address)> {
        match self {
            Inst::Load { elem, at, .. }
            | Inst::Splat { elem, at, .. }
            | Inst::Store { elem, at, .. } => Some((*elem, at)),
            Inst::Const { .. }
            | Inst::Iota { .. }
            | Inst::Index { .. }
            | Inst::Prefetch { .. }
            | Inst::Unary { .. }
            | Inst::Binary { .. }
            | Inst::Shift { .. }
            | Inst::Fma { .. }
            | Inst::Dot4 { .. }
            | Inst::Compare { .. }
            | Inst::Select { .. }
            | Inst::Reduce { .. }
            | Inst::Loop { .. } => None,
        }
    }

    /// The instructions inside a loop; none elsewhere.
    pub fn body(&self) -> &[Inst] {
        if let Inst::Loop { body, .. } = self { body } else { &[] }
    }

    /// The instruction's word in texts; operators have their own.
    pub const fn name(&self) -> &'static str {
        match self {
            Inst::Const { .. } => "const",
            Inst::Iota { .. } => "iota",
            Inst::Index { .. } => "index",
            Inst::Load { .. } => "load",
            Inst::Splat { .. } => "splat",
            Inst::Store { .. } => "store",
            Inst::Prefetch { .. } => "prefetch",
            Inst::Unary { op, .. } => op.name(),
            Inst::Binary { op, .. } => op.name(),
            Inst::Shift { op, .. } => op.name(),
            Inst::Fma { .. } => "fma",
            Inst::Dot4 { .. } => "dot4",
            Inst::Compare { op, .. } => op.name(),
            Inst::Select { .. } => "select",
            Inst::Reduce { op, .. } => op.name(),
            Inst::Loop { .. } => "loop",
        }
    }
}

impl Affine {
    /// A constant.
    pub fn constant(base: i64) -> Self {
        Affine { base, terms: Vec::new() }
    }

    /// `index * factor`.
    pub fn index(index: IndexId, factor: i64) -> Self {
        Affine::constant(0).plus(index, factor)
    }

    /// This expression plus `index * factor`. Saturates: rule V-11 refuses such factors.
    #[must_use]
    pub fn plus(mut self, index: IndexId, factor: i64) -> Self {
        match self.terms.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(at) => {
                self.terms[at].1 = self.terms[at].1.saturating_add(factor);
                if self.terms[at].1 == 0 {
                    self.terms.remove(at);
                }
            }
            Err(at) if factor != 0 => self.terms.insert(at, (index, factor)),
            Err(_) => {}
        }
        self
    }

    /// This expression plus another.
    #[must_use]
    pub fn sum(self, other: &Affine) -> Self {
        let sum = self.offset(other.base);
        other.terms.iter().fold(sum, |sum, (index, factor)| sum.plus(*index, *factor))
    }

    /// This expression times a number. Saturates: rule V-11 refuses such factors.
    #[must_use]
    pub fn times(&self, factor: i64) -> Self {
        let start = Affine::constant(self.base.saturating_mul(factor));
        let plus = |sum: Affine, (index, each): &(IndexId, i64)| {
            sum.plus(*index, each.saturating_mul(factor))
        };
        self.terms.iter().fold(start, plus)
    }

    /// This expression plus a constant. Saturates: rule V-11 refuses such constants.
    #[must_use]
    pub fn offset(mut self, base: i64) -> Self {
        self.base = self.base.saturating_add(base);
        self
    }
}
