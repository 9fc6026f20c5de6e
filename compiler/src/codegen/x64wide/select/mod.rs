//! Selection: verified VIR to machine operations over virtual registers, in the order of the list.
//!
//! A value is where it is cheapest until it is used: a constant stays a number, a load that is
//! used once waits to become a memory operand, a loop's variable is an address that moves on.
//! Nothing else is reordered: a load that waits is done before a store to its buffer.

mod address;
mod constants;
mod dot;
mod loops;
mod math;
mod memory;
mod uses;

use super::code::{Code, GENERAL, LANES, MASKS, Part, Place};
use super::forms::Form;
use super::{Features, Width};
use crate::codegen::bits::PossibleBits;
use crate::id::Id;
use crate::vir::{BufferId, Elem, Inst, Kernel, Ty, ValueId};
use dot::DotPart;
use regalloc2::{PReg, VReg};
use std::collections::BTreeMap;

/// A load that waits for its one use.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    elem: Elem,
    buffer: BufferId,
    place: Place,
    /// One element for every lane.
    is_splat: bool,
}

/// Where a value is.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Undefined,
    /// These bits in every lane.
    Const(u32),
    Waiting(Waiting),
    Register(VReg),
}

/// What an index is.
#[derive(Debug, Clone, Copy)]
enum IndexValue {
    Undefined,
    /// Number i of the table of scalars.
    Scalar(usize),
    Known(i64),
    Register(VReg),
    /// The variable of a loop that needs no number: addresses move on by themselves.
    Moving,
}

/// What a loop's body, or the line before a loop, has at hand.
#[derive(Default)]
struct Scope {
    pointers: BTreeMap<address::Key, VReg>,
    constants: BTreeMap<u32, VReg>,
    dot_parts: BTreeMap<DotPart, VReg>,
}

/// Selects one kernel.
pub(super) struct Selector<'k> {
    kernel: &'k Kernel,
    width: Width,
    features: Features,
    code: Code,
    slots: Vec<Slot>,
    uses: Vec<u32>,
    /// For each vector register: uses to come, and the loop depth that it belongs to.
    remaining: BTreeMap<usize, (u32, u32)>,
    indices: Vec<IndexValue>,
    bits: PossibleBits,
    scopes: Vec<Scope>,
    waiting: Vec<ValueId>,
    buffers: VReg,
    scalars: VReg,
    depth: u32,
    is_inner: bool,
}

/// The registers in which the calling convention passes the tables of buffers and of scalars.
const TABLES: [usize; 2] = [7, 6];

/// Selects a kernel.
pub(super) fn select(kernel: &Kernel, width: Width, features: Features) -> Code {
    let mut code = Code::default();
    let entry = code.block(0, false);
    code.enter(entry);
    let [buffers, scalars] = code.arguments(TABLES.map(|number| PReg::new(number, GENERAL)));
    let count = kernel.scalar_count();
    let index = |i| if i < count { IndexValue::Scalar(i) } else { IndexValue::Undefined };
    let mut selector = Selector {
        kernel,
        width,
        features,
        code,
        slots: vec![Slot::Undefined; kernel.values.len()],
        uses: uses::counts(kernel),
        remaining: BTreeMap::new(),
        indices: (0..kernel.indices.len()).map(index).collect(),
        bits: PossibleBits::of(kernel),
        scopes: vec![Scope::default()],
        waiting: Vec::new(),
        buffers,
        scalars,
        depth: 0,
        is_inner: false,
    };
    selector.body(&kernel.body);
    selector.code.ret();
    selector.code.finish();
    selector.code
}

impl<'k> Selector<'k> {
    fn body(&mut self, body: &'k [Inst]) {
        for inst in body {
            self.inst(inst);
        }
    }

    fn inst(&mut self, inst: &'k Inst) {
        match inst {
            Inst::Const { dst, bits } => {
                let is_mask = self.kernel.values[*dst] == Ty::Mask;
                let bits = if is_mask && *bits != 0 { u32::MAX } else { *bits };
                self.slots[dst.index()] = Slot::Const(bits);
            }
            Inst::Iota { dst } => self.iota(*dst),
            Inst::Index { dst, index } => self.index(*dst, index),
            Inst::Load { dst, elem, at, count } => self.load(*dst, *elem, at, *count),
            Inst::Splat { dst, elem, at } => self.splat(*dst, *elem, at),
            Inst::Store { src, elem, at, stride, count } => {
                self.store(*src, *elem, at, *stride, *count);
            }
            Inst::Prefetch { locality, at } => self.prefetch(*locality, at),
            Inst::Unary { dst, op, src } => self.unary(*dst, *op, *src),
            Inst::Binary { dst, op, lhs, rhs } => self.binary(*dst, *op, *lhs, *rhs),
            Inst::Shift { dst, op, src, amount } => self.shift(*dst, *op, *src, *amount),
            Inst::Fma { dst, a, b, c } => self.fma(*dst, *a, *b, *c),
            Inst::Dot4 { dst, u8s, s8s, acc } => self.dot4(*dst, *u8s, *s8s, *acc),
            Inst::Compare { dst, op, lhs, rhs } => self.compare(*dst, *op, *lhs, *rhs),
            Inst::Select { dst, mask, on, off } => self.select(*dst, *mask, *on, *off),
            Inst::Reduce { dst, op, src } => self.reduce(*dst, *op, *src),
            Inst::Loop { var, begin, end, carried, body } => {
                let bounds = uses::unrolled(inst);
                match bounds {
                    Some(bounds) => self.unrolled(*var, bounds, carried, body),
                    None => self.repeat(*var, begin, end, carried, body),
                }
            }
        }
    }

