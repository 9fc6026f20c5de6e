//! A regular file that is read piece by piece, and the proof that nobody wrote to it meanwhile.
//!
//! Files that are read are not mapped: one that shrinks under a map ends the process by a signal, and one that is
//! edited changes bytes that were checked before. Read, both are errors like any other, and what
//! was checked is a copy of our own. A file whose bytes are used as they lie is mapped, with the
//! answer to the signal that [`crate::mapping`] has.

use std::fs::{self, File, FileType};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::error::GgufError;
use super::fault::Fault;
use crate::mapping::Mapping;
use crate::stamp::{Change, Stamp};

/// An open file.
#[derive(Debug)]
pub(super) struct Input {
    path: PathBuf,
    file: File,
    opened: Stamp,
}

impl Input {
    /// Opens the regular file at `path`; symbolic links are followed.
    pub(super) fn open(path: &Path) -> Result<Input, GgufError> {
        let fail = |fault| GgufError::new(path, None, fault);
        // Asked before opening: opening a pipe would wait for its other end.
        let kind = fs::metadata(path).map_err(|error| fail(of_io(error)))?.file_type();
        if !kind.is_file() {
            return Err(fail(Fault::NotRegular { found: describe(kind) }));
        }
        let file = File::open(path).map_err(|error| fail(of_io(error)))?;
        let meta = file.metadata().map_err(|error| fail(of_io(error)))?;
        if !meta.is_file() {
            return Err(fail(Fault::NotRegular { found: describe(meta.file_type()) }));
        }
        Ok(Input { path: path.to_path_buf(), file, opened: Stamp::of(&meta) })
    }

    /// The path that it was opened by.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file when it was opened.
    pub(super) fn len(&self) -> u64 {
        self.opened.len
    }

    /// Fills `bytes` with those from `offset` of the file on.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), GgufError> {
        self.file.read_exact_at(bytes, offset).map_err(|error| self.failed(offset, error))
    }

    /// Maps the bytes that the file had when it was opened.
    pub(super) fn map(&self, told: String) -> Result<Mapping, GgufError> {
        let fail = |error| GgufError::new(&self.path, None, Fault::Map(error));
        let len = usize::try_from(self.len()).map_err(|error| fail(io::Error::other(error)))?;
        Mapping::since(self.opened, &self.file, &self.path, len, told).map_err(fail)
    }

    /// The file from its first byte on, as a stream.
    pub(super) fn stream(&self) -> Stream<'_> {
        Stream { file: &self.file, offset: 0 }
    }

    /// An error of reading at `offset`. A file that ends before it did at first was cut.
    pub(super) fn failed(&self, offset: u64, error: io::Error) -> GgufError {
        let was = self.len();
        let now = self.file.metadata().map_or(was, |meta| meta.len());
        let fault = match error.kind() {
            ErrorKind::UnexpectedEof if now < was => Fault::Shrunk { was, now },
            _ => Fault::Io(error),
        };
        GgufError::new(&self.path, Some(offset), fault)
    }

    /// Refuses a file that was written to since it was opened.
    pub(super) fn check_unchanged(&self) -> Result<(), GgufError> {
        let fail = |fault| GgufError::new(&self.path, None, fault);
        match self.opened.change(&self.file).map_err(|error| fail(Fault::Io(error)))? {
            None => Ok(()),
            Some(Change::Cut(now)) => Err(fail(Fault::Shrunk { was: self.len(), now })),
            Some(Change::Written) => Err(fail(Fault::Changed)),
        }
    }
}

/// Reads a file from its beginning, whatever else is read of it meanwhile.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(bytes, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Sorts an error of the system by how it is answered.
fn of_io(error: io::Error) -> Fault {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Fault::Missing,
        ErrorKind::PermissionDenied => Fault::Denied,
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => Fault::Path(error),
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Fault::Path(error),
        _ => Fault::Io(error),
    }
}

/// Names what is no regular file.
fn describe(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
