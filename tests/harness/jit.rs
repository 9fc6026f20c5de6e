//! Compiled kernels in tests: machine code of one kernel, run on buffers between guard pages.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use deepthin::verify::Case;
use deepthin::verify::guard::Placement;
use deepthin::verify::machine::{Bench, KernelEngine, MachineCode};
use deepthin_compiler::codegen::CodegenError;
use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::vir::Verified;
use deepthin_runtime::abi::KernelCode;

use crate::filetest::Engine;

/// The back end of this host, made once.
///
/// # Panics
/// On a host that kernels cannot run on.
pub fn clif() -> &'static Clif {
    static CLIF: OnceLock<Clif> = OnceLock::new();
    CLIF.get_or_init(|| Clif::host().unwrap_or_else(|error| panic!("{error}")))
}

/// Machine code of this host, made once.
///
/// # Panics
/// On a host that kernels cannot run on.
pub fn machine_code() -> &'static MachineCode {
    static MACHINE_CODE: OnceLock<MachineCode> = OnceLock::new();
    MACHINE_CODE.get_or_init(|| MachineCode::host().unwrap_or_else(|error| panic!("{error}")))
}

/// Machine code, as an engine of test files.
pub const JIT: Engine = Engine {
    name: "machine code",
    lanes: &[4],
    run: |kernel, buffers, scalars| {
        let compiled = Compiled::new(kernel).map_err(|error| error.to_string())?;
        let before = buffers.to_vec();
        for placement in Placement::ALL {
            buffers.clone_from_slice(&before);
            compiled.run(buffers, scalars, placement)?;
        }
        Ok(())
    },
};

/// A kernel and its machine code.
pub struct Compiled {
    kernel: Arc<Verified>,
    code: Arc<dyn KernelCode>,
}

impl Compiled {
    /// Compiles a kernel.
    ///
    /// # Errors
    /// A kernel that the back end refuses.
    pub fn new(kernel: &Verified) -> Result<Self, CodegenError> {
        let linked = machine_code().code(std::slice::from_ref(kernel))?;
        let code = linked.into_iter().next().expect("one kernel in, one kernel out");
        Ok(Compiled { kernel: Arc::new(kernel.clone()), code })
    }

    /// Runs the kernel on copies of `buffers` that touch guard pages, and copies them back.
    ///
    /// # Errors
    /// Scalars or buffers that are not as declared, and a store beside a buffer.
    pub fn run(
        &self,
        buffers: &mut [Vec<u8>],
        scalars: &[i64],
        placement: Placement,
    ) -> Result<(), String> {
        let mut bench = Bench::new(Arc::clone(&self.kernel), Arc::clone(&self.code));
        let borrowed = buffers.iter().map(|bytes| Cow::Borrowed(bytes.as_slice())).collect();
        let kernel = Arc::clone(&self.kernel);
        let case = Case { kernel, buffers: borrowed, scalars: scalars.to_vec() };
        let found = bench.run(&case, placement).map_err(|error| error.to_string())?;
        for (bytes, found) in buffers.iter_mut().zip(found) {
            bytes.copy_from_slice(found);
        }
        Ok(())
    }
}
