//! The weights of a source, packed as a plan wants them, and the tables beside them.

use super::EngineError;
use crate::packed::PackedError;
use crate::source::{GgufWeights, SourceError, Weights};
use deepthin_compiler::pack::{PackError, PackedTensor, pack_watched, tables};
use deepthin_compiler::pipeline::Lowered;
use deepthin_compiler::weights::RandomWeights;
use deepthin_dsl::Model;
use deepthin_runtime::memory::Region;
use deepthin_runtime::session::Constants;
use deepthin_runtime::shown::Shown;
use std::ops::ControlFlow;

/// What sessions of a lowered model share: its packed weights, and tables. `watch` sees how many
/// bytes, of how many, are drawn, read or computed, and may stop.
///
/// # Errors
/// As [`image`].
pub fn constants(
    weights: Weights,
    model: &Model,
    lowered: &Lowered,
    threads: usize,
    watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Constants, EngineError> {
    let plan = &lowered.plan;
    let packed = plan.weight_bytes();
    let total = packed.saturating_add(plan.table_bytes());
    let image = image(weights, model, lowered, threads, &mut |done, _| watch(done, total))?;
    let mut tables = Region::new("tables", plan.regions.tables)?;
    let mut watch = |done: u64| watch(packed.saturating_add(done), total);
    let filled = tables::fill(&plan.tables, tables.bytes_mut(), threads, &mut watch);
    match filled {
        ControlFlow::Continue(()) => Ok(Constants { image, tables }),
        ControlFlow::Break(()) => Err(EngineError::Stopped),
    }
}

/// The packed weights of a lowered model, on `threads` threads: made anew, or mapped from a packed
/// file. `watch` sees how many bytes, of how many, are drawn or read, and may stop.
///
/// # Errors
/// Weights that are missing, wrong or not finite; no memory; [`EngineError::Stopped`].
pub fn image(
    weights: Weights,
    model: &Model,
    lowered: &Lowered,
    threads: usize,
    watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Region, EngineError> {
    let tensors = &lowered.plan.image;
    let new = || Region::in_large_pages("weights", lowered.plan.regions.image);
    match weights {
        Weights::Gguf(weights) => {
            let mut image = new()?;
            pack_file(*weights, tensors, &mut image, threads, watch)?;
            Ok(image)
        }
        Weights::Packed(packed) => {
            let total = lowered.plan.regions.image;
            let mapped = packed.map(&lowered.plan, threads, &mut |done| watch(done, total));
            mapped.map_err(|error| match error {
                PackedError::Stopped => EngineError::Stopped,
                error => SourceError::from(error).into(),
            })
        }
        Weights::Random(seed) => {
            let mut image = new()?;
            let weights = RandomWeights::new(&lowered.plain, seed).on_threads(threads);
            let packed = pack_watched(tensors, &weights, image.bytes_mut(), threads, watch);
            packed.map_err(|cause| match cause {
                PackError::Stopped => EngineError::Stopped,
                cause => EngineError::Pack { origin: format!("random weights {seed}"), cause },
            })?;
            Ok(image)
        }
        Weights::None => Err(EngineError::NoWeights { model: model.name.clone() }),
    }
}

/// Packs a file's weights. Whether the file could be read, and stayed as it was, is asked before
/// what was found in it: what is wrong with half a file is no news.
fn pack_file(
    weights: GgufWeights,
    tensors: &[PackedTensor],
    image: &mut Region,
    threads: usize,
    watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let path = weights.gguf().path().to_path_buf();
    let packed =
        pack_watched(tensors, &weights, image.bytes_mut(), threads, watch).map_err(|cause| {
            let place = match cause {
                PackError::NonFinite { block, role, row, group } => {
                    weights.place(block, role, row, group).zip(Some(group))
                }
                PackError::Stopped => return EngineError::Stopped,
                PackError::Missing { .. }
                | PackError::Mismatch { .. }
                | PackError::Memory(_)
                | PackError::Image { .. } => None,
            };
            match place {
                Some((place, group)) => EngineError::NonFinite { path: path.clone(), place, group },
                None => EngineError::Pack { origin: Shown(&path).to_string(), cause },
            }
        });
    weights.finish().map_err(SourceError::from)?;
    packed
}
