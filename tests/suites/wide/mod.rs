//! Back ends of 256 and 512 bits: generated kernels against the interpreter.

mod forms;
mod registers;

use std::sync::Arc;

use deepthin::verify::Case;
use deepthin::verify::machine::{Bench, KernelEngine as _, MachineCode};
use deepthin_compiler::vir::verify;
use deepthin_tests::cases::cases;
use deepthin_tests::jit::{machines, machines_of};
use deepthin_tests::kernels;
use proptest::prelude::*;

/// A generated case on machine code, against the interpreter.
fn check(machine: &MachineCode, generated: &kernels::Case) -> Result<(), TestCaseError> {
    let kernel = Arc::new(verify(generated.kernel.clone()).unwrap());
    let buffers = generated.buffers.iter().map(|bytes| bytes.clone().into()).collect();
    let case = Case { kernel, buffers, scalars: generated.scalars.clone() };
    let codes = machine.code(std::slice::from_ref(&*case.kernel));
    let code = codes.map_err(|error| TestCaseError::fail(error.to_string()))?.swap_remove(0);
    let found = Bench::new(Arc::clone(&case.kernel), code).check(&case).unwrap();
    prop_assert_eq!(found, None, "{}\n{}", machine.name(), **case.kernel);
    Ok(())
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn generated_kernels_of_eight_lanes(case in kernels::case(8)) {
        for machine in machines_of(8) {
            check(machine, &case)?;
        }
    }

    #[test]
    fn generated_kernels_of_sixteen_lanes(case in kernels::case(16)) {
        for machine in machines_of(16) {
            check(machine, &case)?;
        }
    }
}

#[test]
fn this_machine_has_back_ends() {
    assert!(!machines().is_empty());
}
