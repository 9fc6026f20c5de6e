//! Shared blocks, tied tables: the same bits as their copies, stored once.

use std::fs;

use deepthin_compiler::fir::{Formats, Role, build};
use deepthin_compiler::format::Format;
use deepthin_compiler::pack::Content;
use deepthin_compiler::pipeline::{self, Lowered};
use deepthin_compiler::plan::{PlanOptions, plan};
use deepthin_compiler::weights::RandomWeights;
use deepthin_dsl::Model;
use deepthin_dsl::model::Sharing;
use deepthin_tests::engine::{Engine, Jit, Subject, assert_same, check, feed};
use deepthin_tests::graphs;
use deepthin_tests::project::root;
use deepthin_tests::sources::{Kept, Redirected};

#[test]
fn engines_agree_on_every_sharing_scheme() {
    let schemes = [
        Sharing::None,
        Sharing::Immediate(3),
        Sharing::Loop(2),
        Sharing::Reverse,
        Sharing::Order(vec![1, 0, 1, 1, 0]),
    ];
    let mut all = Vec::new();
    for sharing in schemes {
        let model = Model { sharing, ..graphs::quantized() };
        let subject = Subject::random(&model, &graphs::formats(&model), 20, 3);
        all.push(check(&subject, &subject.tokens(5), &[4, 1]));
    }
    for (i, logits) in all.iter().enumerate() {
        assert!(all.iter().skip(i + 1).all(|other| logits != other), "schemes mean something");
    }
}

/// Bytes of the image that hold weights of blocks.
fn block_bytes(lowered: &Lowered) -> u64 {
    let tensors = lowered.plan.image.iter().filter(|tensor| tensor.block.is_some());
    tensors.map(|tensor| tensor.content.bytes().next_multiple_of(64)).sum()
}

#[test]
fn shared_blocks_are_the_same_blocks_written_out_and_stored_once() {
    let shared = Model { sharing: Sharing::Immediate(2), ..graphs::quantized() };
    let written = Model { depth: 4, sharing: Sharing::None, ..graphs::quantized() };
    let drawn = build(&shared, &graphs::formats(&shared)).unwrap();
    let shared = Subject::random(&shared, &graphs::formats(&shared), 90, 3);
    let written = Subject::new(&written, &graphs::formats(&written), 90, |_| Redirected {
        weights: RandomWeights::new(&drawn, 3),
        to: |(block, role)| (block.map(|block| block / 2), role),
    });
    let tokens = shared.tokens(70);
    let found = Jit { threads: 2 }.logits(&shared, &tokens, &[66, 1]);
    let copied = Jit { threads: 1 }.logits(&written, &tokens, &[70]);
    assert_same(&found, &copied, "shared and written out");

    let [once, twice] = [&shared, &written].map(|subject| subject.lowered(4));
    assert_eq!(2 * block_bytes(once), block_bytes(twice));
    let outside = |lowered: &Lowered| lowered.plan.regions.image - block_bytes(lowered);
    assert_eq!(outside(once), outside(twice));
    assert_eq!(once.plan.regions.kv, twice.plan.regions.kv, "a slot for each application");
    assert_eq!(once.plan.body.len(), twice.plan.body.len());
}

#[test]
fn a_tied_head_is_an_untied_copy_stored_once() {
    let tied = graphs::quantized();
    let untied = Model { tied: false, ..graphs::quantized() };
    let drawn = build(&tied, &graphs::formats(&tied)).unwrap();
    let tied = Subject::random(&tied, &graphs::formats(&tied), 20, 3);
    let untied = Subject::new(&untied, &graphs::formats(&untied), 20, |_| Redirected {
        weights: RandomWeights::new(&drawn, 3),
        to: |tensor| if tensor.1 == Role::Output { (None, Role::TokenEmbedding) } else { tensor },
    });
    let tokens = tied.tokens(6);
    let found = Jit { threads: 1 }.logits(&tied, &tokens, &[6]);
    assert_same(&found, &Jit { threads: 1 }.logits(&untied, &tokens, &[6]), "tied and untied");

    let table = 96 * 34; // 96 rows of one group of q8_0
    let [once, twice] = [&tied, &untied].map(|subject| subject.lowered(4).plan.regions.image);
    // A packed group has 1088 bytes for 32 rows: as many as in the file.
    assert_eq!(twice - once, table);
}

