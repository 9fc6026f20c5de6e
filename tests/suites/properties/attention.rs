//! Attention: what it does to keys and values that are alike, hidden, shared or moved.

use deepthin::verify::choices::Choices;
use deepthin::verify::values::Class;
use deepthin_compiler::fir::HeadShape;
use deepthin_compiler::format::KvFormat;
use deepthin_compiler::lower::CHUNK;
use deepthin_tests::cases::cases;
use deepthin_tests::ops::Attention;
use deepthin_tests::reference::gamma;
use proptest::prelude::*;

use super::assert_same_bits;

/// Attention of random numbers over a cache of any format, over up to three chunks; every position
/// of the cache is filled.
fn attention() -> impl Strategy<Value = Attention> {
    let alone = [[1, 1, 2], [2, 2, 6], [2, 2, 40]];
    let shared = [[2, 1, 24], [3, 1, 8], [4, 2, 16], [5, 1, 4], [6, 1, 8], [8, 2, 6], [9, 3, 4]];
    let shapes = [&alone[..], &shared].concat();
    let shape = prop::sample::select(shapes);
    let kv = prop::sample::select(KvFormat::ALL.to_vec());
    let positions = prop::sample::select(vec![1_usize, 2, 15, 16, 17, 63, 64, 65, 100, 129]);
    (shape, positions, kv, any::<u64>()).prop_map(|(shape, visible, kv, seed)| {
        let [heads, kv_heads, head_dim] = shape;
        let mut choices = Choices::seeded(seed);
        let context = 132;
        let mut vectors = |heads: u32, count: usize| -> Vec<Vec<f32>> {
            let width = (heads * head_dim) as usize;
            (0..count).map(|_| Class::Normal.floats(width, &mut choices)).collect()
        };
        Attention {
            shape: HeadShape { heads, kv_heads, head_dim },
            context,
            kv,
            query: vectors(heads, 1).remove(0),
            keys: vectors(kv_heads, context as usize),
            values: vectors(kv_heads, context as usize),
            visible,
        }
    })
}

/// The bound of specs/numerics.md for scores that are all equal and known without an error, over
/// the chunks of `visible` positions; weights may be scaled.
fn bound(visible: usize) -> f64 {
    let chunks = visible.div_ceil(CHUNK as usize);
    2.0 * gamma(3 * (chunks + 1)) + gamma(64 + 9 + 6 * chunks)
}

