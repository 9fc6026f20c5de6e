//! Which back end emits the code for a processor: the one that is named, or the widest.

use super::clif::Clif;
use super::target::Target;
use super::x64wide::{Wide, Width};
use super::{Backend, CodegenError};

/// A back end, by the width of its vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vectors {
    /// 128 bits, through Cranelift, on every processor.
    Clif128,
    /// 256 bits of x86-64.
    Avx2,
    /// 512 bits of x86-64.
    Avx512,
}

impl Vectors {
    /// Every back end, the narrowest first.
    pub const ALL: [Vectors; 3] = [Vectors::Clif128, Vectors::Avx2, Vectors::Avx512];

    /// Its name, as `--isa` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Vectors::Clif128 => "clif128",
            Vectors::Avx2 => "avx2",
            Vectors::Avx512 => "avx512",
        }
    }

    /// The back end of this width for a target.
    ///
    /// # Errors
    /// [`CodegenError::Feature`] where the target's processor lacks instructions.
    pub fn backend(self, target: &Target) -> Result<Box<dyn Backend>, CodegenError> {
        Ok(match self {
            Vectors::Clif128 => Box::new(Clif::new(target)?),
            Vectors::Avx2 => Box::new(Wide::new(target, Width::Ymm)?),
            Vectors::Avx512 => Box::new(Wide::new(target, Width::Zmm)?),
        })
    }

    /// The widest back end that a target's processor has all instructions for; of this machine
    /// those that the operating system supports, too.
    ///
    /// # Errors
    /// As [`Clif::new`].
    pub fn widest(target: &Target) -> Result<Box<dyn Backend>, CodegenError> {
        for vectors in Vectors::ALL.into_iter().rev() {
            match vectors.backend(target) {
                Err(CodegenError::Feature { .. }) => {}
                backend => return backend,
            }
        }
        unreachable!("`clif128` needs no features")
    }

    /// The back end for this machine: the one of a width, or the widest.
    ///
    /// # Errors
    /// A machine that kernels cannot run on, or not at this width.
    pub fn for_host(vectors: Option<Vectors>) -> Result<Box<dyn Backend>, CodegenError> {
        let target = Target::host()?;
        match vectors {
            Some(vectors) => vectors.backend(&target),
            None => Vectors::widest(&target),
        }
    }
}
