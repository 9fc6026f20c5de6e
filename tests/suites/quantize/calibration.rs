//! Calibration against the formulas in f64: the mean squares of what each matrix is multiplied with.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use deepthin::calibrate::{CalibrateError, importance};
use deepthin::verify::models::described_formats;
use deepthin_compiler::fir::Role;
use deepthin_compiler::quantize::{Importance, TensorKey};
use deepthin_compiler::weights::{RandomWeights, TensorBytes, WeightSource};
use deepthin_dsl::Model;
use deepthin_dsl::model::TensorStorage;
use deepthin_runtime::session::RunError;
use deepthin_tests::engine::Subject;
use deepthin_tests::graphs;
use deepthin_tests::reference::Reference;

/// Positions of a session: text of more tokens falls into several chunks.
const CONTEXT: u32 = 40;

fn subject(tied: bool) -> Subject {
    let mut model = Model { tied, ..graphs::tiny() };
    model.storage.blocks = TensorStorage::F32;
    model.storage.embeddings = TensorStorage::F32;
    Subject::random(&model, &described_formats(&model), CONTEXT, 3)
}

fn calibrated(subject: &Subject, ids: &[u32], threads: usize) -> Importance {
    let mut session = subject.session(threads);
    let watch = &mut || ControlFlow::Continue(());
    importance(&mut session, &subject.model, &*subject.weights, ids, watch).unwrap()
}

/// The matrices that are multiplied with what one of them is.
fn sharers(role: Role, tied: bool) -> &'static [Role] {
    match role {
        Role::Query => &[Role::Query, Role::Key, Role::Value],
        Role::FfnUp => &[Role::FfnGate, Role::FfnUp],
        Role::AttentionOutput => &[Role::AttentionOutput],
        Role::FfnDown => &[Role::FfnDown],
        _ if tied => &[Role::TokenEmbedding],
        _ => &[Role::Output],
    }
}

/// Mean squares by the formulas, over all tokens and all uses of a stored block.
fn expected(subject: &Subject, ids: &[u32]) -> BTreeMap<TensorKey, Vec<f64>> {
    let reference = Reference::new(&subject.model, &*subject.weights);
    let mut sums = BTreeMap::<(Option<u32>, Role), (Vec<f64>, f64)>::new();
    for chunk in ids.chunks(CONTEXT as usize) {
        reference.observed(chunk, &mut |block, role, x| {
            for role in sharers(role, subject.model.tied) {
                let (sums, count) = sums.entry((block, *role)).or_default();
                sums.resize(x.len(), 0.0);
                sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x);
                *count += 1.0;
            }
        });
    }
    let means = |(sums, count): (Vec<f64>, f64)| sums.iter().map(|sum| sum / count).collect();
    sums.into_iter().map(|(key, sums)| (key, means(sums))).collect()
}

/// Two stored blocks, each used twice; a text of two chunks and a piece, of a chunk, of a token.
#[test]
fn importance_is_the_mean_square_of_each_column() {
    for tied in [true, false] {
        let subject = subject(tied);
        for count in [97, 40, 1] {
            let ids = subject.tokens(count);
            let (found, expected) = (calibrated(&subject, &ids, 2), expected(&subject, &ids));
            let keys: Vec<TensorKey> = expected.keys().copied().collect();
            assert_eq!(found.keys().copied().collect::<Vec<_>>(), keys);
            assert_eq!(keys.len(), 2 * 7 + 1);
            for (key, found) in &found {
                let expected = &expected[key];
                assert_eq!(found.len(), expected.len(), "{key:?}");
                let most = expected.iter().copied().fold(0.0, f64::max);
                for (found, expected) in found.iter().zip(expected) {
                    let distance = (f64::from(*found) - expected).abs();
                    assert!(
                        distance < 1e-4 * expected + 1e-5 * most,
                        "{key:?}: {found}, {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn threads_change_no_importance() {
    let subject = subject(true);
    let ids = subject.tokens(97);
    let one = calibrated(&subject, &ids, 1);
    for threads in [2, 8] {
        assert_eq!(calibrated(&subject, &ids, threads), one, "{threads} threads");
    }
    // A session that held something else begins anew.
    let mut used = subject.session(1);
    used.feed(&ids[..17]).unwrap();
    let watch = &mut || ControlFlow::Continue(());
    let again = importance(&mut used, &subject.model, &*subject.weights, &ids, watch);
    assert_eq!(again.unwrap(), one);
}

#[test]
fn calibration_can_be_stopped() {
    let subject = subject(true);
    let ids = subject.tokens(97);
    let mut looks = 0;
    let watch = &mut || {
        looks += 1;
        if looks == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut session = subject.session(1);
    let stopped = importance(&mut session, &subject.model, &*subject.weights, &ids, watch);
    assert!(matches!(stopped, Err(CalibrateError::Stopped)));
    assert_eq!(looks, 3);
}

#[test]
fn tokens_that_are_none_are_refused() {
    let subject = subject(true);
    let watch = &mut || ControlFlow::Continue(());
    let mut session = subject.session(1);
    let wrong = importance(&mut session, &subject.model, &*subject.weights, &[3, 96], watch);
    let Err(CalibrateError::Run(RunError::TokenId { id: 96, vocab: 96 })) = wrong else {
        panic!("{wrong:?}");
    };
}

/// Weights of which those of one matrix are far too large.
struct Large(RandomWeights);

impl WeightSource for Large {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let mut tensor = self.0.tensor(block, role)?;
        if role == Role::FfnUp {
            let words = tensor.bytes.to_mut().chunks_exact_mut(4);
            words.for_each(|word| {
                let weight = f32::from_le_bytes(word.try_into().unwrap()) * 1e25;
                word.copy_from_slice(&weight.to_le_bytes());
            });
        }
        Some(tensor)
    }
}

#[test]
fn squares_past_f32_are_told() {
    let mut model = graphs::tiny();
    model.storage.blocks = TensorStorage::F32;
    let formats = described_formats(&model);
    let subject =
        Subject::new(&model, &formats, CONTEXT, |graph| Large(RandomWeights::new(graph, 3)));
    let watch = &mut || ControlFlow::Continue(());
    let mut session = subject.session(1);
    let told = importance(&mut session, &model, &*subject.weights, &[1, 2, 3], watch);
    let message = told.unwrap_err().to_string();
    let expected = "the calibration text makes activations before `block 0 ffn_down` whose squares \
                    are not finite, expected finite ones";
    assert_eq!(message, expected);
}