/// `examples/mobilellm-ls-125m.thin`.
fn ls_125m() -> Model {
    let path = root().join("examples/mobilellm-ls-125m.thin");
    let text = fs::read_to_string(&path).unwrap();
    deepthin_dsl::parse(&text, &path.display().to_string()).unwrap().swap_remove(0)
}

#[test]
fn ls_125m_stores_thirty_blocks_and_applies_sixty() {
    let model = ls_125m();
    let formats = Formats::from_storage(&model).unwrap();
    let context = 512;
    let mut graph = build(&model, &formats).unwrap();
    deepthin_compiler::fir::fuse(&mut graph);
    let plan = plan(&graph, &PlanOptions::new(4, context)).unwrap();
    assert_eq!(plan.application_ends.len(), 60);
    assert_eq!(plan.steps_of_one_token().count(), 1 + 60 * 5 + 1);
    assert_eq!(plan.head.len(), 1);

    // All of its matrices fill whole panels, so that packed groups are as long as those of files.
    let bytes = |format: Format, rows: u64, columns: u64| {
        rows * format.row_bytes(usize::try_from(columns).unwrap()).unwrap() as u64
    };
    let matrices = [(576, 576), (192, 576), (192, 576), (576, 576)].into_iter().chain([
        (1536, 576),
        (1536, 576),
        (576, 1536),
    ]);
    let block: u64 = matrices.map(|(rows, k)| bytes(Format::Q4_0, rows, k)).sum();
    let gain = 576 * 4;
    let table = bytes(Format::Q8_0, 32_000, 576);
    assert_eq!(plan.regions.image, 30 * (block + 2 * gain) + table + gain);
    assert_eq!(plan.regions.tables, 64 * 4 * u64::from(context), "one rotary table");
    let kv = 60 * 2 * u64::from(context) * 192 * 2;
    assert_eq!(plan.regions.kv, kv);
    let stored = plan.image.iter().filter(|tensor| match &tensor.content {
        Content::Panels { .. } => tensor.block.is_some(),
        Content::Gain { .. } => false,
    });
    assert_eq!(stored.count(), 30 * 4, "qkv, output, gate and up, down");
}

/// The whole depth at its real width; the blocks draw from two, and the vocabulary is cut, so
/// that drawing random weights does not take longer than running them.
#[test]
fn ls_125m_runs_on_any_number_of_threads() {
    let model = Model { vocab: 500, ..ls_125m() };
    let formats = Formats::from_storage(&model).unwrap();
    let subject = Subject::new(&model, &formats, 16, |graph| Redirected {
        weights: Kept::new(RandomWeights::new(graph, 9), 2),
        to: |(block, role)| (block.map(|block| block % 2), role),
    });
    let tokens = subject.tokens(6);
    let one = feed(&mut subject.session(1), &tokens, &[6]);
    let two = feed(&mut subject.session(2), &tokens, &[5, 1]);
    assert_same(&one, &two, "one thread and two");
    let lowered: &Lowered = subject.lowered(4);
    let program = pipeline::program(lowered, Vec::new());
    assert_eq!(program.application_ends.len(), 60);
}

/// The tokens that a session chooses, the likeliest each time.
fn generated(subject: &Subject, count: usize) -> Vec<u32> {
    let mut session = subject.session(2);
    let mut ids = vec![1];
    for _ in 0..count {
        let logits = session.feed(&ids[ids.len() - 1..]).unwrap();
        let likeliest = (0..).zip(&*logits).max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
        ids.push(likeliest.0);
    }
    ids
}

/// The whole model, with blocks and vocabulary of its own.
#[test]
fn ls_125m_generates_what_its_blocks_written_out_do() {
    let shared = ls_125m();
    let written = Model { depth: 60, sharing: Sharing::None, ..shared.clone() };
    let formats = |model| Formats::from_storage(model).unwrap();
    let drawn = build(&shared, &formats(&shared)).unwrap();
    let copies = Subject::new(&written, &formats(&written), 32, |_| Redirected {
        weights: Kept::new(RandomWeights::new(&drawn, 7), 30),
        to: |(block, role)| (block.map(|block| block / 2), role),
    });
    let expected = generated(&copies, 12);
    drop(copies);
    let shared = Subject::random(&shared, &formats(&shared), 32, 7);
    assert_eq!(generated(&shared, 12), expected);
    let different = expected.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(different > 3, "the tokens mean something: {expected:?}");
}
