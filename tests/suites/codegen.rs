//! Machine code as bytes and as memory: reproducible, complete, executable and never writable.

#![allow(clippy::print_stderr, reason = "a figure worth seeing in the log of a run")]

use std::fs;
use std::sync::Arc;

use deepthin_compiler::codegen::{Backend, CodegenError};
use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::Format;
use deepthin_compiler::pipeline::{self, Lowered};
use deepthin_compiler::plan::PlanOptions;
use deepthin_dsl::Model;
use deepthin_tests::alone;
use deepthin_tests::engine::Subject;
use deepthin_tests::graphs;
use deepthin_tests::jit::{Compiled, clif};
use deepthin_tests::project::root;

/// The tiny model.
fn tiny() -> Subject {
    let model = graphs::tiny();
    Subject::random(&model, &graphs::formats(&model), 70, 1)
}

#[test]
fn the_same_kernel_gives_the_same_bytes() {
    for kernel in &tiny().lowered(4).kernels {
        // `emit` refuses code with relocations: these bytes run wherever they lie.
        let [first, second] = [(); 2].map(|()| clif().emit(kernel).unwrap());
        assert!(!first.bytes.is_empty());
        assert_eq!(first, second, "{}", kernel.name);
        assert!(first.alignment.is_power_of_two());
    }
}

/// Neighbors are dealt out to threads in turn; none may be lost, and their order stays.
#[test]
fn every_kernel_is_emitted_in_its_place_on_any_number_of_threads() {
    let subject = tiny();
    let all = &subject.lowered(4).kernels;
    assert!(all.len() > 8);
    for count in [0, 1, 2, 4, 5, all.len()] {
        for threads in [1, 2, 3, 4, 7, 64] {
            let codes = pipeline::emit_on(clif(), &all[..count], threads).unwrap();
            let names: Vec<&str> = codes.iter().map(|code| code.name.as_str()).collect();
            let expected: Vec<&str> = all[..count].iter().map(|k| k.name.as_str()).collect();
            assert_eq!(names, expected, "{count} kernels on {threads} threads");
        }
    }
}

#[test]
fn a_kernel_of_other_lanes_is_refused() {
    let subject = tiny();
    let kernel = &subject.lowered(8).kernels[0];
    let error = clif().emit(kernel).unwrap_err();
    assert!(matches!(error, CodegenError::Lanes { found: 8, expected: 4, .. }));
    let message = "kernel `embed_q8g32_96x32` has 8 lanes, the back end `clif128` needs 4";
    assert_eq!(error.to_string(), message);
    assert_eq!(clif().listing(kernel).unwrap_err().to_string(), message);
    assert!(pipeline::jit_program(subject.lowered(16), clif()).is_err());
}

#[test]
fn listings_show_both_levels() {
    for kernel in &tiny().lowered(4).kernels {
        let listing = clif().listing(kernel).unwrap();
        assert!(listing.ir.starts_with("function"), "{}", listing.ir);
        assert!(listing.asm.lines().count() > 10, "{}", listing.asm);
    }
}

/// Mappings of this process: permissions, bytes, and the file, if any.
fn mappings() -> Vec<(String, usize, String)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (from, to) = fields.next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|end| usize::from_str_radix(end, 16).unwrap());
        let permissions = fields.next().unwrap().to_owned();
        (permissions, to - from, fields.nth(3).unwrap_or_default().to_owned())
    };
    maps.lines().map(line).collect()
}

/// Runs a test of this file in a process where nothing else maps memory.
#[track_caller]
fn check_alone(test: &str) {
    let ended = alone::run(&format!("codegen::{test}"), "alone");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}

#[test]
fn no_page_is_writable_and_executable() {
    if alone::role().is_none() {
        return check_alone("no_page_is_writable_and_executable");
    }
    let code = || mappings().into_iter().filter(|(p, _, file)| p.contains('x') && file.is_empty());
    assert_eq!(code().count(), 0, "no code is there before any is made");
    let program = tiny().program();
    assert!(code().count() > 0, "the code of {} is somewhere", program.name);
    for (permissions, bytes, file) in mappings() {
        let both = permissions.contains('w') && permissions.contains('x');
        assert!(!both, "{bytes} bytes are {permissions} {file}");
    }
}

#[test]
fn code_memory_is_freed_on_drop() {
    if alone::role().is_none() {
        return check_alone("code_memory_is_freed_on_drop");
    }
    let subject = tiny();
    let kernel = &subject.lowered(4).kernels[0];
    let size = || mappings().into_iter().map(|(_, bytes, _)| bytes).sum::<usize>();
    let compile = |times| (0..times).for_each(|_| drop(Compiled::new(kernel).unwrap()));
    compile(20);
    let (count, bytes) = (mappings().len(), size());
    compile(200);
    // The heap may settle; 200 arenas of 128 KiB would be 25 MiB.
    assert!(mappings().len() < count + 10, "{} mappings, {count} before", mappings().len());
    assert!(size() < bytes + (2 << 20), "{} bytes mapped, {bytes} before", size());
    let kept = [(); 20].map(|()| Compiled::new(kernel).unwrap());
    assert!(size() > bytes + (1 << 20), "kept code is counted");
    drop(kept);
}

/// Code stays while a program needs it, whatever made it is gone.
#[test]
fn code_outlives_its_compiler() {
    let subject = tiny();
    let tokens = subject.tokens(3);
    let expected = subject.session(1).feed(&tokens).unwrap().to_vec();
    let program = Arc::new(pipeline::jit_program(subject.lowered(4), clif()).unwrap());
    let mut session =
        deepthin_runtime::session::Session::new(Arc::clone(&program), subject.constants(), 1)
            .unwrap();
    drop(program);
    drop(subject);
    assert_eq!(*session.feed(&tokens).unwrap(), *expected);
}

/// SmolLM2-135M with the formats of its file.
fn smollm2() -> Lowered {
    let text = fs::read_to_string(root().join("examples/smollm2-135m.thin")).unwrap();
    let model: Model = deepthin_dsl::parse(&text, "smollm2-135m.thin").unwrap().swap_remove(0);
    let mut formats = Formats::uniform(model.depth, Format::Q4_1, Format::Q8_0);
    for block in 0..model.depth {
        formats.set(Some(block), Role::Value, Format::Q8_0).unwrap();
    }
    pipeline::lower(&model, &formats, &PlanOptions::new(4, 512)).unwrap()
}

#[test]
fn smollm2_needs_few_kernels_and_little_code() {
    let lowered = smollm2();
    assert!(lowered.kernels.len() <= 20, "{} kernels", lowered.kernels.len());
    let codes = pipeline::emit(clif(), &lowered.kernels).unwrap();
    let bytes: usize = codes.iter().map(|code| code.bytes.len()).sum();
    eprintln!("SmolLM2-135M: {} kernels, {bytes} bytes of machine code", codes.len());
    assert!(bytes < 200_000, "{bytes} bytes of machine code");
}
