//! Compiled kernels in tests: machine code of one kernel, run on buffers between guard pages.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use deepthin::verify::Case;
use deepthin::verify::guard::Placement;
use deepthin::verify::machine::{Bench, KernelEngine, MachineCode};
use deepthin_compiler::codegen::choice::Vectors;
use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::codegen::x64wide::{Wide, Width};
use deepthin_compiler::codegen::{Backend, CodegenError};
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

/// Machine code of 128 bits, which every host has, made once.
///
/// # Panics
/// On a host that kernels cannot run on.
pub fn machine_code() -> &'static MachineCode {
    &machines()[0]
}

/// Machine code of every back end of this host, made once: 128 bits first; 256 bits with dot
/// products of bytes and without; 512 bits.
///
/// # Panics
/// On a host that kernels cannot run on.
pub fn machines() -> &'static [MachineCode] {
    static MACHINES: OnceLock<Vec<MachineCode>> = OnceLock::new();
    MACHINES.get_or_init(|| {
        let clif = Clif::host().unwrap_or_else(|error| panic!("{error}"));
        let mut machines = vec![MachineCode::from(Box::new(clif) as Box<dyn Backend>)];
        for wide in wide() {
            machines.push(MachineCode::from(Box::new(wide) as Box<dyn Backend>));
        }
        if let Ok(wide) = Wide::host(Width::Ymm)
            && wide.has_dot_products()
        {
            let wide: Box<dyn Backend> = Box::new(wide.without_dot_products());
            machines.push(MachineCode::from(wide).named("avx2 without dot products"));
        }
        machines
    })
}

/// The wide back ends of this host.
pub fn wide() -> Vec<Wide> {
    [Width::Ymm, Width::Zmm].into_iter().filter_map(|width| Wide::host(width).ok()).collect()
}

/// The name of the back end that is taken where none is named.
///
/// # Panics
/// On a host that kernels cannot run on.
pub fn default_backend() -> &'static str {
    Vectors::for_host(None).unwrap_or_else(|error| panic!("{error}")).name()
}

/// The machine code of this host for kernels of `lanes` lanes.
pub fn machines_of(lanes: u32) -> impl Iterator<Item = &'static MachineCode> {
    machines().iter().filter(move |machine| machine.lanes() == lanes)
}

/// Machine code, as an engine of test files.
pub const JIT: Engine = Engine {
    name: "machine code",
    lanes: &[4, 8, 16],
    run: |kernel, buffers, scalars| {
        let before = buffers.to_vec();
        for machine in machines_of(kernel.lanes) {
            let compiled = Compiled::on(machine, kernel).map_err(|error| error.to_string())?;
            for placement in Placement::ALL {
                buffers.clone_from_slice(&before);
                let ran = compiled.run(buffers, scalars, placement);
                ran.map_err(|error| format!("{}: {error}", machine.name()))?;
            }
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
        Compiled::on(machine_code(), kernel)
    }

    /// Compiles a kernel on one of the machines.
    ///
    /// # Errors
    /// A kernel that the back end refuses.
    pub fn on(machine: &MachineCode, kernel: &Verified) -> Result<Self, CodegenError> {
        let linked = machine.code(std::slice::from_ref(kernel))?;
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
