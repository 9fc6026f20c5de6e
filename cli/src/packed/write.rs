//! Writes a packed file: header and image, to a file that is there whole or not at all.

use std::ops::ControlFlow;
use std::path::Path;

use deepthin_compiler::fir::Formats;
use deepthin_compiler::pack::layout_digest;
use deepthin_compiler::plan::Plan;
use deepthin_dsl::Model;
use deepthin_runtime::digest::Digest;
use deepthin_runtime::gguf::{Array, GgmlType, HeaderWriter, Metadata, Value};
use deepthin_runtime::mapping::MappingError;
use deepthin_runtime::memory::Region;
use thiserror::Error;

use super::{
    ALIGNMENT, FORMATS_KEY, HEADER_DIGEST_KEY, IMAGE, IMAGE_DIGEST_KEY, LAYOUT_KEY, MODEL_KEY,
    TENSORS_KEY, VERSION, VERSION_KEY, is_own_key, matrices,
};
use crate::file::{self, FileError};

/// Why a packed file is not there.
#[derive(Debug, Error)]
pub enum WriteError {
    /// It could not be created or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The image is that of a mapped file, which was cut or written to meanwhile.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// Whoever watched wanted no more.
    #[error("interrupted")]
    Stopped,
}

/// A packed file before its image is at hand: all that it says of the model.
#[derive(Debug)]
pub struct Draft {
    header: HeaderWriter,
    image_bytes: u64,
}

impl Draft {
    /// What a packed file says of a model: the keys of the file that its weights come from, where
    /// there is one, then its own.
    pub fn new(metadata: Option<&Metadata>, model: &Model, formats: &Formats, plan: &Plan) -> Self {
        let mut header = HeaderWriter::new(ALIGNMENT);
        let kept = metadata.into_iter().flat_map(Metadata::iter);
        for (key, value) in kept.filter(|(key, _)| !is_own_key(key)) {
            header.pair(key, value);
        }
        if metadata.is_none() {
            // The two keys that readers look for first.
            header.pair("general.architecture", &Value::String("deepthin".to_owned()));
            header.pair("general.name", &Value::String(model.name.clone()));
        }
        let (names, words): (Vec<String>, Vec<String>) = matrices(model)
            .filter_map(|(block, role, name)| Some((name, formats.get(block, role)?.to_string())))
            .unzip();
        header.pair(VERSION_KEY, &Value::U32(VERSION));
        header.pair(MODEL_KEY, &Value::String(deepthin_dsl::print(model)));
        header.pair(TENSORS_KEY, &Value::Array(Array::String(names.into_iter().collect())));
        header.pair(FORMATS_KEY, &Value::Array(Array::String(words.into_iter().collect())));
        header.pair(LAYOUT_KEY, &Value::String(layout_digest(&plan.image).to_string()));
        Draft { header, image_bytes: plan.regions.image }
    }

    /// Writes the file with its image, in place of any that is at `path`, and returns its length.
    /// The digest of the image is taken on `threads` threads. `watch` is told now and then how
    /// many bytes of how many are done, and may stop it: then there is no file, or the old one.
    ///
    /// # Errors
    /// A file that cannot be created, a full disk; an image that changed meanwhile;
    /// [`WriteError::Stopped`].
    pub fn write(
        self,
        path: &Path,
        image: &mut Region,
        threads: usize,
        watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<u64, WriteError> {
        let Draft { mut header, image_bytes } = self;
        // A region may be longer than the plan asks for.
        let (image, check_unchanged) = image.checked_bytes();
        let image = usize::try_from(image_bytes).ok().and_then(|len| image.get(..len));
        let image = image.unwrap_or_default();
        let len = image.len() as u64;
        let total = len.saturating_mul(2); // read once, written once
        let digest = Digest::of_large(image, threads, &mut |done| watch(done, total));
        let digest = digest.ok_or(WriteError::Stopped)?;
        header.pair(IMAGE_DIGEST_KEY, &Value::String(digest.to_string()));
        header.pair(HEADER_DIGEST_KEY, &Value::String("0".repeat(Digest::DIGITS)));
        let own_end = header.pairs_end();
        header.tensor(IMAGE, GgmlType::I8, len);
        let mut header = header.finish();
        let digest = Digest::of(&header).to_string();
        if let Some(own) = header.get_mut(own_end - Digest::DIGITS..own_end) {
            own.copy_from_slice(digest.as_bytes());
        }
        let padding = len.next_multiple_of(u64::from(ALIGNMENT)) - len;
        let padding = [0; ALIGNMENT as usize].get(..usize::try_from(padding).unwrap_or(0));
        let parts = [header.as_slice(), image, padding.unwrap_or_default()];
        let written = parts.iter().map(|part| part.len() as u64).sum();
        let before = header.len() as u64;
        let mut changed = Ok(());
        let mut watch = |done: u64| {
            if done == written {
                // The last moment before the file is there.
                changed = check_unchanged();
            }
            match changed {
                Ok(()) => watch(len + done.saturating_sub(before).min(len), total),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let end = file::write_parts(path, &parts, &mut watch);
        changed?;
        match end {
            Ok(ControlFlow::Continue(())) => Ok(written),
            Ok(ControlFlow::Break(())) => Err(WriteError::Stopped),
            Err(error) => {
                // The system cannot write what is no longer there.
                check_unchanged()?;
                Err(error.into())
            }
        }
    }
}
