//! The rules of instructions and loops: types, memory, bounds.

use super::{MAX_DEPTH, MAX_I32, State, Verifier};
use crate::id::Id;
use crate::vir::bounds::Interval;
use crate::vir::{Access, Address, Bound, Carried, Elem, Index, IndexId, Inst, Rule, Ty, ValueId};

impl<'k> Verifier<'k> {
    pub(super) fn check_body(&mut self, body: &'k [Inst]) {
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
                    format!("found {bits:#x}, expected 0 or 1")
                });
                self.define(*dst);
            }
            Inst::Iota { dst } => self.define_as(*dst, Ty::I32),
            Inst::Index { dst, index } => {
                if let Some(range) = self.range_of(index) {
                    let fits = self.dead || range.within(i32::MIN, i32::MAX);
                    self.require(fits, Rule::IndexFits, || {
                        format!("{index} is {}..={}, expected i32", range.lo, range.hi)
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
                    format!("found {stride}, expected a positive multiple of {}", elem.bytes())
                });
                if let Some(buffer) = self.kernel.buffers.get(at.buffer) {
                    self.require(buffer.access != Access::Read, Rule::Writable, || {
                        format!("{} (`{}`) is declared read", at.buffer, buffer.name)
                    });
                }
                self.check_access(at, *elem, *stride, *count);
            }
            Inst::Prefetch { at, .. } => self.check_place(at),
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
                self.require(*amount <= 31, Rule::ShiftAmount, || {
                    format!("found {amount}, expected 0 to 31")
                });
                self.operand(*src, Ty::I32);
                self.define_as(*dst, Ty::I32);
            }
            Inst::Fma { dst, a, b, c } => {
                [a, b, c].into_iter().for_each(|v| self.operand(*v, Ty::F32));
                self.define_as(*dst, Ty::F32);
            }
            Inst::Dot4 { dst, u8s, s8s, acc } => {
                [u8s, s8s, acc].into_iter().for_each(|v| self.operand(*v, Ty::I32));
                self.define_as(*dst, Ty::I32);
            }
            Inst::Compare { dst, op, lhs, rhs } => {
                self.operand(*lhs, op.operand_ty());
                self.operand(*rhs, op.operand_ty());
                self.define_as(*dst, Ty::Mask);
            }
            Inst::Select { dst, mask, on, off } => self.check_select(*dst, *mask, *on, *off),
            Inst::Reduce { dst, op, src } => {
                self.operand(*src, op.ty());
                self.define_as(*dst, op.ty());
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

    /// Checks a place that nothing is read from or written to: it may lie anywhere.
    fn check_place(&mut self, at: &Address) {
        self.range_of(&at.offset);
        let is_known = self.kernel.buffers.get(at.buffer).is_some();
        self.require(is_known, Rule::BufferDeclared, || format!("there is no {}", at.buffer));
    }

    fn check_access(&mut self, at: &Address, elem: Elem, stride: u32, count: u32) {
        let lanes = self.kernel.lanes;
        self.require((1..=lanes).contains(&count), Rule::LaneCount, || {
            format!("found {count} lanes, expected 1 to {lanes}")
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
            self.report(
                Rule::Depth,
                format!(
                    "found {} loops in each other, expected at most {MAX_DEPTH}",
                    self.path.len()
                ),
            );
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
                self.require(*value <= MAX_I32, Rule::LoopBound, || {
                    format!("found {value}, expected at most {MAX_I32}")
                });
                Some(Interval::point(*value))
            }
            Bound::Scalar(index) => {
                let interval = self.parameter(*index)?;
                self.require(interval.lo >= 0, Rule::LoopBound, || {
                    format!("{index} may be {}, expected 0 or more", interval.lo)
                });
                Some(interval)
            }
            Bound::Clamp { scalar, minus, lo, hi } => {
                self.require(lo <= hi && *hi <= MAX_I32, Rule::LoopBound, || {
                    format!("found a clamp to {lo}..={hi}, expected lo <= hi <= {MAX_I32}")
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
        self.require(parameter, Rule::LoopBound, || {
            format!("{index} is no parameter of the kernel")
        });
        self.interval(index).filter(|_| parameter)
    }
}
