//! What the machine gives to code such as ours: caches, read rates, arithmetic, a barrier.
//!
//! Figures are measured by kernels of our own back end ([`crate::bench::kernel`]), with one thread
//! and with all. Like a benchmark's they are taken in rounds, each figure once in each round, and
//! told as the median and the best of the rounds.

pub mod figures;
pub mod placement;
pub mod system;

use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::codegen::{Backend, host};
use serde::Serialize;

use crate::bench::kernel::ProbeError;
use figures::Figure;
use system::{Cache, System};

/// The machine. As JSON it has these keys in this order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hw {
    /// What the system says of the processor, caches and cores.
    #[serde(flatten)]
    pub system: System,
    /// The processor's features that matter to kernels.
    pub features: String,
    /// The back end that makes the code.
    pub backend: &'static str,
    /// The features that the back end may use, by Cranelift's names.
    pub backend_features: Vec<&'static str>,
    /// What was measured.
    pub figures: Vec<Figure>,
}

impl Hw {
    /// Looks at the machine and measures it, with one thread and with `threads`, reading `memory`
    /// bytes for the rate of memory. `stop` may end it early: the figures are then those of the
    /// rounds so far.
    ///
    /// # Errors
    /// A processor without kernels, too little memory, too few threads.
    pub fn measure(
        threads: usize,
        memory: u64,
        largest: u64,
        stop: &dyn Fn() -> bool,
    ) -> Result<Hw, ProbeError> {
        let clif = Clif::host()?;
        let system = System::read();
        let figures = figures::measure(&clif, &system.caches, threads, memory, largest, stop)?;
        Ok(Hw {
            system,
            features: host::describe(),
            backend: clif.name(),
            backend_features: clif.features(),
            figures,
        })
    }
}

/// Bytes that are read for the rate of memory where nobody says how many: so many that caches hold
/// little of them.
pub fn memory_bytes(caches: &[Cache]) -> u64 {
    let largest = caches.iter().map(|cache| cache.bytes).max().unwrap_or(0);
    crate::bench::probe::READ_BYTES.max(largest.saturating_mul(4))
}
