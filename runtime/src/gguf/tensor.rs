//! Descriptions of a GGUF file's tensors: read, checked one by one, then laid out together.
//!
//! A description is name, dimensions, type and an offset in the data section, which begins after
//! the descriptions at a multiple of the alignment. ggml writes the tensors in the order of their
//! descriptions, each at the next multiple of the alignment; a file that says otherwise is
//! refused, so that no two tensors share bytes and no bytes hide between them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::GgufError;
use super::fault::Fault;
use super::reader::{Place, Reader};
use super::types::GgmlType;
use crate::shown::steers;

/// Far more tensors than any model has; bounds what a small hostile file can make of itself.
const MAX_TENSORS: u64 = 1 << 16;

/// The longest tensor name, by the format's definition.
const MAX_NAME_BYTES: u64 = 64;

/// The fewest bytes of a description: name (8 + 1), dimensions (4 + 8), type (4), offset (8).
const DESCRIPTION_BYTES: u64 = 33;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How its elements are stored.
    pub kind: GgmlType,
    /// One to four dimensions, each at least 1; the first is the length of a row.
    pub dims: Vec<u64>,
    /// Its first byte, counted from the beginning of the file.
    pub offset: u64,
    byte_len: u64,
}

impl TensorInfo {
    /// Elements of a row.
    pub fn columns(&self) -> u64 {
        self.dims.first().copied().unwrap_or(0)
    }

    /// How many rows there are, all dimensions after the first taken together.
    pub fn rows(&self) -> u64 {
        // `TensorInfo::read` has checked that the product of all dimensions fits.
        self.dims.iter().skip(1).product()
    }

    /// Bytes of the whole tensor in the file.
    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }

    /// The tensor's bytes, counted as `offset` is.
    pub(super) fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.byte_len)
    }

    /// Reads a description; `offset` is still that in the data section.
    fn read(reader: &mut Reader<'_>, index: usize) -> Result<TensorInfo, GgufError> {
        let name = read_name(reader, index)?;
        let dims = read_dims(reader, &name)?;
        let kind = read_kind(reader, &name)?;
        let offset_at = reader.offset();
        let offset = reader.u64(Place::Tensor(&name))?;

        let columns = dims.first().copied().unwrap_or(0);
        if !columns.is_multiple_of(kind.block()) {
            let block = kind.block();
            return Err(reader.fail(offset_at, Fault::RowBlock { name, kind, columns, block }));
        }
        let byte_len = dims
            .iter()
            .try_fold(1, |product: u64, &dim| product.checked_mul(dim))
            .and_then(|elements| (elements / kind.block()).checked_mul(kind.block_bytes()));
        let Some(byte_len) = byte_len else {
            return Err(reader.fail(offset_at, Fault::TensorTooLarge { name, kind, dims, offset }));
        };
        Ok(TensorInfo { name, kind, dims, offset, byte_len })
    }
}

/// A tensor's name: UTF-8 of 1 to 64 bytes, which messages can show.
fn read_name(reader: &mut Reader<'_>, index: usize) -> Result<String, GgufError> {
    let (offset, place) = (reader.offset(), Place::TensorName(index));
    let length = reader.u64(place)?;
    if length == 0 || (length > MAX_NAME_BYTES && length <= reader.remaining()) {
        return Err(reader.fail(offset, Fault::TensorNameLength { index, length }));
    }
    let start = reader.offset();
    let name = reader.string_of(offset, length, place)?;
    match name.char_indices().find(|(_, character)| steers(*character)) {
        Some((at, character)) => {
            Err(reader.fail(start + at as u64, Fault::TensorNameCharacter { index, character }))
        }
        None => Ok(name),
    }
}

/// The number of dimensions and the dimensions, none of them 0.
fn read_dims(reader: &mut Reader<'_>, name: &str) -> Result<Vec<u64>, GgufError> {
    let place = Place::Tensor(name);
    let offset = reader.offset();
    let found = reader.u32(place)?;
    if !(1..=4).contains(&found) {
        let name = name.to_owned();
        return Err(reader.fail(offset, Fault::DimensionCount { name, found }));
    }
    let start = reader.offset();
    let dims = (0..found).map(|_| reader.u64(place)).collect::<Result<Vec<u64>, _>>()?;
    if dims.contains(&0) {
        return Err(reader.fail(start, Fault::ZeroDimension { name: name.to_owned(), dims }));
    }
    Ok(dims)
}

