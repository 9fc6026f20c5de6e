//! Offsets of a function's values in the arena, from their liveness.
//!
//! The residual stream has the first slot. A residual sum takes the slot of what it is added to
//! (that value must not be read later), so that a block function leaves its result where it
//! found its input. Other values get the first free place while they are live.

use super::PlanError;
use crate::fir::{Epilogue, Func, Op, ValueId};
use crate::id::Id;
use crate::lower::vector_bytes;

/// Byte offset of each value of a function, and where the function's values end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slots {
    /// By value; the logits of the head have none.
    offsets: Vec<Option<u64>>,
    /// Bytes of the arena that the function uses.
    pub(super) end: u64,
}

impl Slots {
    /// The offset of a value, `None` for the head's result.
    pub(super) fn offset(&self, value: ValueId) -> Option<u64> {
        self.offsets.get(value.index()).copied().flatten()
    }
}

/// Places the values of `func`, each `chunk` vectors long.
pub(super) fn assign(func: &Func, chunk: u32, is_head: bool) -> Result<Slots, PlanError> {
    let bytes = |v: ValueId| u64::from(vector_bytes(func.values[v].width)) * u64::from(chunk);
    let last_reads = last_reads(func);
    let mut slots = Slots { offsets: vec![None; func.values.len()], end: 0 };
    // (offset, end, op of the last read)
    let mut live: Vec<(u64, u64, usize)> = Vec::new();
    let stream = func.param.unwrap_or(func.result);
    slots.end = bytes(stream);
    if func.param.is_some() || !is_head {
        slots.offsets[stream.index()] = Some(0);
        live.push((0, slots.end, usize::MAX));
    }
    for (i, op) in func.ops.iter().enumerate() {
        let is_fused = match op {
            // What is only stored is logits.
            Op::Linear { epilogue: Epilogue::Store { out }, .. } => {
                is_head && *out == [func.result]
            }
            _ => op.legal_when_fused(),
        };
        if !is_fused {
            return Err(PlanError::NotFused { func: func.name.clone(), op: i });
        }
        if let Op::Linear { epilogue: Epilogue::Residual { residual, out }, .. } = op {
            if last_reads[residual.index()] > i {
                return Err(PlanError::ResidualLive {
                    func: func.name.clone(),
                    value: residual.to_string(),
                });
            }
            let offset = slots.offset(*residual);
            slots.offsets[out.index()] = offset;
            if let Some(offset) = offset {
                live.push((offset, offset + bytes(*out), last_reads[out.index()]));
            }
            continue;
        }
        for out in op.outputs() {
            let is_logits = is_head && out == func.result;
            if slots.offset(out).is_some() || is_logits {
                continue;
            }
            live.retain(|(_, _, last)| *last >= i);
            live.sort_unstable();
            let offset = first_gap(&live, bytes(out));
            slots.offsets[out.index()] = Some(offset);
            slots.end = slots.end.max(offset + bytes(out));
            live.push((offset, offset + bytes(out), last_reads[out.index()]));
        }
    }
    if !is_head && slots.offset(func.result) != Some(0) {
        return Err(PlanError::ResultElsewhere { func: func.name.clone() });
    }
    Ok(slots)
}

/// The op that reads each value last; 0 where none does. What a function returns is read behind
/// its last op.
fn last_reads(func: &Func) -> Vec<usize> {
    let mut last = vec![0; func.values.len()];
    for (i, op) in func.ops.iter().enumerate() {
        for value in op.inputs() {
            last[value.index()] = i;
        }
    }
    last[func.result.index()] = usize::MAX;
    last
}

/// The lowest offset with `bytes` free bytes; `live` is sorted.
fn first_gap(live: &[(u64, u64, usize)], bytes: u64) -> u64 {
    let mut offset = 0;
    for &(start, end, _) in live {
        if start >= offset + bytes {
            break;
        }
        offset = offset.max(end);
    }
    offset
}
