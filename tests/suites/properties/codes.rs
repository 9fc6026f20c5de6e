//! Products of codes: every format by every kind of activations, around the sizes of tiles.

use deepthin::verify::values::Class;
use deepthin_compiler::format::{Activations, Format, Group};
use deepthin_tests::ops::{Matrix, product};

use super::rows;

/// Each format with each group of activations and with f32: the kernels of all engines give what
/// the definition gives. Sizes around tiles and panels, numbers of tokens and classes of numbers
/// take turns.
#[test]
fn every_format_by_all_activations_is_as_defined() {
    let sizes = [1, 15, 16, 17, 31, 32, 33, 48, 63, 65];
    let classes = Class::ALL;
    let mut turn = 0;
    for format in Format::ALL.into_iter().filter(|format| format.codes().is_some()) {
        let quantized = Group::ALL.map(Activations::Q8);
        for activations in quantized.into_iter().chain([Activations::F32]) {
            turn += 1;
            let (count, tokens) = (sizes[turn % sizes.len()], turn % 4 + 1);
            let columns = if turn % 3 == 0 { 384 } else { 192 };
            let matrix = Matrix::new(format, &rows(Class::Normal, [count, columns], turn as u64));
            let x = rows(classes[turn % classes.len()], [tokens, columns], !(turn as u64));
            let y = product(&matrix, activations, &x);
            assert_eq!((y.len(), y[0].len()), (tokens, count), "{format} by {activations}");
        }
    }
    assert_eq!(turn, 33 * 6);
}
