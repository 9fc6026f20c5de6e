//! Quantizing a model: which storage its tensors get, and what became of them.

use std::collections::BTreeMap;

use deepthin_compiler::fir::Formats;
use deepthin_compiler::fir::formats::tensor_name;
use deepthin_compiler::format::Format;
use deepthin_compiler::quantize::{Stored, TensorKey};
use deepthin_dsl::Model;
use deepthin_dsl::model::TensorStorage;
use serde::Serialize;
use thiserror::Error;

use crate::import::nearest;

/// Storage of blocks where none is named: 5 bits a weight.
pub const BLOCKS: &str = "q4g32m";

/// Storage of the table and the head where none is named: 6.25 bits a weight.
pub const EMBEDDINGS: &str = "q6g64";

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
            let group = format.group(deepthin_compiler::format::BLOCK);
            return Err(Misfit { format, class, columns, group });
        }
    }
    Ok(Formats::uniform(model.depth, blocks, embeddings))
}

/// Storage as a description says it.
pub fn described(format: Format) -> TensorStorage {
    nearest(format)
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
