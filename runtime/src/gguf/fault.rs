//! What can be wrong with a GGUF file: what was found, what was expected, and how to mend it.

use std::borrow::Cow;
use std::io;

use super::foreign::Foreign;
use super::types::GgmlType;
use crate::stamp;

/// What was found, what was expected, and how to mend it. `place` names the part of the file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is nothing at the path.
    #[error("no such file")]
    Missing,
    /// No file can be at the path: a link to itself, a name that is too long.
    #[error("cannot open it: {0}")]
    Path(io::Error),
    /// Permissions forbid reading.
    #[error("permission denied")]
    Denied,
    /// A directory, pipe, socket or device.
    #[error("found {found}, expected a regular file")]
    NotRegular {
        /// What the path leads to.
        found: &'static str,
    },
    /// The system could not open or examine the file.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// The system could not map the file.
    #[error("cannot be mapped into memory: {0}")]
    Map(io::Error),
    /// The file was cut after it had been opened.
    #[error(
        "file was cut from {was} to {now} bytes while it was read, expected it to stay as it is"
    )]
    Shrunk {
        /// Bytes when it was opened.
        was: u64,
        /// Bytes now.
        now: u64,
    },
    /// The file was written to after it had been opened.
    #[error("file was written to while it was read, expected it to stay as it is")]
    Changed,
    /// The system has no memory for a tensor's bytes.
    #[error("tensor `{name}` has {bytes} bytes, expected as much memory to be free")]
    Memory {
        /// The tensor.
        name: String,
        /// Its bytes.
        bytes: u64,
    },

    /// The file ends before a fixed part is complete.
    #[error("file ends inside {place} ({found} of {expected} bytes)")]
    Truncated {
        /// The part that is cut.
        place: String,
        /// Bytes there are.
        found: u64,
        /// Bytes the part has.
        expected: u64,
    },
    /// Not a GGUF file at all.
    #[error("found {0}")]
    Foreign(Foreign),
    /// A version before 2.
    #[error("gguf version {0} is too old, expected version 2 or 3")]
    OldVersion(u32),
    /// A version after 3.
    #[error("gguf version {0} is unknown, expected version 2 or 3")]
    NewVersion(u32),
    /// Version 1 to 3, with its bytes swapped.
    #[error("big-endian gguf (version {0}) is not supported, expected little-endian")]
    BigEndian(u32),
    /// A count that the rest of the file cannot hold.
    #[error(
        "{place} claims {count} elements of at least {each} bytes, expected at most the {remaining} bytes that are left"
    )]
    Count {
        /// What is counted.
        place: String,
        /// The count in the file.
        count: u64,
        /// The fewest bytes that one element takes.
        each: u64,
        /// The bytes after the count.
        remaining: u64,
    },
    /// A count beyond what any model has.
    #[error("{place} claims {count} elements, expected at most {limit}")]
    TooMany {
        /// What is counted.
        place: String,
        /// The count in the file.
        count: u64,
        /// The most that deepthin reads.
        limit: u64,
    },
    /// More arrays in arrays than a file may have.
    #[error("{place} makes {count} arrays in arrays, expected at most {limit} in a file")]
    NestedArrays {
        /// Where the last of them are.
        place: String,
        /// Those of the file so far.
        count: u64,
        /// The most that deepthin reads.
        limit: u64,
    },
    /// A string length that the rest of the file cannot hold.
    #[error(
        "{place} claims a string of {length} bytes, expected at most the {remaining} that are left"
    )]
    StringLength {
        /// Where the string stands.
        place: String,
        /// The length in the file.
        length: u64,
        /// The bytes after the length.
        remaining: u64,
    },
    /// More bytes before the tensors' than any model has there.
    #[error(
        "{place} passes byte {limit} of the file, expected keys and descriptions of tensors to end before it"
    )]
    HeaderSize {
        /// The part that passes it.
        place: String,
        /// The most bytes that are read.
        limit: u64,
    },
    /// A string that is not UTF-8.
    #[error("{place} holds the byte 0x{byte:02x}, expected UTF-8 text")]
    NotUtf8 {
        /// Where the string stands.
        place: String,
        /// The first byte that fits no code point.
        byte: u8,
    },

    /// A key of no or too many bytes.
    #[error("key {index} has {length} bytes, expected 1 to 65535")]
    KeyLength {
        /// The key's place in the list, from 0.
        index: usize,
        /// Its length.
        length: u64,
    },
    /// A key with a byte outside of printable ASCII.
    #[error("key {index} holds the byte 0x{byte:02x}, expected printable ASCII alone")]
    KeyByte {
        /// The key's place in the list, from 0.
        index: usize,
        /// The byte.
        byte: u8,
    },
    /// The same key twice.
    #[error("key {second} is `{key}` again, expected it once (key {first})")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Its first place.
        first: usize,
        /// Its second place.
        second: usize,
    },
    /// A value type that GGUF does not have.
    #[error("{place} is of type {found}, expected a value type of 0 to 12")]
    UnknownValueType {
        /// Whose value.
        place: String,
        /// The type's number.
        found: u32,
    },
    /// A bool that is neither 0 nor 1.
    #[error("{place} holds the byte {found}, expected a bool of 0 or 1")]
    BoolByte {
        /// Whose value.
        place: String,
        /// The byte.
        found: u8,
    },
    /// Arrays in arrays in arrays.
    #[error("{place} nests arrays deeper than the {limit} levels that are read")]
    ArrayDepth {
        /// Whose value.
        place: String,
        /// The deepest that is read.
        limit: u32,
    },
    /// A key that must be there is not.
    #[error("found no key `{0}`, expected one")]
    MissingKey(String),
    /// A key's value is of another type than its meaning asks for.
    #[error("key `{key}` is of type {found}, expected {expected}")]
    ValueType {
        /// The key.
        key: String,
        /// The type in the file.
        found: String,
        /// The type that is needed.
        expected: &'static str,
    },
    /// `general.alignment` is out of its range.
    #[error("`general.alignment` is {0}, expected a power of two from 8 to 65536")]
    Alignment(u32),
    /// One file of several.
    #[error("{part} of the {count} files of a split model, expected a whole model")]
    Split {
        /// Which one it is, in words.
        part: String,
        /// How many there are.
        count: u64,
    },

    /// A tensor's name of no or too many bytes.
    #[error("the name of tensor {index} has {length} bytes, expected 1 to 64")]
    TensorNameLength {
        /// The tensor's place in the list, from 0.
        index: usize,
        /// The length of the name.
        length: u64,
    },
    /// A tensor's name with a character that is no text, such as an escape.
    #[error("the name of tensor {index} holds {}, expected printable text", character.escape_unicode())]
    TensorNameCharacter {
        /// The tensor's place in the list, from 0.
        index: usize,
        /// The character.
        character: char,
    },
    /// The same tensor twice.
    #[error("tensor {second} is `{name}` again, expected it once (tensor {first})")]
    DuplicateTensor {
        /// The name.
        name: String,
        /// Its first place.
        first: usize,
        /// Its second place.
        second: usize,
    },
    /// No dimensions or too many.
    #[error("tensor `{name}` has {found} dimensions, expected 1 to 4")]
    DimensionCount {
        /// The tensor.
        name: String,
        /// Its dimensions.
        found: u32,
    },
    /// A dimension of nothing.
    #[error("tensor `{name}` has the dimensions {dims:?}, expected each to be at least 1")]
    ZeroDimension {
        /// The tensor.
        name: String,
        /// Its dimensions, row length first.
        dims: Vec<u64>,
    },
    /// More bytes than 64 bits count, alone or with the tensors before it.
    #[error(
        "tensor `{name}` of {kind} {dims:?} at {offset} ends past 2^64 bytes, expected it in the file"
    )]
    TensorTooLarge {
        /// The tensor.
        name: String,
        /// Its element type.
        kind: GgmlType,
        /// Its dimensions, row length first.
        dims: Vec<u64>,
        /// Its offset in the data section.
        offset: u64,
    },
    /// Rows that are no whole number of blocks.
    #[error(
        "tensor `{name}` has rows of {columns} elements, expected a multiple of {kind}'s {block}"
    )]
    RowBlock {
        /// The tensor.
        name: String,
        /// Its element type.
        kind: GgmlType,
        /// Its row length.
        columns: u64,
        /// The elements of one block.
        block: u64,
    },
    /// A type that ggml once had.
    #[error(
        "tensor `{name}` is of type {id} ({old}), which was removed from ggml, expected a type of today"
    )]
    RemovedType {
        /// The tensor.
        name: String,
        /// The type's number.
        id: u32,
        /// The name the type had.
        old: &'static str,
    },
    /// A type that deepthin has never heard of.
    #[error("tensor `{name}` is of type {id}, expected a ggml type of 0 to {last}")]
    UnknownType {
        /// The tensor.
        name: String,
        /// The type's number.
        id: u32,
        /// The last known number.
        last: u32,
    },
    /// A known type without kernels.
    #[error("tensor `{name}` is stored as {kind}, expected one of {}", GgmlType::supported_list())]
    UnsupportedType {
        /// The tensor.
        name: String,
        /// Its element type.
        kind: GgmlType,
    },
    /// An offset that is no multiple of the alignment.
    #[error(
        "tensor `{name}` begins at {offset} of the data, expected a multiple of the alignment {alignment}"
    )]
    Misaligned {
        /// The tensor.
        name: String,
        /// Its offset in the data section.
        offset: u64,
        /// `general.alignment`, or 32.
        alignment: u64,
    },
    /// Two tensors share bytes.
    #[error(
        "tensor `{name}` lies at {range:?} of the data, over `{other}` at {other_range:?}, expected them apart"
    )]
    Overlap {
        /// The later tensor.
        name: String,
        /// Its bytes in the data section.
        range: std::ops::Range<u64>,
        /// The earlier tensor.
        other: String,
        /// Its bytes in the data section.
        other_range: std::ops::Range<u64>,
    },
    /// Tensors that don't lie one after the other.
    #[error(
        "tensor `{name}` begins at {offset} of the data, expected {expected}, right after {previous}"
    )]
    OutOfPlace {
        /// The tensor.
        name: String,
        /// Its offset in the data section.
        offset: u64,
        /// Where it has to begin.
        expected: u64,
        /// The tensor before it, in words.
        previous: String,
    },
    /// Tensor data after the end of the file.
    #[error(
        "tensor `{name}` ends at byte {end} of a file of {file_len}, {short} bytes are missing"
    )]
    Short {
        /// The first tensor that is cut.
        name: String,
        /// The byte after its last.
        end: u64,
        /// The file's length.
        file_len: u64,
        /// Bytes missing for all tensors.
        short: u64,
    },
}

