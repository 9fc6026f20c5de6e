//! exp and SiLU at every f32 of their ranges: machine code against f64, within specs/numerics.md.
//!
//! `cargo run -p deepthin-tests --bin exhaustive` takes about two minutes on two cores, prints the
//! worst errors with their arguments, and ends with code 1 where one is above its bound. The code
//! is that of a kernel made by the lowering of all kernels; the reference is f64 by the C library,
//! whose error is some 2^-29 of the units counted here.

#![allow(clippy::print_stdout, reason = "a program that reports figures")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use deepthin_tests::elementwise::{BATCH, EXP, Function, SILU};
use deepthin_tests::reference::U;

/// The least normal f32.
const LEAST_NORMAL: f64 = f32::MIN_POSITIVE as f64;

/// What is asked of a function.
struct Claim {
    function: Function,
    /// The ends of the range, one below 0 and one above: all f32 between them are arguments.
    to: [f32; 2],
    /// The kinds of error that are measured, each with its bound.
    errors: [Measure; 2],
}

/// An error and its bound.
struct Measure {
    /// The unit in reports.
    unit: &'static str,
    bound: f64,
    /// The error of a result, where this kind of error is meant.
    error: fn(f32, f64) -> Option<f64>,
}

/// The greatest error of a kind.
#[derive(Clone, Copy)]
struct Worst {
    error: f64,
    at: f32,
}

const CLAIMS: [Claim; 2] = [
    Claim {
        function: EXP,
        to: [-104.0, 88.722_83], // the next f32 overflows
        errors: [
            Measure {
                unit: "ulp",
                bound: 1.02,
                error: |found, exact| (exact >= LEAST_NORMAL).then(|| ulps(found, exact)),
            },
            Measure {
                unit: "of the least subnormal",
                bound: 0.76,
                error: |found, exact| (exact < LEAST_NORMAL).then(|| ulps(found, exact)),
            },
        ],
    },
    Claim {
        function: SILU,
        to: [-128.0, 128.0],
        errors: [
            Measure {
                unit: "u relative",
                bound: 4.2,
                error: |found, exact| {
                    let error = (f64::from(found) - exact).abs();
                    (exact.abs() > 3e-37).then(|| error / (exact.abs() * U))
                },
            },
            Measure {
                unit: "absolute below 3e-37",
                bound: 3e-37,
                error: |found, exact| {
                    (exact.abs() <= 3e-37).then(|| (f64::from(found) - exact).abs())
                },
            },
        ],
    },
];

/// The distance in units of the last place of an f32 near `exact`, or of the least subnormal.
fn ulps(found: f32, exact: f64) -> f64 {
    let exponent = (exact.to_bits() >> 52 & 0x7ff).max(1023 - 126) - 23;
    (f64::from(found) - exact).abs() / f64::from_bits(exponent << 52)
}

impl Claim {
    /// Runs all arguments of one sign up to `to`, in batches that threads take in turn.
    fn sweep(&self, to: f32, threads: usize) -> [Worst; 2] {
        let sign = to.to_bits() & 1 << 31;
        let count = (to.abs().to_bits()) + 1;
        let next = AtomicU32::new(0);
        let work = || {
            let mut compiled = self.function.compiled();
            let mut worst = [Worst { error: 0.0, at: f32::NAN }; 2];
            loop {
                let batch = next.fetch_add(1, Ordering::Relaxed);
                let Some(first) = batch.checked_mul(BATCH).filter(|first| *first < count) else {
                    return worst;
                };
                let bits: Vec<u32> =
                    (first..count.min(first + BATCH)).map(|bits| bits | sign).collect();
                for (bits, found) in bits.iter().zip(compiled.apply(&bits)) {
                    self.see(f32::from_bits(*bits), found, &mut worst);
                }
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let found = workers.into_iter().map(|worker| worker.join().expect("no panic"));
            found.reduce(merged).expect("a thread")
        })
    }

    fn see(&self, x: f32, found: f32, worst: &mut [Worst; 2]) {
        let exact = (self.function.exact)(f64::from(x));
        for (measure, worst) in self.errors.iter().zip(worst) {
            if let Some(error) = (measure.error)(found, exact)
                && (error.is_nan() || error > worst.error)
            {
                *worst = Worst { error, at: x };
            }
        }
    }

    /// Prints the worst errors; whether they are within their bounds.
    fn check(&self, threads: usize) -> bool {
        let [below, above] = self.to.map(|to| self.sweep(to, threads));
        let arguments: u64 = self.to.iter().map(|to| u64::from(to.abs().to_bits()) + 1).sum();
        let [from, to] = self.to;
        println!("{}: {arguments} arguments from {from} to {to}", self.function.name);
        let mut holds = true;
        for (measure, worst) in self.errors.iter().zip(merged(below, above)) {
            let Measure { unit, bound, .. } = measure;
            let Worst { error, at } = worst;
            let bits = at.to_bits();
            println!("  worst {error:.4e} {unit}, at {at:e} ({bits:#010x}); bound {bound:e}");
            holds &= error <= *bound;
        }
        holds
    }
}

/// The worse of each kind; an error that is no number is the worst.
fn merged(left: [Worst; 2], right: [Worst; 2]) -> [Worst; 2] {
    let worse = |a: Worst, b: Worst| if a.error.is_nan() || a.error >= b.error { a } else { b };
    [worse(left[0], right[0]), worse(left[1], right[1])]
}

fn main() -> ExitCode {
    let threads = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    // All claims are checked, also behind one that does not hold.
    let holding = CLAIMS.iter().filter(|claim| claim.check(threads)).count();
    if holding == CLAIMS.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
