//! Weights from one storage to another: codes whose scales are searched for the least error.
//!
//! [`Requantized`] is a source of weights over another one. It reads a tensor, makes its rows f32,
//! and stores them in the format that is asked for; tensors that have it already pass as they
//! are, bit by bit.

mod search;
mod settle;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::dequant::{RowError, dequantize_row, quantize_row};
use crate::fir::{Formats, Role};
use crate::format::Format;
use crate::parts;
use crate::weights::{TensorBytes, WeightSource};
use settle::Weighted;

/// A tensor: its stored block, if it has one, and its role.
pub type TensorKey = (Option<u32>, Role);

/// How much the squared error of each column of a matrix counts: the mean square of what it is
/// multiplied with, finite and never negative.
pub type Importance = BTreeMap<TensorKey, Vec<f32>>;

/// What became of one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stored {
    /// Storage before.
    pub from: Format,
    /// Storage now.
    pub to: Format,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub columns: u32,
    /// Sum of the squared errors, each weighted by the importance of its column.
    pub error: f64,
    /// Sum of the squared weights, weighted likewise.
    pub power: f64,
}

impl Stored {
    /// The root of error over power: 0.05 is an error of five in a hundred.
    pub fn relative_error(&self) -> f64 {
        if self.power == 0.0 { 0.0 } else { (self.error / self.power).sqrt() }
    }
}

/// Weights of another source in other formats.
pub struct Requantized<'s> {
    source: &'s dyn WeightSource,
    formats: &'s Formats,
    importance: &'s Importance,
    threads: usize,
    stored: Mutex<BTreeMap<TensorKey, Stored>>,
}

/// Elements that a thread takes at a time: some milliseconds of work.
const PART_ELEMENTS: usize = 1 << 15;

impl<'s> Requantized<'s> {
    /// The weights of `source` in `formats`. Columns of tensors that `importance` does not name, or
    /// not with a finite number for each column, count alike.
    pub fn new(
        source: &'s dyn WeightSource,
        formats: &'s Formats,
        importance: &'s Importance,
        threads: usize,
    ) -> Self {
        Requantized { source, formats, importance, threads, stored: Mutex::default() }
    }

    /// What became of each tensor that was asked for.
    pub fn stored(&self) -> BTreeMap<TensorKey, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A tensor in another format, and its error and power.
    fn convert(
        &self,
        key: TensorKey,
        tensor: &TensorBytes<'_>,
        to: Format,
    ) -> Option<(Vec<u8>, f64, f64)> {
        if tensor.expected_bytes() != Some(tensor.bytes.len()) {
            return None;
        }
        let columns = tensor.columns as usize;
        let from_bytes = tensor.format.row_bytes(columns)?.max(1);
        let to_bytes = to.row_bytes(columns)?.max(1);
        let even = vec![1.0; columns];
        let counts =
            |i: &&Vec<f32>| i.len() == columns && i.iter().all(|i| (0.0..=f32::MAX).contains(i));
        let importance = self.importance.get(&key).filter(counts);
        let importance = importance.unwrap_or(&even).as_slice();
        let mut bytes = Vec::new();
        let length = to_bytes.checked_mul(tensor.rows as usize)?;
        bytes.try_reserve_exact(length).ok()?;
        bytes.resize(length, 0);
        let rows = (PART_ELEMENTS / columns.max(1)).max(1);
        let parts = bytes.chunks_mut(rows * to_bytes).zip(tensor.bytes.chunks(rows * from_bytes));
        let threads = self.threads.min(parts.len());
        let sums = Mutex::new(BTreeMap::new());
        let convert = |(number, (to_rows, from_rows)): (usize, (&mut [u8], &[u8]))| {
            let rows = to_rows.chunks_exact_mut(to_bytes).zip(from_rows.chunks_exact(from_bytes));
            let (mut error, mut power) = (0.0, 0.0);
            for (to_row, from_row) in rows {
                let row = dequantize_row(tensor.format, from_row)?;
                let (stored, own) = store_row(to, &row, importance)?;
                to_row.copy_from_slice(&stored);
                error += own;
                let squares = row.iter().zip(importance);
                power += squares.map(|(w, i)| f64::from(*i) * f64::from(*w).powi(2)).sum::<f64>();
            }
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            sums.insert(number, (error, power));
            Ok::<(), RowError>(())
        };
        let converted = parts::on_threads(threads, parts.enumerate(), convert);
        converted.into_iter().collect::<Result<(), _>>().ok()?;
        // In the order of rows, so that the sums are the same on any number of threads.
        let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        let add = |(e, p): (f64, f64), (error, power): (f64, f64)| (e + error, p + power);
        let (error, power) = sums.into_values().fold((0.0, 0.0), add);
        Some((bytes, error, power))
    }
}

/// A row in a format, and its weighted squared error.
fn store_row(format: Format, row: &[f32], importance: &[f32]) -> Result<(Vec<u8>, f64), RowError> {
    if let Format::Codes(codes) = format
        && format.divides(row.len())
    {
        let mut bytes = Vec::new();
        let group = format.group(row.len());
        let groups = row.chunks_exact(group).zip(importance.chunks_exact(group));
        let groups = groups.map(|(weights, importance)| Weighted { weights, importance });
        let error = groups.map(|group| settle::group(codes, group, &mut bytes)).sum();
        return Ok((bytes, error));
    }
    let bytes = quantize_row(format, row)?;
    let back = dequantize_row(format, &bytes)?;
    let errors = row.iter().zip(back).zip(importance);
    let square = |((w, back), i): ((&f32, f32), &f32)| f64::from(*i) * f64::from(back - w).powi(2);
    Ok((bytes, errors.map(square).sum()))
}

impl WeightSource for Requantized<'_> {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let tensor = self.source.tensor(block, role)?;
        let to = self.formats.get(block, role)?;
        let TensorBytes { format: from, rows, columns, .. } = tensor;
        let (tensor, error, power) = if from == to {
            (tensor, 0.0, 0.0)
        } else {
            let (bytes, error, power) = self.convert((block, role), &tensor, to)?;
            (TensorBytes { format: to, rows, columns, bytes: Cow::Owned(bytes) }, error, power)
        };
        let stored = Stored { from, to, rows, columns, error, power };
        let mut all = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((block, role), stored);
        Some(tensor)
    }
}
