//! Reads GGUF files: the metadata and weights of a model in one file, as llama.cpp writes them.
//!
//! A file is, all little-endian: the magic `GGUF`, a version (2 and 3 are laid out alike), the
//! counts of tensors and of keys; the key-value pairs; the descriptions of the tensors; padding to
//! the alignment; the tensors' bytes. The format is defined in ggml's `docs/gguf.md`.
//!
//! The file is not trusted. Everything that precedes the tensors' bytes is read once and checked
//! at [`Gguf::open`]: each count is compared with the bytes that are left before anything is
//! allocated for it, all sums are checked, arrays nest four levels at most, names are unique, and
//! every tensor lies within the file and beside the others. So what a [`Gguf`] answers after that
//! needs no doubt, but for the values of the weights themselves. Errors say where in the file they
//! lie, what stands there and what was expected; [`GgufError::fix`] says what to do about it.
//!
//! The tensors' bytes stay in the file. [`Gguf::read`] copies those of one tensor, so that a
//! process that takes them one by one never holds more than one of them. A file that is cut short
//! or written to meanwhile is an error of `read`, or of [`Gguf::check_unchanged`] after the last.
//! [`Gguf::map`] maps the file instead, for what is used as it lies.
//! Element types without kernels are no error until [`Gguf::check_supported`] is asked, so that a
//! file can be looked at whatever it holds.

mod error;
mod fault;
mod foreign;
mod header;
mod input;
mod metadata;
mod reader;
mod tensor;
mod types;
mod value;
mod writer;

use std::path::Path;

pub use error::{GgufError, GgufErrorKind};
pub use fault::Fault;
pub use foreign::Foreign;
pub use metadata::Metadata;
pub use tensor::TensorInfo;
pub use types::GgmlType;
pub use value::{Array, Strings, Value, ValueType};
pub use writer::HeaderWriter;

use crate::mapping::Mapping;
use header::{Header, MAGIC};
use input::Input;
use reader::Reader;
use tensor::Tensors;

/// The key of the tensors' alignment in bytes.
const ALIGNMENT_KEY: &str = "general.alignment";

/// The alignment where the key is not there.
const DEFAULT_ALIGNMENT: u32 = 32;

/// The key that counts the files of a model in several files.
const SPLIT_KEY: &str = "split.count";

/// The key that numbers them, from 0.
const SPLIT_INDEX_KEY: &str = "split.no";

/// Bytes of two tensors that are compared at a time.
const COMPARED_BYTES: usize = 1 << 16;

/// An open GGUF file: checked metadata, checked tensor descriptions, weights to be read.
#[derive(Debug)]
pub struct Gguf {
    input: Input,
    version: u32,
    metadata: Metadata,
    tensors: Tensors,
}

impl Gguf {
    /// Opens the file at `path` and checks all of it but the weights' values.
    pub fn open(path: &Path) -> Result<Gguf, GgufError> {
        let input = Input::open(path)?;
        let mut reader = Reader::new(&input);
        let header = Header::read(&mut reader)?;
        let metadata =
            Metadata::read(&mut reader, path.to_path_buf(), header.keys, Header::KEYS_OFFSET)?;
        let alignment = alignment(&metadata)?;
        check_whole(&metadata)?;
        let tensors =
            Tensors::read(&mut reader, header.tensors, Header::TENSORS_OFFSET, alignment)?;
        Ok(Gguf { input, version: header.version, metadata, tensors })
    }

    /// The path the file was opened by.
    pub fn path(&self) -> &Path {
        self.input.path()
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes of the whole file when it was opened.
    pub fn file_len(&self) -> u64 {
        self.input.len()
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
        Err(GgufError::new(self.path(), Some(tensor.offset), fault))
    }

    /// Reads the bytes of a tensor of this file, rows one after the other.
    ///
    /// # Errors
    /// A file that was cut since it was opened, or cannot be read; no memory for the tensor.
    pub fn read(&self, tensor: &TensorInfo) -> Result<Vec<u8>, GgufError> {
        let (len, at) = (tensor.byte_len(), Some(tensor.offset));
        let no_memory = || {
            let fault = Fault::Memory { name: tensor.name.clone(), bytes: len };
            GgufError::new(self.path(), at, fault)
        };
        let len = usize::try_from(len).map_err(|_| no_memory())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| no_memory())?;
        bytes.resize(len, 0);
        self.input.read(tensor.offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `bytes` with those of the file from `offset` on, whatever they are.
    ///
    /// # Errors
    /// As [`Gguf::read`].
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), GgufError> {
        self.input.read(offset, bytes)
    }

    /// Maps the whole file, as long as it was when it was opened. `told` is what a program tells
    /// that asked for it ([`exit_where_pages_are_lost`](crate::mapping::exit_where_pages_are_lost))
    /// where the file loses bytes meanwhile.
    ///
    /// # Errors
    /// The system has no address space for it.
    pub fn map(&self, told: String) -> Result<Mapping, GgufError> {
        self.input.map(told)
    }

    /// Whether two tensors of this file are of one type and shape and have the same bytes.
    ///
    /// # Errors
    /// As [`Gguf::read`].
    pub fn are_equal(&self, a: &TensorInfo, b: &TensorInfo) -> Result<bool, GgufError> {
        if (a.kind, &a.dims) != (b.kind, &b.dims) {
            return Ok(false);
        }
        let mut buffers = [vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]];
        let mut done = 0;
        while done < a.byte_len() {
            let left = usize::try_from(a.byte_len() - done).unwrap_or(usize::MAX);
            let count = left.min(COMPARED_BYTES);
            let [first, second] = buffers.each_mut().map(|buffer| &mut buffer[..count]);
            self.input.read(a.offset.saturating_add(done), first)?;
            self.input.read(b.offset.saturating_add(done), second)?;
            if first != second {
                return Ok(false);
            }
            done += count as u64;
        }
        Ok(true)
    }

    /// Refuses the file if it was written to since it was opened: then bytes that were read
    /// before and after need not belong together.
    ///
    /// # Errors
    /// A file of another length or time of change.
    pub fn check_unchanged(&self) -> Result<(), GgufError> {
        self.input.check_unchanged()
    }
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
    let count = metadata.count(SPLIT_KEY)?.unwrap_or(1);
    if count <= 1 {
        return Ok(());
    }
    let part = match metadata.count(SPLIT_INDEX_KEY)? {
        Some(index) => format!("file {}", index.saturating_add(1)),
        None => "one".to_owned(),
    };
    Err(metadata.fail(SPLIT_KEY, Fault::Split { part, count }))
}
