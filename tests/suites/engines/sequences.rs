//! One sequence, however it is cut, resumed or run beside another.

use std::sync::Arc;

use deepthin_dsl::Model;
use deepthin_dsl::model::{KvStorage, Storage};
use deepthin_runtime::session::{RunError, Session};
use deepthin_tests::cases::cases;
use deepthin_tests::engine::{Engine, Fir, Jit, Subject, Vir, assert_same, feed};
use deepthin_tests::{graphs, models};
use proptest::prelude::*;

/// The tiny model on quantized activations, with random weights.
fn tiny(context: u32) -> Subject {
    let [.., last] = variants();
    drawn(&last, context)
}

fn drawn(model: &Model, context: u32) -> Subject {
    Subject::random(model, &graphs::formats(model), context, 7)
}

/// The tiny model on either kind of activations, with each cache.
fn variants() -> [Model; 4] {
    let with = |model: Model, kv_cache| {
        let storage = Storage { kv_cache, ..model.storage };
        Model { storage, ..model }
    };
    [
        with(graphs::tiny(), KvStorage::F32),
        with(graphs::tiny(), KvStorage::Q8),
        with(graphs::quantized(), KvStorage::F32),
        with(graphs::quantized(), KvStorage::F16),
    ]
}

/// What a failure says of a variant.
fn told(model: &Model) -> String {
    let Storage { kv_cache, activations, .. } = model.storage;
    format!("a cache of {kv_cache}, activations {activations:?}")
}

/// What every engine must give.
fn expected(subject: &Subject, tokens: &[u32]) -> Vec<Vec<f32>> {
    Fir { fused: false }.logits(subject, tokens, &[tokens.len()])
}

/// Passes take 64 tokens, attention merges chunks of 64 positions, tiles take 4 tokens: pieces
/// that meet these boundaries, cross them and stop short of them.
#[test]
fn prefill_is_decode_however_cut() {
    let cuts: [&[usize]; 8] = [
        &[150],
        &[1],
        &[64],
        &[65, 85],
        &[63, 1, 1, 63, 22],
        &[4, 60, 3, 83],
        &[2, 126, 1, 21],
        &[7, 5, 3],
    ];
    for model in variants() {
        let subject = drawn(&model, 150);
        let tokens = subject.tokens(150);
        let expected = expected(&subject, &tokens);
        for (pieces, threads) in cuts.into_iter().flat_map(|cut| [(cut, 1), (cut, 2)]) {
            let found = Jit { threads }.logits(&subject, &tokens, pieces);
            let what = format!("{}, {threads} threads, pieces {pieces:?}", told(&model));
            assert_same(&expected, &found, &what);
        }
    }
}

#[test]
fn the_interpreter_crosses_chunks_too() {
    for model in variants() {
        let subject = drawn(&model, 68);
        let tokens = subject.tokens(68);
        let expected = expected(&subject, &tokens);
        for (lanes, pieces) in [(4, &[68][..]), (8, &[62, 1]), (16, &[3, 60, 5])] {
            let found = Vir { lanes }.logits(&subject, &tokens, pieces);
            let what = format!("{}, {lanes} lanes, pieces {pieces:?}", told(&model));
            assert_same(&expected, &found, &what);
        }
    }
}

