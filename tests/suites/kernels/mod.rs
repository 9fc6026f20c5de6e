//! Machine code against the VIR interpreter, kernel by kernel, between guard pages.

mod dot;
mod emulated;
mod exp;
pub(super) mod planned;
mod prefetch;

use std::sync::Arc;

use deepthin::verify::Case;
use deepthin::verify::machine::{Bench, KernelEngine as _};
use deepthin_compiler::vir::verify;
use deepthin_tests::cases::cases;
use deepthin_tests::jit::machine_code;
use deepthin_tests::kernels;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn generated_kernels(case in kernels::case(4)) {
        let text = case.kernel.to_string();
        let kernel = Arc::new(verify(case.kernel).unwrap());
        let codes = machine_code().code(std::slice::from_ref(&*kernel)).unwrap();
        let buffers = case.buffers.into_iter().map(Into::into).collect();
        let case = Case { kernel: Arc::clone(&kernel), buffers, scalars: case.scalars };
        let mismatch = Bench::new(kernel, codes[0].clone()).check(&case).unwrap();
        prop_assert_eq!(mismatch, None, "scalars {:?} of\n{}", case.scalars, text);
    }
}
