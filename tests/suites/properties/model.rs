//! Whole models: changes that must change nothing, or almost nothing, of their logits.

use std::borrow::Cow;

use deepthin::source::GgufWeights;
use deepthin_compiler::codegen::Backend as _;
use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::Format;
use deepthin_compiler::weights::{RandomWeights, TensorBytes, WeightSource};
use deepthin_dsl::Model;
use deepthin_dsl::model::{Block, Sharing};
use deepthin_tests::cases::cases;
use deepthin_tests::engine::{Agreement, Subject, assert_same, check, difference, feed};
use deepthin_tests::jit::clif;
use deepthin_tests::sources::{Edited, Element};
use deepthin_tests::{gguf_model, graphs, models};
use proptest::prelude::*;

/// Sizes that fill no vector, three groups of two query heads, two blocks in f32.
fn grouped() -> (Model, Formats) {
    let tiny = graphs::tiny();
    let block = Block { heads: 6, kv_heads: 3, head_dim: 6, ffn_hidden: 21, ..tiny.block };
    let model = Model { vocab: 37, width: 27, block, tied: false, sharing: Sharing::None, ..tiny };
    (model, Formats::uniform(2, Format::F32, Format::F32))
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (model, formats) = grouped();
    let subject = Subject::random(&model, &formats, 70, 21);
    let tokens = subject.tokens(67);
    let one = feed(&mut subject.session(1), &tokens, &[67]);
    for threads in [2, 3, 7, 16] {
        let found = feed(&mut subject.session(threads), &tokens, &[5, 62]);
        assert_same(&one, &found, &format!("{threads} threads"));
    }
}

/// Rows or columns of some tensors in another order.
struct Permuted {
    weights: RandomWeights,
    /// The row that stands in the place of a row, and the same for columns.
    rows: fn(Role, usize) -> usize,
    columns: fn(Role, usize) -> usize,
}

impl WeightSource for Permuted {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let mut tensor = self.weights.tensor(block, role)?;
        let columns = tensor.columns as usize;
        let elements = tensor.bytes.as_chunks::<4>().0;
        let place = |row| (0..columns).map(move |column| (row, column));
        let permuted = (0..tensor.rows as usize).flat_map(place).flat_map(|(row, column)| {
            elements[(self.rows)(role, row) * columns + (self.columns)(role, column)]
        });
        tensor.bytes = Cow::Owned(permuted.collect());
        Some(tensor)
    }
}

/// Holds a model with permuted weights to the same model without: every engine to the bit, and
/// both to each other within the figure for small random models, since sums have another order.
fn check_permuted(rows: fn(Role, usize) -> usize, columns: fn(Role, usize) -> usize) {
    let (model, formats) = grouped();
    let plain = Subject::random(&model, &formats, 70, 22);
    let permuted = Subject::new(&model, &formats, 70, |graph| Permuted {
        weights: RandomWeights::new(graph, 22),
        rows,
        columns,
    });
    let tokens = plain.tokens(9);
    let [plain, permuted] = [&plain, &permuted].map(|subject| check(subject, &tokens, &[5, 4]));
    assert_eq!(difference(&plain, &permuted, Agreement::Within(1e-4)), None);
    assert_ne!(plain, permuted, "the order of a sum is that of the weights");
}

/// The query head that takes the place of another: key heads turned round, their two query heads
/// too. Heads have 6 elements.
fn query_place(element: usize) -> usize {
    (5 - element / 6) * 6 + element % 6
}

#[test]
fn permuted_heads_give_nearly_the_same_logits() {
    check_permuted(
        |role, row| match role {
            Role::Query => query_place(row),
            Role::Key | Role::Value => (2 - row / 6) * 6 + row % 6,
            _ => row,
        },
        |role, column| if role == Role::AttentionOutput { query_place(column) } else { column },
    );
}

