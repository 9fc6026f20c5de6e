//! The options of `quantize`.

use std::path::PathBuf;

use clap::Args;
use deepthin::quantize;
use deepthin_compiler::format::Format;

use super::model::SourceArgs;

/// Store a model's weights in fewer bits, as a packed file
///
/// The scale of each group of weights is searched for the least squared error. The file holds the
/// weights in the layout that kernels read, and all else that the source file says; run it by its
/// path. It is there whole or not at all.
#[derive(Debug, Args)]
#[command(after_help = "\
Formats are q4, q6 or q8 with a group: g32, g64, g96, g192 or row, and m where each group has a
minimum beside its scale; and q8_0, q4_0, q4_1, f16, bf16, f32.

Examples:
  deepthin quantize smollm2-135m -o smollm2-q4.packed.gguf
  deepthin quantize model.gguf --blocks q4g64 --embeddings q8g64 -o model-q4.packed.gguf
  deepthin quantize my.thin --weights model.gguf -o my.packed.gguf
  deepthin quantize smollm2-135m --calibrate text.txt -o smollm2-q4.packed.gguf")]
pub(crate) struct QuantizeArgs {
    /// Which model.
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Where to write the packed file, none of those that are read
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Storage of the blocks' matrices [default: the description's, or q4g32m for a file]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub(crate) blocks: Option<Format>,

    /// Storage of the embedding table and the head [default: the description's, or q6g64 for a
    /// file, q6g32 where groups of 64 do not divide its rows]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub(crate) embeddings: Option<Format>,

    /// A text (UTF-8), or - for stdin: errors count by how large the activations are that its first
    /// 8192 tokens make in each column. Takes the weights of a GGUF file
    #[arg(long, value_name = "FILE")]
    pub(crate) calibrate: Option<PathBuf>,

    /// Number of threads [default: the processor cores that this process may use]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Print what became of each tensor as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A storage format by its name.
fn format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|_| {
        let names: Vec<String> = Format::ALL.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match deepthin_dsl::nearest_name(text, &names) {
            Some(near) => format!("expected a storage format; did you mean `{near}`?"),
            None => format!(
                "expected a storage format such as {} or {}",
                quantize::BLOCKS,
                quantize::EMBEDDINGS
            ),
        }
    })
}
