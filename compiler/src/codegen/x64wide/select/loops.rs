//! Loops: a bottom-tested block, a counter that falls where nobody asks for the variable.

use super::address::Key;
use super::uses::has_no_loop;
use super::{IndexValue, Scope, Selector, Slot};
use crate::codegen::x64wide::code::{Condition, GENERAL, Part};
use crate::codegen::x64wide::forms::Form;
use crate::id::Id;
use crate::vir::{Bound, Carried, IndexId, Inst, ValueId};
use regalloc2::{Block, VReg};

/// A number, or a register with it.
type Number = Result<i64, VReg>;

/// What goes round in a loop beside the carried values.
struct Round {
    /// Iterations to come, or the variable.
    count: VReg,
    /// The end of the variable; none where iterations are counted down.
    end: Option<Number>,
    /// Pointers that are stepped: params and bytes.
    pointers: Vec<(VReg, i64)>,
}

impl<'k> Selector<'k> {
    /// The body once for each value of the variable.
    pub(super) fn unrolled(
        &mut self,
        var: IndexId,
        (begin, end): (u32, u32),
        carried: &'k [Carried],
        body: &'k [Inst],
    ) {
        if end.saturating_sub(begin) > 1 {
            self.flush(None);
        }
        let mut round: Vec<ValueId> = carried.iter().map(|c| c.init).collect();
        for position in begin..end {
            self.indices[var.index()] = IndexValue::Known(position.into());
            self.pass(&round, carried.iter().map(|c| c.param));
            self.body(body);
            round = carried.iter().map(|c| c.next).collect();
        }
        self.pass(&round, carried.iter().map(|c| c.result));
        self.indices[var.index()] = IndexValue::Undefined;
    }

    /// Makes each of `to` what the value of the same place in `from` is, all at once.
    fn pass(&mut self, from: &[ValueId], to: impl Iterator<Item = ValueId>) {
        let mut slots = Vec::with_capacity(from.len());
        for value in from {
            if let Slot::Waiting(_) = self.slots[value.index()] {
                let register = self.get(*value);
                self.set(*value, register);
            }
            self.last_use(*value);
            slots.push(self.slots[value.index()]);
        }
        for (to, slot) in to.zip(slots) {
            self.alias(to, slot);
        }
    }

    /// A loop that stays one.
    pub(super) fn repeat(
        &mut self,
        var: IndexId,
        begin: &Bound,
        end: &Bound,
        carried: &'k [Carried],
        body: &'k [Inst],
    ) {
        let bounds = [begin, end];
        let (begin, end) = (self.bound(begin), self.bound(end));
        let surely_runs = match (begin, end) {
            (Ok(begin), Ok(end)) if begin >= end => {
                let inits: Vec<ValueId> = carried.iter().map(|c| c.init).collect();
                return self.pass(&inits, carried.iter().map(|c| c.result));
            }
            (Ok(_), Ok(_)) => true,
            _ => false,
        };
        self.flush(None);
        if let Some(first) = only_round(bounds) {
            return self.perhaps((begin, end), (var, first), carried, body);
        }
        let inits: Vec<VReg> = carried.iter().map(|c| self.initial(c)).collect();
        let (outer, was_inner) = (self.depth, self.is_inner);
        let skip = (!surely_runs).then(|| {
            let begin = self.in_register(begin);
            self.compare_with(begin, end);
            let [skip, enter] = [(); 2].map(|()| self.code.block(outer, false));
            self.code.branch(Condition::NotLess, skip, enter);
            self.code.enter(enter);
            skip
        });
        self.scopes.push(Scope::default());
        self.is_inner = has_no_loop(body);
        let head = self.head(var, (begin, end), carried, body, inits.clone());
        self.scopes.push(Scope::default());
        self.body(body);
        let nexts: Vec<VReg> = carried.iter().map(|c| self.get(c.next)).collect();
        self.latch(head, &nexts);
        self.scopes.truncate(self.scopes.len() - 2);
        self.waiting.clear();
        self.indices[var.index()] = IndexValue::Undefined;
        (self.depth, self.is_inner) = (outer, was_inner);
        match skip {
            None => {
                for (c, next) in carried.iter().zip(&nexts) {
                    self.set(c.result, *next);
                }
            }
            Some(skip) => self.join(skip, carried, inits, nexts),
        }
    }