    /// A new register for lanes.
    fn lanes(&mut self) -> VReg {
        self.code.register(LANES)
    }

    /// A new register for values of a type.
    fn register(&mut self, ty: Ty) -> VReg {
        let class = if ty == Ty::Mask && self.width == Width::Zmm { MASKS } else { LANES };
        self.code.register(class)
    }

    /// `form` on operands that are read; the result is in a new register.
    fn made(&mut self, form: Form, operands: &[Part]) -> VReg {
        let made = self.lanes();
        self.emit(form, made, operands);
        made
    }

    /// `form` on operands that are read, with its result in `def`.
    fn emit(&mut self, form: Form, def: VReg, operands: &[Part]) {
        let parts: Vec<Part> = [Part::Def(def)].iter().chain(operands).copied().collect();
        self.code.operation(form, &parts);
    }

    /// Says that `value` is in `register`, which was made for it.
    fn set(&mut self, value: ValueId, register: VReg) {
        let uses = self.uses[value.index()];
        self.remaining.insert(register.vreg(), (uses, self.depth));
        self.slots[value.index()] = Slot::Register(register);
    }

    /// Says that `value` is what `slot` holds: the same bits.
    fn alias(&mut self, value: ValueId, slot: Slot) {
        if let Slot::Register(register) = slot
            && let Some((remaining, _)) = self.remaining.get_mut(&register.vreg())
        {
            *remaining += self.uses[value.index()];
        }
        self.slots[value.index()] = slot;
    }

    /// Counts a use of a value; whether its register is free behind it.
    fn last_use(&mut self, value: ValueId) -> bool {
        let Slot::Register(register) = self.slots[value.index()] else { return false };
        let Some((remaining, depth)) = self.remaining.get_mut(&register.vreg()) else {
            return false;
        };
        *remaining = remaining.saturating_sub(1);
        *remaining == 0 && *depth == self.depth
    }

    /// Whether a use now would be the last of the value's register.
    fn dies(&self, value: ValueId) -> bool {
        let Slot::Register(register) = self.slots[value.index()] else { return false };
        self.remaining.get(&register.vreg()) == Some(&(1, self.depth))
    }

    /// The register of a value, loaded or made here where it is in none.
    fn get(&mut self, value: ValueId) -> VReg {
        match self.slots[value.index()] {
            Slot::Register(register) => {
                self.last_use(value);
                register
            }
            Slot::Const(bits) => self.constant(self.kernel.values[value], bits),
            Slot::Waiting(load) => {
                self.waiting.retain(|other| *other != value);
                self.loaded(load)
            }
            Slot::Undefined => unreachable!("rule V-08: a value is defined before it is used"),
        }
    }

    /// The register of a value that becomes another: no copy of a zero that is kept.
    fn accumulator(&mut self, value: ValueId) -> VReg {
        match self.slots[value.index()] {
            Slot::Const(0) => self.made_constant(0),
            _ => self.get(value),
        }
    }

    /// A value as a last operand: memory where it is there and used once.
    fn source(&mut self, value: ValueId) -> Part {
        match self.slots[value.index()] {
            Slot::Const(bits) => self.constant_source(bits),
            Slot::Waiting(load) if self.is_memory(value) => {
                self.waiting.retain(|other| *other != value);
                if load.is_splat { Part::Element(load.place) } else { Part::Memory(load.place) }
            }
            Slot::Waiting(_) | Slot::Register(_) | Slot::Undefined => Part::Use(self.get(value)),
        }
    }

    /// Whether [`Selector::source`] gives memory.
    fn is_memory(&self, value: ValueId) -> bool {
        match self.slots[value.index()] {
            Slot::Const(bits) => bits != 0 && self.kept(bits).is_none(),
            Slot::Waiting(Waiting { elem, is_splat, .. }) => {
                elem.bytes() == 4 && (!is_splat || self.width == Width::Zmm)
            }
            Slot::Register(_) | Slot::Undefined => false,
        }
    }

    /// Does the loads that wait, all or those of a buffer.
    fn flush(&mut self, buffer: Option<BufferId>) {
        for value in std::mem::take(&mut self.waiting) {
            match self.slots[value.index()] {
                Slot::Waiting(load) if buffer.is_none_or(|buffer| buffer == load.buffer) => {
                    let register = self.loaded(load);
                    self.set(value, register);
                }
                _ => self.waiting.push(value),
            }
        }
    }
}
