//! exp and SiLU as kernels of their own: what every larger kernel computes them by, element by
//! element, in machine code and on the interpreter.

use std::borrow::Cow;
use std::sync::Arc;

use deepthin::verify::Case;
use deepthin::verify::guard::Placement;
use deepthin::verify::machine::{Bench, KernelEngine as _, MachineCode};
use deepthin_compiler::lower;
use deepthin_compiler::numerics;
use deepthin_compiler::vir::{Access, Affine, Bound, Builder, Elem, ValueId, Verified, verify};

use crate::jit::machine_code;
use crate::reference;

/// Elements of a call.
pub const BATCH: u32 = 1 << 16;

/// A function of one number.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The instructions that compute it.
    lower: fn(&mut Builder, ValueId) -> ValueId,
    /// Its definition, operation by operation.
    pub defined: fn(f32) -> f32,
    /// Its formula.
    pub exact: fn(f64) -> f64,
}

/// e^x.
pub const EXP: Function =
    Function { name: "exp", lower: lower::exp, defined: numerics::exp, exact: f64::exp };

/// x / (1 + e^-x).
pub const SILU: Function =
    Function { name: "silu", lower: lower::silu, defined: numerics::silu, exact: reference::silu };

impl Function {
    /// The kernel that applies the function to [`BATCH`] elements.
    ///
    /// # Panics
    /// If the kernel breaks a rule of VIR.
    pub fn kernel(&self, lanes: u32) -> Verified {
        let mut b = Builder::new(self.name, lanes);
        let x = b.buffer("x", BATCH * 4, Access::Read);
        let y = b.buffer("y", BATCH * 4, Access::Write);
        let vectors = Bound::Const(BATCH / lanes);
        b.for_range(Bound::Const(0), vectors, [], |b, i, []| {
            let step = i64::from(lanes) * 4;
            let value = b.load(Elem::F32, x, Affine::index(i, step));
            let result = (self.lower)(b, value);
            b.store(result, Elem::F32, y, Affine::index(i, step));
            []
        });
        verify(b.finish()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// Machine code of the function.
    ///
    /// # Panics
    /// On a host that kernels cannot run on.
    pub fn compiled(&self) -> Compiled {
        self.compiled_on(machine_code())
    }

    /// Machine code of the function on one of the back ends.
    ///
    /// # Panics
    /// If there is no code.
    pub fn compiled_on(&self, machine: &MachineCode) -> Compiled {
        let kernel = self.kernel(machine.lanes());
        let code = machine.code(std::slice::from_ref(&kernel)).expect("machine code");
        let kernel = Arc::new(kernel);
        let code = code.into_iter().next().expect("one kernel in, one kernel out");
        Compiled { bench: Bench::new(Arc::clone(&kernel), code), kernel }
    }
}

/// A function in machine code.
pub struct Compiled {
    kernel: Arc<Verified>,
    bench: Bench,
}

impl Compiled {
    /// The function of each of up to [`BATCH`] numbers, given by their bits.
    ///
    /// # Panics
    /// If the kernel strays.
    pub fn apply(&mut self, bits: &[u32]) -> Vec<f32> {
        let mut x: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        x.resize(BATCH as usize * 4, 0);
        let y = vec![0; x.len()];
        let buffers = vec![Cow::Owned(x), Cow::Owned(y)];
        let case = Case { kernel: Arc::clone(&self.kernel), buffers, scalars: Vec::new() };
        let after = self.bench.run(&case, Placement::Back).unwrap_or_else(|e| panic!("{e}"));
        let results = after[1].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        results.take(bits.len()).collect()
    }
}
