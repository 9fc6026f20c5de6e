//! The first 24 bytes of a GGUF file, and the names of what may stand there instead.

use super::error::{Fault, Foreign, GgufError};
use super::reader::{Place, Reader};

/// The first four bytes of every GGUF file.
const MAGIC: [u8; 4] = *b"GGUF";

/// Bytes of magic, version and counts.
const HEADER_BYTES: u64 = 24;

/// Version and counts, which say nothing yet about the bytes that follow.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) tensors: u64,
    pub(super) keys: u64,
}

impl Header {
    /// Where the version stands.
    const VERSION_OFFSET: u64 = 4;
    /// Where the count of tensors stands.
    pub(super) const TENSORS_OFFSET: u64 = 8;
    /// Where the count of keys stands.
    pub(super) const KEYS_OFFSET: u64 = 16;

    /// Reads the header of a file from its first byte on.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Header, GgufError> {
        let start = reader.rest();
        let head = start.get(..MAGIC.len()).unwrap_or(start);
        if !MAGIC.starts_with(head) {
            return Err(reader.fail(0, Fault::Foreign(recognize(start))));
        }
        if reader.file_len() < HEADER_BYTES {
            let fault = Fault::Truncated {
                place: Place::Header.to_string(),
                found: reader.file_len(),
                expected: HEADER_BYTES,
            };
            return Err(reader.fail(reader.file_len(), fault));
        }
        let _: [u8; 4] = reader.array(Place::Header)?;
        let version = reader.u32(Place::Header)?;
        let fault = match version {
            2 | 3 => None,
            0 | 1 => Some(Fault::OldVersion(version)),
            swapped if (1..=3).contains(&swapped.swap_bytes()) => {
                Some(Fault::BigEndian(swapped.swap_bytes()))
            }
            unknown => Some(Fault::NewVersion(unknown)),
        };
        if let Some(fault) = fault {
            return Err(reader.fail(Header::VERSION_OFFSET, fault));
        }
        let tensors = reader.u64(Place::Header)?;
        let keys = reader.u64(Place::Header)?;
        Ok(Header { version, tensors, keys })
    }
}

/// Names what begins with other bytes than the magic.
fn recognize(start: &[u8]) -> Foreign {
    const OLD: [&[u8]; 6] = [b"ggml", b"lmgg", b"ggmf", b"fmgg", b"ggjt", b"tjgg"];
    let text = start.trim_ascii_start();
    let is_tag =
        |tag: &[u8]| text.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
    if start.starts_with(b"PK") {
        Foreign::Zip
    } else if is_tag(b"<!doctype") || is_tag(b"<html") || is_tag(b"<?xml") {
        Foreign::Html
    } else if start.starts_with(b"version https://git-lfs") {
        Foreign::GitLfs
    } else if start
        .get(..4)
        .is_some_and(|magic| OLD.iter().any(|old| magic.eq_ignore_ascii_case(old)))
    {
        Foreign::OldGgml
    } else if start.starts_with(b"FUGG") {
        Foreign::Reversed
    } else if start.get(8) == Some(&b'{') {
        Foreign::Safetensors
    } else {
        let mut magic = [0; 4];
        for (to, from) in magic.iter_mut().zip(start) {
            *to = *from;
        }
        Foreign::Unknown(magic)
    }
}
