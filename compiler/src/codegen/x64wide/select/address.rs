//! Addresses: pointers that move with an inner loop, made before it; constants as displacements.
//!
//! An address is `buffer + Σ index * stride + constant`. Addresses that differ in the constant
//! alone share a pointer. Inside an inner loop a pointer whose sum has the loop's variable is
//! carried round and stepped by its stride, so that the loop multiplies nothing. Everything else
//! is computed before the loop that needs it, from the nearest pointer around, and forgotten
//! behind it: tables and scalars are read again where they are needed, which costs less than a
//! register for the whole kernel.

use super::uses::address;
use super::{IndexValue, Selector};
use crate::codegen::x64wide::code::{GENERAL, Part, Place};
use crate::codegen::x64wide::forms::Form;
use crate::id::Id;
use crate::vir::{Address, Affine, BufferId, IndexId, Inst};
use regalloc2::VReg;

/// A pointer's buffer, the terms of its sum that are not known, and the part of the constant that
/// is too large for a displacement.
pub(super) type Key = (BufferId, Vec<(IndexId, i64)>, i64);

/// Constants up to here are displacements; an access behind them reaches less than as far again.
const NEAR: i64 = 1 << 30;

impl<'k> Selector<'k> {
    /// The key of an address, and its displacement.
    fn key(&self, at: &Address) -> (Key, i32) {
        let mut constant = at.offset.base;
        let mut terms = Vec::with_capacity(at.offset.terms.len());
        for &(index, factor) in &at.offset.terms {
            match self.indices[index.index()] {
                IndexValue::Known(value) => {
                    constant = constant.wrapping_add(value.wrapping_mul(factor));
                }
                _ => terms.push((index, factor)),
            }
        }
        match i32::try_from(constant) {
            Ok(near) if i64::from(near).abs() < NEAR => ((at.buffer, terms, 0), near),
            _ => ((at.buffer, terms, constant), 0),
        }
    }

    /// The place of an address.
    pub(super) fn place(&mut self, at: &Address) -> Place {
        let (key, displacement) = self.key(at);
        Place { base: self.pointer(key), displacement }
    }

    /// The pointer of a key, from the scopes or made here.
    fn pointer(&mut self, key: Key) -> VReg {
        if let Some(known) = self.find(&key) {
            return known;
        }
        let pointer = self.made_pointer(&key);
        if let Some(scope) = self.scopes.last_mut() {
            scope.pointers.insert(key, pointer);
        }
        pointer
    }

    fn find(&self, key: &Key) -> Option<VReg> {
        self.scopes.iter().rev().find_map(|scope| scope.pointers.get(key).copied())
    }

    /// The nearest pointer that is there, and what is missing added to it.
    fn made_pointer(&mut self, (buffer, terms, far): &Key) -> VReg {
        let alike = self.scopes.iter().rev().find_map(|scope| {
            let mut pointers = scope.pointers.iter();
            pointers.find(|((b, t, _), _)| b == buffer && t == terms && !t.is_empty())
        });
        if let Some(((.., other), pointer)) = alike {
            let (pointer, further) = (*pointer, far.wrapping_sub(*other));
            return self.offset(pointer, further);
        }
        for missing in 1..=terms.len() {
            // Inner variables have the greater numbers: what is missing is at the end.
            let (known, rest) = terms.split_at(terms.len() - missing);
            if known.is_empty() {
                break;
            }
            if let Some(pointer) = self.find(&(*buffer, known.to_vec(), *far)) {
                return rest.iter().fold(pointer, |sum, term| self.plus(sum, *term));
            }
        }
        let mut pointer = self.table_entry(self.buffers, buffer.index());
        if *far != 0 {
            let part = self.number(*far);
            pointer = self.sum(pointer, Part::Use(part));
        }
        terms.iter().fold(pointer, |sum, term| self.plus(sum, *term))
    }

    /// Entry `number` of a table.
    fn table_entry(&mut self, table: VReg, number: usize) -> VReg {
        let entry = self.code.register(GENERAL);
        let memory = Part::Memory(table_place(table, number));
        self.code.operation(Form::Move, &[Part::Def(entry), memory]);
        entry
    }

    /// `sum + index * factor` in a new register.
    fn plus(&mut self, sum: VReg, (index, factor): (IndexId, i64)) -> VReg {
        match self.indices[index.index()] {
            IndexValue::Known(value) => {
                let part = self.number(value.wrapping_mul(factor));
                self.sum(sum, Part::Use(part))
            }
            IndexValue::Scalar(number) if factor == 1 => {
                let memory = Part::Memory(table_place(self.scalars, number));
                self.sum(sum, memory)
            }
            IndexValue::Register(register) if factor == 1 => self.sum(sum, Part::Use(register)),
            _ => {
                let part = self.scaled(index, factor);
                self.sum(sum, Part::Use(part))
            }
        }
    }

    /// `lhs + rhs` in a new register.
    pub(super) fn sum(&mut self, lhs: VReg, rhs: Part) -> VReg {
        let def = self.code.register(GENERAL);
        self.code.operation(Form::Add, &[Part::Tied { def, from: lhs }, rhs]);
        def
    }

