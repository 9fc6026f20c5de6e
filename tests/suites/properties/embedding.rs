//! The embedding table: a row is what is stored, and the head reads the same rows.

use deepthin::verify::values::Class;
use deepthin_compiler::format::Activations;
use deepthin_tests::cases::cases;
use deepthin_tests::ops::{Matrix, embedding, product};
use proptest::prelude::*;

use super::{assert_same_bits, matrix_shape, rows};

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn a_token_is_its_stored_row((kind, shape) in matrix_shape(), seed in any::<u64>()) {
        let table = Matrix::new(kind.format, &rows(Class::Normal, shape, seed));
        let stored = table.values();
        for token in [0, shape[0] / 2, shape[0] - 1] {
            assert_same_bits(&embedding(&table, token), &stored[token]);
        }
    }

    /// A tied head multiplies by the very rows that the embedding gives.
    #[test]
    fn the_head_reads_the_rows_of_the_embedding((kind, shape) in matrix_shape(), seed in any::<u64>()) {
        let table = Matrix::new(kind.format, &rows(Class::Normal, shape, seed));
        let column = shape[1] / 3;
        let x = (0..shape[1]).map(|k| f32::from(k == column)).collect();
        let column_of_head = product(&table, Activations::F32, &[x]).remove(0);
        for token in [0, shape[0] - 1] {
            prop_assert_eq!(embedding(&table, token)[column], column_of_head[token]);
        }
    }

    #[test]
    fn other_rows_have_no_part_in_a_token((kind, shape) in matrix_shape(), seed in any::<u64>()) {
        let table = Matrix::new(kind.format, &rows(Class::Normal, shape, seed));
        let token = shape[0] / 2;
        let alone = embedding(&table.with_rows(&[token]), 0);
        assert_same_bits(&embedding(&table, token), &alone);
    }
}
