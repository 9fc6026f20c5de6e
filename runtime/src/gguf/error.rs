//! Why a GGUF file cannot be used: the place, what was found, what was expected, how to mend it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::types::GgmlType;

/// What went wrong with a GGUF file, and where in it.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {fault}", path.display(), At(*offset))]
pub struct GgufError {
    path: PathBuf,
    offset: Option<u64>,
    #[source]
    fault: Box<Fault>,
}

/// The ways to answer a [`GgufError`]: each is one exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufErrorKind {
    /// There is no file at the path, or no regular one.
    NoInput,
    /// The file may not be read.
    Denied,
    /// The file could not be read to the end.
    Io,
    /// The system refused the memory map.
    Resource,
    /// The file's content is not what deepthin reads.
    Data,
}

impl GgufError {
    pub(super) fn new(path: &Path, offset: Option<u64>, fault: Fault) -> Self {
        GgufError { path: path.to_path_buf(), offset, fault: Box::new(fault) }
    }

    /// The file in question.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The byte of the file at which the fault lies; `None` where the whole file is meant.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// What is wrong at that place.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// How the error is to be answered.
    pub fn kind(&self) -> GgufErrorKind {
        match *self.fault {
            Fault::Missing | Fault::NotRegular { .. } => GgufErrorKind::NoInput,
            Fault::Denied => GgufErrorKind::Denied,
            Fault::Io(_) => GgufErrorKind::Io,
            Fault::Map(_) => GgufErrorKind::Resource,
            _ => GgufErrorKind::Data,
        }
    }
}

/// Prints an offset as `@0x1f`, and nothing where there is none.
struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, "@0x{offset:x}"),
            None => Ok(()),
        }
    }
}

/// What a file holds that begins with something else than `GGUF`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreign {
    /// A zip archive, which is also what a pickled PyTorch checkpoint is.
    Zip,
    /// A web page, mostly an error page saved in place of the file.
    Html,
    /// The pointer that git-lfs leaves where the file itself was not fetched.
    GitLfs,
    /// A model file of the years before GGUF: GGML, GGMF or GGJT.
    OldGgml,
    /// A safetensors file: a JSON header after its length.
    Safetensors,
    /// The magic with its bytes reversed.
    Reversed,
    /// Any other first four bytes.
    Unknown([u8; 4]),
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::Zip => f.write_str(
                "a zip archive (a PyTorch checkpoint?), expected a gguf file: convert it to gguf",
            ),
            Foreign::Html => f.write_str(
                "a web page, expected a gguf file: the download failed, fetch the file again",
            ),
            Foreign::GitLfs => f.write_str(
                "a git-lfs pointer, expected the gguf file it stands for: run `git lfs pull`",
            ),
            Foreign::OldGgml => f.write_str(
                "a GGML file of the time before gguf, expected a gguf file: convert the model anew",
            ),
            Foreign::Safetensors => {
                f.write_str("a safetensors file, expected a gguf file: convert it to gguf")
            }
            Foreign::Reversed => f.write_str(
                "the magic `FUGG`, expected `GGUF`: the file's bytes are swapped, convert it anew",
            ),
            Foreign::Unknown(magic) => write!(
                f,
                "the first bytes `{}`, expected the magic `GGUF`: this is no gguf file",
                magic.escape_ascii()
            ),
        }
    }
}

