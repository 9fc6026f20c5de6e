//! The options that say which model a verb works on, and how it is to run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use deepthin::catalog;
use deepthin::engine::{self, RunOptions};
use deepthin::source::WeightChoice;
use deepthin_dsl::model as dsl;

/// A model and its weights.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// A catalog name (smollm2-135m), a GGUF file, or a description: FILE.thin, or FILE.thin:NAME
    /// where the file holds several models
    pub(crate) model: String,

    /// GGUF file, or catalog name, with the weights of a description, or in place of those of a
    /// catalog model
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,

    /// Draw the weights of a description at random; the same seed draws the same weights. Without
    /// a tokenizer the bytes of a prompt are its token ids
    #[arg(long, value_name = "SEED", conflicts_with = "weights",
          allow_negative_numbers = true, value_parser = seed)]
    pub(crate) random: Option<u64>,
}

impl SourceArgs {
    /// Which weights are asked for.
    pub(crate) fn weights(&self) -> WeightChoice {
        match (&self.weights, self.random) {
            (Some(file), _) => match file.to_str().and_then(catalog::find) {
                Some(model) => WeightChoice::Catalog(model),
                None => WeightChoice::File(file.clone()),
            },
            (None, Some(seed)) => WeightChoice::Random(seed),
            (None, None) => WeightChoice::Own,
        }
    }
}

/// A model and how it is to run.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// Which model.
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Number of threads [default: the processor cores that this process may use]
    #[arg(short, long, value_name = "N", help_heading = RUNNING,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Pin each thread but the first to a processor core of its own, cores that share a cache first
    #[arg(long, help_heading = RUNNING)]
    pub(crate) pin: bool,

    /// Number of token positions to make room for [default: the model's own context]
    #[arg(short, long, value_name = "N", help_heading = RUNNING,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub(crate) context: Option<u32>,

    /// Number format of activations, in place of the description's [default: q8 where weights are
    /// stored as integer codes]
    #[arg(long, value_name = "FORMAT", help_heading = RUNNING)]
    pub(crate) activations: Option<Activations>,

    /// Number format of the KV cache, in place of the description's
    #[arg(long, value_name = "FORMAT", help_heading = RUNNING)]
    pub(crate) kv: Option<KvFormat>,

    /// Instruction set to compile for [default: the best that this processor has]
    #[arg(long, value_name = "ISA", help_heading = RUNNING)]
    pub(crate) isa: Option<Isa>,
}

impl ModelArgs {
    /// How the model is to run.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            context: self.context,
            threads: self.threads.map(usize::from),
            activations: self.activations.map(Activations::of_model),
            kv: self.kv.map(KvFormat::of_model),
            isa: self.isa.map(Isa::of_engine),
            pin: self.pin,
        }
    }
}

/// The seed of random draws.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// Heading of the options of [`ModelArgs`] in help texts.
const RUNNING: &str = "How to run";

/// Number formats of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Activations {
    /// 32-bit floats
    F32,
    /// 8-bit integers with a scale for each group, where weights are integers too
    Q8,
}

/// Number formats of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KvFormat {
    /// 32-bit floats
    F32,
    /// 16-bit floats
    F16,
    /// 8-bit integers with a scale for each group of at most 32
    Q8,
}

/// Instruction sets, by the back end that emits them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isa {
    /// 128-bit vectors, through Cranelift
    Clif128,
    /// 256-bit vectors of x86-64
    Avx2,
    /// 512-bit vectors of x86-64
    Avx512,
}

impl Activations {
    /// As descriptions have it.
    pub(crate) fn of_model(self) -> dsl::Activations {
        match self {
            Activations::F32 => dsl::Activations::F32,
            Activations::Q8 => dsl::Activations::Q8 { group: None },
        }
    }
}

impl KvFormat {
    /// As descriptions have it.
    pub(crate) fn of_model(self) -> dsl::KvStorage {
        match self {
            KvFormat::F32 => dsl::KvStorage::F32,
            KvFormat::F16 => dsl::KvStorage::F16,
            KvFormat::Q8 => dsl::KvStorage::Q8,
        }
    }
}

impl Isa {
    /// As engines have it.
    pub(crate) fn of_engine(self) -> engine::Isa {
        match self {
            Isa::Clif128 => engine::Isa::Clif128,
            Isa::Avx2 => engine::Isa::Avx2,
            Isa::Avx512 => engine::Isa::Avx512,
        }
    }
}
