//! The parts that cases are made of: texts that read back, counts of instructions, small calls.

use std::sync::Arc;

use deepthin::verify::Case;
use deepthin::verify::choices::Choices;
use deepthin::verify::compare::shown_elements;
use deepthin::verify::cost::steps;
use deepthin::verify::filetest::{Filetest, write};
use deepthin::verify::minimize::minimize;
use deepthin::verify::scalars::{narrow, one_unit};
use deepthin::verify::values::{Class, contents, packed};
use deepthin_compiler::format::Format;
use deepthin_compiler::id::Id;
use deepthin_compiler::pack::layout::Layout;
use deepthin_compiler::vir::{Access, Affine, Bound, Builder, Elem, Inst, check_scalars, verify};
use deepthin_tests::kernels;
use proptest::prelude::*;

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() }
}

/// A generated case as the product has it.
fn case(generated: kernels::Case) -> Case<'static> {
    let kernel = Arc::new(verify(generated.kernel).unwrap());
    let buffers = generated.buffers.into_iter().map(Into::into).collect();
    Case { kernel, buffers, scalars: generated.scalars }
}

/// Instructions of a run, counted by running the loops.
fn counted(body: &[Inst], indices: &mut [i64]) -> u64 {
    let affine = |affine: &Affine, indices: &[i64]| {
        affine.base + affine.terms.iter().map(|(i, f)| indices[i.index()] * f).sum::<i64>()
    };
    let mut count = 0;
    for inst in body {
        count += 1;
        let Inst::Loop { var, begin, end, body, .. } = inst else { continue };
        let [begin, end] = [begin, end].map(|bound| match bound {
            Bound::Const(value) => i64::from(*value),
            Bound::Scalar(index) => indices[index.index()],
            Bound::Clamp { scalar, minus, lo, hi } => (indices[scalar.index()]
                - affine(minus, indices))
            .clamp(i64::from(*lo), i64::from(*hi)),
        });
        for position in begin..end {
            indices[var.index()] = position;
            count += 1 + counted(body, indices);
        }
    }
    count
}

proptest! {
    #![proptest_config(config())]

    /// What is written of a call is the call, to the last bit of a NaN; bytes that no element
    /// fills are left out.
    #[test]
    fn calls_read_back(generated in kernels::case(4)) {
        let case = case(generated);
        let expected = case.expected().unwrap();
        let text = write(&case, &expected, &[]);
        let read = Filetest::read(&text).unwrap();
        prop_assert_eq!(&**read.kernel, &**case.kernel);
        let read = read.case.expect("a call");
        prop_assert_eq!(&read.scalars, &case.scalars);
        let elems = shown_elements(&case.kernel);
        for ((found, given), elem) in read.buffers.iter().zip(&case.buffers).zip(elems) {
            let width = elem.bytes() as usize;
            let whole = given.len() / width * width;
            prop_assert_eq!(&found[..whole], &given[..whole]);
        }
    }

    /// Narrowed scalars stay within their bounds and come to an end.
    #[test]
    fn scalars_are_narrowed_within_their_bounds(generated in kernels::case(4)) {
        let case = case(generated);
        prop_assert_eq!(check_scalars(&case.kernel, &one_unit(&case.kernel)), Ok(()));
        let mut scalars = case.scalars.clone();
        let mut times = 0;
        while narrow(&case.kernel, &mut scalars) {
            times += 1;
            prop_assert_eq!(check_scalars(&case.kernel, &scalars), Ok(()));
            prop_assert!(times < 200);
        }
        let share = (scalars[2], scalars[3]); // behind two scalars
        prop_assert!(share.1 - share.0 <= 1, "{:?}", scalars);
    }

    #[test]
    fn instructions_are_counted_as_they_run(generated in kernels::case(8)) {
        let case = case(generated);
        let mut indices = case.scalars.clone();
        indices.resize(case.kernel.indices.len(), 0);
        let count = counted(&case.kernel.body, &mut indices);
        prop_assert_eq!(steps(&case.kernel, &case.scalars, u64::MAX), Some(count));
        prop_assert_eq!(steps(&case.kernel, &case.scalars, count), Some(count));
        prop_assert_eq!(steps(&case.kernel, &case.scalars, count - 1), None);
    }
}

