//! Metadata values of a GGUF file: their types, how they are kept, and how they are read.

use std::fmt;

use super::error::GgufError;
use super::fault::Fault;
use super::reader::{Place, Reader};
use crate::shown::Quoted;

/// Arrays may nest this deep; files of real models nest one level.
const MAX_ARRAY_DEPTH: u32 = 4;

/// The fewest bytes of an array that stands in an array: its element type and count.
const NESTED_ARRAY_BYTES: u64 = 12;

/// Numbers of an array that are read at a time.
const PIECE: usize = 1 << 13;

/// The fewest bytes of a string: its length.
const STRING_BYTES: u64 = 8;

/// The type of a [`Value`], or of the elements of an [`Array`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are named after the types they stand for")]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    /// The types by their numbers in a file.
    const BY_ID: [ValueType; 13] = [
        ValueType::U8,
        ValueType::I8,
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::F32,
        ValueType::Bool,
        ValueType::String,
        ValueType::Array,
        ValueType::U64,
        ValueType::I64,
        ValueType::F64,
    ];

    /// The type's name in messages.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::U8 => "u8",
            ValueType::I8 => "i8",
            ValueType::U16 => "u16",
            ValueType::I16 => "i16",
            ValueType::U32 => "u32",
            ValueType::I32 => "i32",
            ValueType::F32 => "f32",
            ValueType::Bool => "bool",
            ValueType::String => "string",
            ValueType::Array => "array",
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
        }
    }

    /// The type's number in a file.
    pub(super) const fn id(self) -> u32 {
        self as u32 // the variants are in the order of their numbers
    }

    /// Reads a type's number.
    fn read(reader: &mut Reader<'_>, place: Place<'_>) -> Result<ValueType, GgufError> {
        let offset = reader.offset();
        let found = reader.u32(place)?;
        let known = usize::try_from(found).ok().and_then(|id| Self::BY_ID.get(id));
        known.copied().ok_or_else(|| {
            reader.fail(offset, Fault::UnknownValueType { place: place.to_string(), found })
        })
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number, truth value, text or array of the metadata.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are named after the types they hold")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// The value's type in words, such as `u32` or `array of string`.
    pub fn describe(&self) -> String {
        match self {
            Value::Array(array) => format!("array of {}", array.element_type()),
            other => other.value_type().to_string(),
        }
    }

    /// Reads the type and then the value of the key that `place` names.
    pub(super) fn read(reader: &mut Reader<'_>, place: Place<'_>) -> Result<Value, GgufError> {
        Ok(match ValueType::read(reader, place)? {
            ValueType::U8 => Value::U8(u8::from_le_bytes(reader.array(place)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(reader.array(place)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(reader.array(place)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(reader.array(place)?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(reader.array(place)?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(reader.array(place)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(reader.array(place)?)),
            ValueType::Bool => Value::Bool(read_bool(reader, place)?),
            ValueType::String => Value::String(reader.string(place)?),
            ValueType::Array => Value::Array(Array::read(reader, 1, place)?),
            ValueType::U64 => Value::U64(u64::from_le_bytes(reader.array(place)?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(reader.array(place)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(reader.array(place)?)),
        })
    }
}

/// The value as people read it: a number, a quoted text (its beginning where it is long), or the
/// length and type of an array.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U8(x) => write!(f, "{x}"),
            Value::I8(x) => write!(f, "{x}"),
            Value::U16(x) => write!(f, "{x}"),
            Value::I16(x) => write!(f, "{x}"),
            Value::U32(x) => write!(f, "{x}"),
            Value::I32(x) => write!(f, "{x}"),
            Value::F32(x) => write!(f, "{x}"),
            Value::Bool(x) => write!(f, "{x}"),
            Value::U64(x) => write!(f, "{x}"),
            Value::I64(x) => write!(f, "{x}"),
            Value::F64(x) => write!(f, "{x}"),
            Value::Array(array) => write!(f, "{} x {}", array.len(), array.element_type()),
            Value::String(text) => Quoted(text).fmt(f),
        }
    }
}

/// The elements of an array, all of one type; arrays nest at most four levels deep.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are named after the types they hold")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Strings),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Array {
    /// The type of the elements.
    pub fn element_type(&self) -> ValueType {
        match self {
            Array::U8(_) => ValueType::U8,
            Array::I8(_) => ValueType::I8,
            Array::U16(_) => ValueType::U16,
            Array::I16(_) => ValueType::I16,
            Array::U32(_) => ValueType::U32,
            Array::I32(_) => ValueType::I32,
            Array::F32(_) => ValueType::F32,
            Array::Bool(_) => ValueType::Bool,
            Array::String(_) => ValueType::String,
            Array::Array(_) => ValueType::Array,
            Array::U64(_) => ValueType::U64,
            Array::I64(_) => ValueType::I64,
            Array::F64(_) => ValueType::F64,
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(values) => values.len(),
            Array::I8(values) => values.len(),
            Array::U16(values) => values.len(),
            Array::I16(values) => values.len(),
            Array::U32(values) => values.len(),
            Array::I32(values) => values.len(),
            Array::F32(values) => values.len(),
            Array::Bool(values) => values.len(),
            Array::String(values) => values.len(),
            Array::Array(values) => values.len(),
            Array::U64(values) => values.len(),
            Array::I64(values) => values.len(),
            Array::F64(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads element type, count and elements; `depth` is 1 for an array that is in no other.
    fn read(reader: &mut Reader<'_>, depth: u32, place: Place<'_>) -> Result<Array, GgufError> {
        if depth > MAX_ARRAY_DEPTH {
            let fault = Fault::ArrayDepth { place: place.to_string(), limit: MAX_ARRAY_DEPTH };
            return Err(reader.fail(reader.offset(), fault));
        }
        Ok(match ValueType::read(reader, place)? {
            ValueType::U8 => Array::U8(read_numbers(reader, place, u8::from_le_bytes)?),
            ValueType::I8 => Array::I8(read_numbers(reader, place, i8::from_le_bytes)?),
            ValueType::U16 => Array::U16(read_numbers(reader, place, u16::from_le_bytes)?),
            ValueType::I16 => Array::I16(read_numbers(reader, place, i16::from_le_bytes)?),
            ValueType::U32 => Array::U32(read_numbers(reader, place, u32::from_le_bytes)?),
            ValueType::I32 => Array::I32(read_numbers(reader, place, i32::from_le_bytes)?),
            ValueType::F32 => Array::F32(read_numbers(reader, place, f32::from_le_bytes)?),
            ValueType::Bool => Array::Bool(read_bools(reader, place)?),
            ValueType::String => Array::String(Strings::read(reader, place)?),
            ValueType::Array => Array::Array(read_arrays(reader, depth, place)?),
            ValueType::U64 => Array::U64(read_numbers(reader, place, u64::from_le_bytes)?),
            ValueType::I64 => Array::I64(read_numbers(reader, place, i64::from_le_bytes)?),
            ValueType::F64 => Array::F64(read_numbers(reader, place, f64::from_le_bytes)?),
        })
    }
}

/// One truth value: a byte of 0 or 1.
fn read_bool(reader: &mut Reader<'_>, place: Place<'_>) -> Result<bool, GgufError> {
    let offset = reader.offset();
    let [found] = reader.array(place)?;
    match found {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.fail(offset, Fault::BoolByte { place: place.to_string(), found })),
    }
}

/// The count and the elements of an array of truth values.
fn read_bools(reader: &mut Reader<'_>, place: Place<'_>) -> Result<Vec<bool>, GgufError> {
    let count = reader.count(1, place)?;
    (0..count).map(|_| read_bool(reader, place)).collect()
}

/// The count and the elements of an array of numbers of `N` bytes.
fn read_numbers<const N: usize, T>(
    reader: &mut Reader<'_>,
    place: Place<'_>,
    from_le_bytes: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, GgufError> {
    let count = reader.count(N as u64, place)?;
    let mut numbers = Vec::with_capacity(count);
    while numbers.len() < count {
        // In pieces: all bytes beside all numbers would take twice the memory.
        let piece = (count - numbers.len()).min(PIECE);
        let bytes = reader.take(piece * N, place)?;
        numbers.extend(bytes.as_chunks().0.iter().copied().map(&from_le_bytes));
    }
    Ok(numbers)
}

/// The count and the elements of an array of arrays, which itself stands at `depth`.
fn read_arrays(
    reader: &mut Reader<'_>,
    depth: u32,
    place: Place<'_>,
) -> Result<Vec<Array>, GgufError> {
    let count = reader.nested_count(NESTED_ARRAY_BYTES, place)?;
    (0..count).map(|_| Array::read(reader, depth + 1, place)).collect()
}

/// Many texts in one piece of memory: a vocabulary has a hundred thousand of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strings {
    text: String,
    ends: Vec<usize>,
}

impl<T: AsRef<str>> FromIterator<T> for Strings {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut strings = Strings::default();
        for text in texts {
            strings.text.push_str(text.as_ref());
            strings.ends.push(strings.text.len());
        }
        strings
    }
}

impl Strings {
    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text of this index.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start..end)
    }

    /// The texts in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    fn read(reader: &mut Reader<'_>, place: Place<'_>) -> Result<Strings, GgufError> {
        let count = reader.count(STRING_BYTES, place)?;
        let mut ends = Vec::with_capacity(count);
        let mut text = Vec::new();
        for _ in 0..count {
            reader.append_string(&mut text, place)?;
            ends.push(text.len());
        }
        // Texts that are valid one by one are valid together.
        Ok(Strings { text: String::from_utf8(text).unwrap_or_default(), ends })
    }
}
