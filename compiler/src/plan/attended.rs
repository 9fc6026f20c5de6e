//! What becomes of what attention gives: the products that read it merge it, where a token is by
//! itself.
//!
//! Then threads leave what each chunk of positions gave, in one place for all steps, until the next
//! attention. There is no vector of heads in memory; only a product's input can be merged from parts.

use super::PlanError;
use crate::fir::{Func, Op, ValueId};
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
    let mut attended: Vec<ValueId> = Vec::new();
    for op in &func.ops {
        // The first input of a product, if that is what the last attention gave.
        let merged = usize::from(matches!(op, Op::Linear { x, .. } if attended.last() == Some(x)));
        let others = &op.inputs()[merged..];
        if let Some(value) = others.iter().find(|value| attended.contains(value)) {
            return Err(read_elsewhere(func, *value));
        }
        if let Op::Attention { out, .. } = op {
            attended.push(*out);
        }
    }
    match attended.contains(&func.result) {
        true => Err(read_elsewhere(func, func.result)),
        false => Ok(()),
    }
}

fn read_elsewhere(func: &Func, value: ValueId) -> PlanError {
    PlanError::Attended { func: func.name.clone(), value: value.to_string() }
}
