//! Reads the files that users name, never more of them than a limit, and writes files whole.
//!
//! Directories, pipes and devices are refused before they are opened: opening a pipe may wait for
//! ever, and a device may have no end.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use deepthin_runtime::shown::Shown;
use tempfile::NamedTempFile;
use thiserror::Error;

/// Why a file could not be read.
#[derive(Debug, Error)]
pub enum FileError {
    /// It could not be opened.
    #[error("{}: {}", Shown(.path), reason(.cause))]
    Open {
        /// The path as given.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// Reading failed after it had been opened.
    #[error("{}: cannot read it: {cause}", Shown(.path))]
    Read {
        /// The path as given.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// There is something else than a regular file.
    #[error("{}: found {found}, expected {expected}", Shown(.path))]
    NotRegular {
        /// The path as given.
        path: PathBuf,
        /// What there is.
        found: &'static str,
        /// What the file is for.
        expected: &'static str,
    },
    /// It has too many bytes.
    #[error("{}: longer than {limit} bytes, expected {expected} of at most as many", Shown(.path))]
    TooLong {
        /// The path as given.
        path: PathBuf,
        /// Most bytes.
        limit: u64,
        /// What the file is for.
        expected: &'static str,
    },
    /// An output could not be created.
    #[error("{}: cannot create it: {cause}", Shown(.path))]
    Create {
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// An output was created, and writing it failed.
    #[error("{}: cannot write it: {cause}", Shown(.path))]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
}

/// Why a file did not open, in the user's words where there are any.
fn reason(cause: &io::Error) -> String {
    match cause.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "no permission to read it".to_owned(),
        _ => format!("cannot open it: {cause}"),
    }
}

/// All bytes of the regular file at `path`.
///
/// `expected` names its kind in messages, as in "a description".
///
/// # Errors
/// A file that is missing, not regular, unreadable, or longer than `limit` bytes.
pub fn read(path: &Path, expected: &'static str, limit: u64) -> Result<Vec<u8>, FileError> {
    let too_long = || FileError::TooLong { path: path.to_path_buf(), limit, expected };
    let (file, len) = open(path, expected)?;
    if len > limit {
        return Err(too_long());
    }
    // One byte more than allowed: the file may have grown, or not know its length.
    let bytes = read_up_to(path, &file, limit.saturating_add(1))?;
    if bytes.len() as u64 > limit { Err(too_long()) } else { Ok(bytes) }
}

/// The first `limit` bytes of the regular file at `path`, or all where it has fewer.
///
/// # Errors
/// A file that is missing, not regular or unreadable.
pub fn read_start(path: &Path, expected: &'static str, limit: u64) -> Result<Vec<u8>, FileError> {
    let (file, _) = open(path, expected)?;
    read_up_to(path, &file, limit)
}

/// A regular file and its length.
fn open(path: &Path, expected: &'static str) -> Result<(File, u64), FileError> {
    let open = |cause| FileError::Open { path: path.to_path_buf(), cause };
    let kind = fs::metadata(path).map_err(open)?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() { "a directory" } else { "a pipe or a device" };
        return Err(FileError::NotRegular { path: path.to_path_buf(), found, expected });
    }
    let file = File::open(path).map_err(open)?;
    let len = file.metadata().map_err(open)?.len();
    Ok((file, len))
}

/// What is expected where a text is to be read, from a file or from stdin.
pub const TEXT: &str = "a text";

/// What stdin is called in messages.
pub const STDIN: &str = "<stdin>";

/// All bytes of stdin, to its end.
///
/// # Errors
/// More than `limit` bytes: no more are read, so that an endless stream comes to an end.
pub fn read_stdin(expected: &'static str, limit: u64) -> Result<Vec<u8>, FileError> {
    let bytes = read_stdin_start(limit.saturating_add(1))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLong { path: PathBuf::from(STDIN), limit, expected });
    }
    Ok(bytes)
}

/// The first `limit` bytes of stdin, or all where it has fewer.
///
/// # Errors
/// It cannot be read.
pub fn read_stdin_start(limit: u64) -> Result<Vec<u8>, FileError> {
    read_up_to(Path::new(STDIN), io::stdin().lock(), limit)
}

fn read_up_to(path: &Path, stream: impl Read, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    stream
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|cause| FileError::Read { path: path.to_path_buf(), cause })?;
    Ok(bytes)
}

/// Makes the directory at `path`, and those above it, where there are none.
///
/// # Errors
/// Something else is there, or the system refuses.
pub fn create_directory(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(|error| {
        let cause = match error.kind() {
            kind @ ErrorKind::AlreadyExists => {
                io::Error::new(kind, "there is something else, expected a directory")
            }
            _ => error,
        };
        FileError::Create { path: path.to_path_buf(), cause }
    })
}

