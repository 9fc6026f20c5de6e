//! What a user may call a model on the command line.

use super::SourceError;
use crate::catalog::{self, CatalogModel};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A model's name, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelName {
    /// A model of the catalog.
    Catalog(&'static CatalogModel),
    /// A GGUF file.
    Gguf(PathBuf),
    /// A description, and which of its models.
    Description {
        /// The `.thin` file.
        path: PathBuf,
        /// The part after the colon of `file.thin:name`.
        model: Option<String>,
    },
}

impl ModelName {
    /// The path and the name of `file.thin:name`; any other text is a path.
    pub fn split(text: &str) -> (&Path, Option<&str>) {
        match text.rsplit_once(':').filter(|(path, _)| path.ends_with(".thin")) {
            Some((path, model)) => (Path::new(path), Some(model)),
            None => (Path::new(text), None),
        }
    }

    /// Understands `smollm2-135m`, `file.gguf`, `file.thin` and `file.thin:name`. Any other file
    /// that there is can only be a GGUF file, or nothing that is read.
    ///
    /// # Errors
    /// Text that is none of these.
    pub fn parse(text: &str) -> Result<ModelName, SourceError> {
        if let Some(model) = catalog::find(text) {
            return Ok(ModelName::Catalog(model));
        }
        if text.ends_with(".gguf") {
            return Ok(ModelName::Gguf(PathBuf::from(text)));
        }
        if text.ends_with(".thin") {
            return Ok(ModelName::Description { path: PathBuf::from(text), model: None });
        }
        match ModelName::split(text) {
            (path, Some(model)) => Ok(ModelName::Description {
                path: path.to_path_buf(),
                model: Some(model.to_owned()),
            }),
            (path, None) => match path.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Err(SourceError::Name { text: text.to_owned() })
                }
                // A file of another name is told by its first bytes: the reader knows them, and
                // says why one cannot be opened.
                Ok(_) | Err(_) => Ok(ModelName::Gguf(path.to_path_buf())),
            },
        }
    }
}