    /// A loop that runs once or never, with the variable `first`: no more than a branch.
    fn perhaps(
        &mut self,
        (begin, end): (Number, Number),
        (var, first): (IndexId, i64),
        carried: &'k [Carried],
        body: &'k [Inst],
    ) {
        let inits: Vec<VReg> = carried.iter().map(|c| self.initial(c)).collect();
        let begin = self.in_register(begin);
        self.compare_with(begin, end);
        let [skip, enter] = [(); 2].map(|()| self.code.block(self.depth, false));
        self.code.branch(Condition::NotLess, skip, enter);
        self.code.enter(enter);
        self.scopes.push(Scope::default());
        self.indices[var.index()] = IndexValue::Known(first);
        for (c, init) in carried.iter().zip(&inits) {
            self.set(c.param, *init);
        }
        self.body(body);
        let nexts: Vec<VReg> = carried.iter().map(|c| self.get(c.next)).collect();
        self.scopes.pop();
        self.waiting.clear();
        self.indices[var.index()] = IndexValue::Undefined;
        self.join(skip, carried, inits, nexts);
    }

    /// What a carried value begins with, in a register of its own where it is a constant.
    fn initial(&mut self, c: &Carried) -> VReg {
        match self.slots[c.init.index()] {
            Slot::Const(bits) if self.kept(bits).is_none() => {
                self.constant(self.kernel.values[c.init], bits)
            }
            _ => self.get(c.init),
        }
    }

    /// Everything before the body: pointers, constants, the jump to the head and its params.
    fn head(
        &mut self,
        var: IndexId,
        (begin, end): (Number, Number),
        carried: &'k [Carried],
        body: &'k [Inst],
        mut passed: Vec<VReg>,
    ) -> (Block, Round) {
        let is_inner = self.is_inner;
        let needs_variable = !is_inner || asks_for(body, var);
        let moving = if is_inner {
            self.moving_pointers(body, var, &begin)
        } else {
            self.prepare_pointers(body, is_inner);
            Vec::new()
        };
        if is_inner {
            self.keep_constants(body, carried);
        }
        let first = if needs_variable { self.in_register(begin) } else { self.trips(begin, end) };
        passed.push(first);
        passed.extend(moving.iter().map(|(_, start, _)| *start));
        self.depth += 1;
        let head = self.code.block(self.depth, is_inner);
        self.code.jump(head, passed);
        let mut params: Vec<VReg> =
            carried.iter().map(|c| self.register(self.kernel.values[c.param])).collect();
        for (c, param) in carried.iter().zip(&params) {
            self.set(c.param, *param);
        }
        let count = self.code.register(GENERAL);
        params.push(count);
        self.indices[var.index()] =
            if needs_variable { IndexValue::Register(count) } else { IndexValue::Moving };
        let pointers = moving.iter().map(|_| self.code.register(GENERAL)).collect::<Vec<_>>();
        params.extend(&pointers);
        let scope = self.scopes.last_mut();
        let keys: Vec<(Key, VReg)> =
            moving.iter().zip(&pointers).map(|((key, ..), p)| (key.clone(), *p)).collect();
        if let Some(scope) = scope {
            scope.pointers.extend(keys);
        }
        let block = &mut self.code.blocks[head.index()];
        block.params = params;
        block.is_inner_head = is_inner;
        self.code.enter(head);
        let strides = moving.iter().map(|(.., stride)| *stride);
        let pointers = pointers.into_iter().zip(strides).collect();
        (head, Round { count, end: needs_variable.then_some(end), pointers })
    }

    /// The end of a round, and of the loop.
    fn latch(&mut self, (head, round): (Block, Round), nexts: &[VReg]) {
        let stepped: Vec<VReg> =
            round.pointers.iter().map(|(pointer, stride)| self.offset(*pointer, *stride)).collect();
        let count = self.code.register(GENERAL);
        let tied = Part::Tied { def: count, from: round.count };
        let more = match round.end {
            None => {
                self.code.operation(Form::Decrement, &[tied]);
                Condition::NotEqual
            }
            Some(end) => {
                self.code.operation(Form::Increment, &[tied]);
                self.compare_with(count, end);
                Condition::Less
            }
        };
        let back = self.code.block(self.depth, self.is_inner);
        let exit = self.code.block(self.depth - 1, false);
        self.code.branch(more, back, exit);
        self.code.enter(back);
        let passed = nexts.iter().copied().chain([count]).chain(stepped).collect();
        self.code.jump(head, passed);
        self.code.enter(exit);
    }

    /// The place behind a loop that may not run: reached from its end and from before it.
    fn join(&mut self, skip: Block, carried: &[Carried], inits: Vec<VReg>, nexts: Vec<VReg>) {
        let after = self.code.block(self.depth, self.is_inner);
        self.code.jump(after, nexts);
        self.code.enter(skip);
        self.code.jump(after, inits);
        let mut params = Vec::with_capacity(carried.len());
        for c in carried {
            let param = self.register(self.kernel.values[c.result]);
            self.set(c.result, param);
            params.push(param);
        }
        self.code.blocks[after.index()].params = params;
        self.code.enter(after);
    }

