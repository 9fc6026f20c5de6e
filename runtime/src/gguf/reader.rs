//! A cursor over untrusted little-endian bytes: every length is compared with what is left
//! before it is used, and every error carries the offset of the field that is wrong.

use std::fmt;
use std::path::Path;

use super::error::{Fault, GgufError};

/// The part of the file that is being read, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// Magic, version and the two counts.
    Header,
    /// The list of key-value pairs.
    Keys,
    /// The list of tensor descriptions.
    Tensors,
    /// The n-th key.
    Key(usize),
    /// The value of the key of this name.
    Value(&'a str),
    /// The name of the n-th tensor.
    TensorName(usize),
    /// The rest of the description of the tensor of this name.
    Tensor(&'a str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Header => f.write_str("the header"),
            Place::Keys => f.write_str("the list of keys"),
            Place::Tensors => f.write_str("the list of tensors"),
            Place::Key(index) => write!(f, "key {index}"),
            Place::Value(key) => write!(f, "the value of `{key}`"),
            Place::TensorName(index) => write!(f, "the name of tensor {index}"),
            Place::Tensor(name) => write!(f, "the description of tensor `{name}`"),
        }
    }
}

/// Reads the header part of a file from its first byte on.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// A cursor at the first of a file's bytes.
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Reader { path, bytes, position: 0 }
    }

    /// The offset of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.position as u64
    }

    /// The length of the whole file.
    pub(super) fn file_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Bytes from the next one to the end of the file.
    pub(super) fn remaining(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    /// An error at `offset`.
    pub(super) fn fail(&self, offset: u64, fault: Fault) -> GgufError {
        GgufError::new(self.path, Some(offset), fault)
    }

    /// The bytes from the next one to the end of the file, none of them taken.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// The next `count` bytes; the error is laid at the end of the file.
    pub(super) fn take(&mut self, count: usize, place: Place<'_>) -> Result<&'a [u8], GgufError> {
        let rest = self.rest();
        let Some((taken, _)) = rest.split_at_checked(count) else {
            return Err(self.fail(
                self.file_len(),
                Fault::Truncated {
                    place: place.to_string(),
                    found: rest.len() as u64,
                    expected: count as u64,
                },
            ));
        };
        self.position += count;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, place: Place<'_>) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, place)?);
        Ok(array)
    }

    /// A 32-bit number.
    pub(super) fn u32(&mut self, place: Place<'_>) -> Result<u32, GgufError> {
        self.array(place).map(u32::from_le_bytes)
    }

    /// A 64-bit number.
    pub(super) fn u64(&mut self, place: Place<'_>) -> Result<u64, GgufError> {
        self.array(place).map(u64::from_le_bytes)
    }

    /// A 64-bit count of elements that take at least `each` bytes of the rest of the file.
    pub(super) fn count(&mut self, each: u64, place: Place<'_>) -> Result<usize, GgufError> {
        let offset = self.offset();
        let count = self.u64(place)?;
        self.check_count(offset, count, each, place)
    }

    /// Compares a count that stood at `offset` with the bytes that are left.
    fn check_count(
        &self,
        offset: u64,
        count: u64,
        each: u64,
        place: Place<'_>,
    ) -> Result<usize, GgufError> {
        let remaining = self.remaining();
        let fits = count.checked_mul(each).is_some_and(|bytes| bytes <= remaining);
        match usize::try_from(count) {
            Ok(count) if fits => Ok(count),
            _ => {
                let place = place.to_string();
                Err(self.fail(offset, Fault::Count { place, count, each, remaining }))
            }
        }
    }

    /// Compares a count that stood at `offset` with the bytes that are left and with `limit`.
    pub(super) fn limited(
        &self,
        offset: u64,
        count: u64,
        each: u64,
        limit: u64,
        place: Place<'_>,
    ) -> Result<usize, GgufError> {
        let fits = self.check_count(offset, count, each, place)?;
        if count > limit {
            let place = place.to_string();
            return Err(self.fail(offset, Fault::TooMany { place, count, limit }));
        }
        Ok(fits)
    }

    /// A string: its length in 64 bits, then UTF-8. Errors name the length field or the byte.
    pub(super) fn str(&mut self, place: Place<'_>) -> Result<&'a str, GgufError> {
        let offset = self.offset();
        let length = self.u64(place)?;
        self.str_of(offset, length, place)
    }

    /// The text of a string of which the length stood at `offset`.
    pub(super) fn str_of(
        &mut self,
        offset: u64,
        length: u64,
        place: Place<'_>,
    ) -> Result<&'a str, GgufError> {
        let remaining = self.remaining();
        let count = match usize::try_from(length) {
            Ok(count) if length <= remaining => count,
            _ => {
                let place = place.to_string();
                return Err(self.fail(offset, Fault::StringLength { place, length, remaining }));
            }
        };
        let start = self.offset();
        let bytes = self.take(count, place)?;
        std::str::from_utf8(bytes).map_err(|error| {
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            let fault = Fault::NotUtf8 { place: place.to_string(), byte };
            self.fail(start + error.valid_up_to() as u64, fault)
        })
    }
}
