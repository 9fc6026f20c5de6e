//! Machines that kernels are emitted for: a triple, and the features of a processor.
//!
//! Names are those of other tools: a triple as Rust and Clang write it, a processor as `-march`
//! of GCC and Clang takes it. The least processor of each instruction set has fused
//! multiply-add in hardware, because the kernels' arithmetic is exact only with it.

use super::host;
use std::fmt;
use thiserror::Error;

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

/// A processor, by the features that code generation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// Name, as `--cpu` takes it.
    pub name: &'static str,
    /// What has it, for people.
    pub about: &'static str,
    /// Lists of features by Cranelift's names; `None` for all that this machine has.
    features: Option<&'static [&'static [&'static str]]>,
}

/// The processor at hand, with every feature that it is found to have.
const NATIVE: Cpu = Cpu { name: "native", about: "the processor of this machine", features: None };

/// What Cranelift uses of level v3 of x86-64.
const X86_64_V3: &[&str] = &[
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_cmpxchg16b",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_fma",
    "has_bmi1",
    "has_bmi2",
    "has_lzcnt",
];
/// What level v4 adds to it.
const X86_64_V4: &[&str] = &["has_avx512f", "has_avx512dq", "has_avx512vl"];
/// 8-bit dot products as AVX2 processors have them, and as AVX-512 processors have them.
const AVX_VNNI: &[&str] = &["has_avx_vnni"];
const AVX512_VNNI: &[&str] = &["has_avx512vnni"];
/// What Cranelift uses of Armv8.2-A with dot products.
const DOTPROD: &[&str] = &["has_lse", "has_dotprod"];

/// Processors of x86-64, the default first.
const X86_64: [Cpu; 5] = [
    Cpu {
        name: "x86-64-v3",
        about: "AVX2 and FMA: Intel since 2013, AMD since 2015",
        features: Some(&[X86_64_V3]),
    },
    Cpu {
        name: "x86-64-v4",
        about: "AVX-512 F, BW, CD, DQ and VL, without the VNNI that 512 bits take: Intel servers \
                since 2017, AMD since 2022",
        features: Some(&[X86_64_V3, X86_64_V4]),
    },
    Cpu {
        name: "alderlake",
        about: "AVX2 with 8-bit dot products: Intel since 2021, AMD since 2024",
        features: Some(&[X86_64_V3, AVX_VNNI]),
    },
    Cpu {
        name: "cascadelake",
        about: "AVX-512 with 8-bit dot products: Intel servers since 2019, AMD since 2022",
        features: Some(&[X86_64_V3, X86_64_V4, AVX512_VNNI]),
    },
    NATIVE,
];

/// Processors of aarch64, the default first.
const AARCH64: [Cpu; 4] = [
    Cpu { name: "armv8-a", about: "every 64-bit Arm processor", features: Some(&[]) },
    Cpu {
        name: "armv8.2-a+dotprod",
        about: "8-bit dot products: Cortex-A76, Neoverse N1, Apple M1",
        features: Some(&[DOTPROD]),
    },
    Cpu {
        name: "armv8.6-a+i8mm",
        about: "8-bit dot products of mixed sign: Cortex-A710, Neoverse V1, Apple M2",
        features: Some(&[DOTPROD, &["has_i8mm"]]),
    },
    NATIVE,
];

impl Isa {
    /// Every instruction set.
    pub const ALL: [Isa; 2] = [Isa::X86_64, Isa::Aarch64];

    /// That of this machine, if there is code for it.
    pub const fn host() -> Option<Isa> {
        if cfg!(target_arch = "x86_64") {
            Some(Isa::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Isa::Aarch64)
        } else {
            None
        }
    }

    /// The triple whose objects have this instruction set.
    pub const fn triple(self) -> &'static str {
        match self {
            Isa::X86_64 => "x86_64-unknown-linux-gnu",
            Isa::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The processors to choose among, the default first.
    pub const fn cpus(self) -> &'static [Cpu] {
        match self {
            Isa::X86_64 => &X86_64,
            Isa::Aarch64 => &AARCH64,
        }
    }
}

impl Cpu {
    /// Features by Cranelift's names; `None` for all that this machine has.
    pub(super) fn features(&self) -> Option<impl Iterator<Item = &'static str>> {
        self.features.map(|lists| lists.iter().flat_map(|list| list.iter().copied()))
    }
}

