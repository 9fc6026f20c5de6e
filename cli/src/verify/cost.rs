//! How many instructions a call runs: counted without running it, so that the interpreter's time
//! can be chosen.

use deepthin_compiler::id::Id;
use deepthin_compiler::vir::{Affine, Bound, IndexId, Inst, Kernel};

/// Instructions that a call with these scalars runs, those of every iteration counted; `None` where
/// they are more than `limit`.
pub fn steps(kernel: &Kernel, scalars: &[i64], limit: u64) -> Option<u64> {
    let mut indices = scalars.to_vec();
    indices.resize(kernel.indices.len(), 0);
    let mut count = Count { indices, left: limit };
    count.body(&kernel.body, 1)?;
    Some(limit - count.left)
}

struct Count {
    indices: Vec<i64>,
    left: u64,
}

impl Count {
    /// Counts a body that runs `times` times with the indices as they are.
    fn body(&mut self, body: &[Inst], times: u64) -> Option<()> {
        for inst in body {
            self.left = self.left.checked_sub(times)?;
            let Inst::Loop { var, begin, end, body, .. } = inst else { continue };
            let (begin, end) = (self.bound(begin), self.bound(end));
            if begin >= end {
                continue;
            }
            if bounds_depend(body, *var) {
                for position in begin..end {
                    // Every iteration costs, so that a long loop reaches the limit.
                    self.left = self.left.checked_sub(times)?;
                    self.set(*var, position);
                    self.body(body, times)?;
                }
            } else {
                let iterations = end.abs_diff(begin);
                self.left = self.left.checked_sub(times.checked_mul(iterations)?)?;
                self.body(body, times.checked_mul(iterations)?)?;
            }
        }
        Some(())
    }

    fn set(&mut self, index: IndexId, value: i64) {
        if let Some(entry) = self.indices.get_mut(index.index()) {
            *entry = value;
        }
    }

    fn index(&self, index: IndexId) -> i64 {
        self.indices.get(index.index()).copied().unwrap_or(0)
    }

    fn bound(&self, bound: &Bound) -> i64 {
        match bound {
            Bound::Const(value) => i64::from(*value),
            Bound::Scalar(index) => self.index(*index),
            Bound::Clamp { scalar, minus, lo, hi } => {
                let distance = self.index(*scalar).saturating_sub(self.affine(minus));
                distance.max(i64::from(*lo)).min(i64::from(*hi))
            }
        }
    }

    fn affine(&self, affine: &Affine) -> i64 {
        affine.terms.iter().fold(affine.base, |sum, (index, factor)| {
            sum.saturating_add(self.index(*index).saturating_mul(*factor))
        })
    }
}

/// Whether a loop somewhere in `body` has bounds that depend on `var`.
fn bounds_depend(body: &[Inst], var: IndexId) -> bool {
    let depends = |bound: &Bound| match bound {
        Bound::Clamp { minus, .. } => minus.terms.iter().any(|(index, _)| *index == var),
        Bound::Const(_) | Bound::Scalar(_) => false,
    };
    body.iter().any(|inst| match inst {
        Inst::Loop { begin, end, body, .. } => {
            depends(begin) || depends(end) || bounds_depend(body, var)
        }
        _ => false,
    })
}