/// Writes `bytes` to the file that is at `path`, which keeps its permissions, and where `path` is a
/// link to it, the link.
///
/// # Errors
/// As [`write()`]; a file that may not be written to.
pub fn rewrite(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let create = |cause| FileError::Create { path: path.to_path_buf(), cause };
    let target = fs::canonicalize(path).map_err(create)?;
    // To put another file in its place asks for nothing of the file itself: ask it first.
    let old = File::options().append(true).open(&target).map_err(create)?;
    let permissions = old.metadata().map_err(create)?.permissions();
    // Nobody stops it.
    let _ = replace(path, &target, permissions, &[bytes], &mut |_| ControlFlow::Continue(()))?;
    Ok(())
}

/// Writes `bytes` to the file at `path`, in place of any that is there.
///
/// They go to a file of another name in the same directory, which takes the place of the old one
/// when it is complete: whatever happens, there is the old file or the new one, never a part.
///
/// # Errors
/// The file cannot be created; the disk is full.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    // Nobody stops it.
    let _ = write_parts(path, &[bytes], &mut |_| ControlFlow::Continue(()))?;
    Ok(())
}

/// Bytes that are written at a time, between two looks at whoever watches.
const BLOCK_BYTES: usize = 4 << 20;

/// [`write()`] of bytes that lie in parts. `watch` is told how many are written, and may stop it at
/// any time before the new file takes the place of the old one; then it is the answer.
///
/// # Errors
/// As [`write()`].
pub fn write_parts(
    path: &Path,
    parts: &[&[u8]],
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, FileError> {
    // What the process's mask takes away goes off.
    replace(path, path, Permissions::from_mode(0o666), parts, watch)
}

/// Asks whether [`write_parts`] could write a file at `path`, before the work for it is done.
///
/// # Errors
/// Something else than a file is there, or none can be created beside it.
pub fn check_place(path: &Path) -> Result<(), FileError> {
    // The file goes with its handle.
    begin(path, path, Permissions::from_mode(0o666)).map(drop)
}

/// Whether two paths are the same name in the same directory, however they are written: a file
/// that is written to the one takes the place of that at the other.
pub fn is_same_place(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let directory = fs::canonicalize(directory(path)).ok()?;
        Some((directory, path.file_name()?.to_owned()))
    };
    place(one).is_some_and(|one| Some(one) == place(other))
}

/// The directory that a path's last name is in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// An empty file beside `target`, which messages call `path`. A device or a pipe would be replaced
/// by a file, where the system lets it.
fn begin(path: &Path, target: &Path, permissions: Permissions) -> Result<NamedTempFile, FileError> {
    let create = |cause| FileError::Create { path: path.to_path_buf(), cause };
    match fs::metadata(target) {
        Ok(found) if found.is_dir() => {
            return Err(create(io::Error::new(ErrorKind::IsADirectory, "it is a directory")));
        }
        Ok(found) if !found.is_file() => {
            return Err(create(io::Error::other("it is a pipe or a device")));
        }
        Ok(_) | Err(_) => {}
    }
    match fs::metadata(directory(target)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let none = format!("there is no directory {}", Shown(directory(target)));
            return Err(create(io::Error::new(ErrorKind::NotFound, none)));
        }
        Ok(_) | Err(_) => {}
    }
    tempfile::Builder::new()
        .prefix(".deepthin-")
        .permissions(permissions)
        .tempfile_in(directory(target))
        .map_err(create)
}

/// [`write_parts`] to `target`, which messages call `path`.
fn replace(
    path: &Path,
    target: &Path,
    permissions: Permissions,
    parts: &[&[u8]],
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, FileError> {
    let create = |cause| FileError::Create { path: path.to_path_buf(), cause };
    let mut file = begin(path, target, permissions)?;
    let write = |cause| FileError::Write { path: path.to_path_buf(), cause };
    let mut done = 0_u64;
    for block in parts.iter().flat_map(|part| part.chunks(BLOCK_BYTES)) {
        if watch(done).is_break() {
            return Ok(ControlFlow::Break(())); // the file goes with its handle
        }
        file.write_all(block).map_err(write)?;
        done = done.saturating_add(block.len() as u64);
    }
    file.as_file().sync_all().map_err(write)?;
    if watch(done).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    file.persist(target).map_err(|error| create(error.error))?;
    Ok(ControlFlow::Continue(()))
}
