//! Counting what kernels contain, so that tests can tell what they did not test.

use std::collections::BTreeMap;

use deepthin_compiler::vir::{
    Affine, BinaryOp, Bound, CompareOp, Elem, Inst, Kernel, ReduceOp, ShiftOp, Ty, UnaryOp,
};

/// How often what a generated kernel can contain was seen.
#[derive(Default)]
pub(super) struct Features(BTreeMap<&'static str, u32>);

impl Features {
    pub(super) fn add(&mut self, kernel: &Kernel) {
        self.add_body(kernel, &kernel.body, 0);
    }

    fn see(&mut self, feature: &'static str, seen: bool) {
        *self.0.entry(feature).or_default() += u32::from(seen);
    }

    fn add_body(&mut self, kernel: &Kernel, body: &[Inst], depth: usize) {
        let mut made = BTreeMap::new();
        for inst in body {
            self.see(inst.name(), true);
            match inst {
                Inst::Const { dst, .. } => {
                    self.see("mask constant", kernel.values[*dst] == Ty::Mask);
                    made.insert(*dst, inst.name());
                }
                Inst::Binary { dst, .. } | Inst::Shift { dst, .. } => {
                    made.insert(*dst, inst.name());
                }
                Inst::Dot4 { u8s, s8s, .. } => {
                    let by = |value| made.get(value).copied().unwrap_or_default();
                    self.see("dot4 of masked bytes", by(u8s) == "iand");
                    self.see("dot4 of shifted bytes", ["shl", "shr", "sar"].contains(&by(u8s)));
                    self.see("dot4 by constant bytes", by(s8s) == "const");
                    self.see("dot4 in a loop", depth > 0);
                }
                Inst::Load { count, at, elem, .. } => {
                    self.see("partial load", *count < kernel.lanes);
                    self.see("load of one lane", *count == 1);
                    self.see("load of u16", *elem == Elem::U16);
                    let is_byte = *elem == Elem::S8;
                    self.see("whole load of s8", is_byte && *count == kernel.lanes);
                    self.see("partial load of s8", is_byte && *count < kernel.lanes);
                    self.see_offset(&at.offset);
                }
                Inst::Splat { at, elem, .. } => {
                    self.see("splat of u16", *elem == Elem::U16);
                    self.see("splat of s8", *elem == Elem::S8);
                    self.see_offset(&at.offset);
                }
                Inst::Store { .. } => self.see_store(kernel, inst),
                Inst::Loop { begin, end, carried, body, .. } => {
                    for bound in [begin, end] {
                        self.see_bound(bound);
                    }
                    self.see(
                        "loop without iteration",
                        match (begin, end) {
                            (Bound::Const(begin), Bound::Const(end)) => begin >= end,
                            _ => false,
                        },
                    );
                    self.see("loop in loops", depth == 2);
                    self.see("two carried values", carried.len() == 2);
                    let params: Vec<_> = carried.iter().map(|c| c.param).collect();
                    self.see(
                        "carried swap",
                        carried.iter().any(|c| c.next != c.param && params.contains(&c.next)),
                    );
                    self.see(
                        "carried mask",
                        carried.iter().any(|c| kernel.values[c.param] == Ty::Mask),
                    );
                    self.add_body(kernel, body, depth + 1);
                }
                _ => {}
            }
        }
    }

    fn see_store(&mut self, kernel: &Kernel, inst: &Inst) {
        let Inst::Store { at, elem: stored, stride, count, .. } = inst else { return };
        let strided = *stride != stored.bytes();
        self.see("partial store", *count < kernel.lanes);
        self.see("strided store", strided);
        let is_whole = !strided && *count == kernel.lanes;
        for (elem, whole, part, apart) in [
            (Elem::U16, "whole store of u16", "partial store of u16", "strided store of u16"),
            (Elem::S8, "whole store of s8", "partial store of s8", "strided store of s8"),
        ] {
            let of = elem == *stored;
            self.see(whole, of && is_whole);
            self.see(part, of && *count < kernel.lanes);
            self.see(apart, of && strided);
        }
        self.see_offset(&at.offset);
    }

    fn see_offset(&mut self, offset: &Affine) {
        self.see("constant offset", offset.terms.is_empty());
        self.see("two terms", offset.terms.len() == 2);
        self.see("negative factor", offset.terms.iter().any(|(_, factor)| *factor < 0));
    }

    fn see_bound(&mut self, bound: &Bound) {
        match bound {
            Bound::Const(_) => self.see("constant bound", true),
            Bound::Scalar(_) => self.see("scalar bound", true),
            Bound::Clamp { minus, .. } => {
                self.see("clamped bound", true);
                self.see("clamped bound of an index", !minus.terms.is_empty());
            }
        }
    }

    #[track_caller]
    pub(super) fn assert_instructions(&self, least: u32) {
        for name in instructions() {
            let seen = self.0.get(name).copied().unwrap_or(0);
            assert!(seen >= least, "`{name}` was seen {seen} times, expected {least}");
        }
    }

    /// Asserts that every feature that was ever looked for was seen.
    #[track_caller]
    pub(super) fn assert_all(&self, least: u32) {
        for (feature, seen) in &self.0 {
            assert!(*seen >= least, "{feature} was seen {seen} times, expected {least}");
        }
    }
}

/// The words of all instructions.
pub(super) fn instructions() -> impl Iterator<Item = &'static str> {
    let plain = [
        "const", "iota", "index", "load", "splat", "store", "prefetch", "fma", "dot4", "select",
        "loop",
    ];
    plain
        .into_iter()
        .chain(UnaryOp::ALL.iter().map(|op| op.name()))
        .chain(BinaryOp::ALL.iter().map(|op| op.name()))
        .chain(ShiftOp::ALL.iter().map(|op| op.name()))
        .chain(CompareOp::ALL.iter().map(|op| op.name()))
        .chain(ReduceOp::ALL.iter().map(|op| op.name()))
}