#[test]
fn threads_change_nothing() {
    for model in variants() {
        let subject = drawn(&model, 100);
        let tokens = subject.tokens(70);
        let expected = expected(&subject, &tokens);
        for threads in [1, 2, 3, 5, 8] {
            let found = Jit { threads }.logits(&subject, &tokens, &[66, 1]);
            assert_same(&expected, &found, &format!("{}, {threads} threads", told(&model)));
        }
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn generated_models_may_be_cut_anywhere(
        model in models::model(),
        pieces in prop::collection::vec(1..70_usize, 1..12),
        threads in 1..5_usize,
        seed in any::<u64>(),
    ) {
        let subject = Subject::random(&model, &graphs::formats(&model), 133, seed);
        let tokens = subject.tokens(133);
        let whole = Jit { threads: 1 }.logits(&subject, &tokens, &[133]);
        let found = Jit { threads }.logits(&subject, &tokens, &pieces);
        assert_same(&whole, &found, &format!("pieces {pieces:?}"));
    }
}

#[test]
fn the_context_is_filled_to_its_last_position() {
    for context in [1, 2, 63, 64, 65, 100] {
        let subject = tiny(context);
        let tokens = subject.tokens(context);
        let expected = expected(&subject, &tokens);
        for pieces in [&[context as usize][..], &[1], &[61, 2]] {
            let mut session = subject.session(2);
            let found = feed(&mut session, &tokens, pieces);
            assert_same(&expected, &found, &format!("context {context}, pieces {pieces:?}"));
            assert_eq!(session.position(), context);
            let refused = session.feed(&[0]).map(|logits| logits.len());
            assert!(matches!(refused, Err(RunError::ContextFull { tokens: 1, .. })));
        }
    }
}

#[test]
fn feed_gives_the_last_logits_and_feed_each_those_asked_for() {
    let subject = tiny(80);
    let tokens = subject.tokens(70);
    let expected = expected(&subject, &tokens);
    let last = subject.session(1).feed(&tokens).unwrap().to_vec();
    assert_same(&vec![expected[69].clone()], &vec![last], "feed");
    for from in [0, 1, 5, 63, 64, 66, 69, 70, 99] {
        let mut visited = Vec::new();
        let visit = &mut |token: usize, row: &[f32]| visited.push((token, row.to_vec()));
        subject.session(1).feed_each(&tokens, from, visit).unwrap();
        let (numbers, rows): (Vec<usize>, Vec<Vec<f32>>) = visited.into_iter().unzip();
        assert_eq!(numbers, (from..70).collect::<Vec<_>>());
        assert_same(&rows, &expected[from.min(70)..].to_vec(), &format!("from {from}"));
    }
}

/// What a sequence left behind in the cache must not be seen once it is cut off.
#[test]
fn a_truncated_session_is_a_fresh_one() {
    let subject = tiny(140);
    let (first, second) = (subject.tokens(130), [11, 3, 60, 2, 2, 90, 41]);
    let mut session = subject.session(2);
    for kept in [129, 128, 127, 65, 64, 63, 17, 16, 3, 1, 0] {
        session.truncate(0);
        feed(&mut session, &first, &[130]);
        session.truncate(kept);
        assert_eq!(session.position(), kept);
        let found = feed(&mut session, &second, &[5, 1]);
        let mut fresh = subject.session(1);
        let prefix = &first[..kept as usize];
        if !prefix.is_empty() {
            feed(&mut fresh, prefix, &[prefix.len()]);
        }
        let expected = feed(&mut fresh, &second, &[7]);
        assert_same(&expected, &found, &format!("{kept} positions kept"));
    }
    session.truncate(1000);
    assert_eq!(session.position(), 7, "there is nothing to cut off");
}

/// Feeds two sequences to two sessions in turn.
fn interleaved(sessions: [&mut Session; 2], tokens: [&[u32]; 2]) -> [Vec<Vec<f32>>; 2] {
    let mut logits = [Vec::new(), Vec::new()];
    let [a, b] = sessions;
    for (left, right) in tokens[0].chunks(5).zip(tokens[1].chunks(5)) {
        logits[0].extend(feed(a, left, &[5]));
        logits[1].extend(feed(b, right, &[2]));
    }
    logits
}

#[test]
fn sessions_of_one_program_do_not_disturb_each_other() {
    let subject = tiny(100);
    let first = subject.tokens(40);
    let second: Vec<u32> = first.iter().rev().copied().collect();
    let alone = [&first, &second].map(|tokens| expected(&subject, tokens));
    let [mut a, mut b] = [subject.session(2), subject.session(1)];
    let beside = interleaved([&mut a, &mut b], [&first, &second]);
    assert_same(&alone[0], &beside[0], "the first of two in turn");
    assert_same(&alone[1], &beside[1], "the second of two in turn");

    let (program, constants) = (subject.program(), subject.constants());
    let at_once = std::thread::scope(|scope| {
        let workers = [&first, &second].map(|tokens| {
            let (program, constants) = (Arc::clone(&program), Arc::clone(&constants));
            scope.spawn(move || {
                let mut session = Session::new(program, constants, 2).unwrap();
                feed(&mut session, tokens, &[3])
            })
        });
        workers.map(|worker| worker.join().unwrap())
    });
    assert_same(&alone[0], &at_once[0], "the first of two at once");
    assert_same(&alone[1], &at_once[1], "the second of two at once");
}

/// An untouched mapping holds zeros, and a used one anything: nothing may depend on it.
#[test]
fn a_used_session_is_as_good_as_a_new_one() {
    for model in variants() {
        let model = Model { vocab: 50, ..model };
        used_again(&Subject::random(&model, &graphs::formats(&model), 90, 5));
    }
}

fn used_again(subject: &Subject) {
    let mut session = subject.session(3);
    for round in 0..4 {
        let tokens: Vec<u32> = (0..90).map(|i| (i * (round + 2) + round) % 50).collect();
        session.truncate(0);
        let found = feed(&mut session, &tokens, &[33, 4]);
        let fresh = feed(&mut subject.session(1), &tokens, &[90]);
        assert_same(&fresh, &found, &format!("round {round}"));
    }
}
