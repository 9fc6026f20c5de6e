//! The rules on one function: ids, order of definition, weights, tokens and the KV slot.

use std::fmt;

use super::super::{Epilogue, Func, HeadShape, Op, Role, ValueId};
use super::{Findings, Kind, Rule, op};
use crate::format::{Activations, BLOCK, Format, KvFormat, MOST_EXACT};
use crate::id::Id;

/// Checks F-01 to F-09 and F-11 in one function.
pub(super) fn check(func: &Func, kind: Kind, found: &mut Findings) {
    weights(func, kind, found);
    token(func, kind, found);
    let mut defined = Definitions { next: 0 };
    if let Some(param) = func.param {
        defined.define(func, None, param, found);
    }
    for (at, op) in func.ops.iter().enumerate() {
        for value in op.inputs() {
            if func.values.get(value).is_some() && !defined.contains(value) {
                found.at_op(
                    Rule::DEFINED,
                    func,
                    at,
                    format!("{value} is read before it is defined"),
                );
            }
        }
        for value in op.outputs() {
            defined.define(func, Some(at), value, found);
        }
        if ids(func, at, op, found) {
            op::check(func, at, op, found);
        }
    }
    result(func, &defined, found);
    slot(func, kind, found);
}

/// The values defined so far: those below `next`, as F-03 has them.
struct Definitions {
    next: usize,
}

impl Definitions {
    fn contains(&self, value: ValueId) -> bool {
        value.index() < self.next
    }

    fn define(&mut self, func: &Func, at: Option<usize>, value: ValueId, found: &mut Findings) {
        let next = ValueId::from_index(self.next);
        if value == next {
            self.next += 1;
            return;
        }
        let message = if self.contains(value) {
            format!("{value} is defined twice")
        } else {
            self.next = value.index().saturating_add(1);
            format!("{value} is defined where {next} comes next")
        };
        match at {
            Some(at) => found.at_op(Rule::ORDER, func, at, message),
            None => found.in_part(Rule::ORDER, &func.name, String::new(), message),
        }
    }
}

/// F-01 on an op; whether all its ids are good.
fn ids(func: &Func, at: usize, op: &Op, found: &mut Findings) -> bool {
    let values = op.inputs().into_iter().chain(op.outputs());
    let bad_values = values.filter(|v| func.values.get(*v).is_none()).map(|v| v.to_string());
    let bad_weights =
        op.weights().into_iter().filter(|w| func.weights.get(*w).is_none()).map(|w| w.to_string());
    let bad: Vec<String> = bad_values.chain(bad_weights).collect();
    for id in &bad {
        found.at_op(Rule::IDS, func, at, format!("there is no {id} in this function"));
    }
    bad.is_empty()
}

/// F-01 to F-03 on what goes in and out, and on values that nothing defines.
fn result(func: &Func, defined: &Definitions, found: &mut Findings) {
    let line = format!("return {}", func.result);
    for value in func.param.into_iter().chain([func.result]) {
        if func.values.get(value).is_none() {
            let message = format!("there is no {value} in this function");
            found.in_part(Rule::IDS, &func.name, line.clone(), message);
            return;
        }
    }
    if !defined.contains(func.result) {
        let message = format!("{} is returned but not defined", func.result);
        found.in_part(Rule::DEFINED, &func.name, line, message);
    } else if defined.next < func.values.len() {
        let message = format!("no op defines {}", ValueId::from_index(defined.next));
        found.in_part(Rule::ORDER, &func.name, String::new(), message);
    }
}

/// F-05, and F-06 as far as the function's kind goes.
fn weights(func: &Func, kind: Kind, found: &mut Findings) {
    let mut seen: Vec<Role> = Vec::new();
    for (id, weight) in func.weights.iter() {
        let line = format!(
            "{id} = {} {}[{}, {}]",
            weight.role, weight.format, weight.rows, weight.columns
        );
        let mut report = |rule, message: String| {
            found.in_part(rule, &func.name, line.clone(), message);
        };
        if weight.rows == 0 || weight.columns == 0 {
            report(Rule::WEIGHT, "a weight has at least one row and one column".to_owned());
        }
        if weight.format.row_bytes(weight.columns as usize).is_none() {
            let group = weight.format.group(BLOCK);
            report(Rule::WEIGHT, format!("groups of {group} do not divide a row"));
        }
        if let Activations::Q8(group) = weight.activations {
            let columns = weight.columns as usize;
            if weight.format.codes().is_none() {
                report(Rule::WEIGHT, "codes are multiplied with codes alone".to_owned());
            }
            if !group.divides(columns) {
                report(Rule::WEIGHT, "groups of activations do not divide a row".to_owned());
            } else if weight.activations.piece(weight.format, columns) > MOST_EXACT {
                report(Rule::WEIGHT, format!("a sum of more than {MOST_EXACT} codes"));
            }
        }
        if weight.role.is_gain() && (weight.rows != 1 || weight.format != Format::F32) {
            report(Rule::WEIGHT, "a gain is one row of f32".to_owned());
        }
        if weight.role.in_block() != (kind == Kind::Block) {
            report(Rule::ROLE, format!("`{}` does not read this tensor", func.name));
        }
        if seen.contains(&weight.role) {
            report(Rule::ROLE, "this tensor is declared twice".to_owned());
        }
        seen.push(weight.role);
    }
}

