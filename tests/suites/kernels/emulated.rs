//! Kernels from object files, run by a process for each machine: aarch64 with no dot products,
//! with some and with all of them, and this machine with its least processor.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use deepthin::verify::Case;
use deepthin::verify::guard::Placement;
use deepthin::verify::ladder::{self, Engine as _, Fir, Jit};
use deepthin::verify::machine::{Bench, KernelEngine};
use deepthin_compiler::vir::{Verified, parse, verify};
use deepthin_compiler::weights::RandomWeights;
use deepthin_runtime::abi::KernelCode;
use deepthin_tests::cases::cases;
use deepthin_tests::emulated::Machine;
use deepthin_tests::engine::{Agreement, Subject, difference};
use deepthin_tests::filetest::{self, Engine, INTERPRETER};
use deepthin_tests::graphs;
use deepthin_tests::kernels;
use proptest::strategy::{Strategy as _, ValueTree};
use proptest::test_runner::TestRunner;

use super::planned;

/// What goes wrong in a call, if anything: a difference, or a process that does not answer.
fn wrong(case: &Case<'_>, code: &Arc<dyn KernelCode>) -> Option<String> {
    let check = || Bench::new(Arc::clone(&case.kernel), Arc::clone(code)).check(case).unwrap();
    match catch_unwind(AssertUnwindSafe(check)) {
        Ok(mismatch) => mismatch.map(|mismatch| format!("{mismatch:?}")),
        Err(panic) => Some(message(&*panic)),
    }
}

/// What a panic says.
fn message(panic: &dyn std::any::Any) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned()
}

/// A generated case as the engines take it.
fn case(generated: kernels::Case) -> Case<'static> {
    let kernel = Arc::new(verify(generated.kernel).unwrap());
    let buffers = generated.buffers.into_iter().map(Into::into).collect();
    Case { kernel, buffers, scalars: generated.scalars }
}

/// The smallest case that still goes wrong, with what does.
fn shrunk(machine: &Machine, tree: &mut impl ValueTree<Value = kernels::Case>) -> String {
    let mut smallest = String::new();
    for _ in 0..200 {
        let case = case(tree.current());
        let code = machine.code(std::slice::from_ref(&*case.kernel)).unwrap().swap_remove(0);
        let more = match wrong(&case, &code) {
            Some(wrong) => {
                let text = case.kernel.to_string();
                smallest = format!("{wrong}, scalars {:?} of\n{text}", case.scalars);
                tree.simplify()
            }
            None => tree.complicate(),
        };
        if !more {
            break;
        }
    }
    smallest
}

/// Generated kernels, all in one object and one process.
fn check_generated(machine: &Machine, count: u32) {
    let mut runner = TestRunner::new(cases(count));
    let strategy = kernels::case(4);
    let count = runner.config().cases;
    let mut trees: Vec<_> = (0..count).map(|_| strategy.new_tree(&mut runner).unwrap()).collect();
    let cases: Vec<Case<'_>> = trees.iter().map(|tree| case(tree.current())).collect();
    let all: Vec<Verified> = cases.iter().map(|case| (*case.kernel).clone()).collect();
    let codes = machine.code(&all).unwrap();
    for ((case, code), tree) in cases.iter().zip(&codes).zip(&mut trees) {
        if let Some(wrong) = wrong(case, code) {
            panic!("{}: {wrong}; smaller: {}", machine.name(), shrunk(machine, tree));
        }
    }
}

#[test]
fn generated_kernels_on_aarch64() {
    Machine::aarch64().iter().for_each(|machine| check_generated(machine, 200));
}

#[test]
fn generated_kernels_in_an_object_of_this_machine() {
    Machine::host().iter().for_each(|machine| check_generated(machine, 100));
}

#[test]
fn planned_kernels_of_every_format_on_aarch64() {
    for machine in Machine::aarch64() {
        planned::models().iter().for_each(|model| planned::check_kernels(machine, model, 6));
    }
}

#[test]
fn planned_kernels_of_every_format_in_an_object_of_this_machine() {
    for machine in Machine::host().iter() {
        planned::models().iter().for_each(|model| planned::check_kernels(machine, model, 6));
    }
}

#[test]
fn planned_kernels_of_smollm2_on_aarch64() {
    for machine in Machine::aarch64() {
        planned::check_kernels(machine, &planned::smollm2(), 3);
    }
}

/// The code of the kernels of all run files, for each machine of aarch64, by the kernels' texts.
fn codes_of_files() -> &'static [BTreeMap<String, Arc<dyn KernelCode>>] {
    static CODES: OnceLock<Vec<BTreeMap<String, Arc<dyn KernelCode>>>> = OnceLock::new();
    CODES.get_or_init(|| {
        let files = filetest::files(&filetest::directory("vir/run"));
        let kernels = files.iter().map(|(_, text)| verify(parse(text).unwrap()).unwrap());
        let kernels: Vec<Verified> = kernels.filter(|kernel| kernel.lanes == 4).collect();
        let code = |machine: &Machine| {
            let names = kernels.iter().map(|kernel| kernel.to_string());
            names.zip(machine.code(&kernels).unwrap()).collect()
        };
        Machine::aarch64().iter().map(code).collect()
    })
}

