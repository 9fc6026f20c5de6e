//! Import: the description of the model that a GGUF file holds, and what it cannot say.

use std::fmt::Write;
use std::path::Path;

use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::{self, Codes, Format, Scale};
use deepthin_dsl::model::{Group, TensorStorage};
use deepthin_dsl::{Model, print};
use deepthin_runtime::gguf::Gguf;

use crate::packed::{self, PackedFile};
use crate::source::{GgufModel, GgufWeights, SourceError};

/// A file's model as a description.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The model, with the file's storage where a description can say it.
    pub model: Model,
    /// Storage that a description cannot say, a line each.
    pub unsaid: Vec<String>,
    /// Metadata that the description leaves to the tokenizer.
    pub tokenizer_keys: Vec<String>,
    /// Metadata that nothing uses: key and value.
    pub ignored: Vec<(String, String)>,
}

impl Imported {
    /// Reads the file's metadata and the names, shapes and storage of its tensors.
    ///
    /// # Errors
    /// A file that is missing, malformed or of a model that deepthin does not run.
    pub fn read(path: &Path) -> Result<Imported, SourceError> {
        let gguf = Gguf::open(path)?;
        let is_packed = packed::is_packed(&gguf);
        let (mut tokenizer_keys, mut ignored) = (Vec::new(), Vec::new());
        for (key, value) in gguf.metadata().iter() {
            if key.starts_with("tokenizer.") {
                tokenizer_keys.push(key.to_owned());
            } else if !(GgufModel::KEYS.contains(&key) || is_packed && packed::is_own_key(key)) {
                ignored.push((key.to_owned(), value.to_string()));
            }
        }
        let (mut model, formats) = if is_packed {
            let (_, model, formats) = PackedFile::read(gguf)?;
            (model, formats)
        } else {
            let model = GgufModel::read(&gguf)?.into_model(path)?;
            let formats = GgufWeights::new(gguf, &model)?.formats();
            (model, formats)
        };
        let unsaid = storage(&mut model, &formats);
        Ok(Imported { model, unsaid, tokenizer_keys, ignored })
    }

    /// The description, with comments on what it does not say: a `.thin` file.
    pub fn text(&self) -> String {
        let mut text = print(&self.model);
        let mut comment = |line: &str| {
            // Writing to a string cannot fail. A line break inside a value would end the comment.
            let _ = writeln!(text, "// {}", line.replace(['\n', '\r'], " "));
        };
        self.unsaid.iter().for_each(|line| comment(line));
        if !self.tokenizer_keys.is_empty() {
            comment(&format!("read by the tokenizer: {}", self.tokenizer_keys.join(", ")));
        }
        for (key, value) in &self.ignored {
            comment(&format!("ignored: {key} = {value}"));
        }
        text
    }
}

/// Sets the model's storage to the file's; what a description cannot say comes back.
fn storage(model: &mut Model, formats: &Formats) -> Vec<String> {
    let mut unsaid = Vec::new();
    let mut class = |name: &str, found: Vec<Format>| -> Option<TensorStorage> {
        let mut distinct = found;
        distinct.sort_unstable();
        distinct.dedup();
        let (said, exact) = match distinct.as_slice() {
            [one] => {
                let is_file = one.codes().is_some_and(|codes| codes.scale == Scale::F16);
                (Some(nearest(*one)), !is_file)
            }
            _ => (None, false),
        };
        if !exact {
            let list: Vec<String> = distinct.iter().map(ToString::to_string).collect();
            unsaid.push(format!(
                "{name} are stored as {}, which a description cannot say; with --weights the file's \
                 storage holds",
                list.join(" and ")
            ));
        }
        said
    };
    let of_blocks = (0..model.depth)
        .flat_map(|b| Role::BLOCK_MATRICES.into_iter().filter_map(move |r| formats.get(Some(b), r)))
        .collect();
    let outside = [Role::TokenEmbedding, Role::Output].into_iter();
    let of_embeddings = outside
        .filter(|role| *role == Role::TokenEmbedding || !model.tied)
        .filter_map(|role| formats.get(None, role))
        .collect();
    if let Some(storage) = class("blocks", of_blocks) {
        model.storage.blocks = storage;
    }
    if let Some(storage) = class("embeddings", of_embeddings) {
        model.storage.embeddings = storage;
    }
    unsaid
}

/// A format as a description says it, or the one of our own that is nearest to a file's.
pub(crate) fn nearest(format: Format) -> TensorStorage {
    let Codes { bits, group, minimum, .. } = match format {
        Format::F32 => return TensorStorage::F32,
        Format::F16 => return TensorStorage::F16,
        Format::Bf16 => return TensorStorage::Bf16,
        Format::Codes(codes) => codes,
    };
    let group = match group {
        format::Group::Of32 => Group::Of(32),
        format::Group::Of64 => Group::Of(64),
        format::Group::Of96 => Group::Of(96),
        format::Group::Of192 => Group::Of(192),
        format::Group::Row => Group::Row,
    };
    TensorStorage::Codes { bits: bits.count(), group, minimum }
}
