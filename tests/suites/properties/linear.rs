//! Matrix products: exact where they can be, row by row, column by column, token by token.

use deepthin::verify::values::Class;
use deepthin_compiler::format::{Activations, Bits, Codes, Format};
use deepthin_tests::cases::cases;
use deepthin_tests::ops::{Matrix, product};
use proptest::prelude::*;

use super::{Kind, assert_same_bits, floats, matrix_shape, rows, tame};

/// A matrix of random weights.
fn matrix(format: Format, shape: [usize; 2], seed: u64) -> Matrix {
    Matrix::new(format, &rows(Class::Normal, shape, seed))
}

/// Integers that are weights of codes to the bit: groups reach both ends, so that scales are 1.
fn integers(format: Format, shape: [usize; 2], seed: u64) -> Matrix {
    let (least, most) = match format.codes() {
        None => (-127.0, 127.0),
        Some(codes) => ends(codes),
    };
    let mut values = rows(Class::Integers, shape, seed);
    for row in &mut values {
        row.iter_mut().for_each(|w| *w = w.clamp(least, most));
        if format.codes().is_some() {
            for group in row.chunks_mut(format.group(shape[1])) {
                (group[0], group[1]) = (least, most);
            }
        }
    }
    let matrix = Matrix::new(format, &values);
    assert_eq!(matrix.values(), values, "{format} holds these integers");
    matrix
}

/// The least and the greatest weight of a group whose scale is 1.
fn ends(codes: Codes) -> (f32, f32) {
    match (codes.bits, codes.minimum) {
        (Bits::Four, false) => (-8.0, 7.0),
        (Bits::Six, false) => (-32.0, 31.0),
        (Bits::Eight, false) => (-127.0, 127.0),
        (Bits::Four, true) => (-3.0, 12.0),
        (Bits::Six, true) => (-20.0, 43.0),
        (Bits::Eight, true) => (-100.0, 155.0),
    }
}

/// Activations that are integers; as codes, their groups reach 127, so that scales are 1.
fn integer_input(kind: Kind, columns: usize, seed: u64) -> Vec<f32> {
    let mut x = floats(Class::Integers, columns, seed);
    if let Activations::Q8(group) = kind.activations {
        x.chunks_mut(group.elements(columns)).for_each(|group| group[2] = -127.0);
    }
    x
}

