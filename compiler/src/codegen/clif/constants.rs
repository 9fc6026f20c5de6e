//! Constants that are worth a register: those that the straight line of a loop uses many times.
//!
//! Most constants are made where they are used, as memory operands or short moves. Integer
//! operators on vectors take no memory operand here, so a mask costs a load at each use; where a
//! body unpacks many codes, that is a third of its loads.

use super::{Emitter, Slot};
use crate::id::Id;
use crate::vir::{BinaryOp, Inst, Ty, UnaryOp, ValueId};
use cranelift_codegen::ir::Value;
use std::collections::BTreeMap;

/// Uses in one body from which on a constant is kept in a register.
const USES: u32 = 8;

/// What an f16 is unpacked with: the bits kept of it, and 2^112.
pub(super) const F16_KEEP: u32 = 0x8fff_e000;
pub(super) const F16_RESCALE: u32 = 0x7780_0000;

/// Whether it is an f32, and the bits of a lane.
type Key = (bool, u32);

/// The kept constants of the open scopes, innermost last; made at their first use.
#[derive(Default)]
pub(super) struct KeptConstants {
    scopes: Vec<BTreeMap<Key, Option<Value>>>,
}

impl Emitter<'_, '_> {
    /// Opens the scope of a body.
    pub(super) fn keep_constants(&mut self, body: &[Inst]) {
        let mut uses: BTreeMap<Key, u32> = BTreeMap::new();
        let mut used = |key: Key| *uses.entry(key).or_insert(0) += 1;
        for inst in body {
            match inst {
                Inst::Binary { op: BinaryOp::IAnd | BinaryOp::IXor, lhs, rhs, .. } => {
                    [lhs, rhs].into_iter().filter_map(|v| self.mask(body, *v)).for_each(&mut used);
                }
                Inst::Unary { op: UnaryOp::FiniteF16ToF32, .. } => {
                    used((false, F16_KEEP));
                    used((true, F16_RESCALE));
                }
                _ => {}
            }
        }
        uses.retain(|_, uses| *uses >= USES);
        self.kept.scopes.push(uses.into_keys().map(|key| (key, None)).collect());
    }

    pub(super) fn forget_constants(&mut self) {
        self.kept.scopes.pop();
    }

    /// The integer constant that a value is: known from before, or of this body.
    fn mask(&self, body: &[Inst], value: ValueId) -> Option<Key> {
        let here = || {
            body.iter().find_map(|inst| match inst {
                Inst::Const { dst, bits } if *dst == value => Some(*bits),
                _ => None,
            })
        };
        let bits = match self.values[value.index()] {
            Slot::Const(bits) => Some(bits),
            Slot::Undefined => here(),
            Slot::Value(_) => None,
        };
        Some((false, bits.filter(|bits| *bits != 0)?))
    }

    /// A constant of `ty` in every lane: the kept one, or one made here by `make`.
    pub(super) fn kept_or(
        &mut self,
        ty: Ty,
        bits: u32,
        make: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        let key = (ty == Ty::F32, bits);
        let scope = self.kept.scopes.iter().rposition(|scope| scope.contains_key(&key));
        let Some(scope) = scope.filter(|_| ty != Ty::Mask) else { return make(self) };
        if let Some(Some(known)) = self.kept.scopes[scope].get(&key) {
            return *known;
        }
        let made = make(self);
        // Only what the scope's own line makes is there for all of it.
        if scope + 1 == self.kept.scopes.len() {
            self.kept.scopes[scope].insert(key, Some(made));
        }
        made
    }
}
