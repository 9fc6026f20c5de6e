//! What becomes of what attention gives: the products that read it merge it, where a token is by
//! itself.
//!
//! Then threads leave what each chunk of positions gave, in one place for all steps, until the next
//! attention. There is no vector of heads in memory; only a product's input can be merged from parts.

use super::PlanError;
use crate::fir::{Epilogue, Func, Op, ValueId};
use crate::lower::{CacheLayout, Merge};

/// The heads that a product merges whose input is `x`; `None` where that is a vector in any pass.
pub(super) fn merged(func: &Func, x: ValueId, cache: Option<CacheLayout>) -> Option<Merge> {
    func.ops.iter().find_map(|op| match op {
        Op::Attention { out, shape, .. } if *out == x => {
            let chunks = cache?.chunks();
            Some(Merge { heads: shape.heads, head_dim: shape.head_dim, chunks })
        }
        _ => None,
    })
}

/// Refuses functions where something else than a product reads what attention gives, or a product
/// does behind the next attention.
pub(super) fn check(func: &Func) -> Result<(), PlanError> {
    let mut earlier: Vec<ValueId> = Vec::new();
    let mut latest = None;
    for op in &func.ops {
        let is_merged = |value: &ValueId| match op {
            Op::Linear { x, epilogue, .. } => {
                let is_added =
                    matches!(epilogue, Epilogue::Residual { residual, .. } if residual == value);
                Some(*value) == latest && x == value && !is_added
            }
            _ => false,
        };
        let attended = |value: &ValueId| earlier.contains(value) || latest == Some(*value);
        if let Some(value) = op.inputs().iter().find(|value| attended(value) && !is_merged(value)) {
            return Err(read_elsewhere(func, *value));
        }
        if let Op::Attention { out, .. } = op {
            earlier.extend(latest.replace(*out));
        }
    }
    match earlier.iter().chain(&latest).find(|value| **value == func.result) {
        Some(value) => Err(read_elsewhere(func, *value)),
        None => Ok(()),
    }
}

fn read_elsewhere(func: &Func, value: ValueId) -> PlanError {
    PlanError::Attended { func: func.name.clone(), value: value.to_string() }
}
