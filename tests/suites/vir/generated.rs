//! Properties of generated kernels and of damaged ones.

use std::collections::BTreeSet;

use deepthin_compiler::interp::vir::run;
use deepthin_compiler::vir::{parse, verify};
use deepthin_tests::guard::{GuardedBuffer, Placement};
use deepthin_tests::kernels::{self, Choices, corner_scalars, first_difference, mutate};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::features::Features;

fn sample<T>(strategy: impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn generated_kernels_contain_everything() {
    let mut seen = Features::default();
    for lanes in [4, 8, 16] {
        for kernel in sample(kernels::kernel(lanes), 80) {
            seen.add(&kernel);
        }
    }
    seen.assert_instructions(50);
    seen.assert_all(10);
}

#[test]
fn generated_results_are_not_all_alike() {
    let mut sums = BTreeSet::new();
    for case in sample(kernels::case(8), 40) {
        let kernel = verify(case.kernel).unwrap();
        let mut buffers = case.buffers;
        run(&kernel, &mut buffers[..], &case.scalars).unwrap();
        sums.insert(buffers.concat());
    }
    assert_eq!(sums.len(), 40);
}

fn config() -> ProptestConfig {
    // What a failure prints is a text that becomes a test file; seeds are not kept.
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_kernels_verify_print_and_parse(
        kernel in prop_oneof![kernels::kernel(4), kernels::kernel(8), kernels::kernel(16)]
    ) {
        let text = kernel.to_string();
        let again = parse(&text);
        prop_assert_eq!(again.as_ref(), Ok(&kernel), "{}", text);
        let verified = verify(kernel);
        prop_assert!(verified.is_ok(), "{}\n{:?}", text, verified.err());
    }

    /// The same kernel on the same data gives the same bits, in buffers of other places.
    #[test]
    fn generated_kernels_run_in_guarded_buffers(case in kernels::case(16)) {
        let kernel = verify(case.kernel).unwrap();
        let mut plain = case.buffers.clone();
        run(&kernel, &mut plain[..], &case.scalars).unwrap();
        for placement in Placement::ALL {
            let guarded =
                case.buffers.iter().map(|bytes| GuardedBuffer::holding(bytes, placement).unwrap());
            let mut guarded: Vec<GuardedBuffer> = guarded.collect();
            run(&kernel, &mut guarded[..], &case.scalars).unwrap();
            for ((plain, guarded), elem) in plain.iter().zip(&guarded).zip(&case.elements) {
                prop_assert_eq!(guarded.stray_write(), None);
                prop_assert_eq!(first_difference(*elem, plain, guarded.bytes()), None);
            }
        }
    }

    /// Whatever a text says, the parser and the verifier answer, and what parses prints.
    #[test]
    fn damaged_texts_get_an_answer(
        kernel in kernels::kernel(4),
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0..SCRAPS.len()), 1..4),
    ) {
        let mut words: Vec<String> =
            kernel.to_string().split_inclusive([' ', '\n', '*', ',', '[']).map(str::to_owned).collect();
        for (place, scrap) in damages {
            let word = place.get(&words).clone();
            let end = word.chars().last().unwrap_or(' ');
            *place.get_mut(&mut words) = format!("{}{end}", SCRAPS[scrap]);
        }
        let text = words.concat();
        if let Ok(kernel) = parse(&text) {
            let again = parse(&kernel.to_string());
            prop_assert_eq!(again.as_ref(), Ok(&kernel), "{}", text);
            if let Err(errors) = verify(kernel) {
                prop_assert!(!errors.errors.is_empty());
                prop_assert!(errors.to_string().contains("V-"));
            }
        }
    }
}

/// Pieces that a damaged text gets in place of its own.
const SCRAPS: [&str; 24] = [
    "0",
    "1",
    "-1",
    "3",
    "17",
    "4294967295",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999999",
    "v0",
    "v1",
    "v4294967295",
    "i0",
    "i3",
    "i4",
    "b0",
    "b99",
    "f32",
    "i32",
    "mask",
    "{",
    "}",
    "\u{2192}",
];

/// No accepted kernel strays: damaged kernels are refused, or run within bounds for all corners of
/// their scalars.
#[test]
fn verifier_is_sound_on_damaged_kernels() {
    let (mut accepted, mut refused) = (0, 0);
    for (kernel, list) in sample((kernels::kernel(4), prop::collection::vec(any::<u32>(), 64)), 150)
    {
        let mut choices = Choices::endless(list);
        for _ in 0..8 {
            let mutant = mutate(kernel.clone(), &mut choices);
            let Ok(verified) = verify(mutant) else {
                refused += 1;
                continue;
            };
            accepted += 1;
            let sizes = verified.buffers.values().map(|buffer| buffer.bytes as usize);
            let empty: Vec<Vec<u8>> = sizes.map(|bytes| vec![0; bytes]).collect();
            for scalars in corner_scalars(&verified, 12) {
                let ran = run(&verified, &mut empty.clone()[..], &scalars);
                assert_eq!(ran, Ok(()), "scalars {scalars:?} of\n{}", *verified);
            }
        }
    }
    assert!(accepted >= 200 && refused >= 200, "accepted {accepted}, refused {refused}");
}
