//! Reads the text files named on the command line, never more of them than a limit.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::exit::{Exit, Failure};

/// The bytes of the file at `path`, which must be a regular file of at most `limit` bytes.
///
/// `what` names its kind in messages, as in "a description". Directories, pipes and devices are
/// refused before they are opened: opening a pipe may wait for ever, a device may have no end.
pub(crate) fn read(path: &Path, what: &str, limit: u64) -> Result<Vec<u8>, Failure> {
    let kind = fs::metadata(path).map_err(|error| Failure::open(path, &error))?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() { "a directory" } else { "a pipe or a device" };
        let message = format!("{}: found {found}, expected {what}", path.display());
        return Err(Failure::new(Exit::NoInput, message).fix("name the file itself"));
    }
    let file = File::open(path).map_err(|error| Failure::open(path, &error))?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file of the limit from a longer one.
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::read(path, &error))?;
    if bytes.len() as u64 > limit {
        let message = format!("{}: longer than {limit} bytes, the limit of {what}", path.display());
        return Err(
            Failure::new(Exit::BadData, message).fix("check that this is the file you meant")
        );
    }
    Ok(bytes)
}
