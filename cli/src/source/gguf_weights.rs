//! The tensors of a GGUF file as a model's weights: found by name, checked, put in our row order.

use super::SourceError;
use super::gguf_model::ANEW;
use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::Format;
use deepthin_compiler::weights::{TensorBytes, WeightSource};
use deepthin_dsl::{Model, nearest_name};
use deepthin_runtime::gguf::{GgmlType, Gguf, GgufError, TensorInfo};
use half::{bf16, f16};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Most names of a file that are compared with one that is missing.
const MOST_COMPARED: usize = 1000;

/// A file's tensors, each with the shape that the model gives it.
#[derive(Debug)]
pub struct GgufWeights {
    gguf: Gguf,
    /// Index into the file's tensors.
    tensors: BTreeMap<(Option<u32>, Role), usize>,
    model: Model,
    /// Why a tensor could not be read, the first time that happened.
    failure: OnceLock<GgufError>,
}

/// A group of elements of a tensor, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    /// The tensor's name in the file.
    pub tensor: String,
    /// Its row in the file.
    pub row: u32,
    /// The group's first byte, counted from the beginning of the file.
    pub offset: u64,
}

impl GgufWeights {
    /// Finds all tensors of `model` in `gguf`.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, is stored in a format without kernels, or is
    /// not part of the model.
    pub fn new(gguf: Gguf, model: &Model) -> Result<GgufWeights, SourceError> {
        let mut weights = GgufWeights {
            tensors: BTreeMap::new(),
            gguf,
            model: model.clone(),
            failure: OnceLock::new(),
        };
        let mut places = BTreeMap::new();
        for (index, tensor) in weights.gguf.tensors().iter().enumerate() {
            places.insert(tensor.name.as_str(), index);
        }
        let mut tensors = BTreeMap::new();
        for key in keys(model) {
            tensors.insert(key, weights.find(key, &places)?);
        }
        weights.tensors = tensors;
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

    /// Ends the reading of weights.
    ///
    /// # Errors
    /// A tensor that could not be read, a file that was written to meanwhile.
    pub fn finish(self) -> Result<(), GgufError> {
        match self.failure.into_inner() {
            Some(failure) => Err(failure),
            None => self.gguf.check_unchanged(),
        }
    }

    /// Where the file has a group of a row that [`WeightSource`] gives.
    pub fn place(&self, block: Option<u32>, role: Role, row: u32, group: u32) -> Option<FilePlace> {
        let info = self.info(block, role)?;
        let stored = format(info.kind)?;
        let half = self.model.block.head_dim / 2;
        let row = match role {
            Role::Query | Role::Key => {
                let (head, within) = (row / (2 * half).max(1), row % (2 * half).max(1));
                let (second, pair) = (within / half.max(1), within % half.max(1));
                head * 2 * half + 2 * pair + second
            }
            _ => row,
        };
        let columns = usize::try_from(info.columns()).ok()?;
        let row_bytes = u64::try_from(stored.row_bytes(columns)?).ok()?;
        let group = u64::from(group) * u64::try_from(stored.group_bytes(columns)).ok()?;
        let offset = info.offset + u64::from(row) * row_bytes + group;
        Some(FilePlace { tensor: info.name.clone(), row, offset })
    }

    /// A tensor of the model, by the `places` of the file's names.
    fn find(
        &self,
        (block, role): (Option<u32>, Role),
        places: &BTreeMap<&str, usize>,
    ) -> Result<usize, SourceError> {
        let name = file_name(block, role);
        let (rows, columns) = shape(&self.model, role);
        let expected = format!("[{rows}, {columns}]");
        let path = self.gguf.path().to_path_buf();
        let tensor = name.clone();
        let fail = |found| SourceError::Tensor { path, tensor, expected, found };
        let index = places.get(name.as_str()).copied();
        let Some(index) = index else { return Err(fail(self.nearest(&name))) };
        let tensor = &self.gguf.tensors()[index];
        self.gguf.check_supported(tensor)?;
        let (rows, columns) = (u64::from(rows), u64::from(columns));
        match (tensor.rows(), tensor.columns()) {
            found if found == (rows, columns) => {}
            (r, c) if (c, r) == (rows, columns) => {
                return Err(fail(format!("[{r}, {c}], its transpose")));
            }
            (r, c) => return Err(fail(format!("[{r}, {c}]"))),
        }
        if role.is_gain() && format(tensor.kind).is_none_or(|format| format.codes().is_some()) {
            let path = self.gguf.path().to_path_buf();
            let problem = format!(
                "tensor `{name}`: found a gain stored as {}, expected F32, F16 or BF16",
                tensor.kind
            );
            return Err(SourceError::Unsupported { path, problem, fix: ANEW.to_owned() });
        }
        Ok(index)
    }

    /// `nothing`, with the nearest of the names that the model has no tensor for.
    fn nearest(&self, name: &str) -> String {
        let known: BTreeSet<String> =
            keys(&self.model).iter().map(|(b, r)| file_name(*b, *r)).collect();
        let strangers = self.gguf.tensors().iter().filter(|tensor| !known.contains(&tensor.name));
        let names = strangers.map(|tensor| tensor.name.as_str()).take(MOST_COMPARED);
        let names: Vec<&str> = names.collect();
        let near = nearest_name(name, &names);
        near.map_or("nothing".to_owned(), |near| format!("nothing (there is `{near}`)"))
    }

    /// A tied description on a file with a head of its own: only where both are the same.
    fn check_tied(&self) -> Result<(), SourceError> {
        let head = self.gguf.tensor("output.weight").filter(|_| self.model.tied);
        let (Some(head), Some(table)) = (head, self.gguf.tensor("token_embd.weight")) else {
            return Ok(());
        };
        if self.gguf.are_equal(head, table)? {
            return Ok(());
        }
        Err(self.unsupported(
            "found an `output.weight` that is not the embedding table, expected none, for the \
             description says `embeddings tied`"
                .to_owned(),
            "write `embeddings untied` to use the tensor, or remove it from the file",
        ))
    }

    /// Tensors that the model does not have would be left out silently (a bias, scaled angles).
    fn refuse_strangers(&self) -> Result<(), SourceError> {
        let found: BTreeSet<usize> = self.tensors.values().copied().collect();
        let known = |i: usize, t: &TensorInfo| found.contains(&i) || t.name == "output.weight";
        let tensors = self.gguf.tensors().iter().enumerate();
        let mut strangers = tensors.filter(|(i, t)| !known(*i, t)).map(|(_, t)| t.name.as_str());
        let Some(first) = strangers.next() else { return Ok(()) };
        let names: Vec<String> = keys(&self.model).iter().map(|(b, r)| file_name(*b, *r)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let near = nearest_name(first, &names).map(|near| format!(" (near to `{near}`)"));
        Err(self.unsupported(
            format!(
                "found the tensor `{first}`{} and {} more, expected only those of a model of {} \
                 blocks",
                near.unwrap_or_default(),
                strangers.count(),
                self.model.depth
            ),
            "take a model of the plain architecture, or describe all of its blocks",
        ))
    }

    fn unsupported(&self, problem: String, fix: &str) -> SourceError {
        let path = self.gguf.path().to_path_buf();
        SourceError::Unsupported { path, problem, fix: fix.to_owned() }
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
        let bytes = match self.gguf.read(info) {
            Ok(bytes) => bytes,
            Err(failure) => {
                // The first failure is the one to tell; `finish` does.
                let _ = self.failure.set(failure);
                return None;
            }
        };
        let bytes = match role {
            Role::Query | Role::Key => {
                let row = stored.row_bytes(columns as usize)?;
                half_split(&bytes, row, self.model.block.head_dim as usize)
            }
            _ if role.is_gain() => widen(stored, bytes),
            _ => bytes,
        };
        let format = if role.is_gain() { Format::F32 } else { stored };
        Some(TensorBytes { format, rows, columns, bytes: Cow::Owned(bytes) })
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
fn widen(format: Format, bytes: Vec<u8>) -> Vec<u8> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    match format {
        Format::F16 => {
            halves().flat_map(|b| f16::from_le_bytes(*b).to_f32().to_le_bytes()).collect()
        }
        Format::Bf16 => {
            halves().flat_map(|b| bf16::from_le_bytes(*b).to_f32().to_le_bytes()).collect()
        }
        Format::F32 | Format::Codes(_) => bytes,
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

/// All tensors of a model in that order, each with its name in a GGUF file.
pub(crate) fn tensor_names(model: &Model) -> impl Iterator<Item = (Option<u32>, Role, String)> {
    keys(model).into_iter().map(|(block, role)| (block, role, file_name(block, role)))
}

/// Rows and columns of a tensor.
pub(crate) fn shape(model: &Model, role: Role) -> (u32, u32) {
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
