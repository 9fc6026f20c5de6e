//! The kernels of planned models on drawn calls: machine code is the interpreter, and nothing
//! depends on what memory held before.

use std::fs;

use deepthin::verify::exact::{Distance, distance};
use deepthin::verify::machine::{Bench, KernelEngine};
use deepthin::verify::planned::{Drawing, Own, Planned, planned};
use deepthin_compiler::fir::{Formats, Role as Tensor};
use deepthin_compiler::format::Format;
use deepthin_compiler::pipeline::{Lowered, constants};
use deepthin_dsl::Model;
use deepthin_dsl::model::{Activations, Block, Group, KvStorage, Sharing, Storage};
use deepthin_tests::engine::Subject;
use deepthin_tests::graphs;
use deepthin_tests::guard::{POISON, Placement};
use deepthin_tests::jit::machines;
use deepthin_tests::project::root;

/// Most instructions of a call.
const STEPS: u64 = 200_000;

/// Every kernel with its code on an engine.
fn benches<'p>(engine: &dyn KernelEngine, lowered: &'p Lowered) -> Vec<(Planned<'p>, Bench)> {
    let codes = engine.code(&lowered.kernels).unwrap();
    let all = planned(lowered).into_iter().zip(codes);
    all.map(|(planned, code)| (planned.clone(), Bench::new(planned.kernel, code))).collect()
}

/// An engine against the interpreter, on `cases` calls of every kernel, or as many as it takes until
/// one writes something (a share may be empty).
pub(super) fn check_kernels(engine: &dyn KernelEngine, subject: &Subject, cases: u64) {
    let lowered = subject.lowered(engine.lanes());
    let mut constants = constants(&lowered.plan, &*subject.weights, 2).unwrap();
    let own = Some(Own::of(&mut constants));
    let drawing = Drawing { own, garbage: POISON, steps: STEPS };
    for (planned, mut bench) in benches(engine, lowered) {
        let mut written = false;
        for seed in 0..40 {
            if written && seed >= cases {
                break;
            }
            let drawn = planned.draw(&drawing, seed);
            let expected = drawn.case.expected().unwrap();
            let mismatch = bench.compare(&drawn.case, &expected).unwrap();
            let name = engine.name();
            assert_eq!(mismatch, None, "{}, seed {seed} on {name}", planned.kernel.name);
            if let Some(Distance { share, place }) = distance(&planned, &drawn, &expected) {
                assert!(share <= 1.0, "{}, seed {seed}: {share} at {place}", planned.kernel.name);
            }
            written |= expected != drawn.case.buffers;
        }
        assert!(written, "{} wrote nothing", planned.kernel.name);
    }
}

/// Machine code of every kernel in memory that held zeros, and in memory that held garbage (both
/// in what it writes and behind the elements of its input): what differs afterwards was never
/// written.
fn check_memory(engine: &dyn KernelEngine, subject: &Subject) {
    for (planned, mut bench) in benches(engine, subject.lowered(engine.lanes())) {
        for seed in 0..6 {
            let [zeros, garbage] = [0, 0xa5].map(|garbage| {
                let drawing = Drawing { own: None, garbage, steps: STEPS };
                let case = planned.draw(&drawing, seed).case;
                let after = bench.run(&case, Placement::Front).unwrap();
                let after: Vec<Vec<u8>> = after.into_iter().map(<[u8]>::to_vec).collect();
                (case.buffers, after)
            });
            for (i, buffer) in planned.kernel.buffers.values().enumerate() {
                let [a, b] = [&zeros.1[i], &garbage.1[i]];
                let untouched = |at: usize| a[at] == zeros.0[i][at] && b[at] == garbage.0[i][at];
                let depends = (0..a.len()).find(|at| a[*at] != b[*at] && !untouched(*at));
                let (kernel, buffer) = (&planned.kernel.name, &buffer.name);
                assert_eq!(depends, None, "byte of `{buffer}` in {kernel}, seed {seed}");
            }
        }
    }
}

/// Odd sizes, several head sizes; everything that one format needs, of weights and of the cache.
pub(crate) fn models() -> Vec<Subject> {
    let model = |vocab, width, [heads, kv_heads, head_dim]: [u32; 3], hidden| {
        let block = Block { heads, kv_heads, head_dim, ffn_hidden: hidden, ..graphs::tiny().block };
        Model { vocab, width, block, depth: 1, sharing: Sharing::None, ..graphs::tiny() }
    };
    let ragged = model(37, 27, [3, 1, 6], 21);
    let grained = model(70, 64, [2, 1, 48], 96);
    let whole = model(40, 192, [4, 2, 48], 192);
    let subject = |model: &Model, format, kv_cache, activations| {
        let storage = Storage { kv_cache, activations, ..model.storage };
        let model = Model { storage, ..model.clone() };
        Subject::random(&model, &Formats::uniform(1, format, format), 70, 11)
    };
    let caches = [KvStorage::F32, KvStorage::F16, KvStorage::Q8];
    let f32 = Some(Activations::F32);
    let q8 = |group| Some(Activations::Q8 { group: Some(group) });
    let own = |name: &str| name.parse::<Format>().unwrap();
    let mut all = Vec::new();
    for (format, kv) in [Format::F32, Format::F16, Format::Bf16].into_iter().zip(caches) {
        all.push(subject(&ragged, format, kv, f32));
    }
    for (format, kv) in [Format::Q8_0, Format::Q4_0, Format::Q4_1].into_iter().zip(caches) {
        all.push(subject(&grained, format, kv, f32));
        all.push(subject(&grained, format, kv, None));
    }
    // Pieces of 32 where groups of 64 meet groups of 96, of a whole row, and of all between.
    all.extend([
        subject(&grained, own("q6g32m"), KvStorage::F16, f32),
        subject(&grained, own("q4row"), KvStorage::F16, q8(Group::Row)),
        subject(&whole, own("q6g64"), KvStorage::Q8, q8(Group::Of(96))),
        subject(&whole, own("q8g96m"), KvStorage::Q8, q8(Group::Of(192))),
        subject(&whole, own("q6g192"), KvStorage::F16, q8(Group::Row)),
        subject(&whole, own("q4g192m"), KvStorage::F16, q8(Group::Of(64))),
    ]);
    all
}

#[test]
fn planned_kernels_of_every_format() {
    for subject in models() {
        for machine in machines() {
            check_kernels(machine, &subject, 8);
        }
    }
}

#[test]
fn kernels_do_not_depend_on_what_memory_held() {
    for subject in models() {
        for machine in machines() {
            check_memory(machine, &subject);
        }
    }
}

/// The shapes of SmolLM2-135M in the formats of its file, with a small vocabulary.
pub(super) fn smollm2() -> Subject {
    let text = fs::read_to_string(root().join("examples/smollm2-135m.thin")).unwrap();
    let model = deepthin_dsl::parse(&text, "smollm2-135m.thin").unwrap().swap_remove(0);
    let model = Model { vocab: 90, depth: 1, ..model };
    let mut formats = Formats::uniform(1, Format::Q4_1, Format::Q8_0);
    formats.set(Some(0), Tensor::Value, Format::Q8_0).unwrap();
    Subject::random(&model, &formats, 500, 12)
}

#[test]
fn planned_kernels_of_smollm2() {
    for machine in machines() {
        check_kernels(machine, &smollm2(), 3);
    }
}
