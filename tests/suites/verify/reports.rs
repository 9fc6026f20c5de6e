//! A wrong engine is found out, by every way of verifying, and shown by a small case.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deepthin::verify::check::shown;
use deepthin::verify::exact::{Distance, distance};
use deepthin::verify::filetest::Filetest;
use deepthin::verify::guard::POISON;
use deepthin::verify::machine::{Bench, KernelEngine};
use deepthin::verify::planned::{Drawing, Planned, planned};
use deepthin::verify::report::{CounterExample, Report, Tally, Wrong};
use deepthin::verify::{
    Settings, Unwatched, VerifyError, Watch, verify_kernels, verify_random, verify_text,
};
use deepthin_compiler::fir::Formats;
use deepthin_compiler::lower::Role;
use deepthin_compiler::pipeline::lower;
use deepthin_compiler::plan::{PlanOptions, Spec};
use deepthin_tests::engine::Subject;
use deepthin_tests::faulty::WrongEngine;
use deepthin_tests::graphs;
use deepthin_tests::jit::machine_code;

const SETTINGS: Settings = Settings { cases: 6, seed: 3, threads: 2 };

fn tiny() -> Subject {
    let model = graphs::tiny();
    Subject::random(&model, &graphs::formats(&model), 80, 1)
}

fn kernels_of_tiny(engine: &dyn KernelEngine) -> Report {
    verify_kernels(engine, tiny().lowered(4), None, &SETTINGS, &Unwatched).unwrap()
}

#[test]
fn right_kernels_are_clean() {
    let report = kernels_of_tiny(machine_code());
    assert!(report.is_clean() && report.is_complete, "{report:?}");
    let kernels = tiny().lowered(4).kernels.len();
    assert_eq!((report.rows.len(), report.total().cases), (kernels, 6 * kernels as u64));
    assert!(report.distinct > report.total().cases * 9 / 10, "{}", report.distinct);
    assert!(report.total().held > report.total().cases / 4, "{report:?}");
    let rows = report.rows.iter().filter(|row| row.tally.held > 0);
    assert!(rows.clone().count() > kernels / 2);
    assert!(rows.map(|row| row.tally.worst.as_ref().unwrap().share).any(|share| share > 0.01));
}

/// The text of a counter-example goes wrong on the engine, and on no right one.
#[track_caller]
fn assert_shows(example: &CounterExample, engine: &dyn KernelEngine) -> Filetest {
    let text = example.vir.as_ref().expect("a kernel and its call");
    let wrong = verify_text(engine, text, &SETTINGS, &Unwatched).unwrap();
    assert!(!wrong.is_clean(), "{text}");
    let right = verify_text(machine_code(), text, &SETTINGS, &Unwatched).unwrap();
    assert!(right.is_clean(), "{:?}\n{text}", right.counter_example);
    Filetest::read(text).unwrap()
}

#[test]
fn a_wrong_kernel_of_a_model_is_shown_by_a_small_call() {
    let engine = WrongEngine { part: "glu", byte: 0 };
    let report = kernels_of_tiny(&engine);
    for row in &report.rows {
        let is_wrong = row.kernel.contains("glu");
        assert_eq!(row.tally.mismatches > 0, is_wrong, "{row:?}");
    }
    let example = report.counter_example.expect("a counter-example");
    assert!(example.message.contains("`out` at byte 0"), "{}", example.message);
    let shown = assert_shows(&example, &engine);
    let case = shown.case.expect("a call");
    let zeros = |bytes: &[u8]| bytes.iter().filter(|byte| **byte != 0).count();
    let left: usize = case.buffers.iter().map(|bytes| zeros(bytes)).sum();
    assert!(left <= 4, "one word makes the fault, {left} bytes are left");
    assert_eq!(case.scalars[..2], [0, 0], "no share is needed");
    assert_eq!(shown.expected.len(), 1);
}

#[test]
fn a_wrong_kernel_of_generated_models_is_shown_by_a_small_model() {
    let engine = WrongEngine { part: "attention", byte: 0 };
    let report = verify_random(&engine, 2, &SETTINGS, &Unwatched).unwrap();
    assert_eq!(report.models, 2);
    assert!(report.different_sequences > 0);
    for row in &report.rows {
        assert_eq!(row.tally.mismatches > 0, row.kernel == "attention", "{row:?}");
    }
    let example = report.counter_example.expect("a counter-example");
    let text = example.thin.as_ref().expect("a model");
    let models = deepthin_dsl::parse(text, "verify.thin").unwrap_or_else(|e| panic!("{e:?}"));
    let model = &models[0];
    let size = (model.depth, model.vocab, model.width, model.block.heads);
    assert!(size.0 == 1 && size.1 <= 16 && size.2 <= 32 && size.3 <= 2, "{size:?}\n{text}");
    assert_shows(&example, &engine);
    // The model shows it again too, by the command that is told.
    let words: Vec<&str> = example.replay.split(' ').collect();
    let ["{thin}", "--seed", seed, "--cases", cases] = words[..] else {
        panic!("{}", example.replay);
    };
    let formats = Formats::from_storage(model).unwrap();
    let lowered = lower(model, &formats, &PlanOptions::new(4, model.context)).unwrap();
    let settings =
        Settings { cases: cases.parse().unwrap(), seed: seed.parse().unwrap(), threads: 1 };
    let again = verify_kernels(&engine, &lowered, None, &settings, &Unwatched).unwrap();
    assert!(!again.is_clean());
}