/// Runs the kernel of a file on machine number `N` of aarch64.
fn run<const N: usize>(
    kernel: &Verified,
    buffers: &mut [Vec<u8>],
    scalars: &[i64],
) -> Result<(), String> {
    let code = codes_of_files()[N].get(&kernel.to_string()).ok_or("a kernel of no file")?;
    let kernel = Arc::new(kernel.clone());
    let mut bench = Bench::new(Arc::clone(&kernel), Arc::clone(code));
    let before = buffers.iter().map(|bytes| bytes.clone().into()).collect();
    let case = Case { kernel, buffers: before, scalars: scalars.to_vec() };
    let after = bench.run(&case, Placement::Front).map_err(|error| error.to_string())?;
    for (buffer, after) in buffers.iter_mut().zip(after) {
        buffer.copy_from_slice(after);
    }
    Ok(())
}

#[test]
fn run_files_on_aarch64() {
    let engines = [
        Engine { name: "first machine of aarch64", lanes: &[4], run: run::<0> },
        Engine { name: "second machine of aarch64", lanes: &[4], run: run::<1> },
        Engine { name: "third machine of aarch64", lanes: &[4], run: run::<2> },
    ];
    let there = engines.into_iter().take(Machine::aarch64().len());
    let all: Vec<Engine> = [INTERPRETER].into_iter().chain(there).collect();
    filetest::check_directory(&filetest::directory("vir/run"), &all);
}

/// Whole models: sessions of this process call kernels of the other machine.
#[test]
fn models_on_aarch64() {
    let tiny = graphs::quantized();
    let tiny = Subject::random(&tiny, &graphs::formats(&tiny), 70, 1);
    for machine in Machine::aarch64() {
        for subject in planned::models().iter().chain([&tiny]) {
            let (model, formats) = (&subject.model, &subject.formats);
            let source = |graph: &_| RandomWeights::new(graph, 3);
            let on_machine = ladder::Subject::new(model, formats, 70, machine, source).unwrap();
            let tokens = on_machine.tokens(9);
            let expected = Fir { fused: false }.logits(&on_machine, &tokens, &[9]).unwrap();
            let found = Jit { threads: 2 }.logits(&on_machine, &tokens, &[5, 1, 2]).unwrap();
            let difference = difference(&expected, &found, Agreement::Exact);
            assert_eq!(difference, None, "{} on {}", model.name, machine.name());
        }
    }
}

/// What the process says of a kernel that stores four floats at `offset` of a buffer that the
/// calling side believes to have `declared` bytes, with `access`.
fn caught(machine: &Machine, offset: u32, declared: u32, access: &str) -> String {
    let text = |bytes, access, body: &str| {
        format!("kernel k lanes 4 {{\n  buffer b0 x: {access} {bytes}\n{body}}}\n")
    };
    let store = format!("  v0: f32 = const 1.0\n  store f32 v0, b0[{offset}]\n");
    let [real, believed] = [text(4096, "write", &store), text(declared, access, "")]
        .map(|text| verify(parse(&text).unwrap()).unwrap());
    let believed = Arc::new(believed);
    let code = machine.code_believed_to_be(&[real], &[(*believed).clone()]).unwrap().swap_remove(0);
    let buffers = vec![vec![0; declared as usize].into()];
    wrong(&Case { kernel: believed, buffers, scalars: vec![] }, &code).unwrap_or_default()
}

#[test]
fn stray_kernels_are_caught() {
    for machine in Machine::host().iter().chain(Machine::aarch64().first()) {
        let found = |offset, declared, access| caught(machine, offset, declared, access);
        // A store that the interpreter does not know of is a difference, no more.
        let told = found(0, 16, "write");
        assert!(told.contains("at byte 0: 0x00000000 (0.0) and 0x3f800000 (1.0)"), "{told}");
        // The last of 14 bytes does not reach the guard page: the poison behind it is lost.
        let told = found(0, 14, "write");
        assert!(told.contains("byte 14 of buffer 0 of 14 bytes was written"), "{told}");
        // Behind the buffer lies the guard page.
        let told = found(8, 16, "write");
        assert!(
            told.contains("signal 11 in kernel 0 at byte 16 of buffer 0 of 16 bytes"),
            "{told}"
        );
        // A buffer that is only read lies in pages that cannot be written.
        let told = found(0, 16, "read");
        assert!(told.contains("signal 11 in kernel 0 at byte 0 of buffer 0"), "{told}");
    }
}
