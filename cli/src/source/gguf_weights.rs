//! The tensors of a GGUF file as a model's weights: found by name, checked, put in our row order.

use super::SourceError;
use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::Format;
use deepthin_compiler::weights::{TensorBytes, WeightSource};
use deepthin_dsl::Model;
use deepthin_runtime::gguf::{GgmlType, Gguf, TensorInfo};
use half::{bf16, f16};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A file's tensors, each with the shape that the model gives it.
#[derive(Debug)]
pub struct GgufWeights {
    gguf: Gguf,
    /// Index into the file's tensors.
    tensors: BTreeMap<(Option<u32>, Role), usize>,
    model: Model,
}

impl GgufWeights {
    /// Finds all tensors of `model` in `gguf`.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, is stored in a format without kernels, or is
    /// not part of the model.
    pub fn new(gguf: Gguf, model: &Model) -> Result<GgufWeights, SourceError> {
        let mut weights = GgufWeights { tensors: BTreeMap::new(), gguf, model: model.clone() };
        for key in keys(model) {
            let index = weights.find(key)?;
            weights.tensors.insert(key, index);
        }
        weights.check_tied()?;
        weights.refuse_strangers()?;
        Ok(weights)
    }

    /// The file.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// The storage of each tensor.
    pub fn formats(&self) -> Formats {
        let mut formats = Formats::uniform(self.model.depth, Format::F32, Format::F32);
        for ((block, role), index) in &self.tensors {
            let format = self.gguf.tensors().get(*index).and_then(|t| format(t.kind));
            if let Some(format) = format.filter(|_| !role.is_gain()) {
                // The keys are those of the model, so that every one can be set.
                let _ = formats.set(*block, *role, format);
            }
        }
        formats
    }

    fn find(&self, (block, role): (Option<u32>, Role)) -> Result<usize, SourceError> {
        let name = file_name(block, role);
        let (rows, columns) = shape(&self.model, role);
        let fail = |found: String| SourceError::Tensor {
            path: self.gguf.path().to_path_buf(),
            tensor: name.clone(),
            expected: format!("[{rows}, {columns}]"),
            found,
        };
        let index = self
            .gguf
            .tensors()
            .iter()
            .position(|t| t.name == name)
            .ok_or_else(|| fail(self.nearest(&name)))?;
        let tensor = &self.gguf.tensors()[index];
        self.gguf.check_supported(tensor)?;
        if (tensor.rows(), tensor.columns()) != (u64::from(rows), u64::from(columns)) {
            return Err(fail(format!("[{}, {}]", tensor.rows(), tensor.columns())));
        }
        let quantized_gain = role.is_gain() && format(tensor.kind).is_none_or(|f| f.group() > 1);
        if quantized_gain {
            return Err(fail("a quantized gain; f32, f16 and bf16 are read".to_owned()));
        }
        Ok(index)
    }

    /// `nothing`, with a tensor that looks meant.
    fn nearest(&self, name: &str) -> String {
        let wanted = name.trim_end_matches(".weight");
        let near = self.gguf.tensors().iter().find(|t| t.name.starts_with(wanted));
        near.map_or("nothing".to_owned(), |t| format!("nothing (there is `{}`)", t.name))
    }

    /// A tied description on a file with a head of its own: only where both are the same.
    fn check_tied(&self) -> Result<(), SourceError> {
        let head = self.gguf.tensor("output.weight").filter(|_| self.model.tied);
        let (Some(head), Some(table)) = (head, self.gguf.tensor("token_embd.weight")) else {
            return Ok(());
        };
        if head.kind == table.kind && self.gguf.bytes(head) == self.gguf.bytes(table) {
            return Ok(());
        }
        Err(self.unsupported(
            "the description says `embeddings tied`, but `output.weight` is not the embedding \
             table: write `embeddings untied` to use it, or remove the tensor from the file"
                .to_owned(),
        ))
    }

    /// Tensors that the model does not have would be left out silently (a bias, scaled angles).
    fn refuse_strangers(&self) -> Result<(), SourceError> {
        let known = |i: usize, t: &TensorInfo| {
            self.tensors.values().any(|index| *index == i) || t.name == "output.weight"
        };
        let tensors = self.gguf.tensors().iter().enumerate();
        let mut strangers = tensors.filter(|(i, t)| !known(*i, t)).map(|(_, t)| t.name.as_str());
        match strangers.next() {
            None => Ok(()),
            Some(first) => Err(self.unsupported(format!(
                "tensor `{first}` (and {} more) is not part of the model: found a variant that \
                 deepthin does not have, or more blocks than the {} of the model",
                strangers.count(),
                self.model.depth
            ))),
        }
    }

