//! Writes GGUF files for tests, sound ones and, by surgery on their bytes, broken ones.

use std::collections::BTreeMap;
use std::io::Write as _;

use deepthin_runtime::gguf::{Gguf, GgufError};
use tempfile::NamedTempFile;

/// The alignment that files have without `general.alignment`.
const DEFAULT_ALIGNMENT: usize = 32;

/// Collects keys and tensors in the order in which the file will have them.
#[derive(Debug, Clone)]
pub struct GgufWriter {
    version: u32,
    alignment: usize,
    pairs: Vec<(String, Vec<u8>)>,
    tensors: Vec<WriterTensor>,
}

#[derive(Debug, Clone)]
struct WriterTensor {
    name: String,
    kind: u32,
    dims: Vec<u64>,
    bytes: Vec<u8>,
}

impl Default for GgufWriter {
    fn default() -> Self {
        GgufWriter::new()
    }
}

impl GgufWriter {
    /// A file of version 3 without keys and tensors.
    pub fn new() -> Self {
        GgufWriter {
            version: 3,
            alignment: DEFAULT_ALIGNMENT,
            pairs: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// Sets the version.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Adds a key of any type: the number of the type and the value's bytes.
    pub fn raw(mut self, key: &str, kind: u32, payload: &[u8]) -> Self {
        let value = [&kind.to_le_bytes(), payload].concat();
        self.pairs.push((key.to_owned(), value));
        self
    }

    /// Adds a key with an array of any type: type and count of the elements, and their bytes.
    pub fn array(self, key: &str, kind: u32, count: usize, payload: &[u8]) -> Self {
        let head = [&kind.to_le_bytes()[..], &(count as u64).to_le_bytes()].concat();
        self.raw(key, 9, &[head.as_slice(), payload].concat())
    }

    /// Adds a `u32`; `general.alignment` is obeyed as well.
    pub fn u32(mut self, key: &str, value: u32) -> Self {
        if key == "general.alignment" {
            self.alignment = value as usize;
        }
        self.raw(key, 4, &value.to_le_bytes())
    }

    /// Adds an `f32`.
    pub fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    /// Adds a `bool`.
    pub fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[u8::from(value)])
    }

    /// Adds a string.
    pub fn str(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &string(value))
    }

    /// Adds an array of strings.
    pub fn strings<T: AsRef<str>>(self, key: &str, values: &[T]) -> Self {
        let payload: Vec<u8> = values.iter().flat_map(|text| string(text.as_ref())).collect();
        self.array(key, 8, values.len(), &payload)
    }

    /// Adds an array of `i32`.
    pub fn i32s(self, key: &str, values: &[i32]) -> Self {
        let payload: Vec<u8> = values.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.array(key, 5, values.len(), &payload)
    }

    /// Adds an array of `f32`.
    pub fn f32s(self, key: &str, values: &[f32]) -> Self {
        let payload: Vec<u8> = values.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.array(key, 6, values.len(), &payload)
    }

    /// Adds a tensor: the number of its type, its dimensions with the row length first, its bytes.
    pub fn tensor(mut self, name: &str, kind: u32, dims: &[u64], bytes: Vec<u8>) -> Self {
        self.tensors.push(WriterTensor { name: name.to_owned(), kind, dims: dims.to_vec(), bytes });
        self
    }

    /// Gives a tensor another type, other dimensions and bytes; it keeps its place.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn with_tensor(mut self, name: &str, kind: u32, dims: &[u64], bytes: Vec<u8>) -> Self {
        let tensor = self.find(name);
        *tensor = WriterTensor { name: name.to_owned(), kind, dims: dims.to_vec(), bytes };
        self
    }

    /// Gives a tensor another name.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn renamed(mut self, name: &str, other: &str) -> Self {
        self.find(name).name = other.to_owned();
        self
    }

    /// Leaves all tensors out.
    pub fn without_tensors(mut self) -> Self {
        self.tensors.clear();
        self
    }

    /// Leaves a key out.
    pub fn without(mut self, key: &str) -> Self {
        self.pairs.retain(|(found, _)| found != key);
        self
    }

    /// Leaves a key out and adds what stands for it.
    pub fn replaced(self, key: &str, add: impl FnOnce(Self) -> Self) -> Self {
        add(self.without(key))
    }

    fn find(&mut self, name: &str) -> &mut WriterTensor {
        let tensor = self.tensors.iter_mut().find(|tensor| tensor.name == name);
        tensor.unwrap_or_else(|| panic!("no tensor `{name}`"))
    }

    /// The file's bytes, and where its parts lie.
    pub fn build(&self) -> Image {
        let mut image = Image { bytes: b"GGUF".to_vec(), ..Image::default() };
        image.bytes.extend(self.version.to_le_bytes());
        image.bytes.extend((self.tensors.len() as u64).to_le_bytes());
        image.bytes.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, value) in &self.pairs {
            image.keys.insert(key.clone(), image.bytes.len());
            image.bytes.extend(string(key));
            image.values.insert(key.clone(), image.bytes.len());
            image.bytes.extend(value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            let start = image.bytes.len();
            let dim_count = start + 8 + tensor.name.len();
            let dims = dim_count + 4;
            let kind = dims + 8 * tensor.dims.len();
            let at = TensorAt { start, dim_count, dims, kind, offset: kind + 4 };
            image.tensors.insert(tensor.name.clone(), at);
            image.bytes.extend(string(&tensor.name));
            image.bytes.extend(
                u32::try_from(tensor.dims.len()).expect("dimensions are few").to_le_bytes(),
            );
            image.bytes.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            image.bytes.extend(tensor.kind.to_le_bytes());
            image.bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(&tensor.bytes);
            data.resize(data.len().next_multiple_of(self.alignment.max(1)), 0);
        }
        if !self.tensors.is_empty() {
            image.bytes.resize(image.bytes.len().next_multiple_of(self.alignment.max(1)), 0);
        }
        image.data = image.bytes.len();
        image.bytes.extend(data);
        image
    }

    /// Writes the file and opens it.
    pub fn open(&self) -> Result<Gguf, GgufError> {
        self.build().open()
    }
}

/// A string as files have it: its length, then its bytes.
fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// Where the fields of a tensor's description lie.
#[derive(Debug, Clone, Copy)]
pub struct TensorAt {
    /// The length of the name.
    pub start: usize,
    /// The number of dimensions.
    pub dim_count: usize,
    /// The first dimension.
    pub dims: usize,
    /// The type.
    pub kind: usize,
    /// The offset in the data section.
    pub offset: usize,
}

/// The bytes of a file, to be cut and overwritten.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Where each key begins: at its length.
    pub keys: BTreeMap<String, usize>,
    /// Where each value begins: at its type.
    pub values: BTreeMap<String, usize>,
    /// Where each tensor is described.
    pub tensors: BTreeMap<String, TensorAt>,
    /// Where the data section begins.
    pub data: usize,
}

impl Image {
    /// Overwrites the bytes at `at`.
    pub fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Cuts the file off after `len` bytes.
    pub fn cut(mut self, len: usize) -> Self {
        self.bytes.truncate(len);
        self
    }

    /// Writes the file and opens it. The file is removed again; what is mapped of it stays.
    pub fn open(&self) -> Result<Gguf, GgufError> {
        let mut file = NamedTempFile::new().expect("a temporary file can be made");
        file.write_all(&self.bytes).expect("a temporary file can be written");
        Gguf::open(file.path())
    }
}