/// The only product with `x`.
fn times(kind: Kind, matrix: &Matrix, x: &[f32]) -> Vec<f32> {
    product(matrix, kind.activations, &[x.to_vec()]).remove(0)
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn integers_are_exact((kind, shape) in matrix_shape(), seed in any::<u64>()) {
        let matrix = integers(kind.format, shape, seed);
        let x = integer_input(kind, shape[1], !seed);
        let exact = matrix.values().into_iter().map(|row| -> f64 {
            row.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
        });
        let exact: Vec<f64> = exact.collect();
        let found = times(kind, &matrix, &x);
        prop_assert_eq!(found.into_iter().map(f64::from).collect::<Vec<_>>(), exact);
    }

    #[test]
    fn twice_the_input_gives_twice_the_output(
        (kind, shape) in matrix_shape(),
        class in prop::sample::select(vec![Class::Normal, Class::Outliers, Class::Cancellation]),
        seed in any::<u64>(),
    ) {
        let matrix = matrix(kind.format, shape, seed);
        let x = floats(class, shape[1], !seed);
        let twice = x.iter().map(|x| 2.0 * x).collect();
        let found = product(&matrix, kind.activations, &[x, twice]);
        assert_same_bits(&found[0].iter().map(|y| 2.0 * y).collect::<Vec<_>>(), &found[1]);
    }

    #[test]
    fn permuted_rows_permute_the_output(
        (kind, shape) in matrix_shape(),
        class in tame(),
        seed in any::<u64>(),
        step in prop::sample::select(vec![1_usize, 5, 11, 29]),
    ) {
        let matrix = matrix(kind.format, shape, seed);
        let x = floats(class, shape[1], !seed);
        // No step divides a row count here: each row comes once.
        let order: Vec<usize> = (0..shape[0]).map(|i| (i * step + 3) % shape[0]).collect();
        let y = times(kind, &matrix, &x);
        let permuted = times(kind, &matrix.with_rows(&order), &x);
        assert_same_bits(&order.iter().map(|i| y[*i]).collect::<Vec<_>>(), &permuted);
    }

    #[test]
    fn weights_of_a_zero_input_have_no_effect(
        (kind, shape) in matrix_shape(),
        seed in any::<u64>(),
        column in any::<prop::sample::Index>(),
    ) {
        let column = column.index(shape[1]);
        // Not one of those that say what a group's scale is.
        let column = if kind.format.codes().is_some() { column.max(2) / 32 * 32 + 5 } else { column };
        let values = integers(kind.format, shape, seed).values();
        let mut others = values.clone();
        others.iter_mut().zip((0..7_u8).cycle()).for_each(|(row, i)| row[column] = f32::from(i));
        let mut x = floats(Class::Normal, shape[1], !seed);
        x[column] = 0.0;
        let with = |values: &[Vec<f32>]| times(kind, &Matrix::new(kind.format, values), &x);
        assert_same_bits(&with(&values), &with(&others));
    }

    /// The columns are those of whole groups and pieces, filled with weights that are there: where
    /// a row is a group, its scale stays.
    #[test]
    fn columns_of_zeros_at_the_end_change_nothing(
        (kind, shape) in matrix_shape(),
        class in tame(),
        seed in any::<u64>(),
    ) {
        let more = if kind.format.codes().is_some() { kind.unit() } else { 32 };
        let values = rows(Class::Normal, shape, seed);
        let mut x = floats(class, shape[1], !seed);
        let y = times(kind, &Matrix::new(kind.format, &values), &x);
        x.resize(shape[1] + more, 0.0);
        let wider = values.iter().map(|row| [row.clone(), vec![row[0]; more]].concat());
        let wider = Matrix::new(kind.format, &wider.collect::<Vec<_>>());
        assert_same_bits(&y, &times(kind, &wider, &x));
    }

    #[test]
    fn a_one_hot_input_extracts_a_column((kind, shape) in matrix_shape(), seed in any::<u64>()) {
        let matrix = matrix(kind.format, shape, seed);
        // The code of the greatest magnitude.
        let hot = if kind.is_quantized() { 127.0 } else { 1.0 };
        for column in [0, shape[1] / 2, shape[1] - 1] {
            let x: Vec<f32> = (0..shape[1]).map(|k| if k == column { hot } else { 0.0 }).collect();
            let y = times(kind, &matrix, &x);
            let weights: Vec<f32> = matrix.values().iter().map(|row| row[column]).collect();
            if kind.format.codes().is_some_and(|codes| codes.minimum) && kind.is_quantized() {
                // Code and minimum are multiplied one by one.
                let bits = |w: f32| hot * w.abs().max(8.0) * f32::exp2(-22.0);
                let near = |(y, w): (&f32, &f32)| (y - hot * w).abs() <= bits(*w);
                prop_assert!(y.iter().zip(&weights).all(near), "{:?} {:?}", y, weights);
            } else {
                // A weight of -0 is found as the +0 that it is added to.
                prop_assert_eq!(y, weights.iter().map(|w| hot * w).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_tile_of_tokens_is_its_tokens_alone(
        (kind, shape) in matrix_shape(),
        class in prop::sample::select(Class::ALL.to_vec()),
        tokens in 2..=4_usize,
        seed in any::<u64>(),
    ) {
        let matrix = matrix(kind.format, shape, seed);
        let x = rows(class, [tokens, shape[1]], !seed);
        let tile = product(&matrix, kind.activations, &x);
        for (x, together) in x.into_iter().zip(tile) {
            let alone = times(kind, &matrix, &x);
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            prop_assert!(alone.iter().zip(&together).all(same));
        }
    }

    /// The engines of `product` take a matrix in one share and in two; here a share is a matrix.
    #[test]
    fn a_share_of_the_rows_is_the_rows_alone(
        (kind, shape) in matrix_shape(),
        class in tame(),
        seed in any::<u64>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let matrix = matrix(kind.format, shape, seed);
        let x = floats(class, shape[1], !seed);
        let cut = cut.index(shape[0]);
        let part = |rows: std::ops::Range<usize>| match rows.is_empty() {
            true => Vec::new(),
            false => times(kind, &matrix.with_rows(&rows.collect::<Vec<_>>()), &x),
        };
        let parts = [part(0..cut), part(cut..shape[0])].concat();
        assert_same_bits(&times(kind, &matrix, &x), &parts);
    }
}
