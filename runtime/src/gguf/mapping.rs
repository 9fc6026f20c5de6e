//! A regular file mapped into memory, read only: the one unsafe file of the GGUF reader.
#![expect(unsafe_code, reason = "a memory map is only as safe as the file under it is still")]

use std::fs::{self, File, FileType};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use memmap2::{Mmap, UncheckedAdvice};

use super::error::{Fault, GgufError};

/// The bytes of a file. An empty file, which cannot be mapped, has an empty slice.
#[derive(Debug)]
pub(super) struct Mapping {
    map: Option<Mmap>,
}

impl Mapping {
    /// Maps the regular file at `path`; symbolic links are followed.
    pub(super) fn open(path: &Path) -> Result<Mapping, GgufError> {
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
        if meta.len() == 0 {
            return Ok(Mapping { map: None });
        }
        // SAFETY: the map is private and read only, and only bytes and copies of bytes are made
        // of it. Another process that writes to the file meanwhile can change those bytes, which
        // are validated where they are copied, and one that truncates it ends this process by
        // SIGBUS; neither makes an invalid value.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| fail(Fault::Map(error)))?;
        Ok(Mapping { map: Some(map) })
    }

    /// The bytes of the whole file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// Tells the system that the pages of `range` are not needed for now, so that they no longer
    /// count as this process's memory. A later read brings them back from the file.
    pub(super) fn release(&self, range: Range<usize>) {
        let Some(map) = &self.map else { return };
        if range.is_empty() || range.end > map.len() {
            return;
        }
        // SAFETY: a clean page of a read-only file map that is dropped is read from the file
        // again at the next access, so its bytes stay what they are.
        let released = unsafe {
            map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
        // A refusal costs memory and nothing else.
        let _: Result<(), io::Error> = released;
    }
}

/// Sorts an error of the system by how it is answered.
fn of_io(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Fault::Missing,
        io::ErrorKind::PermissionDenied => Fault::Denied,
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
