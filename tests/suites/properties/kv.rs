//! What KV caches keep of keys and values, against a quantizer that is written without care.

use deepthin::verify::choices::Choices;
use deepthin::verify::values::Class;
use deepthin_compiler::format::KvFormat;
use deepthin_compiler::numerics::kv::{Group, Stored};
use deepthin_tests::cases::cases;
use deepthin_tests::ops::{Append, Appended};
use half::{bf16, f16};
use proptest::prelude::*;

use super::assert_same_bits;

/// Some heads of drawn numbers; `angles` turns nothing, so that keys are kept as they come.
fn append(class: impl Strategy<Value = Class>) -> impl Strategy<Value = Append> {
    let sizes = prop::sample::select(vec![(1, 2), (3, 6), (2, 20), (1, 32), (2, 40), (2, 64)]);
    let kv = prop::sample::select(KvFormat::ALL.to_vec());
    (sizes, kv, class, any::<u64>()).prop_map(|((heads, head_dim), kv, class, seed)| {
        let mut choices = Choices::seeded(seed);
        let mut numbers = || class.floats((heads * head_dim) as usize, &mut choices);
        let (keys, values) = (numbers(), numbers());
        let half = (head_dim / 2) as usize;
        let angles = [vec![1.0; half], vec![0.0; half]].concat();
        Append { kv, heads, keys, values, angles }
    })
}

fn tame() -> impl Strategy<Value = Class> {
    prop::sample::select(Class::TAME.to_vec())
}

/// The bf16 nearest to a number that is not negative, by looking at its neighbors.
fn nearest_bf16(exact: f64) -> f64 {
    let value = |bits: u16| f64::from(bf16::from_bits(bits).to_f32());
    let mut below = 0;
    let mut above = 0x7f7f;
    while above - below > 1 {
        let middle = (below + above) / 2;
        if value(middle) <= exact { below = middle } else { above = middle }
    }
    let is_below = (exact - value(below), below % 2) < (value(above) - exact, above % 2);
    value(if is_below { below } else { above })
}

/// Holds a group against the numbers that it was made of.
fn assert_nearest(group: &Group, numbers: &[f32]) {
    let number = |i: usize| f64::from(numbers[i]);
    let greatest = group.codes.iter().map(|(i, _)| numbers[*i].abs()).fold(0.0, f32::max);
    let scale = f64::from(group.scale);
    assert_eq!(scale, nearest_bf16((greatest / 127.0).into()), "of {greatest}");
    for (i, code) in &group.codes {
        let code = f64::from(*code);
        if greatest < 2_f32.powi(-100) {
            assert_eq!(code, 0.0);
            continue;
        }
        let exact = (number(*i) / scale).clamp(-127.0, 127.0);
        assert!((code - exact).abs() < 0.5 + 1e-4, "{code} for {exact}");
    }
}

fn assert_kept(append: &Append, appended: &Appended) {
    let dim = append.keys.len() / append.heads as usize;
    // A product makes -0 of its input the +0 that sums begin with.
    let products = |x: &[f32]| x.iter().map(|x| x + 0.0).collect::<Vec<f32>>();
    let (keys, values) = (products(&append.keys), products(&append.values));
    let keys = keys.chunks(dim).zip(&appended.keys);
    for (head, kept) in keys.chain(values.chunks(dim).zip(&appended.values)) {
        match (kept, append.kv) {
            (Stored::Groups(groups), KvFormat::Q8) => {
                let mut elements: Vec<usize> =
                    groups.iter().flat_map(|g| g.codes.iter().map(|(i, _)| *i)).collect();
                elements.sort_unstable();
                assert_eq!(elements, (0..dim).collect::<Vec<usize>>());
                groups.iter().for_each(|group| assert_nearest(group, head));
            }
            (Stored::Numbers(numbers), KvFormat::F16) => {
                let halves: Vec<f32> = head.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
                assert_same_bits(numbers, &halves);
            }
            (Stored::Numbers(numbers), KvFormat::F32) => assert_same_bits(numbers, head),
            _ => panic!("{kept:?} in {}", append.kv),
        }
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_cache_keeps_the_nearest_codes(append in append(tame())) {
        assert_kept(&append, &append.run());
    }

    /// The pair of an element that overflows when it is turned: its group is NaN, others are not.
    #[test]
    fn a_group_with_an_infinity_has_no_codes(mut append in append(Just(Class::Normal))) {
        append.kv = KvFormat::Q8;
        append.keys[0] = f32::MAX;
        append.angles[0] = 2.0;
        let appended = append.run();
        for (head, key) in appended.keys.iter().enumerate() {
            let Stored::Groups(groups) = key else { panic!("{key:?}") };
            for (i, group) in groups.iter().enumerate() {
                let is_special = head == 0 && i == 0;
                prop_assert_eq!(group.scale.is_nan(), is_special);
                prop_assert_eq!(group.codes.iter().all(|(_, code)| *code == 0), is_special);
            }
        }
    }
}

/// Where magnitudes end: the least that has codes, the greatest finite one, zeros, subnormals.
#[test]
fn groups_at_the_ends() {
    let least = 2_f32.powi(-100);
    // A scale in the middle of two bf16, of which the greater is even.
    let tie = 127.0 * (1.0 + 3.0 / 256.0);
    let greatest = [least, least.next_down(), f32::MAX, 0.0, f32::MIN_POSITIVE, 1e-45, 127.0, tie];
    for greatest in greatest {
        let angles = [vec![1.0; 16], vec![0.0; 16]].concat();
        let numbers: Vec<f32> =
            (0..32_u8).map(|i| greatest * ((f32::from(i) - 16.0) / 16.0)).collect();
        for kv in KvFormat::ALL {
            let (keys, values) = (numbers.clone(), numbers.clone());
            let append = Append { kv, heads: 1, keys, values, angles: angles.clone() };
            assert_kept(&append, &append.run());
        }
    }
}