#[test]
fn permuted_channels_give_nearly_the_same_logits() {
    check_permuted(
        |role, row| match role {
            Role::FfnGate | Role::FfnUp => (row * 5 + 3) % 21,
            _ => row,
        },
        |role, column| if role == Role::FfnDown { (column * 5 + 3) % 21 } else { column },
    );
}

/// Twice the gain of a norm, half of each matrix behind it.
fn moved_factor(((_, role), ..): Element, x: f32) -> f32 {
    match role {
        Role::AttentionNorm | Role::FfnNorm | Role::OutputNorm => 2.0 * x,
        Role::Query | Role::Key | Role::Value | Role::FfnGate | Role::FfnUp | Role::Output => {
            0.5 * x
        }
        _ => x,
    }
}

#[test]
fn a_factor_of_two_moves_from_a_gain_to_the_next_matrices() {
    let (model, _) = grouped();
    // Half of an f16 weight may be subnormal, and round.
    for format in [Format::F32, Format::Bf16] {
        let formats = Formats::uniform(2, format, format);
        let plain = Subject::random(&model, &formats, 70, 23);
        let moved = Subject::new(&model, &formats, 70, |graph| Edited {
            weights: RandomWeights::new(graph, 23),
            edit: moved_factor,
        });
        let tokens = plain.tokens(8);
        let [plain, moved] = [&plain, &moved].map(|subject| check(subject, &tokens, &[8]));
        assert_same(&plain, &moved, &format!("a factor moved in {format}"));
    }
}

/// Rows of the vocabulary that no token of the text has.
#[test]
fn more_rows_of_the_vocabulary_leave_the_other_logits_alone() {
    let (f32, codes) = (graphs::tiny(), graphs::quantized());
    for (tied, format, model) in [
        (true, Format::Q8_0, &f32),
        (true, Format::Q8_0, &codes),
        (true, Format::F16, &codes),
        (false, Format::Q4_0, &f32),
        (false, Format::Q4_0, &codes),
    ] {
        let model = Model { tied, vocab: 37, ..model.clone() };
        let wider = Model { vocab: 101, ..model.clone() };
        let formats = Formats::uniform(2, Format::Q4_1, format);
        // The stream of a tensor gives the same first rows, however many follow.
        let [few, many] = [&model, &wider].map(|m| Subject::random(m, &formats, 70, 24));
        let tokens = few.tokens(7);
        let few = check(&few, &tokens, &[7]);
        let mut many = check(&many, &tokens, &[7]);
        many.iter_mut().for_each(|logits| logits.truncate(37));
        assert_same(&few, &many, &format!("a larger vocabulary in {format}"));
    }
}

/// What a file holds is what memory holds: the same weights, read from a file and drawn.
#[test]
fn weights_from_a_file_are_those_from_memory() {
    let model = gguf_model::model();
    let file = gguf_model::writer(&model, 25).open().unwrap();
    let weights = GgufWeights::new(file, &model).unwrap();
    let formats = weights.formats();
    let read = Subject::new(&model, &formats, 70, |_| weights);
    let drawn = Subject::random(&model, &formats, 70, 25);
    assert_eq!(read.constants().image.len(), drawn.constants().image.len());
    let tokens = drawn.tokens(9);
    let [read, drawn] = [&read, &drawn].map(|subject| check(subject, &tokens, &[9]));
    assert_same(&read, &drawn, "weights from a file");
}

proptest! {
    #![proptest_config(cases(12))]

    /// Compiling depends on its input alone: the same model gives the same texts and bytes.
    #[test]
    fn compiling_twice_gives_the_same_bytes(model in models::model()) {
        let formats = graphs::formats(&model);
        let compiled = || {
            let subject = Subject::random(&model, &formats, model.context, 1);
            let lowered = subject.lowered(4).clone();
            let codes = lowered.kernels.iter().map(|kernel| clif().emit(kernel).unwrap());
            let codes: Vec<_> = codes.collect();
            (lowered.plan, lowered.kernels, codes)
        };
        prop_assert_eq!(compiled(), compiled());
    }
}
