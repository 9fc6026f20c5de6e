//! A cursor over untrusted little-endian bytes: every length is compared with what is left
//! before it is used, and every error carries the offset of the field that is wrong.
//!
//! What is taken is a copy, and checked as such: bytes that another process changes in the file
//! meanwhile are either those from before or those from after.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};

use super::error::GgufError;
use super::fault::Fault;
use super::input::{Input, Stream};

/// Most bytes of everything that precedes the tensors' bytes. The longest vocabularies take some
/// 16 MiB; a file of many gigabytes could ask for as much memory without this.
const MAX_HEADER_BYTES: u64 = 32 << 20;

/// Most arrays of a file that stand in other arrays: each takes four times as many bytes in memory
/// as in the file. Real models have none.
const MAX_NESTED_ARRAYS: u64 = 1 << 16;

/// Bytes that are read from the file at a time.
const BUFFER_BYTES: usize = 1 << 16;

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
    input: &'a Input,
    stream: BufReader<Stream<'a>>,
    position: u64,
    /// Arrays in arrays so far.
    nested: u64,
}

impl<'a> Reader<'a> {
    /// A cursor at the first of a file's bytes.
    pub(super) fn new(input: &'a Input) -> Self {
        let stream = BufReader::with_capacity(BUFFER_BYTES, input.stream());
        Reader { input, stream, position: 0, nested: 0 }
    }

    /// The offset of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.position
    }

    /// The length of the whole file.
    pub(super) fn file_len(&self) -> u64 {
        self.input.len()
    }

    /// Bytes from the next one to the end of the file.
    pub(super) fn remaining(&self) -> u64 {
        self.file_len().saturating_sub(self.position)
    }

    /// An error at `offset`.
    pub(super) fn fail(&self, offset: u64, fault: Fault) -> GgufError {
        GgufError::new(self.input.path(), Some(offset), fault)
    }

    /// The next bytes, none of them taken: some hundred of them, where the file has them.
    pub(super) fn peek(&mut self) -> Result<&[u8], GgufError> {
        let (input, offset) = (self.input, self.position);
        self.stream.fill_buf().map_err(|error| input.failed(offset, error))
    }

    /// Compares a number of bytes that `place` has to take with what is left.
    fn admit(&self, count: u64, place: Place<'_>) -> Result<(), GgufError> {
        let found = self.remaining();
        if count > found {
            let fault = Fault::Truncated { place: place.to_string(), found, expected: count };
            return Err(self.fail(self.file_len(), fault));
        }
        if count > MAX_HEADER_BYTES.saturating_sub(self.position) {
            let fault = Fault::HeaderSize { place: place.to_string(), limit: MAX_HEADER_BYTES };
            return Err(self.fail(self.position, fault));
        }
        Ok(())
    }

    /// Fills `bytes` with the next ones, which [`Reader::admit`] has found there.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GgufError> {
        self.stream.read_exact(bytes).map_err(|error| self.input.failed(self.position, error))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Appends the next `count` bytes to `bytes`; where they are missing, the error is laid at the
    /// end of the file.
    pub(super) fn append(
        &mut self,
        count: usize,
        bytes: &mut Vec<u8>,
        place: Place<'_>,
    ) -> Result<(), GgufError> {
        self.admit(count as u64, place)?;
        let start = bytes.len();
        bytes.resize(start.saturating_add(count), 0);
        self.fill(bytes.get_mut(start..).unwrap_or_default())
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize, place: Place<'_>) -> Result<Vec<u8>, GgufError> {
        let mut bytes = Vec::new();
        self.append(count, &mut bytes, place)?;
        Ok(bytes)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, place: Place<'_>) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        self.admit(N as u64, place)?;
        self.fill(&mut array)?;
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
        match count.checked_mul(each).filter(|bytes| *bytes <= remaining) {
            None => {
                let place = place.to_string();
                Err(self.fail(offset, Fault::Count { place, count, each, remaining }))
            }
            Some(bytes) => {
                self.admit(bytes, place)?;
                // It is below the limit of the header, and so in the address space.
                Ok(usize::try_from(count).unwrap_or(0))
            }
        }
    }

    /// The count of an array's arrays, of which a file has few.
    pub(super) fn nested_count(&mut self, each: u64, place: Place<'_>) -> Result<usize, GgufError> {
        let offset = self.offset();
        let count = self.u64(place)?;
        let fits = self.check_count(offset, count, each, place)?;
        self.nested = self.nested.saturating_add(count);
        if self.nested > MAX_NESTED_ARRAYS {
            let (place, count, limit) = (place.to_string(), self.nested, MAX_NESTED_ARRAYS);
            return Err(self.fail(offset, Fault::NestedArrays { place, count, limit }));
        }
        Ok(fits)
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
    pub(super) fn string(&mut self, place: Place<'_>) -> Result<String, GgufError> {
        let mut text = Vec::new();
        self.append_string(&mut text, place)?;
        self.valid(text, place)
    }

    /// Appends the bytes of a string, which are UTF-8.
    pub(super) fn append_string(
        &mut self,
        text: &mut Vec<u8>,
        place: Place<'_>,
    ) -> Result<(), GgufError> {
        let offset = self.offset();
        let length = self.u64(place)?;
        let start = text.len();
        self.append_text(offset, length, text, place)?;
        self.check_utf8(text.get(start..).unwrap_or_default(), place)
    }

    /// The text of a string of which the length stood at `offset`.
    pub(super) fn string_of(
        &mut self,
        offset: u64,
        length: u64,
        place: Place<'_>,
    ) -> Result<String, GgufError> {
        let mut text = Vec::new();
        self.append_text(offset, length, &mut text, place)?;
        self.valid(text, place)
    }

    /// Appends the bytes of a string of which the length stood at `offset`.
    fn append_text(
        &mut self,
        offset: u64,
        length: u64,
        text: &mut Vec<u8>,
        place: Place<'_>,
    ) -> Result<(), GgufError> {
        let remaining = self.remaining();
        match usize::try_from(length) {
            Ok(count) if length <= remaining => self.append(count, text, place),
            _ => {
                let place = place.to_string();
                Err(self.fail(offset, Fault::StringLength { place, length, remaining }))
            }
        }
    }

    /// The bytes just taken as text.
    fn valid(&self, text: Vec<u8>, place: Place<'_>) -> Result<String, GgufError> {
        self.check_utf8(&text, place)?;
        // Every sequence is whole: it was just looked at.
        Ok(String::from_utf8(text).unwrap_or_default())
    }

    /// Refuses the bytes just taken where they are no text.
    fn check_utf8(&self, bytes: &[u8], place: Place<'_>) -> Result<(), GgufError> {
        std::str::from_utf8(bytes).map(drop).map_err(|error| {
            let at = error.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            let fault = Fault::NotUtf8 { place: place.to_string(), byte };
            let start = self.position.saturating_sub(bytes.len() as u64);
            self.fail(start + at as u64, fault)
        })
    }
}
