//! Why a packed file cannot be used: the place in it, the fault there, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use deepthin_compiler::fir::FormatsError;
use deepthin_compiler::format::Format;
use deepthin_runtime::gguf::GgufError;
use deepthin_runtime::shown::{Quoted, Shown};
use thiserror::Error;

use super::{ALIGNMENT, IMAGE, VERSION};

/// Why a packed file cannot be used.
#[derive(Debug, Error)]
pub enum PackedError {
    /// It is no sound GGUF file, cannot be read, or was written to meanwhile.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// It is a sound GGUF file, and no packed file that runs here.
    #[error("{}{}: {fault}", Shown(.path), At(*.offset))]
    Fault {
        /// The file.
        path: PathBuf,
        /// The byte at which the fault lies; `None` where the whole file is meant.
        offset: Option<u64>,
        /// What is wrong.
        fault: Box<PackedFault>,
    },
    /// Whoever watched wanted no more.
    #[error("interrupted")]
    Stopped,
}

impl PackedError {
    pub(super) fn new(path: &Path, offset: Option<u64>, fault: PackedFault) -> Self {
        PackedError::Fault { path: path.to_path_buf(), offset, fault: Box::new(fault) }
    }
}

/// What was found in a packed file, and what was expected.
#[derive(Debug, Error)]
pub enum PackedFault {
    /// Keys of another version.
    #[error("found a packed file of version {0}, expected version {VERSION}")]
    Version(u32),
    /// No image, or something else beside it.
    #[error("found {found}, expected the tensor `{IMAGE}` of I8 alone, in one row")]
    Tensors {
        /// What there is.
        found: String,
    },
    /// An image that does not begin with a page.
    #[error("the image begins at byte {0}, expected a multiple of {ALIGNMENT}")]
    Misaligned(u64),
    /// A digest that is no digest.
    #[error("key `{key}`: found {}, expected 32 hexadecimal digits", Quoted(.found))]
    Digest {
        /// The key.
        key: &'static str,
        /// Its text.
        found: String,
    },
    /// Bytes that are not those that were written.
    #[error("the {part} has the digest {found}, expected {expected}: some of its bytes are wrong")]
    Damaged {
        /// The part of the file.
        part: &'static str,
        /// The digest of its bytes.
        found: String,
        /// The digest that the file says.
        expected: String,
    },
    /// A description that is none.
    #[error("key `{key}`: the description is wrong: {problems}")]
    Description {
        /// The key.
        key: &'static str,
        /// What is wrong, or how many models there are.
        problems: String,
    },
    /// A list that is as long as the model has matrices.
    #[error(
        "key `{key}`: found {found} texts, expected one for each of the {expected} matrices of the model"
    )]
    Count {
        /// The key.
        key: &'static str,
        /// Texts there are.
        found: usize,
        /// Matrices of the model.
        expected: u64,
    },
    /// Another matrix than the model has in this place.
    #[error("key `{key}`, text {index}: found {}, expected `{expected}`", Quoted(.found))]
    Name {
        /// The key.
        key: &'static str,
        /// The place in the list, from 0.
        index: usize,
        /// The name there.
        found: String,
        /// The matrix of the model.
        expected: String,
    },
    /// A format that this version does not have.
    #[error("tensor `{tensor}`: found the format {}, expected one of {}", Quoted(.found), formats())]
    Format {
        /// The matrix.
        tensor: String,
        /// What the file says.
        found: String,
    },
    /// A format whose groups do not divide the rows.
    #[error(
        "tensor `{tensor}`: found the format {format} for rows of {columns} elements, expected one \
         whose groups divide them"
    )]
    Rows {
        /// The matrix.
        tensor: String,
        /// Its format.
        format: Format,
        /// Its row length.
        columns: u32,
    },
    /// Formats that the model does not take.
    #[error(transparent)]
    Formats(#[from] FormatsError),
    /// Another layout than this version's kernels read.
    #[error("the image has the layout {found}, expected {expected}, which the kernels here read")]
    Layout {
        /// The digest in the file.
        found: String,
        /// That of this version.
        expected: String,
    },
    /// An image of another size.
    #[error("the image has {found} bytes, expected the {expected} that the model's weights take")]
    Size {
        /// Bytes in the file.
        found: u64,
        /// Bytes of the plan.
        expected: u64,
    },
}

impl PackedFault {
    /// What the user can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            PackedFault::Damaged { .. } => {
                "the file is damaged: copy it again from where it was whole, or pack the model \
                 anew: deepthin compile MODEL --emit packed"
            }
            PackedFault::Version(_)
            | PackedFault::Tensors { .. }
            | PackedFault::Misaligned(_)
            | PackedFault::Digest { .. }
            | PackedFault::Description { .. }
            | PackedFault::Count { .. }
            | PackedFault::Name { .. }
            | PackedFault::Format { .. }
            | PackedFault::Rows { .. }
            | PackedFault::Formats(_)
            | PackedFault::Layout { .. }
            | PackedFault::Size { .. } => {
                "pack the model anew with this version, from the file that its weights came from: \
                 deepthin compile MODEL --emit packed"
            }
        }
    }
}

/// The formats in words.
fn formats() -> String {
    Format::ALL.map(|format| format.to_string()).join(", ")
}

/// Prints an offset as `@0x1f`, and nothing where there is none.
struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, "@0x{offset:x}"),
            None => Ok(()),
        }
    }
}
