//! The rules on one op whose ids are good: arity, numbers, and widths recomputed from scratch.

use super::super::{Epilogue, Func, HeadShape, NormSpec, Op, Role, RopeSpec, ValueId, Weight};
use super::{Findings, Rule};
use crate::fir::WeightId;

/// Checks F-06 to F-09 on op `at` of `func`, whose ids all lie in the arenas.
pub(super) fn check(func: &Func, at: usize, op: &Op, found: &mut Findings) {
    let mut check = OpCheck { func, at, found };
    match op {
        Op::Embed { table, out } => {
            check.role(*table, |role| role == Role::TokenEmbedding, "the embedding table");
            check.width(*out, check.weight(*table).columns.into());
        }
        Op::Norm { x, norm, out } => {
            check.norm(norm, *x);
            check.same(*out, *x);
        }
        Op::Linear { x, norm, weights, epilogue } => {
            if let Some(norm) = norm {
                check.norm(norm, *x);
            }
            check.linear(*x, weights, epilogue);
        }
        Op::Rope { x, rope, heads, out } => {
            check.rope(rope);
            check.width(*x, u64::from(*heads) * u64::from(rope.head_dim));
            check.same(*out, *x);
        }
        Op::KvAppend { k, v, head_dim, .. } => {
            check.head_dim(*head_dim);
            check.whole_heads(*k, *head_dim);
            check.same(*v, *k);
        }
        Op::Attention { q, shape, out, .. } => {
            check.heads(shape);
            check.width(*q, u64::from(shape.heads) * u64::from(shape.head_dim));
            check.same(*out, *q);
        }
        Op::Glu { gate, up, out } => {
            check.same(*up, *gate);
            check.same(*out, *gate);
        }
        Op::Add { a, b, out } => {
            check.same(*b, *a);
            check.same(*out, *a);
        }
    }
}

struct OpCheck<'a> {
    func: &'a Func,
    at: usize,
    found: &'a mut Findings,
}

impl<'a> OpCheck<'a> {
    fn report(&mut self, rule: Rule, message: String) {
        self.found.at_op(rule, self.func, self.at, message);
    }

    /// A weight whose id F-01 has found good.
    fn weight(&self, id: WeightId) -> &'a Weight {
        &self.func.weights[id]
    }

    fn width_of(&self, value: ValueId) -> u64 {
        u64::from(self.func.values[value].width)
    }

    fn role(&mut self, id: WeightId, fits: impl Fn(Role) -> bool, what: &str) {
        let role = self.weight(id).role;
        if !fits(role) {
            self.report(Rule::ROLE, format!("{id} is {role}, expected {what}"));
        }
    }

    fn width(&mut self, value: ValueId, expected: u64) {
        let found = self.width_of(value);
        if found != expected {
            self.report(Rule::WIDTH, format!("{value} has width {found}, expected {expected}"));
        }
    }

    fn same(&mut self, value: ValueId, like: ValueId) {
        self.width(value, self.width_of(like));
    }

    fn norm(&mut self, norm: &NormSpec, x: ValueId) {
        self.role(norm.gain, Role::is_gain, "a gain");
        self.width(x, self.weight(norm.gain).columns.into());
        if !(norm.eps.is_finite() && norm.eps >= 0.0) {
            self.report(Rule::NUMBERS, format!("eps is {:?}, expected 0 or more", norm.eps));
        }
    }

    fn rope(&mut self, rope: &RopeSpec) {
        self.head_dim(rope.head_dim);
        if !(rope.theta.is_finite() && rope.theta > 0.0) {
            self.report(Rule::NUMBERS, format!("theta is {:?}, expected more than 0", rope.theta));
        }
    }

    fn head_dim(&mut self, head_dim: u32) {
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            let message = format!("head_dim is {head_dim}, expected an even number above 0");
            self.report(Rule::NUMBERS, message);
        }
    }

    /// A vector of heads side by side.
    fn whole_heads(&mut self, value: ValueId, head_dim: u32) {
        let width = self.width_of(value);
        if !width.is_multiple_of(u64::from(head_dim.max(1))) {
            let message = format!("{value} has width {width}, expected whole heads of {head_dim}");
            self.report(Rule::WIDTH, message);
        }
    }

    fn heads(&mut self, shape: &HeadShape) {
        self.head_dim(shape.head_dim);
        let HeadShape { heads, kv_heads, .. } = *shape;
        if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            let message = format!("{kv_heads} key heads do not divide {heads} query heads");
            self.report(Rule::NUMBERS, message);
        }
    }

    /// A product: arity by epilogue, then each matrix against x and the results.
    fn linear(&mut self, x: ValueId, weights: &[WeightId], epilogue: &Epilogue) {
        for weight in weights {
            let not_gain = |role: Role| !role.is_gain();
            self.role(*weight, not_gain, "a matrix");
            self.width(x, self.weight(*weight).columns.into());
        }
        let rows: Vec<u64> = weights.iter().map(|w| self.weight(*w).rows.into()).collect();
        match (epilogue, rows.as_slice()) {
            (Epilogue::Store { out }, [_, ..]) if out.len() == rows.len() => {
                for (value, rows) in out.iter().zip(rows) {
                    self.width(*value, rows);
                }
            }
            (Epilogue::Residual { residual, out }, [rows]) => {
                self.width(*residual, *rows);
                self.width(*out, *rows);
            }
            (Epilogue::Glu { out }, [gate, up]) => {
                self.width(*out, *gate);
                self.width(*out, *up);
            }
            (Epilogue::RopeAppend { shape, rope, q, .. }, [query, key, value]) => {
                self.rope_append(shape, rope, *q, [*query, *key, *value]);
            }
            (Epilogue::Store { out }, _) => self.arity(weights.len(), out.len().max(1)),
            (Epilogue::Residual { .. }, _) => self.arity(weights.len(), 1),
            (Epilogue::Glu { .. }, _) => self.arity(weights.len(), 2),
            (Epilogue::RopeAppend { .. }, _) => self.arity(weights.len(), 3),
        }
    }

    fn arity(&mut self, found: usize, expected: usize) {
        let message = format!("weights: {found}, the epilogue takes {expected}");
        self.report(Rule::ARITY, message);
    }

    fn rope_append(&mut self, shape: &HeadShape, rope: &RopeSpec, q: ValueId, rows: [u64; 3]) {
        self.heads(shape);
        self.rope(rope);
        if rope.head_dim != shape.head_dim {
            let message =
                format!("heads of {} turned as heads of {}", shape.head_dim, rope.head_dim);
            self.report(Rule::NUMBERS, message);
        }
        let width = |heads: u32| u64::from(heads) * u64::from(shape.head_dim);
        let (q_width, kv_width) = (width(shape.heads), width(shape.kv_heads));
        self.width(q, q_width);
        for (found, expected) in rows.into_iter().zip([q_width, kv_width, kv_width]) {
            if found != expected {
                let message = format!("a matrix of {found} rows, its heads have {expected}");
                self.report(Rule::WIDTH, message);
            }
        }
    }
}
