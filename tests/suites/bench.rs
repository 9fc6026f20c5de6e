//! The bytes that a token reads, against models whose plans are small enough to be added up by hand.

use deepthin::bench::test::Test;
use deepthin::bench::traffic::Traffic;
use deepthin::engine::{RunOptions, lower_source};
use deepthin::fetch::Silent;
use deepthin::source::{ModelName, Source, WeightChoice};
use deepthin_compiler::fir::Role;
use deepthin_compiler::pack::layout::{Layout, PANEL};
use deepthin_compiler::pipeline::lower;
use deepthin_compiler::plan::PlanOptions;
use deepthin_dsl::Model;
use deepthin_dsl::model::{Sharing, TensorStorage};
use deepthin_tests::{graphs, real_model};

fn traffic(model: &Model, context: u32) -> Traffic {
    let lowered = lower(model, &graphs::formats(model), &PlanOptions::new(4, context)).unwrap();
    Traffic::of(&lowered.plan)
}

/// Bytes of a panel: 32 rows of so many groups of 32 codes, each group with a scale of 2 bytes.
fn panel(groups: u32, code_bits: u32) -> u32 {
    groups * (32 * 32 * code_bits / 8 + 32 * 2)
}

/// What each application of a block of the tiny model reads.
fn tiny_application() -> u32 {
    let q4 = |panels: u32, groups| panels * panel(groups, 4);
    // Four heads of queries, two of keys and two of values have a panel each.
    let qkv = q4(4 + 2 + 2, 1);
    let output = q4(1, 1);
    let gate_up = q4(4, 1); // 16 rows of each in a panel
    let down = q4(1, 2);
    let gains = 2 * 32 * 4;
    let rotations = 8 * 4; // a cosine and a sine for each of four pairs
    qkv + output + gate_up + down + gains + rotations
}

/// What is read of the tiny model's table: by the head all of 96 rows, by the lookup one.
fn tiny_head() -> u32 {
    let table = 3 * panel(1, 8);
    32 * 4 + table + table / 96
}

#[test]
fn a_block_is_read_as_often_as_it_is_applied() {
    let shared = graphs::tiny();
    let found = traffic(&shared, 128);
    assert_eq!(found.weights, f64::from(4 * tiny_application() + tiny_head()));
    // Keys and values of two heads of eight channels, in each of four applications.
    assert_eq!(found.position, f64::from(4 * 2 * 2 * 8 * 4));
    assert_eq!(traffic(&shared, 64), found, "whatever the context");

    let unshared = Model { sharing: Sharing::None, ..shared };
    assert_eq!(traffic(&unshared, 128).weights, f64::from(2 * tiny_application() + tiny_head()));
    assert_eq!(traffic(&unshared, 128).position, found.position / 2.0);
}

#[test]
fn the_lookup_reads_a_row_of_its_own_table() {
    let mut model = Model { tied: false, vocab: 97, ..graphs::tiny() };
    model.storage.embeddings = TensorStorage::F32;
    // Four panels hold 97 rows.
    let table = 4 * 32 * 32 * 4;
    let expected = 4 * tiny_application() + 32 * 4 + table + 32 * 4;
    assert_eq!(traffic(&model, 128).weights, f64::from(expected));
}

#[test]
fn a_tests_tokens_read_at_their_mean_depth() {
    let traffic = Traffic { weights: 1000.0, position: 10.0 };
    let test = Test { prompt: 0, generate: 3, depth: 5 };
    assert_eq!(traffic.bytes(test.mean_positions()), 1070.0, "six, seven and eight positions");
}

#[test]
fn the_real_model_reads_its_weights_once() {
    let Some(path) = real_model::smollm2() else { return };
    let name = ModelName::Gguf(path);
    let source = Source::open(&name, &WeightChoice::Own, &mut Silent).unwrap();
    let options = RunOptions { context: Some(512), ..RunOptions::default() };
    let plan = lower_source(&source, &options).unwrap().plan;
    let format = source.formats.get(None, Role::TokenEmbedding).unwrap();
    let row = Layout { format, columns: 576 }.panel_bytes() / u64::from(PANEL);
    let rotations = 30 * 64 * 4;
    let found = Traffic::of(&plan);
    // The table is tied: the head reads all of it, and the lookup a row again.
    assert_eq!(found.weights, (plan.weight_bytes() + row + rotations) as f64);
    assert!((90e6..110e6).contains(&found.weights), "{found:?}");
    assert_eq!(found.position, f64::from(30 * 2 * 3 * 64 * 2), "in f16");
}
