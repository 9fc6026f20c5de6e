//! Reads GGUF files: the metadata and weights of a model in one file, as llama.cpp writes them.
//!
//! A file is, all little-endian: the magic `GGUF`, a version (2 and 3 are laid out alike), the
//! counts of tensors and of keys; the key-value pairs; the descriptions of the tensors; padding to
//! the alignment; the tensors' bytes. The format is defined in ggml's `docs/gguf.md`.
//!
//! The file is not trusted. Everything that precedes the tensors' bytes is read once, checked, and
//! copied at [`Gguf::open`]: each count is compared with the bytes that are left before anything
//! is allocated for it, all sums are checked, arrays nest four levels at most, names are unique,
//! and every tensor lies within the file and beside the others. So what a [`Gguf`] answers after
//! that needs no doubt, but for the values of the weights themselves. Errors say where in the file
//! they lie, what stands there, what was expected, and what to do about it.
//!
//! The tensors' bytes stay where they are, in a memory map. Whoever copies them out, tensor by
//! tensor, calls [`Gguf::release`] after each, and the process never holds more than one of them.
//! Element types without kernels are no error until [`Gguf::check_supported`] is asked, so that a
//! file can be looked at whatever it holds.

mod error;
mod header;
mod mapping;
mod metadata;
mod reader;
mod tensor;
mod types;
mod value;

use std::ops::Range;
use std::path::{Path, PathBuf};

pub use error::{Fault, Foreign, GgufError, GgufErrorKind};
pub use metadata::Metadata;
pub use tensor::TensorInfo;
pub use types::GgmlType;
pub use value::{Array, Strings, Value, ValueType};

use header::Header;
use mapping::Mapping;
use reader::Reader;
use tensor::Tensors;

/// The key of the tensors' alignment in bytes.
const ALIGNMENT_KEY: &str = "general.alignment";

/// The alignment where the key is not there.
const DEFAULT_ALIGNMENT: u32 = 32;

/// The key that counts the files of a model in several files.
const SPLIT_KEY: &str = "split.count";

/// An open GGUF file: checked metadata, checked tensor descriptions, mapped weights.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    mapping: Mapping,
    version: u32,
    metadata: Metadata,
    tensors: Tensors,
}

impl Gguf {
    /// Maps the file at `path` and checks all of it but the weights' values.
    pub fn open(path: &Path) -> Result<Gguf, GgufError> {
        let mapping = Mapping::open(path)?;
        let mut reader = Reader::new(path, mapping.bytes());
        let header = Header::read(&mut reader)?;
        let metadata =
            Metadata::read(&mut reader, path.to_path_buf(), header.keys, Header::KEYS_OFFSET)?;
        let alignment = alignment(&metadata)?;
        check_whole(&metadata)?;
        let tensors =
            Tensors::read(&mut reader, header.tensors, Header::TENSORS_OFFSET, alignment)?;
        Ok(Gguf { path: path.to_path_buf(), version: header.version, mapping, metadata, tensors })
    }

    /// The path the file was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.mapping.bytes().len() as u64
    }

    /// Bytes after the last tensor that belong to nothing; 0 in a sound file.
    pub fn trailing_bytes(&self) -> u64 {
        self.file_len().saturating_sub(self.tensors.end)
    }

    /// The key-value pairs.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors in the order of their bytes in the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors.infos
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.by_name.get(name).and_then(|&index| self.tensors.infos.get(index))
    }

    /// Refuses a tensor of a type that there are no kernels for.
    pub fn check_supported(&self, tensor: &TensorInfo) -> Result<(), GgufError> {
        if tensor.kind.is_supported() {
            return Ok(());
        }
        let fault = Fault::UnsupportedType { name: tensor.name.clone(), kind: tensor.kind };
        Err(GgufError::new(&self.path, Some(tensor.offset), fault))
    }

    /// The bytes of a tensor of this file, rows one after the other.
    ///
    /// A tensor of another file may lie outside of this one: it has no bytes here.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        span(tensor).and_then(|span| self.mapping.bytes().get(span)).unwrap_or_default()
    }

    /// Gives back the memory that reading a tensor's bytes took. They can be read again.
    pub fn release(&self, tensor: &TensorInfo) {
        if let Some(span) = span(tensor) {
            self.mapping.release(span);
        }
    }
}

/// A tensor's place in memory, where addresses are wide enough for it.
fn span(tensor: &TensorInfo) -> Option<Range<usize>> {
    let range = tensor.range();
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

/// The alignment of the tensors: a power of two from 8 to 65536.
fn alignment(metadata: &Metadata) -> Result<u64, GgufError> {
    let alignment = metadata.u32(ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    if alignment.is_power_of_two() && (8..=65_536).contains(&alignment) {
        Ok(u64::from(alignment))
    } else {
        Err(metadata.fail(ALIGNMENT_KEY, Fault::Alignment(alignment)))
    }
}

/// Refuses one file of a model in several.
fn check_whole(metadata: &Metadata) -> Result<(), GgufError> {
    match metadata.get(SPLIT_KEY) {
        Some(&Value::U16(count)) if count > 1 => {
            Err(metadata.fail(SPLIT_KEY, Fault::Split { count }))
        }
        _ => Ok(()),
    }
}
