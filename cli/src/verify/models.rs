//! Models of every kind, generated: small ones whose sizes fill no vector, a few of the family's
//! real sizes. They shrink.

use std::ops::RangeInclusive;

use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::Format;
use deepthin_dsl::Model;
use deepthin_dsl::model::{Activations, Block, Group, KvStorage, Sharing, Storage, TensorStorage};
use proptest::prelude::*;

use super::choices::mix;

/// A model, and the storage of each of its tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The model.
    pub model: Model,
    /// Storage: the description's, or any.
    pub formats: Formats,
}

/// Small models to compile and run; half have tensors of mixed formats.
pub fn generated() -> impl Strategy<Value = Generated> {
    with_formats(model())
}

/// The same, and one in twenty of a real model's sizes.
pub fn generated_of_any_size() -> impl Strategy<Value = Generated> {
    with_formats(prop_oneof![19 => model().boxed(), 1 => family().boxed()])
}

fn with_formats(model: impl Strategy<Value = Model>) -> impl Strategy<Value = Generated> {
    let picks = prop::option::of(prop::collection::vec(any::<u8>(), 23));
    (model, picks).prop_map(|(model, picks)| {
        let formats = match picks {
            Some(picks) => mixed_formats(&model, &picks),
            None => described_formats(&model),
        };
        Generated { model, formats }
    })
}

/// The formats of a model's description, or f16 and f32 where its groups are not there yet.
pub fn described_formats(model: &Model) -> Formats {
    Formats::from_storage(model)
        .unwrap_or_else(|_| Formats::uniform(model.depth, Format::F16, Format::F32))
}

/// Formats for every tensor, each as one of `picks` in turn says, among those whose groups divide
/// the rows.
pub fn mixed_formats(model: &Model, picks: &[u8]) -> Formats {
    let mut formats = Formats::uniform(model.depth, Format::F32, Format::F32);
    let mut picks = picks.iter().cycle().copied();
    let mut pick = |columns: u32| {
        let fit = |format: &Format| format.row_bytes(columns as usize).is_some();
        let fitting: Vec<Format> = Format::ALL.into_iter().filter(fit).collect();
        let pick = usize::from(picks.next().unwrap_or(0)).checked_rem(fitting.len()).unwrap_or(0);
        fitting.get(pick).copied().unwrap_or(Format::F32)
    };
    let Block { heads, head_dim, ffn_hidden, .. } = model.block;
    let mut set = |block, role, format| {
        // Every tensor named below is one of the model, and no gain.
        let _ = formats.set(block, role, format);
    };
    for block in 0..model.depth {
        let mut gate = Format::F32;
        for role in Role::BLOCK_MATRICES {
            let format = match role {
                // Gate and up share their panels.
                Role::FfnUp => gate,
                Role::AttentionOutput => pick(heads * head_dim),
                Role::FfnDown => pick(ffn_hidden),
                _ => pick(model.width),
            };
            if role == Role::FfnGate {
                gate = format;
            }
            set(Some(block), role, format);
        }
    }
    set(None, Role::TokenEmbedding, pick(model.width));
    set(None, Role::Output, pick(model.width));
    formats
}

/// The sizes that storage groups must divide, and those that depend on nothing.
#[derive(Debug, Clone, Copy)]
struct Shape {
    width: u32,
    hidden: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
}

/// Small checked models: every sharing scheme and storage, grouped-query ratios from 1 to 8,
/// heads whose sum is not the width, sizes that fill no vector. Half of them are made of
/// multiples of 32, so that groups fit.
pub fn model() -> impl Strategy<Value = Model> {
    of(prop_oneof![3 => ragged_shape(), 2 => grained_shape(), 1 => whole_shape()], 1..=4)
}

/// One block of the sizes that MobileLLM's models have.
fn family() -> impl Strategy<Value = Model> {
    let shape =
        |(width, heads, kv_heads, hidden)| Shape { width, hidden, heads, kv_heads, head_dim: 64 };
    let sizes = [(576, 9, 3, 1536), (960, 15, 5, 2560)];
    of(prop::sample::select(sizes.map(shape).to_vec()), 1..=1)
}

