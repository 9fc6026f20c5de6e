//! A model and its weights, found by what a user calls them: before anything is compiled.

mod error;
mod gguf_model;
mod gguf_weights;
mod name;

pub use error::SourceError;
pub use gguf_model::GgufModel;
pub use gguf_weights::{FilePlace, GgufWeights};
pub(crate) use gguf_weights::{shape, tensor_names};
pub use name::ModelName;

use crate::catalog::CatalogModel;
use crate::fetch::{self, Progress};
use crate::file::{self, FileError};
use crate::packed::{self, PackedFile};
use deepthin_compiler::fir::Formats;
use deepthin_dsl::{MAX_SOURCE_BYTES, Model};
use deepthin_runtime::gguf::{Gguf, Metadata, Value};
use deepthin_runtime::shown::Shown;
use deepthin_runtime::tokenizer::{Tokenizer, TokenizerError};
use std::path::{Path, PathBuf};

/// Where the weights come from.
#[derive(Debug)]
pub enum Weights {
    /// Nowhere: enough for `info` and `dump`.
    None,
    /// A GGUF file.
    Gguf(Box<GgufWeights>),
    /// A packed file.
    Packed(Box<PackedFile>),
    /// Drawn from a seed.
    Random(u64),
}

impl Weights {
    /// The file that they come from.
    pub fn file(&self) -> Option<&Gguf> {
        match self {
            Weights::Gguf(weights) => Some(weights.gguf()),
            Weights::Packed(packed) => Some(packed.gguf()),
            Weights::None | Weights::Random(_) => None,
        }
    }
}

/// Which weights a user asks for beside a model's name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WeightChoice {
    /// Those that the name brings along, if any.
    #[default]
    Own,
    /// A GGUF file, which is not packed.
    File(PathBuf),
    /// Those of a catalog model, which is fetched if it is not there yet.
    Catalog(&'static CatalogModel),
    /// Drawn from a seed.
    Random(u64),
}

/// A model, the storage of each of its tensors, and where the weights are.
#[derive(Debug)]
pub struct Source {
    /// The model.
    pub model: Model,
    /// Storage of each tensor: the file's where there is one, else the description's.
    pub formats: Formats,
    /// The weights.
    pub weights: Weights,
    /// What the user should know, a line each.
    pub notices: Vec<String>,
}

impl Source {
    /// Finds a model. A catalog model that is not there yet is fetched first, unless other
    /// weights are given.
    ///
    /// # Errors
    /// A name that means nothing, a file that is missing or wrong, weights that do not fit.
    pub fn open(
        name: &ModelName,
        weights: &WeightChoice,
        progress: &mut dyn Progress,
    ) -> Result<Source, SourceError> {
        match name {
            ModelName::Description { path, model } => {
                Source::described(pick_model(path, model.as_deref())?, weights, progress)
            }
            ModelName::Gguf(path) => match weights {
                WeightChoice::Own => Source::from_file(path),
                WeightChoice::Random(seed) => {
                    Ok(Source::from_file(path)?.with_random_weights(*seed))
                }
                WeightChoice::File(_) | WeightChoice::Catalog(_) => {
                    Err(SourceError::WeightsTwice { model: path.clone() })
                }
            },
            ModelName::Catalog(entry) => {
                let path = match weights {
                    WeightChoice::File(path) => path.clone(),
                    WeightChoice::Catalog(other) => fetch::ensure(other.name, progress)?,
                    WeightChoice::Own | WeightChoice::Random(_) => {
                        fetch::ensure(entry.name, progress)?
                    }
                };
                let source = Source::from_gguf(unpacked(&path)?, Some(entry.name))?;
                Ok(match weights {
                    WeightChoice::Random(seed) => source.with_random_weights(*seed),
                    WeightChoice::Own | WeightChoice::File(_) | WeightChoice::Catalog(_) => source,
                })
            }
        }
    }

    /// A description with weights.
    ///
    /// # Errors
    /// Storage that does not exist yet; a file that is wrong or does not fit.
    pub fn described(
        model: Model,
        weights: &WeightChoice,
        progress: &mut dyn Progress,
    ) -> Result<Source, SourceError> {
        let weights = match weights {
            WeightChoice::Own => Weights::None,
            WeightChoice::Random(seed) => Weights::Random(*seed),
            WeightChoice::File(path) => return Source::described_with_file(model, path),
            WeightChoice::Catalog(entry) => {
                let path = fetch::ensure(entry.name, progress)?;
                return Source::described_with_file(model, &path);
            }
        };
        Ok(Source { formats: Formats::from_storage(&model)?, model, weights, notices: Vec::new() })
    }

    /// A description with the weights of a GGUF file.
    fn described_with_file(model: Model, path: &Path) -> Result<Source, SourceError> {
        let gguf = unpacked(path)?;
        GgufModel::read(&gguf)?.agrees_with(&model, path)?;
        let weights = GgufWeights::new(gguf, &model)?;
        let formats = weights.formats();
        let mut notices = storage_notice(&model, &formats, path);
        notices.extend(trailing_notice(weights.gguf()));
        Ok(Source { model, formats, weights: Weights::Gguf(Box::new(weights)), notices })
    }