    /// An index times a factor in a new register.
    fn scaled(&mut self, index: IndexId, factor: i64) -> VReg {
        let source = match self.indices[index.index()] {
            IndexValue::Known(value) => return self.number(value.wrapping_mul(factor)),
            IndexValue::Scalar(number) => Part::Memory(table_place(self.scalars, number)),
            IndexValue::Register(register) => Part::Use(register),
            IndexValue::Moving | IndexValue::Undefined => {
                unreachable!("rule V-09, and a loop whose variable is asked for has a number")
            }
        };
        let def = self.code.register(GENERAL);
        match i32::try_from(factor) {
            Ok(1) => self.code.operation(Form::Move, &[Part::Def(def), source]),
            Ok(factor) => {
                let factor = Part::Immediate(factor.into());
                self.code.operation(Form::Multiply32, &[Part::Def(def), source, factor]);
            }
            Err(_) => {
                let from = self.number(factor);
                self.code.operation(Form::Multiply, &[Part::Tied { def, from }, source]);
            }
        }
        def
    }

    /// A number in a new register.
    pub(super) fn number(&mut self, number: i64) -> VReg {
        let def = self.code.register(GENERAL);
        let form = match (u32::try_from(number), i32::try_from(number)) {
            (Ok(_), _) => Form::MoveBits32,
            (_, Ok(_)) => Form::MoveSigned32,
            _ => Form::MoveBits64,
        };
        self.code.operation(form, &[Part::Def(def), Part::Immediate(number)]);
        def
    }

    /// An index expression: a number, or a register with its value.
    pub(super) fn affine(&mut self, affine: &Affine) -> Result<i64, VReg> {
        let mut constant = affine.base;
        let mut sum: Option<VReg> = None;
        for &(index, factor) in &affine.terms {
            if let IndexValue::Known(value) = self.indices[index.index()] {
                constant = constant.wrapping_add(value.wrapping_mul(factor));
                continue;
            }
            sum = Some(match sum {
                None => self.scaled(index, factor),
                Some(sum) => self.plus(sum, (index, factor)),
            });
        }
        match sum {
            None => Ok(constant),
            Some(sum) => Err(self.offset(sum, constant)),
        }
    }

    /// `sum + constant`.
    pub(super) fn offset(&mut self, sum: VReg, constant: i64) -> VReg {
        if constant == 0 {
            return sum;
        }
        let def = self.code.register(GENERAL);
        let tied = Part::Tied { def, from: sum };
        match (i8::try_from(constant), i32::try_from(constant)) {
            (Ok(_), _) => self.code.operation(Form::AddByte, &[tied, Part::Immediate(constant)]),
            (_, Ok(_)) => self.code.operation(Form::Add32, &[tied, Part::Immediate(constant)]),
            _ => {
                let constant = self.number(constant);
                self.code.operation(Form::Add, &[tied, Part::Use(constant)]);
            }
        }
        def
    }

    /// A scalar or loop variable as an operand; a number where it is known.
    pub(super) fn index_source(&mut self, index: IndexId) -> Result<i64, Part> {
        match self.indices[index.index()] {
            IndexValue::Known(value) => Ok(value),
            IndexValue::Scalar(number) => Err(Part::Memory(table_place(self.scalars, number))),
            IndexValue::Register(register) => Err(Part::Use(register)),
            IndexValue::Moving | IndexValue::Undefined => {
                unreachable!("rule V-18: bounds are of scalars")
            }
        }
    }

    /// The keys of all addresses in a body, as far as indices are visible from outside of it or
    /// are `inner`, the variables of loops that are written out left out.
    pub(super) fn keys(&self, body: &'k [Inst], inner: Option<IndexId>) -> Vec<Key> {
        let mut keys = Vec::new();
        self.collect(body, inner, &mut keys);
        keys
    }

    fn collect(&self, body: &'k [Inst], inner: Option<IndexId>, keys: &mut Vec<Key>) {
        for inst in body {
            if let Some(at) = address(inst) {
                let (mut key, _) = self.key(at);
                key.1.retain(|(index, _)| {
                    Some(*index) == inner
                        || !matches!(self.indices[index.index()], IndexValue::Undefined)
                });
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            self.collect(inst.body(), inner, keys);
        }
    }

    /// Before a loop: the pointers that everything inside needs, as far as indices are known.
    pub(super) fn prepare_pointers(&mut self, body: &'k [Inst], is_inner: bool) {
        for key in self.keys(body, None) {
            if is_inner || !key.1.is_empty() {
                self.pointer(key);
            }
        }
    }

    /// Before an inner loop: a pointer for each key with the loop's variable at its beginning,
    /// and the bytes by which it is stepped.
    pub(super) fn moving_pointers(
        &mut self,
        body: &'k [Inst],
        var: IndexId,
        begin: &Result<i64, VReg>,
    ) -> Vec<(Key, VReg, i64)> {
        let mut pointers = Vec::new();
        for key in self.keys(body, Some(var)) {
            let (buffer, terms, far) = &key;
            let Some(&(_, stride)) = terms.iter().find(|(index, _)| *index == var) else {
                self.pointer(key);
                continue;
            };
            let outer = terms.iter().copied().filter(|(index, _)| *index != var).collect();
            let start = self.pointer((*buffer, outer, *far));
            let start = match begin {
                Ok(begin) => self.offset(start, begin.wrapping_mul(stride)),
                Err(begin) => {
                    self.indices[var.index()] = IndexValue::Register(*begin);
                    self.plus(start, (var, stride))
                }
            };
            pointers.push((key, start, stride));
        }
        pointers
    }
}

/// Entry `number` of a table, in memory.
fn table_place(table: VReg, number: usize) -> Place {
    Place { base: table, displacement: i32::try_from(number * 8).unwrap_or(i32::MAX) }
}