#[test]
fn a_failing_call_gets_small() {
    let mut b = Builder::new("k", 4);
    b.buffer("x", 4096, Access::Read);
    b.buffer("y", 100, Access::Read);
    b.range("rows", 40);
    b.scalar("position", -5, 99);
    let kernel = Arc::new(verify(b.finish()).unwrap());
    let buffers = vec![vec![0xff; 4096].into(), vec![0xff; 100].into()];
    let case = Case { kernel, buffers, scalars: vec![2, 39, 77] };
    let mut tries = 0;
    let small = minimize(&case, 1000, |case| {
        tries += 1;
        let has_row_7 = (case.scalars[0]..case.scalars[1]).contains(&7);
        has_row_7 && case.scalars[2] >= 3 && case.buffers[0][1001] != 0
    });
    assert!(tries < 200, "{tries}");
    assert_eq!(small.scalars[..2], [7, 8]);
    assert!((3..=6).contains(&small.scalars[2]), "{:?}", small.scalars);
    let left: Vec<usize> = (0..4096).filter(|at| small.buffers[0][*at] != 0).collect();
    assert_eq!(left, [1000, 1001, 1002, 1003]);
    assert!(small.buffers[1].iter().all(|byte| *byte == 0));
}

#[test]
fn classes_hold_what_they_say() {
    let floats = |class: Class| class.floats(4096, &mut Choices::seeded(1));
    let count = |class, is: fn(f32) -> bool| floats(class).iter().filter(|x| is(**x)).count();
    assert_eq!(count(Class::Integers, |x| x.fract() == 0.0 && x.abs() <= 16.0), 4096);
    assert_eq!(count(Class::Normal, |x| x.abs() < 8.0), 4096);
    assert!(count(Class::Outliers, |x| x.abs() > 100.0) > 40);
    assert_eq!(count(Class::Zeros, |x| x == 0.0), 4096);
    assert!(count(Class::Zeros, |x| x.is_sign_negative()) > 1000);
    assert!(count(Class::Subnormal, f32::is_subnormal) > 1000);
    assert_eq!(count(Class::OneHot, |x| x != 0.0), 1);
    assert!(count(Class::MaxFinite, |x| x.abs() == f32::MAX) > 40);
    assert!(count(Class::Infinite, f32::is_infinite) > 40);
    assert!(count(Class::Nan, f32::is_nan) > 40);
    assert!(count(Class::Any, |x| !x.is_finite()) > 40);
    let sum: f32 = floats(Class::Cancellation).iter().sum();
    assert!(sum.abs() < 10_000.0, "{sum}");
    for class in Class::FINITE {
        assert_eq!(count(class, f32::is_finite), 4096, "{}", class.name());
    }
    let mean: f32 = floats(Class::Normal).iter().sum::<f32>() / 4096.0;
    let variance: f32 = floats(Class::Normal).iter().map(|x| x * x).sum::<f32>() / 4096.0;
    assert!(mean.abs() < 0.1 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
}

/// Loading refuses weights that are not finite, and so does every draw.
#[test]
fn drawn_weights_are_finite() {
    for format in Format::ALL {
        let layout = Layout { format, columns: 192 };
        let bytes = usize::try_from(layout.panel_bytes()).unwrap() * 2;
        for class in Class::ALL {
            let panels = packed(layout, bytes, class, &mut Choices::seeded(2));
            assert_eq!(panels.len(), bytes);
            let rows = (0..64).map(|row| (row / 32, row % 32));
            let is_finite = rows.clone().all(|(panel, lane)| {
                let row =
                    deepthin::verify::exact::packed::row(layout, &panels, panel as usize, lane);
                row.len() == 192 && row.iter().all(|w| (w.scaled + w.minimum).is_finite())
            });
            assert!(is_finite, "{format} {}", class.name());
        }
    }
}

#[test]
fn the_same_seed_draws_the_same() {
    let draw = |seed| contents(999, Some(Elem::F32), Class::Any, &mut Choices::seeded(seed));
    assert_eq!(draw(4), draw(4));
    assert_ne!(draw(4), draw(5));
    assert_eq!(draw(4).len(), 999);
}