    /// The model that a file holds, packed or not.
    fn from_file(path: &Path) -> Result<Source, SourceError> {
        let gguf = Gguf::open(path)?;
        if !packed::is_packed(&gguf) {
            return Source::from_gguf(gguf, None);
        }
        let (packed, model, formats) = PackedFile::read(gguf)?;
        let notices = trailing_notice(packed.gguf()).into_iter().collect();
        Ok(Source { model, formats, weights: Weights::Packed(Box::new(packed)), notices })
    }

    /// The model that a GGUF file holds.
    fn from_gguf(gguf: Gguf, name: Option<&str>) -> Result<Source, SourceError> {
        let mut model = GgufModel::read(&gguf)?.into_model(gguf.path())?;
        if let Some(name) = name {
            model.name = gguf_model::identifier(name);
        }
        let weights = GgufWeights::new(gguf, &model)?;
        let formats = weights.formats();
        let notices = trailing_notice(weights.gguf()).into_iter().collect();
        Ok(Source { model, formats, weights: Weights::Gguf(Box::new(weights)), notices })
    }

    fn with_random_weights(mut self, seed: u64) -> Source {
        if let Some(file) = self.weights.file() {
            let path = Shown(file.path());
            self.notices.push(format!(
                "random weights in place of those of {path}; without its tokenizer bytes are ids"
            ));
        }
        self.weights = Weights::Random(seed);
        self
    }

    /// The keys of the weights' file, `None` without one.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.weights.file().map(Gguf::metadata)
    }

    /// The chat template that the weights' file brings, `None` without one.
    ///
    /// # Errors
    /// A template that is no text.
    pub fn chat_template(&self) -> Result<Option<&str>, SourceError> {
        let Some(metadata) = self.metadata() else { return Ok(None) };
        Ok(metadata.str("tokenizer.chat_template")?)
    }

    /// The tokenizer that the weights' file brings, `None` without a file, and where a packed file
    /// has none because its weights were drawn.
    ///
    /// # Errors
    /// A vocabulary that is wrong or of a kind that is not read yet, or one that does not fit the
    /// embedding table.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>, SourceError> {
        let Some(file) = self.weights.file() else { return Ok(None) };
        let has_none = file.metadata().get("tokenizer.ggml.model").is_none();
        if has_none && matches!(self.weights, Weights::Packed(_)) {
            return Ok(None);
        }
        let path = file.path().to_path_buf();
        let rows = self.model.vocab;
        // Before a vocabulary is made of them, which takes several times the memory of the list.
        if let Some(Value::Array(tokens)) = file.metadata().get("tokenizer.ggml.tokens")
            && tokens.len() != rows as usize
        {
            return Err(SourceError::Vocabulary { path, tokens: tokens.len(), rows });
        }
        let tokenizer = Tokenizer::from_gguf(file).map_err(|cause| match cause {
            TokenizerError::Metadata(error) => SourceError::Gguf(error), // it names the file
            cause => SourceError::Tokenizer { path, cause },
        })?;
        Ok(Some(tokenizer))
    }
}

/// Opens a file for its weights alone: a packed one has those of its own description.
fn unpacked(path: &Path) -> Result<Gguf, SourceError> {
    let gguf = Gguf::open(path)?;
    if packed::is_packed(&gguf) {
        return Err(SourceError::PackedWeights { path: path.to_path_buf() });
    }
    Ok(gguf)
}

/// Says where a file's storage is not the description's: the file's holds.
fn storage_notice(model: &Model, formats: &Formats, path: &Path) -> Vec<String> {
    match Formats::from_storage(model) {
        Ok(described) if described == *formats => Vec::new(),
        _ => vec![format!(
            "the tensors of {} are stored in other formats than the description's storage says; \
             they run as the file stores them",
            Shown(path)
        )],
    }
}

/// Says where a file goes on after its last tensor.
fn trailing_notice(gguf: &Gguf) -> Option<String> {
    let path = Shown(gguf.path());
    let bytes = Some(gguf.trailing_bytes()).filter(|bytes| *bytes > 0)?;
    Some(format!("{path}: {bytes} bytes after the last tensor belong to nothing and are ignored"))
}

/// The text of a description, and one byte more than is allowed where it is too long:
/// [`deepthin_dsl::parse_bytes`] says so.
///
/// # Errors
/// A file that is missing, not regular or unreadable.
pub fn read_description(path: &Path) -> Result<Vec<u8>, FileError> {
    file::read_start(path, "a description", MAX_SOURCE_BYTES as u64 + 1)
}

/// Reads a description's file and picks one of its models.
fn pick_model(path: &Path, name: Option<&str>) -> Result<Model, SourceError> {
    let bytes = read_description(path)?;
    let mut models = deepthin_dsl::parse_bytes(&bytes, &Shown(path).to_string())
        .map_err(SourceError::Description)?;
    let names = models.iter().map(|m| m.name.clone()).collect();
    let path = path.to_path_buf();
    match name {
        Some(name) => match models.into_iter().find(|m| m.name == name) {
            Some(model) => Ok(model),
            None => Err(SourceError::NoSuchModel { path, name: name.to_owned(), names }),
        },
        None => match (models.pop(), models.is_empty()) {
            (Some(model), true) => Ok(model),
            _ => Err(SourceError::SeveralModels { path, names }),
        },
    }
}