/// Models of a shape. All parts are drawn side by side, none from another, so that each shrinks by
/// itself.
fn of(
    shape: impl Strategy<Value = Shape>,
    depth: RangeInclusive<u32>,
) -> impl Strategy<Value = Model> {
    let free = (
        prop::sample::select(vec!["m", "tiny_2", "_x", "model", "Thin"]),
        prop_oneof![3 => 4_u32..=64, 1 => 65_u32..=200],
        prop::sample::select(vec![1e-5_f32, 1e-6, 0.1, f32::MIN_POSITIVE]),
        prop::sample::select(vec![10_000.0_f64, 100_000.0, 0.5, 1e30, 12_345.678]),
        any::<bool>(),
        prop_oneof![8_u32..=200, prop::sample::select(vec![31, 32, 33, 63, 64, 65, 127, 128, 129])],
    );
    let storage = (tensor(), tensor(), kv_cache(), activations());
    (shape, depth, free, sharing(), storage).prop_map(|(shape, depth, free, sharing, storage)| {
        let (name, context, norm_eps, rope_theta, tied, vocab) = free;
        let (blocks, embeddings, kv_cache, activations) = storage;
        let Shape { width, hidden, heads, kv_heads, head_dim } = shape;
        let rows = [width, heads * head_dim, hidden];
        let blocks = blocks.on(&rows);
        let activations = activations.on(&rows);
        let embeddings = embeddings.on(&[width]);
        Model {
            name: name.to_owned(),
            vocab,
            context,
            width,
            depth,
            block: Block { norm_eps, heads, kv_heads, head_dim, rope_theta, ffn_hidden: hidden },
            tied,
            sharing: sharing.of(depth),
            storage: Storage { blocks, embeddings, kv_cache, activations },
        }
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
    let head_dim = prop::sample::select(vec![2_u32, 4, 6, 8, 10, 16, 20, 24, 40]);
    // Beside any size those next to whole vectors and tiles, and primes.
    let sizes = vec![15, 16, 17, 31, 33, 47, 48, 49, 61, 63, 65, 67, 79, 89, 95, 97];
    let width = prop_oneof![8_u32..=96, prop::sample::select(sizes.clone())];
    let hidden = prop_oneof![4_u32..=120, prop::sample::select(sizes)];
    (width, hidden, heads(), head_dim).prop_map(|(width, hidden, (kv, ratio), head_dim)| Shape {
        width,
        hidden,
        heads: kv * ratio,
        kv_heads: kv,
        head_dim,
    })
}

fn grained_shape() -> impl Strategy<Value = Shape> {
    let size = || prop::sample::select(vec![32_u32, 64, 96]);
    let (width, hidden) = (size(), size());
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

/// Rows that every group divides.
fn whole_shape() -> impl Strategy<Value = Shape> {
    let hidden = prop::sample::select(vec![192_u32, 384]);
    let attention = prop::sample::select(vec![(12_u32, 3_u32, 16_u32), (6, 6, 32), (8, 1, 24)]);
    (hidden, attention).prop_map(|(hidden, (heads, kv_heads, head_dim))| Shape {
        width: 192,
        hidden,
        heads,
        kv_heads,
        head_dim,
    })
}

/// A sharing scheme before the number of blocks is known.
#[derive(Debug, Clone)]
enum Scheme {
    Fixed(Sharing),
    /// Every block once, in an order that the number decides, then these again.
    Order(u64, Vec<u32>),
}

impl Scheme {
    fn of(self, depth: u32) -> Sharing {
        let (seed, again) = match self {
            Scheme::Fixed(sharing) => return sharing,
            Scheme::Order(seed, again) => (seed, again),
        };
        let mut order: Vec<u32> = (0..depth).collect();
        order.sort_by_key(|block| mix(seed, u64::from(*block)));
        order.extend(again.into_iter().map(|block| block % depth.max(1)));
        Sharing::Order(order)
    }
}

fn sharing() -> impl Strategy<Value = Scheme> {
    prop_oneof![
        Just(Scheme::Fixed(Sharing::None)),
        (1_u32..=3).prop_map(|times| Scheme::Fixed(Sharing::Immediate(times))),
        (1_u32..=3).prop_map(|times| Scheme::Fixed(Sharing::Loop(times))),
        Just(Scheme::Fixed(Sharing::Reverse)),
        (any::<u64>(), prop::collection::vec(0..4_u32, 0..=4))
            .prop_map(|(seed, again)| Scheme::Order(seed, again)),
    ]
}

/// Storage of a tensor before its rows are known.
#[derive(Debug, Clone)]
enum Stored {
    Float(TensorStorage),
    /// In so many bits, with a group that the number chooses.
    Codes {
        bits: u32,
        group: usize,
        minimum: bool,
    },
}

/// One of the groups that divide all of `rows`; half of them are 32, where that does. `None` where
/// no group does.
fn group(number: usize, rows: &[u32]) -> Option<Group> {
    let all = Group::SIZES.map(Group::Of).into_iter().chain([Group::Row]);
    let divides = |group: &Group| rows.iter().all(|row| group.divides(*row));
    let groups: Vec<Group> = all.filter(divides).collect();
    let any = groups.get((number / 2).checked_rem(groups.len())?).copied();
    if number.is_multiple_of(2) { groups.first().copied() } else { any }
}

impl Stored {
    /// Storage whose groups divide all of `rows`: f16 where none do.
    fn on(self, rows: &[u32]) -> TensorStorage {
        match self {
            Stored::Float(storage) => storage,
            Stored::Codes { bits, group: number, minimum } => match group(number, rows) {
                Some(group) => TensorStorage::Codes { bits, group, minimum },
                None => TensorStorage::F16,
            },
        }
    }
}

fn tensor() -> impl Strategy<Value = Stored> {
    prop_oneof![
        1 => Just(Stored::Float(TensorStorage::F32)),
        1 => Just(Stored::Float(TensorStorage::F16)),
        1 => Just(Stored::Float(TensorStorage::Bf16)),
        3 => (0..256_usize, prop::sample::select(vec![4_u32, 6, 8]), any::<bool>())
            .prop_map(|(group, bits, minimum)| Stored::Codes { bits, group, minimum }),
    ]
}

fn kv_cache() -> impl Strategy<Value = KvStorage> {
    prop_oneof![Just(KvStorage::F32), Just(KvStorage::F16), Just(KvStorage::Q8)]
}

/// Activations before the rows that their groups must divide are known.
#[derive(Debug, Clone)]
enum Multiplied {
    Said(Option<Activations>),
    /// In groups that the number chooses.
    Codes(usize),
}

impl Multiplied {
    /// Activations whose groups divide all of `rows`.
    fn on(self, rows: &[u32]) -> Option<Activations> {
        match self {
            Multiplied::Said(activations) => activations,
            Multiplied::Codes(number) => Some(Activations::Q8 { group: group(number, rows) }),
        }
    }
}

fn activations() -> impl Strategy<Value = Multiplied> {
    prop_oneof![
        Just(Multiplied::Said(None)),
        Just(Multiplied::Said(Some(Activations::F32))),
        (0..256_usize).prop_map(Multiplied::Codes),
    ]
}
