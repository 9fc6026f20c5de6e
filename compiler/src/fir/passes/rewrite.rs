//! What the passes share: who defines and reads a value, and putting a function together again
//! with dense numbers.

use super::super::{Epilogue, Func, Op, ValueId, WeightId};
use crate::id::{Arena, Id};

/// Definitions and reads of one function's values, as of its construction.
pub(super) struct Facts {
    /// By value: index of the defining op, and how often the value is read or returned.
    entries: Vec<(Option<usize>, usize)>,
}

impl Facts {
    pub(super) fn of(func: &Func) -> Self {
        let mut facts = Facts { entries: vec![(None, 0); func.values.len()] };
        for (at, op) in func.ops.iter().enumerate() {
            for value in op.outputs() {
                if let Some(entry) = facts.entries.get_mut(value.index()) {
                    entry.0 = Some(at);
                }
            }
            op.inputs().into_iter().for_each(|value| facts.read(value));
        }
        facts.read(func.result);
        facts
    }

    fn read(&mut self, value: ValueId) {
        if let Some(entry) = self.entries.get_mut(value.index()) {
            entry.1 += 1;
        }
    }

    /// The op that defines `value`, with its index.
    pub(super) fn definition<'f>(&self, func: &'f Func, value: ValueId) -> Option<(usize, &'f Op)> {
        let at = self.entries.get(value.index())?.0?;
        Some((at, func.ops.get(at)?))
    }

    /// Whether `value` is read once in all: then its reader may swallow its definition.
    pub(super) fn read_once(&self, value: ValueId) -> bool {
        self.entries.get(value.index()).is_some_and(|entry| entry.1 == 1)
    }
}

/// A product without anything fused in.
pub(super) struct PlainLinear {
    pub(super) at: usize,
    pub(super) x: ValueId,
    pub(super) weight: WeightId,
}

/// The plain product that defines `value`, where `value` has no reader but the one asking.
pub(super) fn swallowed_linear(func: &Func, facts: &Facts, value: ValueId) -> Option<PlainLinear> {
    let (at, op) = facts.definition(func, value).filter(|_| facts.read_once(value))?;
    let Op::Linear { x, norm: None, weights, epilogue: Epilogue::Store { .. } } = op else {
        return None;
    };
    match weights.as_slice() {
        [weight] => Some(PlainLinear { at, x: *x, weight: *weight }),
        _ => None,
    }
}

/// Replaces the ops at the indices of `swallowed` by `fused`, put in the place of index `at`.
/// Indices keep their meaning until [`rebuild`], so several rewrites may follow each other.
pub(super) fn replace(ops: &mut [Option<Op>], swallowed: &[usize], at: usize, fused: Op) {
    for index in swallowed {
        if let Some(slot) = ops.get_mut(*index) {
            *slot = None;
        }
    }
    if let Some(slot) = ops.get_mut(at) {
        *slot = Some(fused);
    }
}

/// The ops of a function in slots, for [`replace`].
pub(super) fn slots(func: &Func) -> Vec<Option<Op>> {
    func.ops.iter().cloned().map(Some).collect()
}

/// Puts the ops that are left into `func` and numbers values densely in order of definition.
/// Values that nothing defines any more are dropped.
pub(super) fn rebuild(func: &mut Func, ops: Vec<Option<Op>>) {
    func.ops = ops.into_iter().flatten().collect();
    let mut number: Vec<Option<ValueId>> = vec![None; func.values.len()];
    let mut values = Arena::new();
    let definitions = func.ops.iter().flat_map(Op::outputs);
    for old in func.param.into_iter().chain(definitions) {
        if let (Some(slot @ None), Some(value)) =
            (number.get_mut(old.index()), func.values.get(old))
        {
            *slot = Some(values.push(*value));
        }
    }
    let renumber = |value: &mut ValueId| {
        // A value that nothing defines gets a number beyond the arena, as wrong as before.
        *value = number
            .get(value.index())
            .copied()
            .flatten()
            .unwrap_or_else(|| ValueId::from_index(usize::MAX));
    };
    func.ops.iter_mut().flat_map(Op::values_mut).for_each(renumber);
    func.param.iter_mut().for_each(renumber);
    renumber(&mut func.result);
    func.values = values;
}
