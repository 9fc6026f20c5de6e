//! Back ends `avx2` and `avx512`: VIR of 8 and 16 lanes to x86-64 vectors of 256 and 512 bits.
//!
//! ```text
//! verified VIR --select--> operations over virtual registers --regalloc2--> registers and moves
//!   --emit, iced-x86--> bytes, constants behind them
//! ```
//!
//! Cranelift stops at 128 bits; here a value is one register of a lane for each row. The order of
//! the list is the order of the code. What selection adds is where values lie: loads that are used
//! once become memory operands, a sum stays in the register of its accumulator, addresses of an
//! inner loop are pointers that are stepped, constants are kept around inner loops where registers
//! are left. Registers are allocated by the allocator that Cranelift itself uses, encodings come
//! from one table ([`forms`]). The code is a leaf function of the kernel ABI without relocations,
//! linked like Cranelift's own.

mod allocate;
mod code;
mod emit;
mod encode;
pub mod forms;
mod layout;
mod select;
mod statistics;

pub use statistics::{Counts, Statistics};

use super::clif::Clif;
use super::host;
use super::target::{Isa, Target};
use super::{Backend, Code, CodegenError, Listing, check_lanes};
use crate::vir::verify::Verified;
use cranelift_codegen::isa::OwnedTargetIsa;
use emit::Emitted;
use forms::Form;
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
use std::fmt::Write as _;

/// A size of vector registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 256 bits, 16 registers: AVX2, FMA and F16C.
    Ymm,
    /// 512 bits, 32 registers, mask registers: AVX-512 F, BW, DQ, VL and VNNI.
    Zmm,
}

impl Width {
    /// Lanes of a value.
    pub const fn lanes(self) -> u32 {
        match self {
            Width::Ymm => 8,
            Width::Zmm => 16,
        }
    }

    /// Vector registers.
    pub const fn registers(self) -> usize {
        match self {
            Width::Ymm => 16,
            Width::Zmm => 32,
        }
    }
}

/// What a processor has beside the least of a width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Features {
    /// `vpdpbusd`.
    dot_products: bool,
}

/// The back end of one width for one processor.
pub struct Wide {
    width: Width,
    features: Features,
    /// Knows the target, and links.
    clif: Clif,
}

impl Wide {
    /// The back end for a target, where its processor has all that the width needs.
    ///
    /// # Errors
    /// A processor without it; the names of what is missing.
    pub fn new(target: &Target, width: Width) -> Result<Self, CodegenError> {
        let clif = Clif::new(target)?;
        let has = features(target, &clif);
        let missing: Vec<&str> =
            needed(width).iter().copied().filter(|name| !has.contains(name)).collect();
        if target.isa() != Isa::X86_64 || !missing.is_empty() {
            let missing =
                if missing.is_empty() { needed(width).join(", ") } else { missing.join(", ") };
            return Err(CodegenError::Feature { backend: name(width), target: *target, missing });
        }
        let dot_products = match width {
            Width::Ymm => has.contains(&"avxvnni"),
            Width::Zmm => true,
        };
        Ok(Wide { width, features: Features { dot_products }, clif })
    }

    /// The back end for this host.
    ///
    /// # Errors
    /// As [`Wide::new`].
    pub fn host(width: Width) -> Result<Self, CodegenError> {
        Wide::new(&Target::host()?, width)
    }

    /// The same without `vpdpbusd` at 256 bits, as on processors that have none.
    #[must_use]
    pub fn without_dot_products(mut self) -> Self {
        self.features.dot_products &= self.width == Width::Zmm;
        self
    }

    /// Whether dot products of bytes are one instruction.
    pub const fn has_dot_products(&self) -> bool {
        self.features.dot_products
    }

    /// What the code of a kernel costs in moves, and the forms that it is made of.
    ///
    /// # Errors
    /// As [`Backend::emit`].
    pub fn analysis(&self, kernel: &Verified) -> Result<(Statistics, Vec<Form>), CodegenError> {
        let emitted = self.emitted(kernel)?;
        Ok((emitted.statistics, emitted.forms))
    }

    fn emitted(&self, kernel: &Verified) -> Result<Emitted, CodegenError> {
        check_lanes(self, kernel)?;
        let failed = |message| CodegenError::Backend { kernel: kernel.name.clone(), message };
        let code = select::select(kernel, self.width, self.features);
        let output = allocate::allocate(&code, self.width)
            .map_err(|error| failed(format!("no registers: {error:?}")))?;
        emit::emit(&code, &output, self.width).map_err(failed)
    }
}

/// The name of a width's back end.
const fn name(width: Width) -> &'static str {
    match width {
        Width::Ymm => "avx2",
        Width::Zmm => "avx512",
    }
}

/// What a width needs, by the names of `/proc/cpuinfo` without underscores.
const fn needed(width: Width) -> &'static [&'static str] {
    match width {
        Width::Ymm => &["avx2", "fma", "f16c"],
        Width::Zmm => {
            &["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"]
        }
    }
}

/// What the processor of a target has: of this machine what CPU and operating system say, of a
/// named one what its level implies.
fn features(target: &Target, clif: &Clif) -> Vec<&'static str> {
    if target.is_native() {
        return host::present();
    }
    let known = clif.features();
    let mut features = Vec::new();
    for (flag, implied) in [
        // Every processor with AVX2 has F16C, every one with AVX-512 DQ and VL has BW.
        ("has_avx2", &["avx2", "f16c"][..]),
        ("has_fma", &["fma"]),
        ("has_avx_vnni", &["avxvnni"]),
        ("has_avx512f", &["avx512f"]),
        ("has_avx512dq", &["avx512dq", "avx512bw"]),
        ("has_avx512vl", &["avx512vl"]),
        ("has_avx512vnni", &["avx512vnni"]),
    ] {
        if known.contains(&flag) {
            features.extend(implied);
        }
    }
    features
}

impl Backend for Wide {
    fn name(&self) -> &'static str {
        name(self.width)
    }

    fn lanes(&self) -> u32 {
        self.width.lanes()
    }

    fn target(&self) -> &Target {
        self.clif.target()
    }

    fn isa(&self) -> &OwnedTargetIsa {
        self.clif.isa()
    }

    fn emit(&self, kernel: &Verified) -> Result<Code, CodegenError> {
        let emitted = self.emitted(kernel)?;
        Ok(Code { name: kernel.name.clone(), bytes: emitted.bytes, alignment: 64 })
    }

    fn listing(&self, kernel: &Verified) -> Result<Listing, CodegenError> {
        let emitted = self.emitted(kernel)?;
        let mut asm = String::new();
        // Writing to a string cannot fail.
        for (depth, counts) in emitted.statistics.depths.iter().enumerate() {
            let _ = writeln!(asm, "  ; in {depth} loops: {counts}");
        }
        let _ = writeln!(asm, "  ; in inner loops: {}", emitted.statistics.inner);
        asm.push_str(&disassembled(&emitted.bytes[..emitted.code_bytes]));
        Ok(Listing { ir: kernel.to_string(), asm })
    }
}

/// Instructions as text, a line each, with their places.
fn disassembled(bytes: &[u8]) -> String {
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut formatter = GasFormatter::new();
    let mut text = String::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let mut line = String::new();
        formatter.format(&instruction, &mut line);
        let _ = writeln!(text, "  {:5x}: {line}", instruction.ip());
    }
    text
}
