//! Generates small models of every kind: the inputs of round trips and of comparisons between
//! engines.

use deepthin_dsl::Model;
use deepthin_dsl::model::{Activations, Block, KvStorage, Sharing, Storage, TensorStorage};
use proptest::prelude::*;

/// The sizes that storage groups must divide, and those that depend on nothing.
#[derive(Debug, Clone)]
struct Shape {
    width: u32,
    hidden: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
}

/// Small checked models: every sharing scheme and storage, grouped-query ratios from 1 to 8,
/// heads whose sum is not the width, sizes that fill no vector. Half of them are made of
/// multiples of 32, so that groups of 32 fit.
pub fn model() -> impl Strategy<Value = Model> {
    let shape = prop_oneof![ragged_shape(), grained_shape()];
    (shape, 1_u32..=4, 8_u32..=200).prop_flat_map(|(shape, depth, vocab)| {
        let rows = [shape.width, shape.heads * shape.head_dim, shape.hidden];
        let free = (
            prop::sample::select(vec!["m", "tiny_2", "_x", "model", "Thin"]),
            4_u32..=64,
            prop::sample::select(vec![1e-5_f32, 1e-6, 0.1, f32::MIN_POSITIVE]),
            prop::sample::select(vec![10_000.0_f64, 100_000.0, 0.5, 1e30, 12_345.678]),
            any::<bool>(),
        );
        let storage = (tensor(&rows), tensor(&rows[..1]), kv_cache(), activations());
        (free, sharing(depth), storage).prop_map(move |(free, sharing, storage)| {
            let (name, context, norm_eps, rope_theta, tied) = free;
            let (blocks, embeddings, kv_cache, activations) = storage;
            let Shape { width, hidden, heads, kv_heads, head_dim } = shape;
            Model {
                name: name.to_owned(),
                vocab,
                context,
                width,
                depth,
                block: Block {
                    norm_eps,
                    heads,
                    kv_heads,
                    head_dim,
                    rope_theta,
                    ffn_hidden: hidden,
                },
                tied,
                sharing,
                storage: Storage { blocks, embeddings, kv_cache, activations },
            }
        })
    })
}

/// Key and value heads, and the query heads of each.
fn heads() -> impl Strategy<Value = (u32, u32)> {
    prop::sample::select(vec![
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 1),
        (2, 2),
        (3, 1),
        (3, 3),
        (1, 8),
        (4, 1),
    ])
}

fn ragged_shape() -> impl Strategy<Value = Shape> {
    let head_dim = prop::sample::select(vec![2_u32, 4, 6, 8, 10, 16, 24]);
    (8_u32..=96, 4_u32..=120, heads(), head_dim).prop_map(
        |(width, hidden, (kv, ratio), head_dim)| Shape {
            width,
            hidden,
            heads: kv * ratio,
            kv_heads: kv,
            head_dim,
        },
    )
}

fn grained_shape() -> impl Strategy<Value = Shape> {
    let width = prop::sample::select(vec![32_u32, 64, 96]);
    let hidden = prop::sample::select(vec![32_u32, 64, 96]);
    // Each with heads * head_dim = 32, 64 or 96.
    let attention = prop::sample::select(vec![
        (1_u32, 1_u32, 32_u32),
        (2, 1, 16),
        (4, 2, 8),
        (4, 1, 24),
        (6, 3, 16),
        (8, 1, 8),
        (16, 4, 2),
        (16, 16, 6),
    ]);
    (width, hidden, attention).prop_map(|(width, hidden, (heads, kv_heads, head_dim))| Shape {
        width,
        hidden,
        heads,
        kv_heads,
        head_dim,
    })
}

fn sharing(depth: u32) -> impl Strategy<Value = Sharing> {
    // Every block once, in some order, then a few of them again.
    let once: Vec<u32> = (0..depth).collect();
    let order = (Just(once).prop_shuffle(), prop::collection::vec(0..depth, 0..=4))
        .prop_map(|(once, again)| Sharing::Order(once.into_iter().chain(again).collect()));
    prop_oneof![
        Just(Sharing::None),
        (1_u32..=3).prop_map(Sharing::Immediate),
        (1_u32..=3).prop_map(Sharing::Loop),
        Just(Sharing::Reverse),
        order,
    ]
}

/// Storage whose groups divide all of `rows`.
fn tensor(rows: &[u32]) -> impl Strategy<Value = TensorStorage> + use<> {
    let groups: Vec<u32> =
        (1..=64).filter(|group| rows.iter().all(|row| row.is_multiple_of(*group))).collect();
    // The one group that file formats have gets its share beside all the others.
    let usual = if groups.contains(&32) { vec![32] } else { groups.clone() };
    let group = prop_oneof![prop::sample::select(groups), prop::sample::select(usual)];
    prop_oneof![
        Just(TensorStorage::F32),
        Just(TensorStorage::F16),
        Just(TensorStorage::Bf16),
        (group, any::<bool>()).prop_map(|(group, wide)| match wide {
            true => TensorStorage::Q8 { group },
            false => TensorStorage::Q4 { group },
        }),
    ]
}

fn kv_cache() -> impl Strategy<Value = KvStorage> {
    prop_oneof![Just(KvStorage::F32), Just(KvStorage::F16), Just(KvStorage::Q8)]
}

fn activations() -> impl Strategy<Value = Activations> {
    prop_oneof![Just(Activations::F32), Just(Activations::Q8)]
}