/// The heads of a vector in another order.
fn reordered(vector: &[f32], head_dim: usize, order: &[usize]) -> Vec<f32> {
    order.iter().flat_map(|head| vector[head * head_dim..][..head_dim].to_vec()).collect()
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn identical_keys_give_the_mean_of_the_values(mut attention in attention()) {
        let first = attention.keys[0].clone();
        attention.keys.fill(first);
        let kept = attention.kept_values();
        let (dim, visible) = (attention.shape.head_dim as usize, attention.visible);
        let group = (attention.shape.heads / attention.shape.kv_heads) as usize;
        for (i, found) in attention.run().into_iter().enumerate() {
            let at = i / dim / group * dim + i % dim;
            let values = kept[..visible].iter().map(|row| f64::from(row[at]));
            let mean = values.clone().sum::<f64>() / visible as f64;
            let size = values.map(f64::abs).sum::<f64>() / visible as f64;
            prop_assert!((f64::from(found) - mean).abs() <= bound(visible) * size);
        }
    }

    #[test]
    fn constant_values_come_out_constant(mut attention in attention()) {
        let first = attention.values[0].clone();
        attention.values.fill(first);
        let kept = attention.kept_values().remove(0);
        let (dim, visible) = (attention.shape.head_dim as usize, attention.visible);
        let group = (attention.shape.heads / attention.shape.kv_heads) as usize;
        for (i, found) in attention.run().into_iter().enumerate() {
            let value = f64::from(kept[i / dim / group * dim + i % dim]);
            // Weights err alike above and below the line, whatever the scores are.
            prop_assert!((f64::from(found) - value).abs() <= bound(visible) * value.abs());
        }
    }

    #[test]
    fn permuted_heads_permute_the_output(mut attention in attention()) {
        let HeadShape { heads, kv_heads, head_dim } = attention.shape;
        let (group, dim) = ((heads / kv_heads) as usize, head_dim as usize);
        let kv_order: Vec<usize> = (0..kv_heads as usize).rev().collect();
        // Query heads follow their key heads, and turn round among themselves.
        let order: Vec<usize> =
            kv_order.iter().flat_map(|kv| (0..group).rev().map(move |q| kv * group + q)).collect();
        let before = attention.run();
        attention.query = reordered(&attention.query, dim, &order);
        for row in attention.keys.iter_mut().chain(&mut attention.values) {
            *row = reordered(row, dim, &kv_order);
        }
        assert_same_bits(&reordered(&before, dim, &order), &attention.run());
    }

    #[test]
    fn keys_and_values_of_the_future_change_nothing(
        mut attention in attention(),
        garbage in prop::sample::select(vec![0.0_f32, f32::NAN, f32::INFINITY, f32::MAX]),
    ) {
        let before = attention.run();
        let visible = attention.visible;
        for row in attention.keys[visible..].iter_mut().chain(&mut attention.values[visible..]) {
            row.fill(garbage);
        }
        assert_same_bits(&before, &attention.run());
    }

    #[test]
    fn grouped_queries_are_repeated_keys_and_values(attention in attention()) {
        let HeadShape { heads, kv_heads, head_dim } = attention.shape;
        let group = (heads / kv_heads) as usize;
        let repeated: Vec<usize> = (0..heads as usize).map(|head| head / group).collect();
        let repeat = |rows: &[Vec<f32>]| -> Vec<Vec<f32>> {
            rows.iter().map(|row| reordered(row, head_dim as usize, &repeated)).collect()
        };
        let (keys, values) = (repeat(&attention.keys), repeat(&attention.values));
        let shape = HeadShape { kv_heads: heads, ..attention.shape };
        let whole = Attention { shape, keys, values, ..attention.clone() };
        assert_same_bits(&attention.run(), &whole.run());
    }

    /// Chunks are of absolute positions: where the cache ends has no part in it.
    #[test]
    fn room_for_more_positions_changes_nothing(attention in attention()) {
        let wider = Attention { context: 300, ..attention.clone() };
        assert_same_bits(&attention.run(), &wider.run());
    }

    #[test]
    fn a_cache_in_f16_of_halves_is_one_in_f32(mut attention in attention()) {
        for x in attention.keys.iter_mut().chain(&mut attention.values).flatten() {
            *x = half::f16::from_f32(*x).to_f32();
        }
        let whole = Attention { kv: KvFormat::F32, ..attention.clone() };
        attention.kv = KvFormat::F16;
        assert_same_bits(&attention.run(), &whole.run());
    }

    /// What f16 does not hold is infinite in the cache, and read as that.
    #[test]
    fn a_cache_in_f16_keeps_infinities(mut attention in attention(), in_keys in any::<bool>()) {
        attention.kv = KvFormat::F16;
        let last = attention.visible - 1;
        let rows = if in_keys { &mut attention.keys } else { &mut attention.values };
        rows[last][0] = 1e6;
        let output = attention.run();
        let first = &output[..attention.shape.head_dim as usize];
        if in_keys {
            // The score is infinite or, of a query of 0, none: in either case no weight is a number.
            let is_lost = attention.query[0] >= 0.0 && first.iter().all(|x| x.is_nan());
            prop_assert!(is_lost || attention.query[0] < 0.0, "{first:?}");
        } else {
            prop_assert_eq!(first[0], f32::INFINITY);
        }
    }

    /// Codes of a scale of 2^-5, in heads of one group: products and sums are those of f32, scaled.
    #[test]
    fn a_cache_in_q8_of_codes_is_one_in_f32(mut attention in attention()) {
        let dim = attention.shape.head_dim as usize;
        prop_assume!(dim <= 32);
        for head in attention.keys.iter_mut().chain(&mut attention.values).flat_map(|x| x.chunks_mut(dim)) {
            for x in head.iter_mut() {
                *x = (*x * 32.0).round().clamp(-127.0, 127.0) / 32.0;
            }
            head[0] = -127.0 / 32.0;
        }
        let whole = Attention { kv: KvFormat::F32, ..attention.clone() };
        attention.kv = KvFormat::Q8;
        assert_same_bits(&attention.run(), &whole.run());
    }

    #[test]
    fn the_newest_key_far_above_all_others_is_all_that_counts(mut attention in attention()) {
        let HeadShape { heads, kv_heads, head_dim } = attention.shape;
        let (group, dim, last) = ((heads / kv_heads) as usize, head_dim as usize, attention.visible - 1);
        attention.query.fill(1.0);
        attention.keys.iter_mut().for_each(|row| row.fill(-200.0));
        attention.keys[last].fill(200.0);
        let values = attention.kept_values().swap_remove(last);
        let repeated: Vec<usize> = (0..heads as usize).map(|head| head / group).collect();
        // Others weigh exactly 0, and 0 + v is v but for the sign of a zero.
        prop_assert_eq!(attention.run(), reordered(&values, dim, &repeated));
    }
}

/// A sum that has vanished below zero is +0 behind positions that are not visible, as if their
/// values were there as +0; the next chunk's sum adds to another that has vanished.
#[test]
fn invisible_positions_add_a_zero() {
    let least = -f32::from_bits(1);
    let (low, high) = (vec![0.0, 0.0], vec![40.0, 0.0]);
    let mut keys = vec![low; 64];
    keys.extend([high, vec![38.5, 0.0]]);
    let mut values = vec![vec![least; 2]; 64];
    values.extend([vec![0.0; 2], vec![least; 2]]);
    let shape = HeadShape { heads: 1, kv_heads: 1, head_dim: 2 };
    let (query, kv) = (vec![1.0, 0.0], KvFormat::F32);
    let attention = Attention { shape, context: 128, kv, query, keys, values, visible: 66 };
    assert_same_bits(&attention.run(), &[0.0, 0.0]);
}
