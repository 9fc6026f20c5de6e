//! The verifier: proof that a kernel is well formed and touches no memory but its own.
//!
//! A [`Verified`] kernel cannot make a back end panic, and compiled or interpreted it reads and
//! writes only bytes of its buffers, given two things that the caller owes: buffers of at least
//! the declared sizes, 64-byte aligned and disjoint where written, and scalars that pass
//! [`check_scalars`](super::check_scalars).
//!
//! The rules, each with files that break it in `tests/filetests/vir/verify`:
//!
//! | rules      | about                                                                      |
//! |------------|----------------------------------------------------------------------------|
//! | V-01       | names                                                                      |
//! | V-02       | lanes                                                                      |
//! | V-03..V-06 | parameters: buffer sizes, scalar bounds, range pairs, loop indices last    |
//! | V-07, V-08 | values: defined once, before use, in scope                                 |
//! | V-09       | indices: visible where used                                                |
//! | V-10, V-19 | types of operands, results and carried values                              |
//! | V-11       | form and magnitude of index expressions                                    |
//! | V-12..V-16 | memory: bounds, alignment, access, lanes moved, stride                     |
//! | V-17, V-22 | shift amounts and mask constants                                           |
//! | V-18, V-21 | loops: bounds and depth                                                    |
//! | V-20       | index instructions fit i32                                                 |
//! | V-23       | buffers exist                                                              |
//!
//! [`Rule`] states each in full. Not checked: that a load from a `write` buffer finds what the
//! kernel stored there (it finds some bytes of its own buffer), and how long a kernel runs.
//!
//! The verifier itself takes any kernel: ids out of range, counts and factors of any size. All
//! bounds are computed in saturating 128-bit integers; V-11 refuses what would have saturated.
//! In a loop that provably never runs, V-12 and V-20 hold vacuously.

use std::ops::Deref;

use super::bounds::{self, Interval, MAX_MAGNITUDE};
use super::print::{Line, is_identifier};
use super::{
    Access, Address, Affine, Bound, Buffer, Carried, Elem, Index, IndexId, Inst, Kernel, Rule, Ty,
    ValueId, VerifyError, VerifyErrors,
};
use crate::id::Id;

/// The deepest nest of loops.
pub const MAX_DEPTH: usize = 16;
/// The longest name in bytes.
pub const MAX_NAME: usize = 128;
/// Errors reported of one kernel; the rest would only repeat them.
const MAX_ERRORS: usize = 100;

/// A kernel that passed [`verify`]: what the interpreter and the back ends accept.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified(Kernel);

impl Verified {
    /// The kernel, to be changed and verified again.
    pub fn into_kernel(self) -> Kernel {
        self.0
    }
}

impl Deref for Verified {
    type Target = Kernel;

    fn deref(&self) -> &Kernel {
        &self.0
    }
}

/// Checks every rule; the errors are all there are, up to a hundred.
pub fn verify(kernel: Kernel) -> Result<Verified, VerifyErrors> {
    let mut verifier = Verifier::new(&kernel);
    verifier.check_parameters();
    verifier.check_body(&kernel.body);
    verifier.check_all_defined();
    let errors = verifier.errors;
    if errors.is_empty() {
        Ok(Verified(kernel))
    } else {
        Err(VerifyErrors { kernel: kernel.name, errors })
    }
}

/// Where a value or a loop variable stands in the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State<T> {
    /// Its definition was not met.
    Ahead,
    /// It may be used.
    Visible(T),
    /// Its loop was left.
    Past,
}

/// The walk over one kernel.
struct Verifier<'k> {
    kernel: &'k Kernel,
    values: Vec<State<()>>,
    indices: Vec<State<Interval>>,
    /// Values defined in the open loops, innermost last.
    scope: Vec<ValueId>,
    /// Whether a loop around provably never runs.
    dead: bool,
    /// Position and instruction at hand, of every open loop and of the innermost instruction.
    path: Vec<(usize, &'k Inst)>,
    errors: Vec<VerifyError>,
}