/// F-04.
fn token(func: &Func, kind: Kind, found: &mut Findings) {
    let embeds: Vec<usize> = positions(func, |op| matches!(op, Op::Embed { .. }));
    let part = &func.name;
    if kind == Kind::Embed {
        if embeds.len() != 1 {
            let message = format!("{} `embed` ops where one reads the token", embeds.len());
            found.in_part(Rule::TOKEN, part, String::new(), message);
        }
        if func.param.is_some() {
            let message = "`embed` starts from the token and has no parameter".to_owned();
            found.in_part(Rule::TOKEN, part, String::new(), message);
        }
        return;
    }
    for at in embeds {
        found.at_op(Rule::TOKEN, func, at, "only `embed` sees tokens".to_owned());
    }
    if func.param.is_none() {
        let message = "the residual stream comes in as a parameter".to_owned();
        found.in_part(Rule::TOKEN, part, String::new(), message);
    }
}

/// F-11.
fn slot(func: &Func, kind: Kind, found: &mut Findings) {
    let appends = positions(func, |op| appended(func, op).is_some());
    let attentions = positions(func, |op| matches!(op, Op::Attention { .. }));
    if kind != Kind::Block {
        for at in appends.into_iter().chain(attentions) {
            found.at_op(Rule::SLOT, func, at, "only a block has a KV slot".to_owned());
        }
        return;
    }
    for at in appends.iter().skip(1) {
        let message = "the block has already appended to its KV slot".to_owned();
        found.at_op(Rule::SLOT, func, *at, message);
    }
    for at in attentions {
        let Some(Op::Attention { shape, kv, .. }) = func.ops.get(at) else { continue };
        match appends.first().filter(|append| **append < at).and_then(|a| func.ops.get(*a)) {
            None => {
                let message = "attention before anything is appended to the KV slot".to_owned();
                found.at_op(Rule::SLOT, func, at, message);
            }
            Some(append) => {
                let (wanted, own) = (Slot::of(shape, *kv), appended(func, append));
                if let Some(own) = own.filter(|own| *own != wanted) {
                    let message = format!("attention reads {wanted}, appended are {own}");
                    found.at_op(Rule::SLOT, func, at, message);
                }
            }
        }
    }
}

fn positions(func: &Func, wanted: impl Fn(&Op) -> bool) -> Vec<usize> {
    func.ops.iter().enumerate().filter(|(_, op)| wanted(op)).map(|(at, _)| at).collect()
}

/// What a KV slot is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    /// Elements of a position's keys.
    width: u64,
    head_dim: u32,
    kv: KvFormat,
}

impl Slot {
    fn of(shape: &HeadShape, kv: KvFormat) -> Slot {
        let width = u64::from(shape.kv_heads) * u64::from(shape.head_dim);
        Slot { width, head_dim: shape.head_dim, kv }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements in heads of {} as {}", self.width, self.head_dim, self.kv)
    }
}

/// The slot that an op appends to; `None` where it appends nothing.
fn appended(func: &Func, op: &Op) -> Option<Slot> {
    match op {
        Op::KvAppend { k, head_dim, kv, .. } => {
            let width = func.values.get(*k).map_or(0, |v| u64::from(v.width));
            Some(Slot { width, head_dim: *head_dim, kv: *kv })
        }
        Op::Linear { epilogue: Epilogue::RopeAppend { shape, kv, .. }, .. } => {
            Some(Slot::of(shape, *kv))
        }
        Op::Linear { .. }
        | Op::Embed { .. }
        | Op::Norm { .. }
        | Op::Rope { .. }
        | Op::Attention { .. }
        | Op::Glu { .. }
        | Op::Add { .. } => None,
    }
}