/// What was found, what was expected, and how to mend it. `place` names the part of the file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is nothing at the path.
    #[error("no such file: check the path")]
    Missing,
    /// Permissions forbid reading.
    #[error("permission denied: make the file readable for this user")]
    Denied,
    /// A directory, pipe, socket or device.
    #[error("found {found}, expected a regular file: pass the path of the gguf file itself")]
    NotRegular {
        /// What the path leads to.
        found: &'static str,
    },
    /// The system could not open or examine the file.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// The system could not map the file.
    #[error("cannot be mapped into memory: {0}: free some address space")]
    Map(io::Error),

    /// The file ends before a fixed part is complete.
    #[error("file ends inside {place} ({found} of {expected} bytes): fetch it again")]
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
    #[error("gguf version {0} is too old, expected version 2 or 3: convert the model anew")]
    OldVersion(u32),
    /// A version after 3.
    #[error("gguf version {0} is unknown, expected version 2 or 3: get a newer deepthin")]
    NewVersion(u32),
    /// Version 1 to 3, with its bytes swapped.
    #[error(
        "big-endian gguf (version {0}) is not supported, expected little-endian: \
         convert the model anew on a little-endian machine"
    )]
    BigEndian(u32),
    /// A count that the rest of the file cannot hold.
    #[error(
        "{place} claims {count} elements of at least {each} bytes, expected at most the {remaining} \
         bytes that are left: the file is damaged, fetch it again"
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
    #[error(
        "{place} claims {count} elements, expected at most {limit}: \
         the file is damaged, fetch it again"
    )]
    TooMany {
        /// What is counted.
        place: String,
        /// The count in the file.
        count: u64,
        /// The most that deepthin reads.
        limit: u64,
    },
    /// A string length that the rest of the file cannot hold.
    #[error(
        "{place} claims a string of {length} bytes, expected at most the {remaining} that are \
         left: the file is damaged, fetch it again"
    )]
    StringLength {
        /// Where the string stands.
        place: String,
        /// The length in the file.
        length: u64,
        /// The bytes after the length.
        remaining: u64,
    },
    /// A string that is not UTF-8.
    #[error("{place} holds the byte 0x{byte:02x}, expected UTF-8 text: convert the model anew")]
    NotUtf8 {
        /// Where the string stands.
        place: String,
        /// The first byte that fits no code point.
        byte: u8,
    },

    /// A key of no or too many bytes.
    #[error("key {index} has {length} bytes, expected 1 to 65535: convert the model anew")]
    KeyLength {
        /// The key's place in the list, from 0.
        index: usize,
        /// Its length.
        length: u64,
    },
    /// A key with a byte outside of printable ASCII.
    #[error(
        "key {index} holds the byte 0x{byte:02x}, expected printable ASCII alone: \
         convert the model anew"
    )]
    KeyByte {
        /// The key's place in the list, from 0.
        index: usize,
        /// The byte.
        byte: u8,
    },
    /// The same key twice.
    #[error(
        "key {second} is `{key}` again, expected it once (key {first}): convert the model anew"
    )]
    DuplicateKey {
        /// The key.
        key: String,
        /// Its first place.
        first: usize,
        /// Its second place.
        second: usize,
    },
    /// A value type that GGUF does not have.
    #[error(
        "{place} is of type {found}, expected a value type of 0 to 12: \
         the file is damaged, fetch it again"
    )]
    UnknownValueType {
        /// Whose value.
        place: String,
        /// The type's number.
        found: u32,
    },
    /// A bool that is neither 0 nor 1.
    #[error(
        "{place} holds the byte {found}, expected a bool of 0 or 1: \
         the file is damaged, fetch it again"
    )]
    BoolByte {
        /// Whose value.
        place: String,
        /// The byte.
        found: u8,
    },
    /// Arrays in arrays in arrays.
    #[error(
        "{place} nests arrays deeper than the {limit} levels that are read: \
         convert the model anew without the key"
    )]
    ArrayDepth {
        /// Whose value.
        place: String,
        /// The deepest that is read.
        limit: u32,
    },
    /// A key that must be there is not.
    #[error("has no key `{0}`: convert the model anew with current tools")]
    MissingKey(String),
    /// A key's value is of another type than its meaning asks for.
    #[error("key `{key}` is of type {found}, expected {expected}: convert the model anew")]
    ValueType {
        /// The key.
        key: String,
        /// The type in the file.
        found: String,
        /// The type that is needed.
        expected: &'static str,
    },
    /// `general.alignment` is out of its range.
    #[error(
        "`general.alignment` is {0}, expected a power of two from 8 to 65536: \
         convert the model anew"
    )]
    Alignment(u32),
    /// One file of several.
    #[error("is one of {count} files of a split model, expected a whole one: merge them first")]
    Split {
        /// How many there are.
        count: u16,
    },

    /// A tensor's name of no or too many bytes.
    #[error(
        "the name of tensor {index} has {length} bytes, expected 1 to 64: \
         convert the model anew"
    )]
    TensorNameLength {
        /// The tensor's place in the list, from 0.
        index: usize,
        /// The length of the name.
        length: u64,
    },
    /// The same tensor twice.
    #[error(
        "tensor {second} is `{name}` again, expected it once (tensor {first}): \
         convert the model anew"
    )]
    DuplicateTensor {
        /// The name.
        name: String,
        /// Its first place.
        first: usize,
        /// Its second place.
        second: usize,
    },
    /// No dimensions or too many.
    #[error(
        "tensor `{name}` has {found} dimensions, expected 1 to 4: \
         convert the model anew"
    )]
    DimensionCount {
        /// The tensor.
        name: String,
        /// Its dimensions.
        found: u32,
    },
    /// A dimension of nothing.
    #[error(
        "tensor `{name}` has the dimensions {dims:?}, expected each to be at least 1: \
         convert the model anew"
    )]
    ZeroDimension {
        /// The tensor.
        name: String,
        /// Its dimensions, row length first.
        dims: Vec<u64>,
    },
    /// More bytes than 64 bits count, alone or with the tensors before it.
    #[error(
        "tensor `{name}` of {kind} {dims:?} at {offset} ends past 2^64 bytes, expected it in the \
         file: the file is damaged, fetch it again"
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
        "tensor `{name}` has rows of {columns} elements, expected a multiple of {kind}'s {block}: \
         quantize the model anew to a type that fits"
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
        "tensor `{name}` is of type {id} ({old}), which was removed from ggml: convert it anew"
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
    #[error(
        "tensor `{name}` is of type {id}, expected a ggml type of 0 to {last}: \
         quantize the model to one of {}",
        GgmlType::supported_list()
    )]
    UnknownType {
        /// The tensor.
        name: String,
        /// The type's number.
        id: u32,
        /// The last known number.
        last: u32,
    },
    /// A known type without kernels.
    #[error(
        "tensor `{name}` is {kind}; deepthin reads {}: quantize the model to one of them",
        GgmlType::supported_list()
    )]
    UnsupportedType {
        /// The tensor.
        name: String,
        /// Its element type.
        kind: GgmlType,
    },
    /// An offset that is no multiple of the alignment.
    #[error(
        "tensor `{name}` begins at {offset} of the data, expected a multiple of the alignment \
         {alignment}: convert the model anew"
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
        "tensor `{name}` lies at {range:?} of the data, over `{other}` at {other_range:?}, \
         expected them apart: convert the model anew"
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
        "tensor `{name}` begins at {offset} of the data, expected {expected}, right after \
         {previous}: convert the model anew, with tensors in order and without gaps"
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
        "tensor `{name}` ends at byte {end} of a file of {file_len}: \
         file is {short} bytes short, fetch it again"
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
