//! Quantizing a model: which storage its tensors get, and what became of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use deepthin_compiler::dequant::dequantize_row;
use deepthin_compiler::fir::formats::tensor_name;
use deepthin_compiler::fir::{self, Formats};
use deepthin_compiler::format::{BLOCK, Bits, Codes, Format, Group};
use deepthin_compiler::pack::{PackError, pack_watched};
use deepthin_compiler::pipeline::{CompileError, Lowered};
use deepthin_compiler::quantize::{Importance, Requantized, Stored, TensorKey};
use deepthin_compiler::weights::{RandomWeights, WeightSource};
use deepthin_dsl::Model;
use deepthin_dsl::model::TensorStorage;
use deepthin_runtime::memory::Region;
use deepthin_runtime::shown::Shown;
use half::{bf16, f16};
use serde::Serialize;
use thiserror::Error;

use crate::engine::EngineError;
use crate::import::nearest;
use crate::source::{GgufWeights, Source, SourceError, Weights};

/// Storage of blocks where none is named: 5 bits a weight.
pub const BLOCKS: Format = Format::Codes(Codes::own(Bits::Four, Group::Of32, true));

/// Storage of the table and the head where none is named: 6.25 bits a weight.
pub const EMBEDDINGS: Format = Format::Codes(Codes::own(Bits::Six, Group::Of64, false));

/// The same where groups of 64 do not divide a row: 6.5 bits a weight.
const NARROW_EMBEDDINGS: Format = Format::Codes(Codes::own(Bits::Six, Group::Of32, false));

/// Storage of a model's blocks, and of its table and head, where none is named.
pub fn usual(model: &Model) -> [Format; 2] {
    let whole = EMBEDDINGS.divides(model.width as usize);
    [BLOCKS, if whole { EMBEDDINGS } else { NARROW_EMBEDDINGS }]
}

/// Rows that a format's groups do not divide.
#[derive(Debug, Error)]
#[error(
    "{format} cannot store the {class}: found rows of {columns} elements, expected multiples of \
     {group}"
)]
pub struct Misfit {
    /// The format.
    pub format: Format,
    /// Which tensors.
    pub class: &'static str,
    /// Elements of a row.
    pub columns: u32,
    /// Elements of a group, or of a block where a row is one group.
    pub group: usize,
}

impl Misfit {
    /// What the user can do about it.
    pub fn fix(&self) -> &'static str {
        match (self.columns as usize).is_multiple_of(BLOCK) {
            true => "choose groups that divide them: g32, or row",
            false => "store them in f16, bf16 or f32: groups are whole blocks of 32",
        }
    }
}

/// The formats of a model whose blocks and whose table and head are stored alike.
///
/// # Errors
/// Rows that are no whole groups.
pub fn formats(model: &Model, blocks: Format, embeddings: Format) -> Result<Formats, Misfit> {
    let block = &model.block;
    let of_blocks = [model.width, block.heads * block.head_dim, block.ffn_hidden];
    let rows = of_blocks.into_iter().map(|columns| ("blocks", blocks, columns));
    for (class, format, columns) in rows.chain([("embeddings", embeddings, model.width)]) {
        if !format.divides(columns as usize) {
            let group = format.group(BLOCK);
            return Err(Misfit { format, class, columns, group });
        }
    }
    Ok(Formats::uniform(model.depth, blocks, embeddings))
}

/// Storage as a description says it.
pub fn described(format: Format) -> TensorStorage {
    nearest(format)
}