impl<'k> Verifier<'k> {
    fn new(kernel: &'k Kernel) -> Self {
        Verifier {
            kernel,
            values: vec![State::Ahead; kernel.values.len()],
            indices: vec![State::Ahead; kernel.indices.len()],
            scope: Vec::new(),
            dead: false,
            path: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn report(&mut self, rule: Rule, found: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            let path = self.path.iter().map(|(position, _)| *position).collect();
            let line = self.path.last().map_or_else(String::new, |(_, inst)| {
                Line { kernel: self.kernel, inst }.to_string()
            });
            self.errors.push(VerifyError { rule, path, line, found: found.into() });
        }
    }

    fn require(&mut self, holds: bool, rule: Rule, found: impl FnOnce() -> String) {
        if !holds {
            self.report(rule, found());
        }
    }

    // Parameters.

    fn check_parameters(&mut self) {
        let kernel = self.kernel;
        self.require(matches!(kernel.lanes, 4 | 8 | 16), Rule::Lanes, || {
            format!("found {} lanes", kernel.lanes)
        });
        self.check_name(&kernel.name);
        let mut names = Vec::new();
        for (id, Buffer { name, bytes, .. }) in kernel.buffers.iter() {
            names.push(name);
            self.require((1..=MAX_I32).contains(bytes), Rule::BufferSize, || {
                format!("{id} (`{name}`) has {bytes} bytes")
            });
        }
        let mut previous = None;
        for (id, index) in kernel.indices.iter() {
            self.check_index(id, index, previous);
            if let Index::Scalar { name, .. } | Index::RangeBegin { name, .. } = index {
                names.push(name);
            }
            previous = Some(index);
        }
        if let Some(Index::RangeBegin { name, .. }) = previous {
            self.report(Rule::RangePair, format!("range `{name}` has no end"));
        }
        names.iter().for_each(|name| self.check_name(name));
        names.sort_unstable();
        for pair in names.windows(2) {
            if let [first, second] = pair
                && first == second
            {
                self.report(Rule::Names, format!("two parameters are called `{first}`"));
            }
        }
    }

    fn check_name(&mut self, name: &str) {
        self.require(is_identifier(name) && name.len() <= MAX_NAME, Rule::Names, || {
            let start: String = name.chars().take(MAX_NAME).collect();
            format!("{start:?} is no identifier of at most {MAX_NAME} bytes")
        });
    }

    fn check_index(&mut self, id: IndexId, index: &Index, previous: Option<&Index>) {
        let begun = match previous {
            Some(Index::RangeBegin { name, count }) => Some((name, *count)),
            Some(Index::Scalar { .. } | Index::RangeEnd { .. } | Index::Loop) | None => None,
        };
        if let (Some((name, _)), Index::Scalar { .. } | Index::RangeBegin { .. } | Index::Loop) =
            (begun, index)
        {
            self.report(Rule::RangePair, format!("range `{name}` has no end"));
        }
        if previous == Some(&Index::Loop) && *index != Index::Loop {
            self.report(Rule::LoopIndex, format!("parameter {id} follows a loop index"));
        }
        let (lo, hi) = match index {
            Index::Scalar { name, lo, hi } => {
                let fits = i64::from(i32::MIN) <= *lo && lo <= hi && *hi <= i64::from(i32::MAX);
                self.require(fits, Rule::ScalarBounds, || format!("`{name}` is {lo}..={hi}"));
                (*lo, *hi)
            }
            Index::RangeBegin { name, count } => {
                self.require(*count <= MAX_I32, Rule::RangePair, || {
                    format!("range `{name}` has the count {count}")
                });
                (0, i64::from(*count))
            }
            Index::RangeEnd { count } => {
                self.require(begun.is_some_and(|(_, n)| n == *count), Rule::RangePair, || {
                    format!("{id} ends no range of 0..{count}")
                });
                (0, i64::from(*count))
            }
            Index::Loop => return,
        };
        let interval = Interval::new(lo, hi).unwrap_or(Interval::point(lo));
        self.indices[id.index()] = State::Visible(interval);
    }

    fn check_all_defined(&mut self) {
        // Past the depth limit the walk did not look, so what it missed says nothing.
        if self.errors.iter().any(|error| error.rule == Rule::Depth) {
            return;
        }
        for (position, state) in self.values.clone().into_iter().enumerate() {
            self.require(state != State::Ahead, Rule::DefinedOnce, || {
                format!("{} is never defined", ValueId::from_index(position))
            });
        }
        for (position, state) in self.indices.clone().into_iter().enumerate() {
            self.require(state != State::Ahead, Rule::LoopIndex, || {
                format!("{} is no loop's variable", IndexId::from_index(position))
            });
        }
    }

    // Instructions.

    fn check_body(&mut self, body: &'k [Inst]) {
        for (position, inst) in body.iter().enumerate() {
            self.path.push((position, inst));
            self.check_inst(inst);
            self.path.pop();
        }
    }

    fn check_inst(&mut self, inst: &'k Inst) {
        match inst {
            Inst::Const { dst, bits } => {
                let ty = self.kernel.values.get(*dst);
                self.require(ty != Some(&Ty::Mask) || *bits <= 1, Rule::MaskConst, || {
                    format!("found {bits:#x}")
                });
                self.define(*dst);
            }
            Inst::Iota { dst } => self.define_as(*dst, Ty::I32),
            Inst::Index { dst, index } => {
                if let Some(range) = self.range_of(index) {
                    let fits = self.dead || range.within(i32::MIN, i32::MAX);
                    self.require(fits, Rule::IndexFits, || {
                        format!("{index} is {}..={}", range.lo, range.hi)
                    });
                }
                self.define_as(*dst, Ty::I32);
            }
            Inst::Load { dst, elem, at, count } => {
                self.check_access(at, *elem, elem.bytes(), *count);
                self.define_as(*dst, elem.ty());
            }
            Inst::Splat { dst, elem, at } => {
                self.check_access(at, *elem, elem.bytes(), 1);
                self.define_as(*dst, elem.ty());
            }
            Inst::Store { src, elem, at, stride, count } => {
                self.operand(*src, elem.ty());
                let whole = *stride >= elem.bytes() && stride.is_multiple_of(elem.bytes());
                self.require(whole, Rule::Stride, || {
                    format!("stride {stride}, elements of {} bytes", elem.bytes())
                });
                if let Some(buffer) = self.kernel.buffers.get(at.buffer) {
                    self.require(buffer.access != Access::Read, Rule::Writable, || {
                        format!("{} (`{}`) is declared read", at.buffer, buffer.name)
                    });
                }
                self.check_access(at, *elem, *stride, *count);
            }
            Inst::Unary { dst, op, src } => {
                self.operand(*src, op.operand_ty());
                self.define_as(*dst, op.result_ty());
            }
            Inst::Binary { dst, op, lhs, rhs } => {
                self.operand(*lhs, op.ty());
                self.operand(*rhs, op.ty());
                self.define_as(*dst, op.ty());
            }
            Inst::Shift { dst, op: _, src, amount } => {
                self.require(*amount <= 31, Rule::ShiftAmount, || format!("found {amount}"));
                self.operand(*src, Ty::I32);
                self.define_as(*dst, Ty::I32);
            }
            Inst::Fma { dst, a, b, c } => {
                [a, b, c].into_iter().for_each(|v| self.operand(*v, Ty::F32));
                self.define_as(*dst, Ty::F32);
            }
            Inst::Compare { dst, op, lhs, rhs } => {
                self.operand(*lhs, op.operand_ty());
                self.operand(*rhs, op.operand_ty());
                self.define_as(*dst, Ty::Mask);
            }
            Inst::Select { dst, mask, on, off } => self.check_select(*dst, *mask, *on, *off),
            Inst::Reduce { dst, op: _, src } => {
                self.operand(*src, Ty::F32);
                self.define_as(*dst, Ty::F32);
            }
            Inst::Loop { var, begin, end, carried, body } => {
                self.check_loop(*var, [begin, end], carried, body);
            }
        }
    }

    fn check_select(&mut self, dst: ValueId, mask: ValueId, on: ValueId, off: ValueId) {
        self.operand(mask, Ty::Mask);
        let ty = self.used(on).unwrap_or(Ty::F32);
        self.require(ty != Ty::Mask, Rule::Types, || format!("{on} is a mask"));
        self.operand(off, ty);
        self.define_as(dst, ty);
    }

    fn check_access(&mut self, at: &Address, elem: Elem, stride: u32, count: u32) {
        let lanes = self.kernel.lanes;
        self.require((1..=lanes).contains(&count), Rule::LaneCount, || {
            format!("found {count} of {lanes} lanes")
        });
        let bytes = i64::from(elem.bytes());
        let offset = &at.offset;
        let factors = offset.terms.iter().map(|(_, factor)| *factor);
        for part in factors.chain([offset.base]) {
            self.require(part % bytes == 0, Rule::Aligned, || {
                format!("{part} is no multiple of {bytes}")
            });
        }
        let range = self.range_of(offset);
        let Some(buffer) = self.kernel.buffers.get(at.buffer) else {
            self.report(Rule::BufferDeclared, format!("there is no {}", at.buffer));
            return;
        };
        let Some(range) = range.filter(|_| !self.dead) else { return };
        // From the first lane's first byte to the last lane's last.
        let extent = i128::from(count.saturating_sub(1)) * i128::from(stride) + i128::from(bytes);
        let size = i128::from(buffer.bytes);
        self.require(range.lo >= 0, Rule::InBounds, || {
            let end = range.lo.saturating_add(extent);
            format!("bytes {}..{end} start before {} (0..{size})", range.lo, at.buffer)
        });
        self.require(range.hi.saturating_add(extent) <= size, Rule::InBounds, || {
            let end = range.hi.saturating_add(extent);
            format!("bytes {}..{end} pass the end of {} (0..{size})", range.hi, at.buffer)
        });
    }

    // Loops.

    fn check_loop(
        &mut self,
        var: IndexId,
        [begin, end]: [&Bound; 2],
        carried: &[Carried],
        body: &'k [Inst],
    ) {
        let span = match (self.bound(begin), self.bound(end)) {
            (Some(begin), Some(end)) => Interval::new(begin.lo, end.hi - 1).ok_or(begin.lo),
            (None, _) | (_, None) => Err(0),
        };
        for c in carried {
            self.used(c.init);
        }
        if self.path.len() > MAX_DEPTH {
            self.report(Rule::Depth, format!("found {} loops inside each other", self.path.len()));
            return;
        }
        let outer = (self.scope.len(), self.dead);
        self.dead |= span.is_err();
        self.open(var, span.unwrap_or_else(Interval::point));
        carried.iter().for_each(|c| self.define(c.param));
        self.check_body(body);
        for c in carried {
            self.used(c.next);
        }
        for value in self.scope.split_off(outer.0) {
            self.values[value.index()] = State::Past;
        }
        self.dead = outer.1;
        if let Some(state @ State::Visible(_)) = self.indices.get_mut(var.index())
            && self.kernel.indices.get(var) == Some(&Index::Loop)
        {
            *state = State::Past;
        }
        for c in carried {
            self.define(c.result);
            self.check_carried(c);
        }
    }

    fn open(&mut self, var: IndexId, span: Interval) {
        match (self.kernel.indices.get(var), self.indices.get(var.index())) {
            (Some(Index::Loop), Some(State::Ahead)) => {
                self.indices[var.index()] = State::Visible(span);
            }
            (Some(Index::Loop), _) => {
                self.report(Rule::LoopIndex, format!("{var} is the variable of another loop"));
            }
            (Some(Index::Scalar { .. } | Index::RangeBegin { .. } | Index::RangeEnd { .. }), _) => {
                self.report(Rule::LoopIndex, format!("{var} is a parameter"));
            }
            (None, _) => self.report(Rule::LoopIndex, format!("there is no {var}")),
        }
    }

    fn check_carried(&mut self, c: &Carried) {
        let values = [c.param, c.init, c.next, c.result];
        let types = values.map(|v| self.kernel.values.get(v));
        let one = types.iter().all(|ty| *ty == types[0]);
        self.require(one, Rule::CarriedTypes, || {
            let names = types.map(|ty| ty.map_or("?", |ty| ty.name()));
            format!("param, init, next and result are {}", names.join(", "))
        });
    }

    /// The interval of a loop bound, where it has one.
    fn bound(&mut self, bound: &Bound) -> Option<Interval> {
        match bound {
            Bound::Const(value) => {
                self.require(*value <= MAX_I32, Rule::LoopBound, || format!("found {value}"));
                Some(Interval::point(*value))
            }
            Bound::Scalar(index) => {
                let interval = self.parameter(*index)?;
                self.require(interval.lo >= 0, Rule::LoopBound, || {
                    format!("{index} may be {}", interval.lo)
                });
                Some(interval)
            }
            Bound::Clamp { scalar, minus, lo, hi } => {
                self.require(lo <= hi && *hi <= MAX_I32, Rule::LoopBound, || {
                    format!("found a clamp to {lo}..={hi}")
                });
                let (minus, scalar) = (self.range_of(minus), self.parameter(*scalar));
                Some(scalar?.minus(minus?).clamped(*lo, *hi))
            }
        }
    }

    /// The interval of a scalar parameter; anything else is reported.
    fn parameter(&mut self, index: IndexId) -> Option<Interval> {
        let declared = self.kernel.indices.get(index);
        let parameter = declared.is_some_and(|declared| *declared != Index::Loop);
        self.require(parameter, Rule::LoopBound, || format!("{index} is no parameter"));
        self.interval(index).filter(|_| parameter)
    }

    // Values and indices.

    /// Reports a use that is not of a visible value; the value's type if it has one.
    fn used(&mut self, value: ValueId) -> Option<Ty> {
        let found = match self.values.get(value.index()) {
            Some(State::Visible(())) => return self.kernel.values.get(value).copied(),
            Some(State::Ahead) => "is not defined yet",
            Some(State::Past) => "is of a loop that was left",
            None => "is not a value of the kernel",
        };
        self.report(Rule::DefinedBefore, format!("{value} {found}"));
        self.kernel.values.get(value).copied()
    }

    fn operand(&mut self, value: ValueId, expected: Ty) {
        if let Some(found) = self.used(value) {
            self.require(found == expected, Rule::Types, || {
                format!("{value} is {found}, expected {expected}")
            });
        }
    }

    fn define(&mut self, value: ValueId) {
        match self.values.get_mut(value.index()) {
            Some(state @ State::Ahead) => {
                *state = State::Visible(());
                self.scope.push(value);
            }
            Some(State::Visible(()) | State::Past) => {
                self.report(Rule::DefinedOnce, format!("{value} is defined twice"));
            }
            None => self.report(Rule::DefinedOnce, format!("there is no {value}")),
        }
    }

    fn define_as(&mut self, value: ValueId, expected: Ty) {
        if let Some(found) = self.kernel.values.get(value).copied() {
            self.require(found == expected, Rule::Types, || {
                format!("{value} is {found}, expected {expected}")
            });
        }
        self.define(value);
    }

    fn interval(&self, index: IndexId) -> Option<Interval> {
        match self.indices.get(index.index()) {
            Some(State::Visible(interval)) => Some(*interval),
            Some(State::Ahead | State::Past) | None => None,
        }
    }

    /// Checks the form of an expression; what it can be, where all its indices are visible.
    fn range_of(&mut self, affine: &Affine) -> Option<Interval> {
        let ascending = affine.terms.is_sorted_by(|(a, _), (b, _)| a < b);
        self.require(ascending, Rule::AffineForm, || format!("{affine} is not ascending"));
        let zero = affine.terms.iter().any(|(_, factor)| *factor == 0);
        self.require(!zero, Rule::AffineForm, || format!("{affine} has a factor of 0"));
        match bounds::range_of(affine, |index| self.interval(index)) {
            Ok(range) => {
                self.require(range.magnitude <= MAX_MAGNITUDE, Rule::AffineForm, || {
                    format!("{affine} has terms up to {}", range.magnitude)
                });
                Some(range.interval)
            }
            Err(index) => {
                self.report(Rule::IndexVisible, format!("{index} is not visible here"));
                None
            }
        }
    }
}

/// `i32::MAX`, the greatest size, count and bound.
const MAX_I32: u32 = i32::MAX.unsigned_abs();
