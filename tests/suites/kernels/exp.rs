//! exp and SiLU through machine code: the definition to the bit, and near the truth.

use deepthin_compiler::lower::{exp, silu};
use deepthin_compiler::numerics;
use deepthin_compiler::vir::{Access, Affine, Bound, Builder, Elem, ValueId, verify};
use deepthin_tests::guard::Placement;
use deepthin_tests::jit::Compiled;
use deepthin_tests::reference::ulp_error;

/// Elements of a call.
const BATCH: u32 = 1 << 16;

/// A kernel that applies `function` to all elements of a batch.
fn elementwise(function: fn(&mut Builder, ValueId) -> ValueId) -> Compiled {
    let mut b = Builder::new("elementwise", 4);
    let x = b.buffer("x", BATCH * 4, Access::Read);
    let y = b.buffer("y", BATCH * 4, Access::Write);
    b.for_range(Bound::Const(0), Bound::Const(BATCH / 4), [], |b, i, []| {
        let value = b.load(Elem::F32, x, Affine::index(i, 16));
        let result = function(b, value);
        b.store(result, Elem::F32, y, Affine::index(i, 16));
        []
    });
    Compiled::new(&verify(b.finish()).unwrap()).unwrap()
}

/// Calls `see` with x and the result of machine code for every `stride`th bit pattern.
fn sweep(compiled: &Compiled, stride: usize, mut see: impl FnMut(f32, f32)) {
    let mut patterns = (0..=u32::MAX).step_by(stride).peekable();
    while patterns.peek().is_some() {
        let mut batch: Vec<u32> = patterns.by_ref().take(BATCH as usize).collect();
        let count = batch.len();
        batch.resize(BATCH as usize, 0);
        let x: Vec<u8> = batch.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let mut buffers = [x, vec![0; BATCH as usize * 4]];
        compiled.run(&mut buffers, &[], Placement::Back).unwrap();
        let results = buffers[1].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        for (bits, y) in batch.into_iter().zip(results).take(count) {
            see(f32::from_bits(bits), y);
        }
    }
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// A prime stride meets every exponent and sign with many fractions.
#[test]
fn compiled_exp_is_the_definition_and_within_two_ulp() {
    sweep(&elementwise(exp), 1009, |x, y| {
        assert!(same(y, numerics::exp(x)), "exp({x:e}) = {y:e}, not {:e}", numerics::exp(x));
        let exact = f64::from(x).exp();
        if exact < f64::from(f32::MAX) {
            let error = ulp_error(y, exact);
            assert!(error <= 2.0, "exp({x:e}) = {y:e} is {error} ulp away");
        }
    });
}

#[test]
fn compiled_silu_is_the_definition() {
    sweep(&elementwise(silu), 4099, |x, y| {
        assert!(same(y, numerics::silu(x)), "silu({x:e}) = {y:e}, not {:e}", numerics::silu(x));
    });
}
