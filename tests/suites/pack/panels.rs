//! Panels of codes, written out by the table of `specs/abi.md` and by nothing of the compiler.

use deepthin_compiler::dequant::stored_groups;
use deepthin_compiler::fir::Role;
use deepthin_compiler::format::{Bits, Codes};
use deepthin_compiler::pack::Rows;
use deepthin_compiler::pack::layout::Layout;
use deepthin_compiler::weights::WeightSource;

use super::{Matrices, formats, packed_rows};

/// The lines of one tile of a block, from the code of each row and column.
fn tile(bits: Bits, code: impl Fn(usize, usize) -> u8) -> Vec<u8> {
    let byte = |line: usize, row: usize, i: usize| match (bits, line) {
        (Bits::Eight, _) => code(row, 4 * line + i),
        (Bits::Four | Bits::Six, 0..4) => {
            code(row, 8 * line + i) % 16 + code(row, 8 * line + 4 + i) % 16 * 16
        }
        (Bits::Four | Bits::Six, _) => {
            let pair = |f: usize| (code(row, 16 * (line - 4) + 4 * f + i) / 16) << (2 * f);
            (0..4).map(pair).sum()
        }
    };
    let lines = bits.count() as usize;
    let places = (0..lines).flat_map(|line| (0..16).map(move |row| (line, row)));
    places.flat_map(|(line, row)| [0, 1, 2, 3].map(|i| byte(line, row, i))).collect()
}

/// A panel of plain rows by the table of specs/abi.md, from the `code` of row and column and the
/// bytes of scale and minimum of row and group.
fn written_out(
    (codes, columns): (Codes, usize),
    code: impl Fn(usize, usize) -> u8,
    head: impl Fn(usize, usize) -> Vec<u8>,
) -> Vec<u8> {
    let step = codes.group.elements(columns);
    let mut panel = Vec::new();
    for first in (0..columns).step_by(step) {
        for (block, start) in
            (first..first + step).step_by(32).flat_map(|block| [(block, 0), (block, 16)])
        {
            panel.extend(tile(codes.bits, |row, k| code(start + row, block + k)));
        }
        for at in (0..codes.head_bytes()).step_by(2) {
            (0..32).for_each(|row| panel.extend(&head(row, first / step)[at..at + 2]));
        }
    }
    panel
}

#[test]
fn panels_of_codes_are_as_the_page_has_them() {
    for (format, columns) in formats() {
        let Some(codes) = format.codes() else { continue };
        let (layout, source) = (Layout { format, columns }, Matrices { format, rows: 32, columns });
        let rows = Rows::Plain { role: Role::Output, rows: 32 };
        let image = packed_rows(&source, layout, rows, 1).unwrap();
        let columns = columns as usize;
        let stored = source.tensor(Some(3), Role::Output).unwrap();
        let row = |row: usize| {
            let bytes = format.row_bytes(columns).unwrap();
            stored.bytes[row * bytes..][..bytes].to_vec()
        };
        let groups: Vec<_> = (0..32).map(|i| stored_groups(codes, &row(i)).unwrap()).collect();
        let step = codes.group.elements(columns);
        let expected = written_out(
            (codes, columns),
            |row, k| groups[row][k / step].codes[k % step],
            |at, group| {
                row(at)[group * format.group_bytes(columns)..][..codes.head_bytes()].to_vec()
            },
        );
        assert!(image == expected, "{format}, {columns} columns");
        assert_eq!(layout.panel_bytes(), image.len() as u64);
    }
}