/// The packed weights of a lowered model whose formats are others than those of its source, and
/// what became of each tensor. `watch` sees how many bytes, of how many, are done, and may stop.
///
/// # Errors
/// As [`engine::image`](crate::engine::image); a weight that its new storage does not hold; a packed file, which is in its layout already.
pub fn image(
    source: Source,
    importance: &Importance,
    lowered: &Lowered,
    threads: usize,
    watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(Region, BTreeMap<TensorKey, Stored>), EngineError> {
    let Source { model, formats, weights, .. } = source;
    let mut image = Region::in_large_pages("weights", lowered.plan.regions.image)?;
    let mut pack = |weights: &dyn WeightSource| {
        let requantized = Requantized::new(weights, &formats, importance, threads);
        let tensors = &lowered.plan.image;
        let packed = pack_watched(tensors, &requantized, image.bytes_mut(), threads, watch);
        packed.map(|()| requantized.stored())
    };
    let stored = match weights {
        Weights::Gguf(weights) => {
            let stored = pack(&*weights).map_err(|cause| told(&weights, &formats, cause));
            weights.finish().map_err(SourceError::from)?;
            stored?
        }
        Weights::Random(seed) => {
            let whole = Formats::uniform(model.depth, Format::F32, Format::F32);
            let graph = fir::build(&model, &whole).map_err(CompileError::from)?;
            let weights = RandomWeights::new(&graph, seed).on_threads(threads);
            pack(&weights).map_err(|cause| match cause {
                PackError::Stopped => EngineError::Stopped,
                cause => EngineError::Pack { origin: format!("random weights {seed}"), cause },
            })?
        }
        Weights::Packed(packed) => {
            return Err(EngineError::Packed { path: packed.gguf().path().to_path_buf() });
        }
        Weights::None => return Err(EngineError::NoWeights { model: model.name }),
    };
    Ok((image, stored))
}

/// Why a file's weights were not packed in other formats. A row that cannot be packed has a weight
/// that is not finite, which lies in another group of the file, or one that its format cannot hold.
fn told(weights: &GgufWeights, formats: &Formats, cause: PackError) -> EngineError {
    let path = weights.gguf().path().to_path_buf();
    let found = match cause {
        PackError::NonFinite { block, role, row, .. } => {
            unstorable(weights, formats, (block, role), row)
        }
        PackError::Stopped => return EngineError::Stopped,
        PackError::Missing { .. }
        | PackError::Mismatch { .. }
        | PackError::Memory(_)
        | PackError::Image { .. } => None,
    };
    found.unwrap_or_else(|| EngineError::Pack { origin: Shown(&path).to_string(), cause })
}

/// What is wrong with a row of a file's weights; `None` where it cannot be read again.
fn unstorable(
    weights: &GgufWeights,
    formats: &Formats,
    (block, role): TensorKey,
    row: u32,
) -> Option<EngineError> {
    let path = weights.gguf().path().to_path_buf();
    let tensor = weights.tensor(block, role)?;
    let columns = tensor.columns as usize;
    let bytes = tensor.format.row_bytes(columns)?;
    let stored = tensor.bytes.chunks_exact(bytes).nth(row as usize)?;
    let elements = dequantize_row(tensor.format, stored).ok()?;
    if let Some(element) = elements.iter().position(|w| !w.is_finite()) {
        let group = u32::try_from(element / tensor.format.group(columns).max(1)).ok()?;
        let place = weights.place(block, role, row, group)?;
        return Some(EngineError::NonFinite { path, place, group });
    }
    let place = weights.place(block, role, row, 0)?;
    let format = formats.get(block, role)?;
    let limit = if format == Format::F16 { f16::MAX.to_f32() } else { bf16::MAX.to_f32() };
    let most = elements.iter().fold(0.0, |most: f32, w| most.max(w.abs()));
    Some(EngineError::Beyond { path, place, most, limit, format })
}

/// One tensor, or all of one role and storage, as it was stored.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The tensor, or the role of several.
    pub tensor: String,
    /// How many.
    pub tensors: usize,
    /// Storage before.
    pub from: String,
    /// Storage now.
    pub to: String,
    /// Weights.
    pub weights: u64,
    /// Bits of a weight now.
    pub bits: f64,
    /// Root of the sum of squared errors over that of squared weights, each weighted by the
    /// importance of its column.
    pub relative_error: f64,
}

/// A line for each tensor.
pub fn each(stored: &BTreeMap<TensorKey, Stored>) -> Vec<Line> {
    let line = |(key, stored): (&TensorKey, &Stored)| of(tensor_name(key.0, key.1), &[*stored]);
    stored.iter().filter(|(key, _)| !key.1.is_gain()).filter_map(line).collect()
}

/// A line for each role and storage.
pub fn by_role(stored: &BTreeMap<TensorKey, Stored>) -> Vec<Line> {
    let mut roles = BTreeMap::<_, Vec<Stored>>::new();
    for ((_, role), stored) in stored.iter().filter(|(key, _)| !key.1.is_gain()) {
        roles.entry((*role, stored.from, stored.to)).or_default().push(*stored);
    }
    roles.into_iter().filter_map(|((role, ..), all)| of(role.to_string(), &all)).collect()
}

fn of(tensor: String, all: &[Stored]) -> Option<Line> {
    let [first, ..] = all else { return None };
    let weights: u64 = all.iter().map(|s| u64::from(s.rows) * u64::from(s.columns)).sum();
    let bytes = |s: &Stored| s.to.row_bytes(s.columns as usize).unwrap_or(0) as f64;
    let bits: f64 = all.iter().map(|s| 8.0 * bytes(s) * f64::from(s.rows)).sum();
    let (error, power) =
        all.iter().fold((0.0, 0.0), |(error, power), s| (error + s.error, power + s.power));
    let total = Stored { error, power, ..*first };
    Some(Line {
        tensor,
        tensors: all.len(),
        from: first.from.to_string(),
        to: first.to.to_string(),
        weights,
        bits: bits / (weights as f64).max(1.0),
        relative_error: total.relative_error(),
    })
}
