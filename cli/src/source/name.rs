//! What a user may call a model on the command line.

use super::SourceError;
use crate::catalog::{self, CatalogModel};
use std::path::PathBuf;

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
    /// Understands `smollm2-135m`, `file.gguf`, `file.thin` and `file.thin:name`.
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
        match text.rsplit_once(':') {
            Some((path, model)) if path.ends_with(".thin") => Ok(ModelName::Description {
                path: PathBuf::from(path),
                model: Some(model.to_owned()),
            }),
            _ => Err(SourceError::Name { text: text.to_owned() }),
        }
    }
}