/// A distance past its bound is told with its place; the call is no counter-example of the code.
#[test]
fn a_distance_past_its_bound_is_told() {
    let filetest = Filetest::read(&format!(";; scalar 0\n;; scalar 4\n{COPY}")).unwrap();
    let case = filetest.case.unwrap();
    let code = machine_code().code(std::slice::from_ref(&*case.kernel)).unwrap().remove(0);
    let wrong = Wrong::Distance(Distance { share: 7.25, place: "norm, element 3".to_owned() });
    let (message, text) = shown(&wrong, &case, code).unwrap();
    assert_eq!(message, "copy: 7.25 times its bound: norm, element 3");
    assert_eq!(text, None);
    let worst = Some(Distance { share: 1.01, place: String::new() });
    assert!(!Tally { cases: 1, held: 1, worst, ..Tally::default() }.is_clean());
}

/// Without calls of kernels the logits alone tell: interpreters give others.
#[test]
fn wrong_logits_are_shown_by_a_model() {
    // Four times the number, or a quarter: a last bit may be lost where numbers become codes.
    let engine = WrongEngine { part: "glu", byte: 3 };
    let settings = Settings { cases: 0, ..SETTINGS };
    let report = verify_random(&engine, 4, &settings, &Unwatched).unwrap();
    assert!(report.different_sequences > 0 && !report.is_clean());
    let example = report.counter_example.expect("a counter-example");
    assert!(example.message.contains("position "), "{}", example.message);
    assert!(example.thin.is_some() && example.vir.is_none());
    assert!(example.replay.contains("--seed") || example.replay.contains("--random"));
}

#[test]
fn model_i_of_a_seed_is_model_0_of_the_seed_plus_i() {
    let verified = |count, seed| {
        let settings = Settings { cases: 1, seed, threads: 1 };
        verify_random(machine_code(), count, &settings, &Unwatched).unwrap().total()
    };
    let (all, one, other) = (verified(2, 8), verified(1, 8), verified(1, 9));
    assert_eq!(all.cases, one.cases + other.cases);
    assert_eq!(all.held, one.held + other.held);
}

#[test]
fn the_number_of_threads_changes_no_report() {
    let verified = |threads| {
        let settings = Settings { cases: 2, seed: 5, threads };
        verify_random(machine_code(), 3, &settings, &Unwatched).unwrap()
    };
    assert_eq!(verified(1), verified(3));
}

/// Cancels after a number of kernels.
struct Impatient(AtomicUsize);

impl Watch for Impatient {
    fn done(&self, done: usize, _total: usize) {
        self.0.fetch_max(done, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 2
    }
}

#[test]
fn a_verification_that_is_stopped_says_so() {
    let settings = Settings { threads: 1, ..SETTINGS };
    let watch = Impatient(AtomicUsize::new(0));
    let report =
        verify_kernels(machine_code(), tiny().lowered(4), None, &settings, &watch).unwrap();
    assert!(!report.is_complete && report.is_clean());
    assert_eq!(report.rows.len(), 2);
}

// Distances.

/// The greatest share of a bound, over some tame calls of a kernel, once every word of a buffer is
/// scaled by 1 + 2^-12 after the call.
fn disturbed(kernel: &Planned<'_>, buffer: usize) -> f64 {
    let drawing = Drawing { own: None, garbage: POISON, steps: 100_000 };
    let mut greatest: f64 = 0.0;
    for seed in 0..60 {
        let drawn = kernel.draw(&drawing, seed);
        let mut after: Vec<Vec<u8>> =
            drawn.case.expected().unwrap().iter().map(|bytes| bytes.to_vec()).collect();
        let Some(before) = distance(kernel, &drawn, &after) else { continue };
        assert!(before.share <= 1.0, "{}: {before:?}", kernel.kernel.name);
        for word in after[buffer].as_chunks_mut::<4>().0 {
            *word = (f32::from_le_bytes(*word) * (1.0 + 2f32.powi(-12))).to_le_bytes();
        }
        greatest = greatest.max(distance(kernel, &drawn, &after).unwrap().share);
    }
    greatest
}

/// Each step's results stand in a buffer of their own, and each is held to its own bound.
#[test]
fn results_that_are_a_little_off_pass_their_bounds() {
    let subject = tiny();
    let mut steps = 0;
    for kernel in planned(subject.lowered(4)) {
        for (i, buffer) in kernel.kernel.buffers.values().enumerate() {
            let is_result = match kernel.roles()[i] {
                Role::Output => true,
                Role::Keys | Role::Values => matches!(kernel.spec, Spec::Linear(_)),
                Role::Partials => matches!(kernel.spec, Spec::AttentionChunks(_)),
                Role::Scratch(_) => {
                    ["merged", "normed", "products"].contains(&buffer.name.as_str())
                }
                _ => false,
            };
            if is_result {
                let share = disturbed(&kernel, i);
                assert!(share > 10.0, "`{}` of {}: {share}", buffer.name, kernel.kernel.name);
                steps += 1;
            }
        }
    }
    assert!(steps > 15, "{steps}");
}

// Kernels as text.

const COPY: &str = "kernel copy lanes 4 {
  buffer b0 x: read 64
  buffer b1 out: write 64
  range i0..i1 rows: 4
  loop i2 in i0..i1 {
    v0: f32 = load f32 b0[i2*16]
    store f32 v0, b1[i2*16]
  }
}
";

