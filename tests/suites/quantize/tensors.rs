//! Whole matrices in other storage: threads, sums, what passes unchanged, what is refused.

use deepthin::verify::choices::Choices;
use deepthin::verify::values::Class;
use deepthin_compiler::dequant::{dequantize_row, quantize_row};
use deepthin_compiler::fir::Formats;
use deepthin_compiler::format::{Bits, Format};
use deepthin_compiler::quantize::{Importance, Requantized};
use deepthin_compiler::weights::WeightSource;

use super::{KEY, Matrix, coded, error, stored};

/// A matrix that falls into several parts of work, with an odd one at the end.
fn large() -> Matrix {
    let (rows, columns) = (401, 192);
    Matrix::plain(columns, &Class::Normal.floats(rows * columns, &mut Choices::seeded(3)))
}

/// Sums of floats depend on their order: it is that of the rows, whoever computes them.
#[test]
fn threads_change_neither_bytes_nor_sums() {
    let matrix = large();
    let importance = Class::Normal.floats(192, &mut Choices::seeded(4));
    let importance: Vec<f32> = importance.into_iter().map(|x| x * x).collect();
    for name in ["q4g32m", "q6g64", "q8row", "q4_1", "f16"] {
        let format: Format = name.parse().unwrap();
        let one = matrix.stored_on(1, format, &importance);
        for threads in [2, 3, 8] {
            let other = matrix.stored_on(threads, format, &importance);
            assert!(one.0 == other.0, "{name}: other bytes on {threads} threads");
            assert_eq!(one.1, other.1, "{name} on {threads} threads");
        }
        assert!(one.1.error > 0.0 && one.1.relative_error() < 0.2, "{name}: {:?}", one.1);
    }
}

/// Every row is stored as it is alone, and the errors of all rows are added up.
#[test]
fn a_matrix_is_its_rows() {
    let matrix = large();
    let importance: Vec<f32> = (0..192).map(|i| 1.0 + (i % 5) as f32).collect();
    for name in ["q4g96", "q6g192m", "bf16"] {
        let format: Format = name.parse().unwrap();
        let (bytes, told) = matrix.stored_on(2, format, &importance);
        let (mut all, mut sum) = (Vec::new(), 0.0);
        for row in matrix.bytes.chunks(192 * 4) {
            let row = dequantize_row(Format::F32, row).unwrap();
            let (alone, told) = stored(format, &row, &importance);
            sum += told.error;
            all.extend(alone);
        }
        assert!(bytes == all, "{name}");
        assert!((told.error / sum - 1.0).abs() < 1e-12, "{name}: {}, {sum}", told.error);
    }
}

/// What has its storage already passes bit by bit, at no error.
#[test]
fn the_same_storage_is_not_touched() {
    let mut choices = Choices::seeded(7);
    let row = Class::Normal.floats(192, &mut choices);
    for format in Format::ALL {
        let bytes = quantize_row(format, &row).unwrap();
        let matrix = Matrix { format, columns: 192, bytes: bytes.clone() };
        let (same, told) = matrix.stored_on(1, format, &[]);
        assert_eq!((same, told.error, told.from, told.to), (bytes, 0.0, format, format));
    }
}

/// From any storage to any: the rows that are found are those that were meant.
#[test]
fn any_storage_becomes_any_other() {
    let row = Class::Normal.floats(192, &mut Choices::seeded(8));
    for from in Format::ALL {
        let bytes = quantize_row(from, &row).unwrap();
        let meant = dequantize_row(from, &bytes).unwrap();
        let matrix = Matrix { format: from, columns: 192, bytes };
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            let (bytes, told) = matrix.stored_on(1, to, &[1.0; 192]);
            let expected = error(&meant, &dequantize_row(to, &bytes).unwrap(), &[1.0; 192]);
            assert!((told.error - expected).abs() <= 1e-9 * expected, "{from} to {to}");
            assert!(told.relative_error() < 0.2, "{from} to {to}: {}", told.relative_error());
        }
    }
}

/// Columns that count more are stored better than by counting them alike.
#[test]
fn importance_lowers_the_error_that_it_weighs() {
    let matrix = large();
    let importance: Vec<f32> = (0..192).map(|i| if i % 9 == 0 { 50.0 } else { 0.1 }).collect();
    let rows = |bytes: &[u8], format: Format| -> Vec<f32> {
        let rows = bytes.chunks(format.row_bytes(192).unwrap());
        rows.flat_map(|row| dequantize_row(format, row).unwrap()).collect()
    };
    let weights = rows(&matrix.bytes, Format::F32);
    let counts: Vec<f32> = importance.iter().copied().cycle().take(weights.len()).collect();
    for (format, codes) in coded() {
        let even = matrix.stored_on(2, format, &[1.0; 192]).0;
        let (_, told) = matrix.stored_on(2, format, &importance);
        let even = error(&weights, &rows(&even, format), &counts);
        // What a short group of few codes gains is far more than settling alone brings.
        let most = match (codes.group.elements(192), codes.bits, codes.minimum) {
            (32, Bits::Four | Bits::Six, true) => 0.4,
            (32, Bits::Four | Bits::Six, false) => 0.58,
            _ => 0.9,
        };
        assert!(told.error < even * most, "{format}: {}, {even}", told.error);
    }
}

/// An importance that does not fit its matrix, or is none, does not count.
#[test]
fn what_is_no_importance_counts_all_alike() {
    let row = Class::Normal.floats(192, &mut Choices::seeded(9));
    let format = "q4g64m".parse().unwrap();
    let (even, told) = stored(format, &row, &[1.0; 192]);
    for bad in [f32::NAN, f32::INFINITY, -1.0] {
        let mut importance = vec![2.0; 192];
        importance[10] = bad;
        assert_eq!(stored(format, &row, &importance), (even.clone(), told), "{bad}");
    }
    assert_eq!(stored(format, &row, &[2.0; 191]), (even, told));
}

#[test]
fn a_source_that_is_cut_has_no_such_tensor() {
    let mut matrix = large();
    let rows = matrix.rows();
    matrix.bytes.pop();
    let formats = Formats::uniform(1, Format::F16, Format::F16);
    let importance = Importance::new();
    /// A source that says more rows than it has.
    struct Cut(Matrix, u32);
    impl WeightSource for Cut {
        fn tensor(
            &self,
            block: Option<u32>,
            role: deepthin_compiler::fir::Role,
        ) -> Option<deepthin_compiler::weights::TensorBytes<'_>> {
            let mut tensor = self.0.tensor(block, role)?;
            tensor.rows = self.1;
            Some(tensor)
        }
    }
    let cut = Cut(matrix, rows);
    let requantized = Requantized::new(&cut, &formats, &importance, 2);
    assert_eq!(requantized.tensor(KEY.0, KEY.1), None);
    assert!(requantized.stored().is_empty());
}
