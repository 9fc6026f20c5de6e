//! Whether a file is still the one that was opened.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// How that is mended where it is not.
pub(crate) const FIX: &str = "let the program that writes to the file finish, and start again";

/// What changes when a file is written to: its length, or else the time of its last change.
///
/// Not noticed is who sets the time back, writes as many bytes within one tick of the system's
/// clock, or stores through a map of an own; noticed as a change is who sets the time alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Bytes of the file.
    pub(crate) len: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// What happened to a file since its stamp was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has fewer bytes: as many as this now.
    Cut(u64),
    /// It was written to.
    Written,
}

impl Stamp {
    pub(crate) fn of(meta: &Metadata) -> Stamp {
        Stamp { len: meta.len(), seconds: meta.mtime(), nanoseconds: meta.mtime_nsec() }
    }

    /// What happened to the file meanwhile, if anything did.
    pub(crate) fn change(self, file: &File) -> io::Result<Option<Change>> {
        let now = Stamp::of(&file.metadata()?);
        Ok(match now {
            same if same == self => None,
            Stamp { len, .. } if len < self.len => Some(Change::Cut(len)),
            _ => Some(Change::Written),
        })
    }
}