/// A machine that kernels are emitted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    isa: Isa,
    cpu: Cpu,
}

/// A target that does not exist. The lists and guesses are for the user.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// No such triple.
    #[error("unknown target `{found}`, expected {}", list(known))]
    Triple {
        /// The triple asked for.
        found: String,
        /// The triples that there are.
        known: Vec<&'static str>,
    },
    /// No such processor of the instruction set.
    #[error("unknown processor `{found}` of {triple}, expected {}", list(known))]
    Cpu {
        /// The processor asked for.
        found: String,
        /// The target's triple.
        triple: &'static str,
        /// The processors that there are.
        known: Vec<&'static str>,
    },
    /// The features of this machine do not describe a machine of another instruction set.
    #[error("`native` is the processor of this machine, which is no {triple}")]
    Native {
        /// The target's triple.
        triple: &'static str,
    },
    /// No target was named, and this machine is none.
    #[error("there is no code for this machine ({machine}): name a target")]
    Host {
        /// The machine.
        machine: &'static str,
    },
}

impl TargetError {
    /// The name that was meant, where one is near.
    pub fn meant(&self) -> Option<&'static str> {
        match self {
            // Triples are alike in all but the machine, so that one has to be near by itself.
            TargetError::Triple { found, known } => {
                let near = deepthin_dsl::nearest_name(found, known);
                let machine = known.iter().copied().find(|known| machine_of(known) == found);
                let is_near = |meant: &&str| {
                    deepthin_dsl::nearest_name(machine_of(found), &[machine_of(meant)]).is_some()
                };
                machine.or(near.filter(is_near))
            }
            TargetError::Cpu { found, known, .. } => deepthin_dsl::nearest_name(found, known),
            TargetError::Native { .. } | TargetError::Host { .. } => None,
        }
    }
}

/// The machine that a triple begins with.
fn machine_of(triple: &str) -> &str {
    triple.split('-').next().unwrap_or(triple)
}

impl Target {
    /// The target with these names: without a triple this machine's, without a processor the
    /// least of the instruction set.
    ///
    /// # Errors
    /// Names that are unknown; `native` for another machine than this.
    pub fn named(triple: Option<&str>, cpu: Option<&str>) -> Result<Target, TargetError> {
        let isa = match triple {
            None => Isa::host().ok_or(TargetError::Host { machine: std::env::consts::ARCH })?,
            Some(found) => {
                Isa::ALL.into_iter().find(|isa| isa.triple() == found).ok_or_else(|| {
                    let known = Isa::ALL.map(Isa::triple).to_vec();
                    TargetError::Triple { found: found.to_owned(), known }
                })?
            }
        };
        Target::of(isa, cpu)
    }

    /// The target of an instruction set, with a processor or the least.
    ///
    /// # Errors
    /// As [`Target::named`].
    pub fn of(isa: Isa, cpu: Option<&str>) -> Result<Target, TargetError> {
        let (least, triple) = (isa.cpus()[0], isa.triple());
        let Some(found) = cpu else { return Ok(Target { isa, cpu: least }) };
        let Some(cpu) = isa.cpus().iter().find(|cpu| cpu.name == found) else {
            let known = isa.cpus().iter().map(|cpu| cpu.name).collect();
            return Err(TargetError::Cpu { found: found.to_owned(), triple, known });
        };
        if *cpu == NATIVE && Isa::host() != Some(isa) {
            return Err(TargetError::Native { triple });
        }
        Ok(Target { isa, cpu: *cpu })
    }

    /// This machine, with every feature that it has.
    ///
    /// # Errors
    /// A machine that there is no code for, or one without fused multiply-add.
    pub fn host() -> Result<Target, super::CodegenError> {
        host::require()?;
        match Isa::host() {
            Some(isa) => Ok(Target { isa, cpu: NATIVE }),
            None => unreachable!("`host::require` refuses machines without an instruction set"),
        }
    }

    /// Its instruction set.
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// Its processor.
    pub const fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// Whether it is this machine with all that it has.
    pub fn is_native(&self) -> bool {
        self.cpu == NATIVE
    }

    /// Its triple.
    pub const fn triple(&self) -> &'static str {
        self.isa.triple()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.triple(), self.cpu.name)
    }
}

/// `a, b or c`.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
