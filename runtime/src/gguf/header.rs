//! The first 24 bytes of a GGUF file.

use super::error::GgufError;
use super::fault::Fault;
use super::foreign::Foreign;
use super::reader::{Place, Reader};

/// The first four bytes of every GGUF file.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";

/// Version and counts, which say nothing yet about the bytes that follow.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) tensors: u64,
    pub(super) keys: u64,
}

impl Header {
    /// Bytes of magic, version and counts.
    pub(super) const BYTES: usize = 24;
    /// Where the version stands.
    const VERSION_OFFSET: u64 = 4;
    /// Where the count of tensors stands.
    pub(super) const TENSORS_OFFSET: u64 = 8;
    /// Where the count of keys stands.
    pub(super) const KEYS_OFFSET: u64 = 16;

    /// Reads the header of a file from its first byte on.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Header, GgufError> {
        let start = reader.peek()?;
        let head = start.get(..MAGIC.len()).unwrap_or(start);
        if !MAGIC.starts_with(head) {
            let foreign = Foreign::recognize(start);
            return Err(reader.fail(0, Fault::Foreign(foreign)));
        }
        if reader.file_len() < Header::BYTES as u64 {
            let fault = Fault::Truncated {
                place: Place::Header.to_string(),
                found: reader.file_len(),
                expected: Header::BYTES as u64,
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