impl Fault {
    /// What the user can do about it.
    pub(super) fn fix(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Fault::Missing => "check the spelling of the path",
            Fault::Path(_) => "check the path and the links on it",
            Fault::Denied => "make the file readable for this user: chmod u+r FILE",
            Fault::NotRegular { .. } => "name the GGUF file itself",
            Fault::Io(_) => "see to the disk or network that the file is on, and try again",
            Fault::Shrunk { .. } | Fault::Changed => stamp::FIX,
            Fault::Map(_) => {
                "give the process more address space (ulimit -v), or put the file on a disk that \
                 can map"
            }
            Fault::Memory { .. } => "end other programs, or take a smaller model",
            Fault::Foreign(foreign) => foreign.fix(),
            Fault::NewVersion(_) => "get a newer deepthin, or convert the model to version 3",
            Fault::BigEndian(_) => "convert the model anew on a little-endian machine",
            Fault::Truncated { .. }
            | Fault::Count { .. }
            | Fault::TooMany { .. }
            | Fault::StringLength { .. }
            | Fault::UnknownValueType { .. }
            | Fault::BoolByte { .. }
            | Fault::TensorTooLarge { .. } => "the file is damaged: fetch it again",
            Fault::Short { .. } => {
                "the file is cut off: fetch it again, and compare its SHA-256 with that of its \
                 source"
            }
            Fault::ArrayDepth { .. } => "convert the model anew, without that key",
            Fault::Split { .. } => {
                "merge the files into one first: llama-gguf-split --merge FIRST-FILE WHOLE-FILE"
            }
            Fault::RowBlock { .. } => "quantize the model anew, to a type whose blocks fit",
            Fault::UnknownType { .. } | Fault::UnsupportedType { .. } => {
                let types = GgmlType::supported_list();
                return Cow::Owned(format!(
                    "quantize the model to one of {types}, as llama.cpp's `llama-quantize` does"
                ));
            }
            Fault::OldVersion(_)
            | Fault::HeaderSize { .. }
            | Fault::NotUtf8 { .. }
            | Fault::KeyLength { .. }
            | Fault::KeyByte { .. }
            | Fault::DuplicateKey { .. }
            | Fault::MissingKey(_)
            | Fault::ValueType { .. }
            | Fault::Alignment(_)
            | Fault::TensorNameLength { .. }
            | Fault::TensorNameCharacter { .. }
            | Fault::DuplicateTensor { .. }
            | Fault::DimensionCount { .. }
            | Fault::ZeroDimension { .. }
            | Fault::RemovedType { .. }
            | Fault::NestedArrays { .. }
            | Fault::Misaligned { .. }
            | Fault::Overlap { .. }
            | Fault::OutOfPlace { .. } => "convert the model anew with current tools",
        })
    }
}