fn verified_text(text: &str) -> Result<Report, VerifyError> {
    verify_text(machine_code(), text, &SETTINGS, &Unwatched)
}

#[test]
fn a_kernel_alone_is_called_with_drawn_inputs() {
    let report = verified_text(COPY).unwrap();
    assert!(report.is_clean());
    assert_eq!((report.total().cases, report.rows[0].kernel.as_str()), (6, "copy"));
    let engine = WrongEngine { part: "copy", byte: 0 };
    let settings = Settings { cases: 40, ..SETTINGS };
    let report = verify_text(&engine, COPY, &settings, &Unwatched).unwrap();
    assert_shows(&report.counter_example.expect("a counter-example"), &engine);
}

#[test]
fn a_call_that_does_not_give_what_is_expected_is_a_fault() {
    let call = |expected: &str| {
        format!(
            ";; test run\n;; input b0[16] = f32 [1, 2, 3, 4]\n;; scalar 1\n;; scalar 2\n;; expect {expected}\n{COPY}"
        )
    };
    assert!(verified_text(&call("b1[16] = f32 [1, 2, 3, 4]")).unwrap().is_clean());
    let report = verified_text(&call("b1[16] = f32 [1, 2, 3, 5]")).unwrap();
    let message = report.counter_example.unwrap().message;
    assert!(message.contains("interpreter, expected `b1[16] = f32 [1, 2, 3, 5]`"), "{message}");
}

#[test]
fn texts_that_cannot_be_verified() {
    let said = |text: &str| verified_text(text).unwrap_err().to_string();
    let wide = COPY.replace("lanes 4", "lanes 8").replace("64", "96");
    assert_eq!(said(&wide), "kernel `copy` has 8 lanes, expected the 4 of clif128");
    let line = said(&format!(";; test run\n;; input b0 = f32 [1]\n{COPY}"));
    assert_eq!(line, "`b0 = f32 [1]` has 4 bytes, expected 64");
    let line = said(&format!(";; test run\n;; input b0[64] = f32 splat(0, 99999999999)\n{COPY}"));
    assert_eq!(line, "`b0[64] = f32 splat(0, 99999999999)` has 68 bytes, expected at most 0");
    let line = said(&format!(";; input b7 = f32 [1]\n{COPY}"));
    assert_eq!(line, "`b7 = f32 [1]` does not read like `b0[64] = f32 [1, 2]`");
    let scalars = said(&format!(";; test run\n;; scalar 3\n{COPY}"));
    assert_eq!(scalars, "kernel `copy` takes 2 scalars, found 1");
    let huge = COPY.replace("64", "2000000000");
    assert!(said(&huge).contains("have 4000000000 bytes, at most 268435456 are run"));
    let endless = COPY.replace("in i0..i1", "in 0..2000000000").replace("i2*16", "0");
    assert!(said(&endless).contains("too many to interpret"));
    assert!(
        said(&format!(";; scalar 0\n;; scalar 4\n{endless}")).contains("too many to interpret")
    );
}

/// A process that strays ends; here only what the calling side sees.
#[test]
fn a_bench_refuses_calls_that_are_not_declared() {
    let filetest = Filetest::read(&format!(";; scalar 0\n;; scalar 4\n{COPY}")).unwrap();
    let case = filetest.case.unwrap();
    let code = machine_code().code(std::slice::from_ref(&*case.kernel)).unwrap().remove(0);
    let mut bench = Bench::new(Arc::clone(&case.kernel), code);
    assert_eq!(bench.check(&case).unwrap(), None);
    let mut short = case.clone();
    short.buffers[0] = vec![0; 60].into();
    assert!(bench.check(&short).is_err());
    let mut strange = case;
    strange.scalars[1] = 5;
    assert!(bench.check(&strange).is_err());
}
