//! Pointers of a kernel's addresses, each computed once in the outermost loop that can.
//!
//! An address is `buffer + Σ index * stride + constant`. All addresses of a scope that differ in
//! the constant alone share one pointer; the constant becomes the instruction's displacement.
//! On entry to a scope the pointers of everything inside are computed as far as the visible
//! indices go, so that an inner loop adds its own variable's part and nothing else.

use super::{Emitter, PointerMap};
use crate::id::Id;
use crate::vir::{Address, Affine, BufferId, IndexId, Inst};
use cranelift_codegen::ir::{InstBuilder, Value, types};

/// A pointer's buffer and variable part.
pub(super) type Key = (BufferId, Vec<(IndexId, i64)>);

/// The pointers of the open scopes, outermost first.
#[derive(Default)]
pub(super) struct Pointers {
    scopes: Vec<PointerMap>,
}

impl Pointers {
    fn find(&self, key: &Key) -> Option<Value> {
        self.scopes.iter().rev().find_map(|scope| scope.get(key).copied())
    }
}

impl Emitter<'_, '_> {
    /// Computes the pointers that `body` needs and that outer scopes could not know.
    pub(super) fn enter_scope(&mut self, body: &[Inst], var: Option<IndexId>) {
        self.pointers.scopes.push(PointerMap::new());
        let mut keys = Vec::new();
        collect(body, &mut keys);
        for (buffer, terms) in keys {
            let visible: Vec<(IndexId, i64)> =
                terms.into_iter().filter(|(i, _)| self.indices[i.index()].is_some()).collect();
            self.pointer((buffer, visible), var);
        }
    }

    pub(super) fn leave_scope(&mut self) {
        self.pointers.scopes.pop();
    }

    /// The pointer of `key`, from the scopes or computed here: the outer part plus the part of
    /// the scope's own variable where that outer part is at hand.
    fn pointer(&mut self, key: Key, var: Option<IndexId>) -> Value {
        if let Some(pointer) = self.pointers.find(&key) {
            return pointer;
        }
        let (buffer, terms) = &key;
        let outer: Vec<_> = terms.iter().copied().filter(|(i, _)| Some(*i) != var).collect();
        let mut pointer = self.buffers[buffer.index()];
        let mut rest = terms.clone();
        if outer.len() < terms.len()
            && let Some(known) = self.pointers.find(&(*buffer, outer))
        {
            pointer = known;
            rest.retain(|(i, _)| Some(*i) == var);
        }
        for (index, stride) in rest {
            let part = self.scaled(index, stride);
            pointer = self.fb.ins().iadd(pointer, part);
        }
        if let Some(scope) = self.pointers.scopes.last_mut() {
            scope.insert(key, pointer);
        }
        pointer
    }

    fn scaled(&mut self, index: IndexId, stride: i64) -> Value {
        let value = self.index(index);
        if stride > 0 && stride.count_ones() == 1 {
            self.fb.ins().ishl_imm_u(value, i64::from(stride.trailing_zeros()))
        } else {
            self.fb.ins().imul_imm_s(value, stride)
        }
    }

    /// Pointer and displacement of an address.
    pub(super) fn address(&mut self, at: &Address) -> (Value, i32) {
        let pointer = self.pointer((at.buffer, at.offset.terms.clone()), None);
        match i32::try_from(at.offset.base) {
            Ok(displacement) => (pointer, displacement),
            Err(_) => {
                let base = self.fb.ins().iconst(types::I64, at.offset.base);
                (self.fb.ins().iadd(pointer, base), 0)
            }
        }
    }

    /// The value of an index expression, as a 64-bit integer.
    pub(super) fn affine(&mut self, affine: &Affine) -> Value {
        let mut sum = self.fb.ins().iconst(types::I64, affine.base);
        for &(index, factor) in &affine.terms {
            let part = self.scaled(index, factor);
            sum = self.fb.ins().iadd(sum, part);
        }
        sum
    }
}

/// All pointer keys below `body`, in order of appearance.
fn collect(body: &[Inst], keys: &mut Vec<Key>) {
    for inst in body {
        if let Some((_, at)) = inst.access() {
            let key = (at.buffer, at.offset.terms.clone());
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        collect(inst.body(), keys);
    }
}
