//! What a session refuses, and that it goes on after it has.

use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::Format;
use deepthin_compiler::weights::RandomWeights;
use deepthin_dsl::Model;
use deepthin_dsl::model::Sharing;
use deepthin_runtime::memory::Region;
use deepthin_runtime::program::Regions;
use deepthin_runtime::session::{Constants, Origin, RunError, Session};
use deepthin_tests::engine::{Subject, assert_same, feed};
use deepthin_tests::graphs;
use deepthin_tests::sources::{Edited, Element};
use expect_test::expect;

/// Three blocks of f32 with the given changes of their random weights.
fn edited(context: u32, edit: fn(Element, f32) -> f32) -> Subject {
    let model = Model { depth: 3, sharing: Sharing::None, ..graphs::tiny() };
    let formats = Formats::uniform(3, Format::F32, Format::F32);
    let source = |graph: &_| Edited { weights: RandomWeights::new(graph, 4), edit };
    Subject::new(&model, &formats, context, source)
}

/// Element 0 of the residual stream is 0 for every token but token 7, and block 1 amplifies it
/// until its products overflow.
fn one_bad_token(((block, role), row, column): Element, x: f32) -> f32 {
    match (role, block) {
        (Role::TokenEmbedding, _) if column == 0 => f32::from(row == 7),
        (Role::AttentionOutput | Role::FfnDown, _) if row == 0 => 0.0,
        (Role::FfnNorm, Some(1)) if column == 0 => 1e30,
        _ => x,
    }
}

/// Position and origin of a non-finite result.
fn non_finite(result: Result<(), RunError>) -> (u32, Origin) {
    match result {
        Err(RunError::NonFinite { position, origin }) => (position, origin),
        other => panic!("{other:?}"),
    }
}

/// The session still gives what a fresh one gives.
#[track_caller]
fn assert_usable(session: &mut Session, subject: &Subject, seen: &[u32]) {
    assert_eq!(session.position() as usize, seen.len());
    let tokens = [3, 1, 2, 30, 8];
    let found = feed(session, &tokens, &[4, 1]);
    let whole = [seen, &tokens].concat();
    let fresh = feed(&mut subject.session(1), &whole, &[whole.len()]);
    assert_same(&fresh[seen.len()..].to_vec(), &found, "after a refusal");
}

#[test]
fn an_overflow_names_position_and_layer() {
    let subject = edited(200, one_bad_token);
    let mut session = subject.session(2);
    let mut visited = Vec::new();
    let visit = &mut |token: usize, _: &[f32]| visited.push(token);
    let result = session.feed_each(&[1, 2, 3, 4, 5, 7, 6], 0, visit);
    assert_eq!(non_finite(result), (5, Origin::Application(1)));
    assert_eq!(visited, [0, 1, 2, 3, 4]);
    assert_usable(&mut session, &subject, &[]);
}

#[test]
fn an_overflow_spreads_to_later_positions_by_attention() {
    let subject = edited(200, one_bad_token);
    let mut session = subject.session(1);
    // Token 7 itself is not asked for; what comes after it attends to it in the next layer.
    let result = session.feed(&[1, 7, 5]).map(|_| ());
    assert_eq!(non_finite(result), (2, Origin::Application(2)));
    assert_usable(&mut session, &subject, &[]);
}

#[test]
fn an_overflow_in_a_later_chunk_keeps_the_chunks_before() {
    let subject = edited(200, one_bad_token);
    let mut session = subject.session(2);
    let mut tokens: Vec<u32> = (0..70).map(|i| 10 + i % 50).collect();
    tokens[66] = 7;
    let result = session.feed_each(&tokens, 0, &mut |_, _| ());
    assert_eq!(non_finite(result), (66, Origin::Application(1)));
    assert_usable(&mut session, &subject, &tokens[..64]);
}

#[test]
fn an_overflow_in_the_head_is_named() {
    let subject = edited(20, |((_, role), ..), x| if role == Role::OutputNorm { 3e38 } else { x });
    let mut session = subject.session(1);
    let error = session.feed(&[1, 2]).unwrap_err();
    expect!["found logits that are not finite at position 1 (first in the output head), expected finite ones"]
        .assert_eq(&error.to_string());
    assert_eq!(session.position(), 0);
}

#[test]
fn an_overflow_of_every_token_names_the_first() {
    let subject = edited(20, |((block, role), ..), x| match (block, role) {
        (Some(0), Role::FfnDown) => 3e38,
        _ => x,
    });
    let result = subject.session(3).feed_each(&[1, 2], 0, &mut |_, _| ());
    assert_eq!(non_finite(result), (0, Origin::Application(0)));
}

#[test]
fn tokens_that_cannot_be_run_change_nothing() {
    let model = graphs::tiny();
    let subject = Subject::random(&model, &graphs::formats(&model), 10, 6);
    let mut session = subject.session(2);
    feed(&mut session, &[1, 2], &[2]);
    let mut said = |tokens: &[u32]| session.feed(tokens).map(|_| ()).unwrap_err().to_string();
    expect!["found no tokens to run, expected at least one"].assert_eq(&said(&[]));
    expect!["found the token id 96, expected one below the 96 of the vocabulary"]
        .assert_eq(&said(&[1, 96, 2]));
    expect!["found the token id 4294967295, expected one below the 96 of the vocabulary"]
        .assert_eq(&said(&[u32::MAX]));
    expect![
        "found 9 tokens to run after 2, expected at most the 8 that are left of the context of 10"
    ]
    .assert_eq(&said(&[5; 9]));
    assert_usable(&mut session, &subject, &[1, 2]);
}

#[test]
fn sessions_that_cannot_be_made() {
    let model = graphs::tiny();
    let subject = Subject::random(&model, &graphs::formats(&model), 10, 6);
    let said = |image: u64, tables: u64, threads| {
        let region = |bytes| Region::new("constants", bytes).unwrap();
        let constants = Constants { image: region(image), tables: region(tables) };
        let made = Session::new(subject.program(), std::sync::Arc::new(constants), threads);
        made.map(|_| ()).unwrap_err().to_string()
    };
    let Regions { image, tables, .. } = subject.program().regions;
    expect!["0 threads asked for, expected 1 to 1024"].assert_eq(&said(image, tables, 0));
    let short = format!("the packed weights have 64 bytes, the program needs {image}");
    assert_eq!(said(64, tables, 1), short);
    let short = format!("the tables have 64 bytes, the program needs {tables}");
    assert_eq!(said(image, 64, 1), short);
}
