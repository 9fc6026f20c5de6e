//! Writes everything of a GGUF file (version 3) that precedes the tensors' bytes.

use super::header::Header;
use super::types::GgmlType;
use super::value::{Array, Strings, Value};
use super::{ALIGNMENT_KEY, MAGIC};

/// The version that is written.
const VERSION: u32 = 3;

/// Collects keys and descriptions of tensors, in the order in which the file will have them.
///
/// It writes what it is given: that keys and names are as the format wants them, and each there
/// once, is for the caller to see to, and for a [`Gguf`](super::Gguf) to check.
#[derive(Debug)]
pub struct HeaderWriter {
    alignment: u64,
    keys: u64,
    pairs: Vec<u8>,
    tensors: u64,
    descriptions: Vec<u8>,
    /// Where the next tensor begins in the data section.
    next: u64,
}

impl HeaderWriter {
    /// The header of a file whose tensors begin at multiples of `alignment` bytes: a power of two
    /// from 8 to 65536. Its key is the first.
    pub fn new(alignment: u32) -> HeaderWriter {
        let mut header = HeaderWriter {
            alignment: u64::from(alignment.max(1)),
            keys: 0,
            pairs: Vec::new(),
            tensors: 0,
            descriptions: Vec::new(),
            next: 0,
        };
        header.pair(ALIGNMENT_KEY, &Value::U32(alignment));
        header
    }

    /// Adds a key.
    pub fn pair(&mut self, key: &str, value: &Value) {
        self.keys += 1;
        string(&mut self.pairs, key);
        self.pairs.extend(value.value_type().id().to_le_bytes());
        append(&mut self.pairs, value);
    }

    /// The byte of the file after the last key.
    pub fn pairs_end(&self) -> usize {
        Header::BYTES + self.pairs.len()
    }

    /// Adds a tensor of one dimension with `elements` elements: whole blocks of its type.
    pub fn tensor(&mut self, name: &str, kind: GgmlType, elements: u64) {
        self.tensors += 1;
        string(&mut self.descriptions, name);
        self.descriptions.extend(1_u32.to_le_bytes());
        self.descriptions.extend(elements.to_le_bytes());
        self.descriptions.extend(kind.id().to_le_bytes());
        self.descriptions.extend(self.next.to_le_bytes());
        let bytes = (elements / kind.block()).saturating_mul(kind.block_bytes());
        self.next = self.next.saturating_add(bytes).next_multiple_of(self.alignment);
    }

    /// The file up to the first byte of the data section. Behind each tensor zeros follow up to
    /// the next multiple of the alignment.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.pairs_end() + self.descriptions.len() + 4096);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.tensors.to_le_bytes());
        bytes.extend(self.keys.to_le_bytes());
        bytes.extend(self.pairs);
        bytes.extend(self.descriptions);
        let padded = (bytes.len() as u64).next_multiple_of(self.alignment);
        bytes.resize(usize::try_from(padded).unwrap_or(bytes.len()), 0);
        bytes
    }
}

/// A string: its length, then its bytes.
fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The bytes of a value, without its type.
fn append(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(x) => out.extend(x.to_le_bytes()),
        Value::I8(x) => out.extend(x.to_le_bytes()),
        Value::U16(x) => out.extend(x.to_le_bytes()),
        Value::I16(x) => out.extend(x.to_le_bytes()),
        Value::U32(x) => out.extend(x.to_le_bytes()),
        Value::I32(x) => out.extend(x.to_le_bytes()),
        Value::F32(x) => out.extend(x.to_le_bytes()),
        Value::Bool(x) => out.push(u8::from(*x)),
        Value::String(text) => string(out, text),
        Value::Array(array) => append_array(out, array),
        Value::U64(x) => out.extend(x.to_le_bytes()),
        Value::I64(x) => out.extend(x.to_le_bytes()),
        Value::F64(x) => out.extend(x.to_le_bytes()),
    }
}

/// The type of an array's elements, their count, and the elements.
fn append_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.element_type().id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(list) => out.extend(list),
        Array::I8(list) => out.extend(list.iter().flat_map(|x| x.to_le_bytes())),
        Array::U16(list) => out.extend(list.iter().flat_map(|x| x.to_le_bytes())),
        Array::I16(list) => out.extend(list.iter().flat_map(|x| x.to_le_bytes())),
        Array::U32(list) => out.extend(list.iter().flat_map(|x| x.to_le_bytes())),
        Array::I32(list) => out.extend(list.iter().flat_map(|x| x.to_le_bytes())),
        Array::F32(list) => out.extend(list.iter().flat_map(|x| x.to_le_bytes())),
        Array::Bool(list) => out.extend(list.iter().map(|x| u8::from(*x))),
        Array::String(list) => Strings::iter(list).for_each(|text| string(out, text)),
        Array::Array(list) => list.iter().for_each(|array| append_array(out, array)),
        Array::U64(list) => out.extend(list.iter().flat_map(|x| x.to_le_bytes())),
        Array::I64(list) => out.extend(list.iter().flat_map(|x| x.to_le_bytes())),
        Array::F64(list) => out.extend(list.iter().flat_map(|x| x.to_le_bytes())),
    }
}
