//! Properties of kernels and of whole models, each a test of its own; specs/testing.md lists them.

mod attention;
mod codes;
mod embedding;
mod kv;
mod linear;
mod logits;
mod model;
mod norm;
mod rope;
mod softmax;
mod swiglu;

use std::fs;

use deepthin::verify::choices::Choices;
use deepthin::verify::values::Class;
use deepthin_compiler::format::{Activations, Format, Group};
use deepthin_tests::project::root;
use proptest::prelude::*;

/// `count` numbers of a class, the same for the same seed.
fn floats(class: Class, count: usize, seed: u64) -> Vec<f32> {
    class.floats(count, &mut Choices::seeded(seed))
}

/// Rows of numbers of a class.
fn rows(class: Class, [rows, columns]: [usize; 2], seed: u64) -> Vec<Vec<f32>> {
    let mut choices = Choices::seeded(seed);
    (0..rows).map(|_| class.floats(columns, &mut choices)).collect()
}

/// A class of numbers whose sums and products stay finite.
fn tame() -> impl Strategy<Value = Class> {
    prop::sample::select(Class::TAME.to_vec())
}

/// How a matrix is stored, and what it is multiplied with.
#[derive(Debug, Clone, Copy)]
struct Kind {
    format: Format,
    activations: Activations,
}

impl Kind {
    /// Columns that both kinds of groups divide, whatever multiples of them there are; a row is a
    /// group whatever its length.
    fn unit(self) -> usize {
        let group = |group: Group| group.elements(32);
        match (self.format.codes(), self.activations) {
            (None, _) => 1,
            (Some(codes), Activations::F32) => group(codes.group),
            (Some(codes), Activations::Q8(other)) => {
                let (a, b) = (group(codes.group), group(other));
                (a..).step_by(a).find(|columns| columns.is_multiple_of(b)).unwrap()
            }
        }
    }

    fn is_quantized(self) -> bool {
        self.activations != Activations::F32
    }
}

/// Any kind: one of the plain formats in each eighth case.
fn kind() -> impl Strategy<Value = Kind> {
    let (plain, coded): (Vec<Format>, Vec<Format>) =
        Format::ALL.into_iter().partition(|format| format.codes().is_none());
    let format = prop_oneof![1 => prop::sample::select(plain), 7 => prop::sample::select(coded)];
    let group = prop::sample::select(Group::ALL.to_vec());
    let activations = prop_oneof![Just(Activations::F32), group.prop_map(Activations::Q8)];
    (format, activations).prop_map(|(format, activations)| match format.codes() {
        Some(_) => Kind { format, activations },
        None => Kind { format, activations: Activations::F32 },
    })
}

/// A kind, and rows and columns of a matrix of it: around the lane counts, primes, whole groups
/// where there are some.
fn matrix_shape() -> impl Strategy<Value = (Kind, [usize; 2])> {
    let rows = prop::sample::select(vec![1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 48, 61, 67]);
    let columns = prop::sample::select(vec![1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 61, 96, 127]);
    (kind(), rows, columns).prop_map(|(kind, rows, columns)| {
        let columns = match kind.unit() {
            1 => columns,
            unit => (columns / unit + 1) * unit,
        };
        (kind, [rows, columns])
    })
}

#[track_caller]
fn assert_same_bits(left: &[f32], right: &[f32]) {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(left), bits(right), "{left:?}\n{right:?}");
}

/// Every row of the table of properties names tests that are there.
#[test]
fn the_page_names_the_tests_of_all_properties() {
    let page = fs::read_to_string(root().join("specs/testing.md")).unwrap();
    let table = page.split("| property | tests |").nth(1).expect("the table of properties");
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 40, "{} rows", rows.len());
    for row in rows {
        let names: Vec<&str> =
            row.split('`').skip(1).step_by(2).filter(|n| n.contains("::")).collect();
        assert!(!names.is_empty(), "no test is named: {row}");
        for name in names {
            let (path, test) = name.rsplit_once("::").unwrap();
            let path = root().join("tests/suites").join(path.replace("::", "/"));
            let files = [path.with_extension("rs"), path.join("mod.rs")];
            let text = files.iter().find_map(|file| fs::read_to_string(file).ok());
            let text = text.unwrap_or_else(|| panic!("there is no suite of {name}"));
            assert!(text.contains(&format!("fn {test}(")), "there is no test {name}");
        }
    }
}
