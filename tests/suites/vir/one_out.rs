//! Kernels one element out of their buffer: refused by rule V-12, in every form of address and
//! every kind of access; the same kernels one element shorter run, to the first and last byte.

use deepthin_compiler::interp::vir::run;
use deepthin_compiler::vir::{
    Access, Affine, Bound, BufferId, Builder, Elem, IndexId, Kernel, Rule, ValueId, verify,
};
use deepthin_tests::guard::Placement;
use deepthin_tests::jit::Compiled;
use deepthin_tests::kernels::corner_scalars;

/// What is done at an address.
#[derive(Debug, Clone, Copy)]
enum Touch {
    Load(u32),
    Splat,
    /// Lanes stored, and elements from one to the next.
    Store(u32, u32),
}

impl Touch {
    /// Elements from the first touched to behind the last.
    fn span(self) -> u32 {
        match self {
            Touch::Load(count) => count,
            Touch::Splat => 1,
            Touch::Store(count, stride) => (count - 1) * stride + 1,
        }
    }
}

/// An access to a buffer, at addresses in elements.
struct At {
    buffer: BufferId,
    elem: Elem,
    touch: Touch,
    value: ValueId,
}

impl At {
    fn emit(&self, b: &mut Builder, elements: &Affine) {
        let mut offset = Affine::constant(elements.base * i64::from(self.elem.bytes()));
        for (index, factor) in &elements.terms {
            offset = offset.plus(*index, factor * i64::from(self.elem.bytes()));
        }
        match self.touch {
            Touch::Load(count) => drop(b.load_part(self.elem, self.buffer, offset, count)),
            Touch::Splat => drop(b.splat(self.elem, self.buffer, offset)),
            Touch::Store(count, stride) => {
                let stride = stride * self.elem.bytes();
                b.store_strided(self.value, self.elem, self.buffer, offset, stride, count);
            }
        }
    }
}

/// A form of address: its name, the greatest element it starts at (the least is 0), and the code
/// around it. Parameters come first: `emit` gets a scalar of 2..=9 and a range of 6.
struct Form {
    name: &'static str,
    last: u32,
    emit: fn(&mut Builder, [IndexId; 3], &At, Affine),
}

/// Every form that kernels use. `first` is the constant of the address.
const FORMS: [Form; 11] = [
    Form { name: "constant", last: 0, emit: |b, _, at, first| at.emit(b, &first) },
    Form {
        name: "loop",
        last: 4 * 3,
        emit: |b, _, at, first| b.repeat(5, |b, i| at.emit(b, &first.plus(i, 3))),
    },
    Form {
        name: "loop that counts down the address",
        last: 4 * 3,
        emit: |b, _, at, first| b.repeat(5, |b, i| at.emit(b, &first.offset(12).plus(i, -3))),
    },
    Form {
        name: "scalar",
        last: 7 * 5,
        emit: |b, [n, ..], at, first| at.emit(b, &first.offset(-10).plus(n, 5)),
    },
    Form {
        name: "loop up to a scalar",
        last: 8 * 2,
        emit: |b, [n, ..], at, first| {
            b.for_range(Bound::Const(0), Bound::Scalar(n), [], |b, i, []| {
                at.emit(b, &first.plus(i, 2));
                []
            });
        },
    },
    Form {
        name: "range",
        last: 5 * 4,
        emit: |b, [_, begin, end], at, first| {
            b.for_range(Bound::Scalar(begin), Bound::Scalar(end), [], |b, i, []| {
                at.emit(b, &first.plus(i, 4));
                []
            });
        },
    },
    Form {
        name: "end of a range",
        last: 6 * 4,
        emit: |b, [_, _, end], at, first| at.emit(b, &first.plus(end, 4)),
    },
    Form {
        name: "nested loops",
        last: 2 * 8 + 3 * 2 + 1,
        emit: |b, _, at, first| {
            b.repeat(3, |b, i| {
                b.repeat(4, |b, j| {
                    b.repeat(2, |b, k| at.emit(b, &first.clone().plus(i, 8).plus(j, 2).plus(k, 1)))
                });
            });
        },
    },
    Form {
        name: "last tile behind whole ones",
        last: 3 * 4,
        emit: |b, _, at, first| {
            b.repeat(3, |b, i| at.emit(b, &first.clone().plus(i, 4)));
            at.emit(b, &first.offset(12));
        },
    },
    Form {
        name: "window of a range",
        last: 3 * 4,
        emit: |b, [_, begin, end], at, first| {
            let window = |scalar| Bound::Clamp { scalar, minus: Affine::constant(2), lo: 0, hi: 4 };
            b.for_range(window(begin), window(end), [], |b, i, []| {
                at.emit(b, &first.plus(i, 4));
                []
            });
        },
    },
    Form {
        name: "scalar beside loops",
        last: 7 + 2 * 9,
        emit: |b, [n, ..], at, first| {
            b.repeat(3, |b, i| at.emit(b, &first.offset(-2).plus(n, 1).plus(i, 9)));
        },
    },
];

