//! Machine code against the VIR interpreter, kernel by kernel, between guard pages.

mod exp;
mod planned;

use deepthin_compiler::interp::vir::run;
use deepthin_compiler::vir::{Elem, Verified, verify};
use deepthin_tests::cases::cases;
use deepthin_tests::guard::Placement;
use deepthin_tests::jit::Compiled;
use deepthin_tests::kernels::{self, first_difference};
use proptest::prelude::*;

/// Runs a call on the interpreter and on machine code, flush against guard pages on both sides,
/// and compares all buffers; the results, or the first difference.
fn both(
    kernel: &Verified,
    compiled: &Compiled,
    buffers: &[Vec<u8>],
    elements: &[Option<Elem>],
    scalars: &[i64],
) -> Result<Vec<Vec<u8>>, String> {
    let mut expected = buffers.to_vec();
    run(kernel, &mut expected[..], scalars).map_err(|error| error.to_string())?;
    for placement in Placement::ALL {
        let mut found = buffers.to_vec();
        compiled.run(&mut found, scalars, placement)?;
        let names = kernel.buffers.values().map(|buffer| &buffer.name);
        for (((expected, found), elem), name) in
            expected.iter().zip(&found).zip(elements).zip(names)
        {
            if let Some(difference) = first_difference(*elem, expected, found) {
                return Err(format!("`{name}`, scalars {scalars:?}: {difference}"));
            }
        }
    }
    Ok(expected)
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn generated_kernels(case in kernels::case(4)) {
        let text = case.kernel.to_string();
        let kernel = verify(case.kernel).unwrap();
        let compiled = Compiled::new(&kernel).unwrap();
        let ran = both(&kernel, &compiled, &case.buffers, &case.elements, &case.scalars);
        prop_assert!(ran.is_ok(), "{}\n{text}", ran.unwrap_err());
    }
}
