//! exp and SiLU through machine code: the definition to the bit, and near the truth.
//! `cargo run -p deepthin-tests --bin exhaustive` asks every f32.

use std::collections::BTreeSet;

use deepthin::verify::machine::MachineCode;
use deepthin_compiler::interp::vir::run;
use deepthin_tests::elementwise::{BATCH, EXP, Function, SILU};
use deepthin_tests::jit::machines;
use deepthin_tests::reference::ulp_error;

/// Calls `see` with x and the result of machine code for every `stride`th bit pattern.
fn sweep(function: Function, stride: usize, mut see: impl FnMut(f32, f32)) {
    for machine in machines() {
        sweep_on(machine, function, stride, &mut see);
    }
}

fn sweep_on(
    machine: &MachineCode,
    function: Function,
    stride: usize,
    see: &mut impl FnMut(f32, f32),
) {
    let mut compiled = function.compiled_on(machine);
    let mut patterns = (0..=u32::MAX).step_by(stride).peekable();
    while patterns.peek().is_some() {
        let batch: Vec<u32> = patterns.by_ref().take(BATCH as usize).collect();
        for (bits, y) in batch.iter().zip(compiled.apply(&batch)) {
            see(f32::from_bits(*bits), y);
        }
    }
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[track_caller]
fn assert_defined(function: Function, x: f32, y: f32) {
    let defined = (function.defined)(x);
    assert!(same(y, defined), "{}({x:e}) = {y:e}, not {defined:e}", function.name);
}

/// A prime stride meets every exponent and sign with many fractions.
#[test]
fn compiled_exp_is_the_definition_and_within_two_ulp() {
    sweep(EXP, 1009, |x, y| {
        assert_defined(EXP, x, y);
        let exact = f64::from(x).exp();
        if exact < f64::from(f32::MAX) {
            let error = ulp_error(y, exact);
            assert!(error <= 2.0, "exp({x:e}) = {y:e} is {error} ulp away");
        }
    });
}

#[test]
fn compiled_silu_is_the_definition() {
    sweep(SILU, 4099, |x, y| assert_defined(SILU, x, y));
}

/// Every 2^18th bit pattern, both neighbors of every power of two, and the arguments at which
/// either function changes its nature.
fn sample() -> Vec<u32> {
    let mut sample: BTreeSet<u32> = (0..=u32::MAX).step_by(1 << 18).collect();
    let powers = (0..512_u32).map(|exponent| exponent << 23);
    let turns = [-104.0, -103.98, -88.73, -87.4, 17.4, 18.0, 87.4, 88.73, 89.0, 104.0];
    let turns = turns.map(f32::to_bits).into_iter().chain([f32::NAN.to_bits(), 0x7f80_0001]);
    for bits in powers.chain(turns) {
        sample.extend([bits.wrapping_sub(1), bits, bits.wrapping_add(1)]);
    }
    sample.into_iter().collect()
}

#[test]
fn compiled_functions_are_the_interpreter_on_a_sample() {
    let sample = sample();
    let x: Vec<u8> = sample.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    for function in [EXP, SILU] {
        let compiled: Vec<Vec<f32>> =
            machines().iter().map(|m| function.compiled_on(m).apply(&sample)).collect();
        for lanes in [4, 8, 16] {
            let mut buffers = [x.clone(), Vec::new()];
            buffers.iter_mut().for_each(|bytes| bytes.resize(BATCH as usize * 4, 0));
            run(&function.kernel(lanes), &mut buffers[..], &[]).unwrap();
            for compiled in &compiled {
                let interpreted = buffers[1].as_chunks().0.iter().map(|y| f32::from_le_bytes(*y));
                for ((bits, compiled), interpreted) in sample.iter().zip(compiled).zip(interpreted)
                {
                    let x = f32::from_bits(*bits);
                    let equal = same(*compiled, interpreted);
                    assert!(equal, "{}({x:e}): {compiled:e}, {interpreted:e}", function.name);
                }
            }
        }
    }
}