    fn unsupported(&self, problem: String) -> SourceError {
        SourceError::Unsupported { path: self.gguf.path().to_path_buf(), problem }
    }

    fn info(&self, block: Option<u32>, role: Role) -> Option<&TensorInfo> {
        self.gguf.tensors().get(*self.tensors.get(&(block, role))?)
    }
}

impl WeightSource for GgufWeights {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let info = self.info(block, role)?;
        let (rows, columns) = shape(&self.model, role);
        let stored = format(info.kind)?;
        let bytes = self.gguf.bytes(info);
        let bytes = match role {
            Role::Query | Role::Key => {
                let row = stored.row_bytes(columns as usize)?;
                Cow::Owned(half_split(bytes, row, self.model.block.head_dim as usize))
            }
            _ if role.is_gain() => widen(stored, bytes),
            _ => Cow::Borrowed(bytes),
        };
        let format = if role.is_gain() { Format::F32 } else { stored };
        Some(TensorBytes { format, rows, columns, bytes })
    }

    fn release(&self, block: Option<u32>, role: Role) {
        if let Some(info) = self.info(block, role) {
            self.gguf.release(info);
        }
    }
}

/// Rows of a head from the file's order, pairs (2i, 2i + 1), to ours, pairs (i, i + head_dim/2).
fn half_split(bytes: &[u8], row: usize, head_dim: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for head in bytes.chunks_exact((row * head_dim).max(1)) {
        for second in [0, 1] {
            for pair in 0..head_dim / 2 {
                let start = (2 * pair + second) * row;
                out.extend_from_slice(&head[start..start + row]);
            }
        }
    }
    out
}

/// A gain as f32: exact from f16 and bf16.
fn widen(format: Format, bytes: &[u8]) -> Cow<'_, [u8]> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    match format {
        Format::F16 => {
            halves().flat_map(|b| f16::from_le_bytes(*b).to_f32().to_le_bytes()).collect()
        }
        Format::Bf16 => {
            halves().flat_map(|b| bf16::from_le_bytes(*b).to_f32().to_le_bytes()).collect()
        }
        Format::F32 | Format::Q8_0 | Format::Q4_0 | Format::Q4_1 => Cow::Borrowed(bytes),
    }
}

fn format(kind: GgmlType) -> Option<Format> {
    match kind {
        GgmlType::F32 => Some(Format::F32),
        GgmlType::F16 => Some(Format::F16),
        GgmlType::Bf16 => Some(Format::Bf16),
        GgmlType::Q8_0 => Some(Format::Q8_0),
        GgmlType::Q4_0 => Some(Format::Q4_0),
        GgmlType::Q4_1 => Some(Format::Q4_1),
        _ => None,
    }
}

/// All tensors of a model.
fn keys(model: &Model) -> Vec<(Option<u32>, Role)> {
    let tied = model.tied;
    let whole =
        Role::ALL.into_iter().filter(move |r| !r.in_block() && (!tied || *r != Role::Output));
    let blocks = (0..model.depth).flat_map(|block| {
        Role::ALL.into_iter().filter(|r| r.in_block()).map(move |role| (Some(block), role))
    });
    whole.map(|role| (None, role)).chain(blocks).collect()
}

/// Rows and columns of a tensor.
fn shape(model: &Model, role: Role) -> (u32, u32) {
    let (width, b) = (model.width, &model.block);
    let q = b.heads.saturating_mul(b.head_dim);
    let kv = b.kv_heads.saturating_mul(b.head_dim);
    match role {
        Role::TokenEmbedding | Role::Output => (model.vocab, width),
        Role::AttentionNorm | Role::FfnNorm | Role::OutputNorm => (1, width),
        Role::Query => (q, width),
        Role::Key | Role::Value => (kv, width),
        Role::AttentionOutput => (width, q),
        Role::FfnGate | Role::FfnUp => (b.ffn_hidden, width),
        Role::FfnDown => (width, b.ffn_hidden),
    }
}

/// A tensor's name in a GGUF file.
fn file_name(block: Option<u32>, role: Role) -> String {
    let name = match role {
        Role::TokenEmbedding => "token_embd",
        Role::AttentionNorm => "attn_norm",
        Role::Query => "attn_q",
        Role::Key => "attn_k",
        Role::Value => "attn_v",
        Role::AttentionOutput => "attn_output",
        Role::FfnNorm => "ffn_norm",
        Role::FfnGate => "ffn_gate",
        Role::FfnUp => "ffn_up",
        Role::FfnDown => "ffn_down",
        Role::OutputNorm => "output_norm",
        Role::Output => "output",
    };
    match block {
        Some(block) => format!("blk.{block}.{name}.weight"),
        None => format!("{name}.weight"),
    }
}
