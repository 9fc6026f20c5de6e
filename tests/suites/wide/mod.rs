//! Back ends of 256 and 512 bits: generated kernels against the interpreter.

mod forms;
mod registers;

use std::sync::Arc;

use deepthin::verify::Case;
use deepthin::verify::machine::{Bench, KernelEngine as _, MachineCode};
use deepthin_compiler::vir::verify;
use deepthin_tests::cases::cases;
use deepthin_tests::jit::{default_backend, machines, machines_of};
use deepthin_tests::{kernels, processor};
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

/// All that the processor can run is tested, and the widest is taken where none is named.
#[test]
fn every_back_end_of_the_processor_is_there() {
    let tested: Vec<&str> = machines().iter().map(MachineCode::name).collect();
    let all = processor::engines();
    assert_eq!(tested, all);
    let widest = all.iter().rfind(|name| **name != "avx2 without dot products");
    assert_eq!(Some(&default_backend()), widest);
}
