//! Whether a model fits: its KV cache in what a kernel addresses, all of it in memory.

use super::EngineError;
use crate::memory::Available;
use deepthin_compiler::lower::{CHUNK, CacheLayout};
use deepthin_dsl::Model;
use deepthin_runtime::program::Regions;

/// Most bytes of one buffer of a kernel: rule V-03 of specs/vir.md.
pub(super) const MAX_CACHE_BYTES: u32 = i32::MAX.unsigned_abs();

/// Refuses a context whose keys or values of one layer no kernel can address.
pub(super) fn check_cache(model: &Model, context: u32, described: bool) -> Result<(), EngineError> {
    let kv = model.storage.kv_cache.into();
    let (kv_heads, head_dim) = (model.block.kv_heads, model.block.head_dim);
    let layout = |context| CacheLayout { kv, kv_heads, head_dim, context };
    let bytes = layout(context).largest_bytes();
    if bytes <= u64::from(MAX_CACHE_BYTES) {
        return Ok(());
    }
    // A chunk of positions is the least that a cache has room for.
    let fits = u64::from(MAX_CACHE_BYTES) / layout(CHUNK).largest_bytes().max(1) * u64::from(CHUNK);
    Err(EngineError::Context { context, bytes, described, fits })
}

const MIB: u64 = 1 << 20;

/// Compares what a session with a cache of `context` positions will touch with what the system can
/// give.
///
/// # Errors
/// [`EngineError::TooLarge`], with what would fit.
pub fn check_memory(regions: &Regions, context: u32, threads: usize) -> Result<(), EngineError> {
    let scratch = regions.scratch.saturating_mul(threads as u64);
    let work = regions.arena.saturating_add(regions.logits).saturating_add(scratch);
    let fixed = regions.image.saturating_add(work);
    let growing = regions.kv.saturating_add(regions.tables);
    let needed = fixed.saturating_add(growing);
    let Some(available) = Available::now().filter(|available| available.bytes < needed) else {
        return Ok(());
    };
    let per_position = growing / u64::from(context.max(1));
    let room = available.bytes.saturating_sub(fixed);
    Err(EngineError::TooLarge {
        needed: needed.div_ceil(MIB),
        weights: regions.image.div_ceil(MIB),
        kv: regions.kv.div_ceil(MIB),
        context,
        work: work.saturating_add(regions.tables).div_ceil(MIB),
        available: available.bytes / MIB,
        bound: available.bound,
        fits: room.checked_div(per_position).unwrap_or(0) / u64::from(CHUNK) * u64::from(CHUNK),
    })
}