/// An element type that ggml has.
fn read_kind(reader: &mut Reader<'_>, name: &str) -> Result<GgmlType, GgufError> {
    let offset = reader.offset();
    let id = reader.u32(Place::Tensor(name))?;
    GgmlType::from_id(id).ok_or_else(|| {
        let name = name.to_owned();
        let fault = match GgmlType::removed(id) {
            Some(old) => Fault::RemovedType { name, id, old },
            None => Fault::UnknownType { name, id, last: GgmlType::last_id() },
        };
        reader.fail(offset, fault)
    })
}

/// The tensors of a file in the order of their bytes, and where those end.
#[derive(Debug)]
pub(super) struct Tensors {
    pub(super) infos: Vec<TensorInfo>,
    pub(super) by_name: BTreeMap<String, usize>,
    /// The byte after the last tensor's padding, counted from the beginning of the file.
    pub(super) end: u64,
}

impl Tensors {
    /// Reads `count` descriptions, checks how they lie, and makes their offsets absolute;
    /// `count_offset` is where the count stood.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        count: u64,
        count_offset: u64,
        alignment: u64,
    ) -> Result<Tensors, GgufError> {
        let count =
            reader.limited(count_offset, count, DESCRIPTION_BYTES, MAX_TENSORS, Place::Tensors)?;
        let mut infos: Vec<TensorInfo> = Vec::new();
        let mut by_name = BTreeMap::new();
        let mut next = 0;
        for index in 0..count {
            let start = reader.offset();
            let info = TensorInfo::read(reader, index)?;
            let first = *by_name.entry(info.name.clone()).or_insert(index);
            if first != index {
                let fault = Fault::DuplicateTensor { name: info.name, first, second: index };
                return Err(reader.fail(start, fault));
            }
            next = place_after(&infos, &info, next, alignment)
                .map_err(|fault| reader.fail(start, *fault))?;
            infos.push(info);
        }
        let data = reader.offset().next_multiple_of(alignment);
        let end = make_absolute(reader, &mut infos, data, next)?;
        Ok(Tensors { infos, by_name, end })
    }
}

/// Checks that `info` begins at `next`, where the tensors before it end, and returns where the
/// tensor after it has to begin. All offsets are in the data section.
fn place_after(
    before: &[TensorInfo],
    info: &TensorInfo,
    next: u64,
    alignment: u64,
) -> Result<u64, Box<Fault>> {
    let (name, offset) = (info.name.clone(), info.offset);
    if !offset.is_multiple_of(alignment) {
        return Err(Box::new(Fault::Misaligned { name, offset, alignment }));
    }
    let Some(after) =
        offset.checked_add(info.byte_len).and_then(|end| end.checked_next_multiple_of(alignment))
    else {
        let (kind, dims) = (info.kind, info.dims.clone());
        return Err(Box::new(Fault::TensorTooLarge { name, kind, dims, offset }));
    };
    if offset == next {
        return Ok(after);
    }
    let range = info.range();
    let shares = |other: &&TensorInfo| {
        let other = other.range();
        range.start < other.end && other.start < range.end
    };
    Err(Box::new(match before.iter().find(shares) {
        Some(other) => Fault::Overlap {
            name,
            range: range.clone(),
            other: other.name.clone(),
            other_range: other.range(),
        },
        None => {
            let previous = before
                .last()
                .map_or_else(|| "the beginning".to_owned(), |info| format!("`{}`", info.name));
            Fault::OutOfPlace { name, offset, expected: next, previous }
        }
    }))
}

/// Moves the offsets from the data section, which begins at `data`, to the file, and checks that
/// the file holds every tensor. Returns the end of the last one's padding.
fn make_absolute(
    reader: &Reader<'_>,
    infos: &mut [TensorInfo],
    data: u64,
    data_len: u64,
) -> Result<u64, GgufError> {
    let file_len = reader.file_len();
    let mut last = data;
    let mut cut = None;
    for info in infos {
        let end = info.offset.checked_add(info.byte_len).and_then(|end| end.checked_add(data));
        let Some(end) = end else {
            let (name, kind, dims) = (info.name.clone(), info.kind, info.dims.clone());
            let fault = Fault::TensorTooLarge { name, kind, dims, offset: info.offset };
            return Err(reader.fail(reader.offset(), fault));
        };
        info.offset += data;
        last = end;
        if end > file_len && cut.is_none() {
            cut = Some((info.name.clone(), end));
        }
    }
    match cut {
        Some((name, end)) => {
            let fault = Fault::Short { name, end, file_len, short: last - file_len };
            Err(reader.fail(file_len, fault))
        }
        None => Ok(data.saturating_add(data_len)),
    }
}
