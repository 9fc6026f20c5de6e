//! Matrix products: exact where they can be, row by row, column by column, token by token.

use deepthin::verify::values::Class;
use deepthin_compiler::format::Format;
use deepthin_tests::cases::cases;
use deepthin_tests::ops::{Matrix, product};
use proptest::prelude::*;

use super::{assert_same_bits, floats, matrix_shape, rows, tame};

/// A matrix of random weights.
fn matrix(format: Format, shape: [usize; 2], seed: u64) -> Matrix {
    Matrix::new(format, &rows(Class::Normal, shape, seed))
}

/// A matrix whose weights are integers in every format: codes reach their ends, so that scales
/// are 1 (a q4_0 group has a -8, a q8_0 group a 127, a q4_1 group 0 and 15).
fn integers(format: Format, shape: [usize; 2], seed: u64) -> Matrix {
    let (least, most) = match format {
        Format::Q4_0 => (-8.0, 7.0),
        Format::Q4_1 => (0.0, 15.0),
        _ => (-127.0, 127.0),
    };
    let mut values = rows(Class::Integers, shape, seed);
    for row in &mut values {
        row.iter_mut().for_each(|w| *w = w.clamp(least, most));
        for group in row.chunks_mut(32).filter(|_| format.group() > 1) {
            (group[0], group[1]) = (least, most);
        }
    }
    let matrix = Matrix::new(format, &values);
    assert_eq!(matrix.values(), values, "{format} holds these integers");
    matrix
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn integers_are_exact((format, shape) in matrix_shape(), seed in any::<u64>()) {
        let matrix = integers(format, shape, seed);
        let x = floats(Class::Integers, shape[1], !seed);
        let exact = matrix.values().into_iter().map(|row| -> f64 {
            row.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
        });
        let exact: Vec<f64> = exact.collect();
        let found = product(&matrix, &[x]).remove(0);
        prop_assert_eq!(found.into_iter().map(f64::from).collect::<Vec<_>>(), exact);
    }

    #[test]
    fn twice_the_input_gives_twice_the_output(
        (format, shape) in matrix_shape(),
        class in prop::sample::select(vec![Class::Normal, Class::Outliers, Class::Cancellation]),
        seed in any::<u64>(),
    ) {
        let matrix = matrix(format, shape, seed);
        let x = floats(class, shape[1], !seed);
        let twice = x.iter().map(|x| 2.0 * x).collect();
        let found = product(&matrix, &[x, twice]);
        assert_same_bits(&found[0].iter().map(|y| 2.0 * y).collect::<Vec<_>>(), &found[1]);
    }

    #[test]
    fn permuted_rows_permute_the_output(
        (format, shape) in matrix_shape(),
        class in tame(),
        seed in any::<u64>(),
        step in prop::sample::select(vec![1_usize, 5, 11, 29]),
    ) {
        let matrix = matrix(format, shape, seed);
        let x = floats(class, shape[1], !seed);
        // No step divides a row count here: each row comes once.
        let order: Vec<usize> = (0..shape[0]).map(|i| (i * step + 3) % shape[0]).collect();
        let y = product(&matrix, std::slice::from_ref(&x)).remove(0);
        let permuted = product(&matrix.with_rows(&order), &[x]).remove(0);
        assert_same_bits(&order.iter().map(|i| y[*i]).collect::<Vec<_>>(), &permuted);
    }

    #[test]
    fn weights_of_a_zero_input_have_no_effect(
        (format, shape) in matrix_shape(),
        seed in any::<u64>(),
        column in any::<prop::sample::Index>(),
    ) {
        let column = column.index(shape[1]);
        let values = matrix(format, shape, seed).values();
        let plain = [Format::F32, Format::F16, Format::Bf16].contains(&format);
        let format = if plain { format } else { Format::F32 };
        let mut others = values.clone();
        others.iter_mut().zip(1_u8..).for_each(|(row, i)| row[column] = f32::from(i));
        let mut x = floats(Class::Normal, shape[1], !seed);
        x[column] = 0.0;
        let with = |values: &[Vec<f32>]| product(&Matrix::new(format, values), &[x.clone()]);
        assert_same_bits(&with(&values)[0], &with(&others)[0]);
    }

    #[test]
    fn columns_of_zeros_at_the_end_change_nothing(
        (format, shape) in matrix_shape(),
        class in tame(),
        seed in any::<u64>(),
    ) {
        let values = rows(Class::Normal, shape, seed);
        let mut x = floats(class, shape[1], !seed);
        let y = product(&Matrix::new(format, &values), std::slice::from_ref(&x)).remove(0);
        x.extend([0.0; 32]);
        let wider: Vec<Vec<f32>> =
            values.iter().map(|row| [row.as_slice(), &[0.5; 32]].concat()).collect();
        assert_same_bits(&y, &product(&Matrix::new(format, &wider), &[x]).remove(0));
    }

    #[test]
    fn a_one_hot_input_extracts_a_column((format, shape) in matrix_shape(), seed in any::<u64>()) {
        let matrix = matrix(format, shape, seed);
        for column in [0, shape[1] / 2, shape[1] - 1] {
            let x = (0..shape[1]).map(|k| f32::from(k == column)).collect();
            let y = product(&matrix, &[x]).remove(0);
            let weights: Vec<f32> = matrix.values().iter().map(|row| row[column]).collect();
            // A weight of -0 is found as the +0 that it is added to.
            prop_assert_eq!(y, weights);
        }
    }

    #[test]
    fn a_tile_of_tokens_is_its_tokens_alone(
        (format, shape) in matrix_shape(),
        class in prop::sample::select(Class::ALL.to_vec()),
        tokens in 2..=4_usize,
        seed in any::<u64>(),
    ) {
        let matrix = matrix(format, shape, seed);
        let x = rows(class, [tokens, shape[1]], !seed);
        let tile = product(&matrix, &x);
        for (x, together) in x.into_iter().zip(tile) {
            let alone = product(&matrix, &[x]).remove(0);
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            prop_assert!(alone.iter().zip(&together).all(same));
        }
    }

    /// The engines of `product` take a matrix in one share and in two; here a share is a matrix.
    #[test]
    fn a_share_of_the_rows_is_the_rows_alone(
        (format, shape) in matrix_shape(),
        class in tame(),
        seed in any::<u64>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let matrix = matrix(format, shape, seed);
        let x = [floats(class, shape[1], !seed)];
        let cut = cut.index(shape[0]);
        let part = |rows: std::ops::Range<usize>| match rows.is_empty() {
            true => Vec::new(),
            false => product(&matrix.with_rows(&rows.collect::<Vec<_>>()), &x).remove(0),
        };
        let parts = [part(0..cut), part(cut..shape[0])].concat();
        assert_same_bits(&product(&matrix, &x)[0], &parts);
    }
}
