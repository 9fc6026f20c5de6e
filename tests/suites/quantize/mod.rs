//! Weights into other storage: the search for scales, its errors, and the calibration that tells
//! it which columns count. The verb is in `cli::quantize`; the page is specs/quantize.md.

mod calibration;
mod groups;
mod tensors;

use std::borrow::Cow;
use std::collections::BTreeMap;

use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::{Codes, Format};
use deepthin_compiler::quantize::{Importance, Requantized, Stored, TensorKey};
use deepthin_compiler::weights::{TensorBytes, WeightSource};

/// The one matrix of a source.
const KEY: TensorKey = (Some(0), Role::FfnUp);

/// A source of one matrix.
struct Matrix {
    format: Format,
    columns: u32,
    bytes: Vec<u8>,
}

impl Matrix {
    /// Rows of f32.
    fn plain(columns: usize, weights: &[f32]) -> Matrix {
        let bytes = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        Matrix { format: Format::F32, columns: u32::try_from(columns).unwrap(), bytes }
    }

    /// The matrix in another format, its columns counted as `importance` says, on threads.
    fn stored_on(&self, threads: usize, to: Format, importance: &[f32]) -> (Vec<u8>, Stored) {
        let formats = Formats::uniform(1, to, to);
        let importance: Importance = BTreeMap::from([(KEY, importance.to_vec())]);
        let requantized = Requantized::new(self, &formats, &importance, threads);
        let tensor = requantized.tensor(KEY.0, KEY.1).unwrap();
        let shape = (self.rows(), self.columns);
        assert_eq!((tensor.format, (tensor.rows, tensor.columns)), (to, shape));
        (tensor.bytes.into_owned(), requantized.stored()[&KEY])
    }

    fn rows(&self) -> u32 {
        let row = self.format.row_bytes(self.columns as usize).unwrap();
        u32::try_from(self.bytes.len() / row).unwrap()
    }
}

impl WeightSource for Matrix {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let Matrix { format, columns, .. } = *self;
        let bytes = Cow::Borrowed(self.bytes.as_slice());
        ((block, role) == KEY).then(|| TensorBytes { format, rows: self.rows(), columns, bytes })
    }
}

/// A row in another format, and what is said of it.
fn stored(to: Format, row: &[f32], importance: &[f32]) -> (Vec<u8>, Stored) {
    Matrix::plain(row.len(), row).stored_on(1, to, importance)
}

/// The formats of codes.
fn coded() -> impl Iterator<Item = (Format, Codes)> {
    Format::ALL.into_iter().filter_map(|format| Some((format, format.codes()?)))
}

/// The weighted squared error of what is stored, in f64.
fn error(row: &[f32], stored: &[f32], importance: &[f32]) -> f64 {
    let square =
        |((w, s), i): ((&f32, &f32), &f32)| f64::from(*i) * (f64::from(*s) - f64::from(*w)).powi(2);
    row.iter().zip(stored).zip(importance).map(square).sum()
}
