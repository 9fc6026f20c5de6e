//! Constants: a memory operand behind the code, or a register around an inner loop with room.
//!
//! An operand in memory costs a load at each use, and loads are what an inner loop has few of; a
//! register that is missing costs more. So the registers that a body needs at most are counted,
//! and its constants are kept in those that are left.

use super::uses::{operands, result, unrolled};
use super::{Selector, Slot};
use crate::codegen::x64wide::Width;
use crate::codegen::x64wide::code::Part;
use crate::codegen::x64wide::forms::Form;
use crate::id::Id;
use crate::vir::{Carried, Inst, Ty, UnaryOp, ValueId};
use regalloc2::VReg;
use std::collections::{BTreeMap, BTreeSet};

/// Registers left for what one instruction is made of.
const SPARE: usize = 3;

/// What finite f16 are unpacked with: the bits kept, and 2^112.
pub(super) const F16_KEEP: u32 = 0x8fff_e000;
pub(super) const F16_RESCALE: u32 = 0x7780_0000;

impl<'k> Selector<'k> {
    /// A constant in a new register, or in the one that a loop keeps it in.
    pub(super) fn constant(&mut self, ty: Ty, bits: u32) -> VReg {
        if ty == Ty::Mask && self.width == Width::Zmm {
            let mask = self.register(ty);
            let form = if bits == 0 { Form::MaskNone } else { Form::MaskAll };
            self.emit(form, mask, &[Part::Again, Part::Again]);
            return mask;
        }
        self.kept(bits).unwrap_or_else(|| self.made_constant(bits))
    }

    /// A constant in a new register.
    pub(super) fn made_constant(&mut self, bits: u32) -> VReg {
        if bits == 0 {
            return self.made(Form::Zero, &[Part::Again, Part::Again]);
        }
        let id = self.code.constant(bits.to_le_bytes().to_vec());
        self.made(Form::BroadcastPs, &[Part::Pool { id, for_every_lane: false }])
    }

    /// A constant as a last operand.
    pub(super) fn constant_source(&mut self, bits: u32) -> Part {
        if let Some(kept) = self.kept(bits) {
            return Part::Use(kept);
        }
        if bits == 0 {
            return Part::Use(self.made_constant(0));
        }
        let for_every_lane = self.width == Width::Zmm;
        let copies = if for_every_lane { 1 } else { self.width.lanes() };
        self.vector_source(&vec![bits; copies as usize], for_every_lane)
    }

    /// Lanes that are known as a last operand.
    pub(super) fn vector_source(&mut self, lanes: &[u32], for_every_lane: bool) -> Part {
        let bytes = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        Part::Pool { id: self.code.constant(bytes), for_every_lane }
    }

    /// The register that a loop around keeps a constant in.
    pub(super) fn kept(&self, bits: u32) -> Option<VReg> {
        self.scopes.iter().rev().find_map(|scope| scope.constants.get(&bits).copied())
    }

    /// Before an inner loop: keeps as many of its constants as there is room for, those that are
    /// used most first.
    pub(super) fn keep_constants(&mut self, body: &'k [Inst], carried: &[Carried]) {
        let mut uses = BTreeMap::new();
        self.constants_of(body, &mut uses);
        let mut inside = BTreeSet::new();
        let mut through = BTreeSet::new();
        self.outside(body, &mut inside, &mut through);
        let kept: BTreeSet<usize> =
            self.scopes.iter().flat_map(|s| s.constants.values()).map(|v| v.vreg()).collect();
        let needed = through.len() + kept.len() + pressure(body, carried, &mut BTreeSet::new());
        let registers = self.width.registers();
        let room = registers.saturating_sub(needed + SPARE);
        let mut wanted: Vec<(u32, u32)> =
            uses.into_iter().map(|(bits, uses)| (uses, bits)).collect();
        wanted.sort_unstable_by_key(|(uses, bits)| (u32::MAX - uses, *bits));
        for (_, bits) in wanted.into_iter().take(room) {
            if self.kept(bits).is_none() {
                let register = self.made_constant(bits);
                if let Some(scope) = self.scopes.last_mut() {
                    scope.constants.insert(bits, register);
                }
            }
        }
    }

    /// How often a body uses which constants.
    fn constants_of(&self, body: &[Inst], uses: &mut BTreeMap<u32, u32>) {
        let mut own: BTreeMap<ValueId, u32> = BTreeMap::new();
        for inst in body {
            if let Inst::Const { dst, bits } = inst
                && self.kernel.values[*dst] != Ty::Mask
            {
                own.insert(*dst, *bits);
            }
            operands(inst, |v| {
                let outer = match self.slots[v.index()] {
                    Slot::Const(bits) if self.kernel.values[v] != Ty::Mask => Some(bits),
                    _ => None,
                };
                if let Some(bits) = own.get(&v).copied().or(outer) {
                    *uses.entry(bits).or_default() += 1;
                }
            });
            if let Inst::Unary { op: UnaryOp::FiniteF16ToF32, .. } = inst {
                *uses.entry(F16_KEEP).or_default() += 1;
                *uses.entry(F16_RESCALE).or_default() += 1;
            }
            self.constants_of(inst.body(), uses);
        }
    }

    /// The values that a body uses from outside of it, in registers.
    fn outside(&self, body: &[Inst], inside: &mut BTreeSet<ValueId>, used: &mut BTreeSet<usize>) {
        for inst in body {
            if let Inst::Loop { carried, .. } = inst {
                inside.extend(carried.iter().flat_map(|c| [c.param, c.result]));
            }
            self.outside(inst.body(), inside, used);
            operands(inst, |v| {
                if let (false, Slot::Register(register)) =
                    (inside.contains(&v), self.slots[v.index()])
                {
                    used.insert(register.vreg());
                }
            });
            inside.extend(result(inst));
        }
    }
}

/// Most values that a body holds at once, those from outside left out. Loads that are used once
/// are not held: they become operands.
fn pressure(body: &[Inst], carried: &[Carried], held: &mut BTreeSet<ValueId>) -> usize {
    let mut last: BTreeMap<ValueId, usize> = BTreeMap::new();
    let mut count: BTreeMap<ValueId, u32> = BTreeMap::new();
    for (at, inst) in body.iter().enumerate() {
        all_operands(inst, &mut |v| {
            last.insert(v, at);
            *count.entry(v).or_default() += 1;
        });
    }
    for c in carried {
        last.insert(c.next, body.len());
        *count.entry(c.next).or_default() += 1;
        held.insert(c.param);
    }
    let mut most = held.len();
    for (at, inst) in body.iter().enumerate() {
        if let (Inst::Loop { carried, body, .. }, Some(_)) = (inst, unrolled(inst)) {
            let mut inner = held.clone();
            most = most.max(pressure(body, carried, &mut inner));
            held.extend(carried.iter().map(|c| c.result));
        }
        held.retain(|v| last.get(v).is_none_or(|last| *last > at));
        let is_operand = matches!(inst, Inst::Load { dst, .. } | Inst::Splat { dst, .. }
            if count.get(dst).copied().unwrap_or(0) <= 1);
        if !is_operand && !matches!(inst, Inst::Const { .. }) {
            held.extend(result(inst).filter(|v| last.contains_key(v)));
        }
        most = most.max(held.len());
    }
    most
}

/// Operands of an instruction and of all inside it.
fn all_operands(inst: &Inst, see: &mut impl FnMut(ValueId)) {
    operands(inst, &mut *see);
    for inner in inst.body() {
        all_operands(inner, see);
    }
}