/// The kernel of a form, an element and an access, its buffer as large as the addresses need
/// and `more` elements larger, its addresses `shift` elements further on.
fn kernel(form: &Form, lanes: u32, elem: Elem, touch: Touch, more: i64, shift: i64) -> Kernel {
    let mut b = Builder::new("k", lanes);
    let elements = i64::from(form.last + touch.span()) + more;
    let bytes = u32::try_from(elements * i64::from(elem.bytes())).unwrap();
    let buffer = b.buffer("x", bytes, Access::ReadWrite);
    let n = b.scalar("n", 2, 9);
    let (begin, end) = b.range("rows", 6);
    let value = if elem == Elem::F32 { b.f32(1.5) } else { b.i32(0x7777_7777) };
    let at = At { buffer, elem, touch, value };
    (form.emit)(&mut b, [n, begin, end], &at, Affine::constant(shift));
    b.finish()
}

/// Accesses of kernels of `lanes` lanes: whole vectors, parts, lines as keys have them.
fn touches(lanes: u32) -> Vec<Touch> {
    vec![
        Touch::Load(lanes),
        Touch::Load(lanes - 1),
        Touch::Load(1),
        Touch::Splat,
        Touch::Store(lanes, 1),
        Touch::Store(lanes - 1, 1),
        Touch::Store(1, 1),
        Touch::Store(lanes, 16),
        Touch::Store(2, 3),
    ]
}

/// Calls `see` with every form, lane count, element and access.
fn each(mut see: impl FnMut(&Form, u32, Elem, Touch)) {
    for form in &FORMS {
        for lanes in [4, 8, 16] {
            for &elem in Elem::ALL {
                touches(lanes).into_iter().for_each(|touch| see(form, lanes, elem, touch));
            }
        }
    }
}

#[test]
fn kernels_one_element_out_are_refused_by_the_rule_of_bounds() {
    let mut count = 0;
    each(|form, lanes, elem, touch| {
        // Out behind the last element by the buffer's size or by the address, and before the first.
        for (more, shift) in [(-1, 0), (0, 1), (1, -1)] {
            let kernel = kernel(form, lanes, elem, touch, more, shift);
            // A buffer of no bytes breaks a rule of its own.
            if kernel.buffers.values().any(|buffer| buffer.bytes == 0) {
                continue;
            }
            let text = kernel.to_string();
            let errors = verify(kernel).expect_err(&text).errors;
            let rules: Vec<Rule> = errors.iter().map(|error| error.rule).collect();
            assert!(rules.iter().all(|rule| *rule == Rule::InBounds), "{rules:?}\n{text}");
            count += 1;
        }
    });
    assert!(count > 2000, "{count} kernels");
}

#[test]
fn kernels_that_just_fit_are_accepted_and_stay_inside() {
    each(|form, lanes, elem, touch| {
        let kernel = verify(kernel(form, lanes, elem, touch, 0, 0));
        let kernel = kernel.unwrap_or_else(|errors| panic!("{}: {errors}", form.name));
        let bytes = kernel.buffers.values().map(|b| b.bytes as usize).sum();
        let mut touched = vec![0; bytes];
        for scalars in corner_scalars(&kernel, 12) {
            run(&kernel, &mut [&mut touched][..], &scalars).unwrap();
        }
        if let Touch::Store(..) = touch {
            // What is stored has no zero byte but in the low half of 1.5.
            let ends = [touched[elem.bytes() as usize - 1], touched[bytes - 1]];
            assert!(!ends.contains(&0), "{}, {touch:?}: {ends:?}", form.name);
        }
    });
}

/// Narrow elements up to the last byte before a guard page and from the first behind one, in
/// machine code: a whole vector is one access of memory there, which must not be a wider one.
#[test]
fn machine_code_touches_no_byte_more_of_narrow_elements() {
    for elem in [Elem::U16, Elem::S8] {
        let touches = (1..=4).flat_map(|count| [Touch::Load(count), Touch::Store(count, 1)]);
        for touch in touches.chain([Touch::Splat]) {
            let kernel = |first: u32| {
                let mut b = Builder::new("k", 4);
                let buffer = b.buffer("x", 8, Access::ReadWrite);
                let value = b.i32(0x7777_7777);
                At { buffer, elem, touch, value }.emit(&mut b, &Affine::constant(first.into()));
                verify(b.finish()).unwrap()
            };
            for (first, placement) in
                [(0, Placement::Front), (8 / elem.bytes() - touch.span(), Placement::Back)]
            {
                let kernel = kernel(first);
                let mut expected = vec![0; 8];
                run(&kernel, &mut [&mut expected][..], &[]).unwrap();
                let mut found = [vec![0; 8]];
                Compiled::new(&kernel).unwrap().run(&mut found, &[], placement).unwrap();
                assert_eq!(found[0], expected, "{elem}, {touch:?} at {first}");
            }
        }
    }
}

/// The same between guard pages in machine code, for which the proof is made.
#[test]
fn machine_code_of_kernels_that_just_fit_stays_between_guard_pages() {
    for form in &FORMS {
        for elem in [Elem::F32, Elem::U16, Elem::S8] {
            for touch in touches(4) {
                let kernel = verify(kernel(form, 4, elem, touch, 0, 0)).unwrap();
                let compiled = Compiled::new(&kernel).unwrap();
                let bytes = kernel.buffers.values().map(|b| b.bytes as usize).sum();
                for scalars in corner_scalars(&kernel, 6) {
                    let mut expected = vec![0; bytes];
                    run(&kernel, &mut [&mut expected][..], &scalars).unwrap();
                    for placement in Placement::ALL {
                        let mut found = [vec![0; bytes]];
                        compiled.run(&mut found, &scalars, placement).unwrap();
                        assert_eq!(found[0], expected, "{}, {touch:?}", form.name);
                    }
                }
            }
        }
    }
}