    fn in_register(&mut self, number: Number) -> VReg {
        number.map_or_else(|register| register, |number| self.number(number))
    }

    /// How often a loop runs that does.
    fn trips(&mut self, begin: Number, end: Number) -> VReg {
        match (begin, end) {
            (Ok(begin), Ok(end)) => self.number(end - begin),
            (Ok(begin), Err(end)) => {
                let trips = self.offset(end, -begin);
                // A register of its own: the head's param counts down.
                if begin == 0 { self.copy(trips) } else { trips }
            }
            (Err(begin), end) => {
                let end = self.in_register(end);
                let def = self.code.register(GENERAL);
                let tied = Part::Tied { def, from: end };
                self.code.operation(Form::Sub, &[tied, Part::Use(begin)]);
                def
            }
        }
    }

    fn copy(&mut self, from: VReg) -> VReg {
        let def = self.code.register(GENERAL);
        self.code.operation(Form::Move, &[Part::Def(def), Part::Use(from)]);
        def
    }

    fn compare_with(&mut self, lhs: VReg, rhs: Number) {
        let (form, rhs) = match rhs {
            Ok(number) if i8::try_from(number).is_ok() => {
                (Form::CompareByte, Part::Immediate(number))
            }
            Ok(number) if i32::try_from(number).is_ok() => {
                (Form::Compare32, Part::Immediate(number))
            }
            Ok(number) => (Form::Compare, Part::Use(self.number(number))),
            Err(register) => (Form::Compare, Part::Use(register)),
        };
        self.code.operation(form, &[Part::Use(lhs), rhs]);
    }

    /// The value of a bound.
    fn bound(&mut self, bound: &Bound) -> Number {
        match bound {
            Bound::Const(number) => Ok(i64::from(*number)),
            Bound::Scalar(index) => self.index_source(*index).map_err(|part| self.moved(part)),
            Bound::Clamp { scalar, minus, lo, hi } => {
                let (lo, hi) = (i64::from(*lo), i64::from(*hi));
                let minus = self.affine(minus);
                let scalar = self.index_source(*scalar).map_err(|part| self.moved(part));
                let difference = match (scalar, minus) {
                    (Ok(scalar), Ok(minus)) => return Ok(scalar.wrapping_sub(minus).clamp(lo, hi)),
                    (Err(scalar), Ok(minus)) => self.offset(scalar, minus.wrapping_neg()),
                    (scalar, Err(minus)) => {
                        let scalar = self.in_register(scalar);
                        let def = self.code.register(GENERAL);
                        let tied = Part::Tied { def, from: scalar };
                        self.code.operation(Form::Sub, &[tied, Part::Use(minus)]);
                        def
                    }
                };
                let raised = self.limited(difference, lo, Form::MoveIfLess);
                Err(self.limited(raised, hi, Form::MoveIfGreater))
            }
        }
    }

    fn moved(&mut self, part: Part) -> VReg {
        match part {
            Part::Use(register) => register,
            other => {
                let def = self.code.register(GENERAL);
                self.code.operation(Form::Move, &[Part::Def(def), other]);
                def
            }
        }
    }

    /// `limit` in place of what is less or greater than it.
    fn limited(&mut self, from: VReg, limit: i64, form: Form) -> VReg {
        let limit_register = self.number(limit);
        self.compare_with(from, Ok(limit));
        let def = self.code.register(GENERAL);
        self.code.operation(form, &[Part::Tied { def, from }, Part::Use(limit_register)]);
        def
    }
}

/// The variable of a loop whose bounds leave it one round at most.
fn only_round([begin, end]: [&Bound; 2]) -> Option<i64> {
    let least = match begin {
        Bound::Const(least) | Bound::Clamp { lo: least, .. } => *least,
        Bound::Scalar(_) => return None,
    };
    match end {
        Bound::Clamp { hi, .. } if *hi <= least.saturating_add(1) => Some(least.into()),
        _ => None,
    }
}

/// Whether a body asks for the number that a loop's variable is, and not only for addresses.
fn asks_for(body: &[Inst], var: IndexId) -> bool {
    let has = |terms: &[(IndexId, i64)]| terms.iter().any(|(index, _)| *index == var);
    body.iter().any(|inst| match inst {
        Inst::Index { index, .. } => has(&index.terms),
        Inst::Loop { begin, end, body, .. } => {
            let bound = |bound: &Bound| match bound {
                Bound::Clamp { minus, .. } => has(&minus.terms),
                Bound::Const(_) | Bound::Scalar(_) => false,
            };
            bound(begin) || bound(end) || asks_for(body, var)
        }
        _ => false,
    })
}
