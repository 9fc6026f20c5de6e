//! The verb that proves kernels.

use std::path::PathBuf;

use clap::Args;
use deepthin_runtime::shown::Shown;

use super::model::{KvFormat, SourceArgs, seed};
use super::output::OutputArgs;

/// Prove this machine's kernels against the interpreter that defines them
///
/// Runs each kernel of a model as machine code and on the interpreter, on drawn inputs between guard
/// pages, and compares every bit; with weights also the logits of whole sequences, on several
/// numbers of threads and cut in several ways. The last column tells how far results are from exact
/// arithmetic, as a share of the bound that specs/numerics.md derives. Ends with code 1 where
/// anything differs, after it has written a small case that shows it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deepthin verify smollm2-135m
  deepthin verify model.thin --cases 1000 --seed 7
  deepthin verify --random-models 100
  deepthin verify kernel.vir")]
pub(crate) struct VerifyArgs {
    /// A catalog name, a GGUF file, a description (FILE.thin or FILE.thin:NAME), or one kernel with or
    /// without its inputs (FILE.vir)
    #[arg(required_unless_present = "random_models")]
    pub(crate) model: Option<String>,

    /// GGUF file with the weights of a description; half of the inputs take theirs
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    /// Draw the weights of a description at random
    #[arg(long, value_name = "SEED", conflicts_with = "weights",
          allow_negative_numbers = true, value_parser = seed)]
    random: Option<u64>,

    /// Verify N generated models in place of one
    #[arg(long, value_name = "N", conflicts_with_all = ["model", "weights", "random"],
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) random_models: Option<u32>,

    /// Inputs of each kernel [default: 64, with --random-models 16]
    #[arg(long, value_name = "N",
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) cases: Option<u32>,

    /// What inputs and models are drawn from; the same seed draws the same
    #[arg(long, value_name = "S", default_value_t = 0,
          allow_negative_numbers = true, value_parser = seed)]
    pub(crate) seed: u64,

    /// Number of threads that verify [default: the processor cores that this process may use]
    #[arg(short, long, value_name = "N",
          allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Number of token positions that caches have room for [default: the model's own context]
    #[arg(short, long, value_name = "N",
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub(crate) context: Option<u32>,

    /// Number format of the KV cache, in place of the description's
    #[arg(long, value_name = "FORMAT", conflicts_with = "random_models")]
    pub(crate) kv: Option<KvFormat>,

    /// Directory for the files of a case that differs; it is made where there is none
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) save: PathBuf,

    /// In which form.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl VerifyArgs {
    /// The model and its weights.
    pub(crate) fn source(&self, model: &str) -> SourceArgs {
        let (weights, random) = (self.weights.clone(), self.random);
        SourceArgs { model: model.to_owned(), weights, random }
    }

    /// The words that name the model, its weights, its context and its cache again.
    pub(crate) fn model_words(&self) -> String {
        let mut words = self.model.clone().unwrap_or_default();
        if let Some(weights) = &self.weights {
            words += &format!(" --weights {}", Shown(weights));
        }
        if let Some(seed) = self.random {
            words += &format!(" --random {seed}");
        }
        if let Some(context) = self.context {
            words += &format!(" -c {context}");
        }
        if let Some(kv) = self.kv {
            words += &format!(" --kv {}", kv.of_model());
        }
        words
    }
}
