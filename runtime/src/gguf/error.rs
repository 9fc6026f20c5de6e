//! Why a GGUF file cannot be used: the place in it, the fault there, and how to answer.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use super::fault::Fault;
use crate::shown::Shown;

/// What went wrong with a GGUF file, and where in it.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {fault}", Shown(path), At(*offset))]
pub struct GgufError {
    path: PathBuf,
    offset: Option<u64>,
    #[source]
    fault: Box<Fault>,
}

/// The ways to answer a [`GgufError`]: each is one exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufErrorKind {
    /// There is no file at the path, or no regular one.
    NoInput,
    /// The file may not be read.
    Denied,
    /// The file could not be read to the end, or was written to meanwhile.
    Io,
    /// The system has no memory for a tensor, or no address space for the file.
    Resource,
    /// The file's content is not what deepthin reads.
    Data,
}

impl GgufError {
    pub(super) fn new(path: &Path, offset: Option<u64>, fault: Fault) -> Self {
        GgufError { path: path.to_path_buf(), offset, fault: Box::new(fault) }
    }

    /// The file in question.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The byte of the file at which the fault lies; `None` where the whole file is meant.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// What is wrong at that place.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// What the user can do about it.
    pub fn fix(&self) -> Cow<'static, str> {
        self.fault.fix()
    }

    /// How the error is to be answered.
    pub fn kind(&self) -> GgufErrorKind {
        match *self.fault {
            Fault::Missing | Fault::Path(_) | Fault::NotRegular { .. } => GgufErrorKind::NoInput,
            Fault::Denied => GgufErrorKind::Denied,
            Fault::Io(_) | Fault::Shrunk { .. } | Fault::Changed => GgufErrorKind::Io,
            Fault::Map(_) | Fault::Memory { .. } => GgufErrorKind::Resource,
            _ => GgufErrorKind::Data,
        }
    }
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
