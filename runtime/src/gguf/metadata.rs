//! The key-value pairs of a GGUF file, checked and in the order of the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::GgufError;
use super::fault::Fault;
use super::reader::{Place, Reader};
use super::value::{Array, Strings, Value};

/// Far more keys than any model has; bounds what a small hostile file can make of itself.
const MAX_KEYS: u64 = 1 << 16;

/// The fewest bytes of a pair: length and one byte of the key, type and one byte of the value.
const PAIR_BYTES: u64 = 8 + 1 + 4 + 1;

/// The longest key, by the format's definition.
const MAX_KEY_BYTES: u64 = 65_535;

/// Every key with its value. Typed getters name the key, both types and the place in the file.
#[derive(Debug)]
pub struct Metadata {
    path: PathBuf,
    pairs: Vec<Pair>,
    by_key: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Pair {
    key: String,
    value: Value,
    /// Where the value's type stands in the file.
    offset: u64,
}

impl Metadata {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.pair(key).map(|pair| &pair.value)
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|pair| (pair.key.as_str(), &pair.value))
    }

    /// Where a key's value stands in the file, counted from its beginning: first its type in 4
    /// bytes, then the value, which for a text is its length in 8 bytes and its bytes.
    pub fn offset(&self, key: &str) -> Option<u64> {
        self.pair(key).map(|pair| pair.offset)
    }

    /// The `u32` of a key, if the key is there.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        self.typed(key, "u32", |value| match value {
            Value::U32(number) => Some(*number),
            _ => None,
        })
    }

    /// The `f32` of a key, if the key is there.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        self.typed(key, "f32", |value| match value {
            Value::F32(number) => Some(*number),
            _ => None,
        })
    }

    /// The truth value of a key, if the key is there.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "bool", |value| match value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        })
    }

    /// The text of a key, if the key is there.
    pub fn str(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The texts of a key, if the key is there.
    pub fn strings(&self, key: &str) -> Result<Option<&Strings>, GgufError> {
        self.typed(key, "array of string", |value| match value {
            Value::Array(Array::String(texts)) => Some(texts),
            _ => None,
        })
    }

    /// The `i32` array of a key, if the key is there.
    pub fn i32s(&self, key: &str) -> Result<Option<&[i32]>, GgufError> {
        self.typed(key, "array of i32", |value| match value {
            Value::Array(Array::I32(numbers)) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// The `u32` array of a key, if the key is there.
    pub fn u32s(&self, key: &str) -> Result<Option<&[u32]>, GgufError> {
        self.typed(key, "array of u32", |value| match value {
            Value::Array(Array::U32(numbers)) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// The `f32` array of a key, if the key is there.
    pub fn f32s(&self, key: &str) -> Result<Option<&[f32]>, GgufError> {
        self.typed(key, "array of f32", |value| match value {
            Value::Array(Array::F32(numbers)) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// The whole number of a key, of whatever width, if the key is there.
    pub fn count(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.typed(key, "a whole number", |value| match value {
            Value::U8(number) => Some(u64::from(*number)),
            Value::U16(number) => Some(u64::from(*number)),
            Value::U32(number) => Some(u64::from(*number)),
            Value::U64(number) => Some(*number),
            Value::I8(number) => u64::try_from(*number).ok(),
            Value::I16(number) => u64::try_from(*number).ok(),
            Value::I32(number) => u64::try_from(*number).ok(),
            Value::I64(number) => u64::try_from(*number).ok(),
            Value::F32(_) | Value::F64(_) | Value::Bool(_) | Value::String(_) | Value::Array(_) => {
                None
            }
        })
    }

    /// The error for a key that has to be there and is not.
    pub fn missing(&self, key: &str) -> GgufError {
        GgufError::new(&self.path, None, Fault::MissingKey(key.to_owned()))
    }

    /// An error that lies in the value of `key`.
    pub(super) fn fail(&self, key: &str, fault: Fault) -> GgufError {
        GgufError::new(&self.path, self.pair(key).map(|pair| pair.offset), fault)
    }

    /// What `select` takes of a key's value; an error where it takes nothing.
    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        select: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match select(value) {
            Some(found) => Ok(Some(found)),
            None => {
                let (key_name, found) = (key.to_owned(), value.describe());
                Err(self.fail(key, Fault::ValueType { key: key_name, found, expected }))
            }
        }
    }

    fn pair(&self, key: &str) -> Option<&Pair> {
        self.by_key.get(key).and_then(|&index| self.pairs.get(index))
    }

    /// Reads `count` pairs; `count_offset` is where the count stood.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        path: PathBuf,
        count: u64,
        count_offset: u64,
    ) -> Result<Metadata, GgufError> {
        let count = reader.limited(count_offset, count, PAIR_BYTES, MAX_KEYS, Place::Keys)?;
        let mut metadata = Metadata { path, pairs: Vec::new(), by_key: BTreeMap::new() };
        for index in 0..count {
            let key_offset = reader.offset();
            let key = read_key(reader, index)?;
            let first = *metadata.by_key.entry(key.clone()).or_insert(index);
            if first != index {
                let fault = Fault::DuplicateKey { key, first, second: index };
                return Err(reader.fail(key_offset, fault));
            }
            let offset = reader.offset();
            let value = Value::read(reader, Place::Value(&key))?;
            metadata.pairs.push(Pair { key, value, offset });
        }
        Ok(metadata)
    }
}

/// A key: printable ASCII, of a length within the format's bounds.
fn read_key(reader: &mut Reader<'_>, index: usize) -> Result<String, GgufError> {
    let offset = reader.offset();
    let length = reader.u64(Place::Key(index))?;
    if length == 0 || (length > MAX_KEY_BYTES && length <= reader.remaining()) {
        return Err(reader.fail(offset, Fault::KeyLength { index, length }));
    }
    let start = reader.offset();
    let key = reader.string_of(offset, length, Place::Key(index))?;
    match key.bytes().enumerate().find(|(_, byte)| !byte.is_ascii_graphic()) {
        Some((at, byte)) => Err(reader.fail(start + at as u64, Fault::KeyByte { index, byte })),
        None => Ok(key),
    }
}
