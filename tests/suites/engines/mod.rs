//! Every engine gives the same bits: hand-made models of awkward shapes, and generated ones.

mod refusals;
mod sequences;
mod sharing;

use std::collections::BTreeSet;

use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::{Bits, Codes, Format, Group};
use deepthin_dsl::Model;
use deepthin_dsl::model::{self as dsl, Activations, Block, Sharing, Storage};
use deepthin_tests::cases::cases;
use deepthin_tests::engine::{Subject, check};
use deepthin_tests::graphs;
use deepthin_tests::models::{self, Generated};
use proptest::prelude::*;

/// Two blocks, a tied table; `heads` are query heads, key-value heads and elements of a head.
fn shape(vocab: u32, width: u32, heads: [u32; 3], hidden: u32) -> Model {
    let [heads, kv_heads, head_dim] = heads;
    let tiny = graphs::tiny();
    let block = Block { heads, kv_heads, head_dim, ffn_hidden: hidden, ..tiny.block };
    Model { name: "m".to_owned(), vocab, width, block, sharing: Sharing::None, ..tiny }
}

/// Formats whose elements have no group.
const FLOATS: [Format; 3] = [Format::F32, Format::F16, Format::Bf16];

/// Runs a model in several formats, as many as divide its rows, through all engines: a tile of
/// four tokens, two single ones, and a tile again. Codes are multiplied with f32 and with codes.
fn check_formats(model: &Model, formats: &[Format]) {
    let Block { heads, head_dim, ffn_hidden, .. } = model.block;
    let rows = [model.width, heads * head_dim, ffn_hidden];
    let fitting = |format: &&Format| rows.iter().all(|row| format.divides(*row as usize));
    for format in formats.iter().filter(fitting) {
        let formats = Formats::uniform(model.depth, *format, *format);
        for activations in [Some(Activations::F32), None] {
            if activations.is_none() && format.codes().is_none() {
                continue;
            }
            let subject = Subject::random(&with(model, activations), &formats, 70, 1);
            check(&subject, &subject.tokens(10), &[4, 2]);
        }
    }
}

/// A model with other activations.
fn with(model: &Model, activations: Option<Activations>) -> Model {
    let storage = Storage { activations, ..model.storage };
    Model { storage, ..model.clone() }
}

#[test]
fn widths_that_fill_no_vector() {
    check_formats(&shape(50, 24, [3, 1, 6], 20), &FLOATS);
    check_formats(&shape(31, 37, [3, 1, 2], 19), &FLOATS);
    check_formats(&shape(33, 16, [2, 2, 24], 17), &FLOATS);
    check_formats(&shape(1, 9, [1, 1, 2], 1), &[Format::F32]);
}

#[test]
fn heads_of_all_sizes_in_every_format() {
    check_formats(&shape(70, 64, [4, 2, 16], 96), &Format::ALL);
    check_formats(&shape(40, 96, [2, 2, 48], 32), &Format::ALL);
    check_formats(&shape(33, 32, [4, 4, 8], 64), &Format::ALL);
    check_formats(&shape(33, 192, [6, 2, 32], 192), &coded_in([Group::Of96, Group::Of192]));
}

/// The formats of codes in these groups.
fn coded_in<const N: usize>(groups: [Group; N]) -> Vec<Format> {
    let is_in = |format: &Format| format.codes().is_some_and(|c| groups.contains(&c.group));
    Format::ALL.into_iter().filter(is_in).collect()
}

#[test]
fn groups_of_query_heads_in_quantized_formats() {
    let quantized = [Format::Q8_0, Format::Q4_0, Format::Q4_1];
    check_formats(&shape(65, 64, [2, 1, 64], 96), &quantized);
    check_formats(&shape(97, 96, [4, 1, 24], 32), &quantized);
    check_formats(&shape(20, 32, [16, 2, 2], 32), &quantized);
    check_formats(&shape(96, 32, [16, 4, 6], 96), &quantized);
    check_formats(&shape(41, 64, [9, 3, 32], 64), &quantized);
}

/// Each group of weights with each group of activations, so that sums of codes are cut in all
/// ways: codes of 4, 6 and 8 bits with and without a minimum take turns.
#[test]
fn groups_of_weights_and_of_activations() {
    let model = Model { depth: 1, ..shape(40, 192, [4, 2, 48], 384) };
    let mut kinds =
        Bits::ALL.into_iter().flat_map(|bits| [(bits, false), (bits, true)]).cycle().skip(1);
    let mut pieces = BTreeSet::new();
    for group in Group::ALL {
        for said in dsl::Group::SIZES.map(dsl::Group::Of).into_iter().chain([dsl::Group::Row]) {
            let (bits, minimum) = kinds.next().unwrap();
            let format = Format::Codes(Codes::own(bits, group, minimum));
            let formats = Formats::uniform(1, format, format);
            let model = with(&model, Some(Activations::Q8 { group: Some(said) }));
            let subject = Subject::random(&model, &formats, 70, 5);
            for weight in subject.lowered(4).plain.blocks[0].weights.values() {
                pieces.insert(weight.activations.piece(format, weight.columns as usize));
            }
            check(&subject, &subject.tokens(6), &[4, 2]);
        }
    }
    assert_eq!(pieces, BTreeSet::from([1, 32, 64, 96, 192, 384]), "and a gain has none");
}

/// A table of codes as embedding and as head.
#[test]
fn a_tied_table_is_read_by_rows_and_multiplied_with_codes() {
    let model = Model { tied: true, ..shape(33, 64, [2, 2, 32], 64) };
    for format in Format::ALL.into_iter().filter(|format| format.divides(64)) {
        let subject =
            Subject::random(&with(&model, None), &Formats::uniform(2, Format::F32, format), 70, 6);
        check(&subject, &subject.tokens(5), &[5]);
    }
}

#[test]
fn formats_differ_inside_a_block_and_between_blocks() {
    let model = Model { depth: 3, tied: false, ..shape(45, 64, [4, 2, 16], 96) };
    let mut formats = Formats::uniform(3, Format::Q4_1, Format::Q8_0);
    let exceptions = [
        // As files of mixed precision have it.
        (Some(0), Role::Value, Format::Q8_0),
        (Some(0), Role::FfnDown, Format::Q8_0),
        // Three segments in one product.
        (Some(1), Role::Query, Format::F16),
        (Some(1), Role::Key, Format::Q4_0),
        (Some(1), Role::Value, Format::Bf16),
        (Some(1), Role::AttentionOutput, Format::F32),
        // Query and value alike, key between them not.
        (Some(2), Role::Key, Format::Q8_0),
        (None, Role::Output, Format::F16),
    ];
    for (block, role, format) in exceptions {
        formats.set(block, role, format).unwrap();
    }
    // Segments of one product with codes of their own, and others with none.
    for activations in [Some(Activations::F32), None] {
        let subject = Subject::random(&with(&model, activations), &formats, 70, 2);
        check(&subject, &subject.tokens(9), &[5]);
    }
}

#[test]
fn a_head_of_its_own() {
    let model = Model { tied: false, ..shape(45, 32, [2, 1, 16], 32) };
    check_formats(&model, &[Format::F32, Format::Q4_0]);
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn generated_models(
        generated in models::generated(),
        pieces in prop::collection::vec(1..6_usize, 1..4),
        seed in any::<u64>(),
    ) {
        let Generated { model, formats } = generated;
        let subject = Subject::random(&model, &formats, model.context, seed);
        check(&subject, &subject.tokens(model.context.min(9)), &pieces);
    }
}
