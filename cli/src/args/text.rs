//! The verbs that put text through a model, and those that look into one.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

use super::compile::TargetArgs;
use super::model::{ModelArgs, SourceArgs, seed};
use super::output::OutputArgs;

/// The text that a verb reads: exactly one of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TextArgs {
    /// The text itself
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,

    /// A file that holds the text (UTF-8), or - for stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Continue a text
///
/// Writes the model's continuation of a prompt to stdout while it is generated, and a line with
/// counts and speed to stderr. A catalog model that is not in the cache yet is fetched first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deepthin run smollm2-135m -p \"The capital of France is\" -n 32 --temp 0
  deepthin run smollm2-135m --chat -p \"What is a prime number?\"
  deepthin run model.gguf -f prompt.txt --temp 0.7 --top-p 0.9 --seed 7 --stop END
  deepthin run examples/mobilellm-125m.thin --random 1 -p abc -n 8")]
pub(crate) struct RunArgs {
    /// Which model, and how.
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// What to continue.
    #[command(flatten)]
    pub(crate) text: TextArgs,

    /// Most tokens to generate; the end-of-text token ends earlier
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tokens: u32,

    /// End the text before TEXT, wherever the model writes it; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true,
          value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,

    /// In the model's own chat format.
    #[command(flatten)]
    pub(crate) chat: ChatArgs,

    /// Print the prompt before its continuation
    #[arg(long, conflicts_with = "chat")]
    pub(crate) echo: bool,

    /// Read names of control tokens in the prompt, such as <|im_start|>, as those tokens
    #[arg(long, conflicts_with = "chat")]
    pub(crate) special: bool,

    /// Print control characters as they are, even on a terminal, which obeys them
    #[arg(long)]
    pub(crate) raw: bool,

    /// How tokens are drawn.
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

/// Whether a text is said in a chat.
#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// Put the text into the model's chat format as what the user says; names of control tokens
    /// in it are plain text
    #[arg(long)]
    pub(crate) chat: bool,

    /// With --chat: how the model is to behave
    #[arg(long, value_name = "TEXT", requires = "chat", allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
}

/// How the next token is drawn from the model's distribution.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Temperature: below 1 favors likely tokens, 0 always takes the likeliest
    #[arg(long, value_name = "T", default_value_t = 0.8,
          allow_negative_numbers = true, value_parser = temperature)]
    pub(crate) temp: f32,

    /// Draw from the K likeliest tokens only; 0 draws from all
    #[arg(long, value_name = "K", default_value_t = 40, allow_negative_numbers = true)]
    pub(crate) top_k: u32,

    /// Draw from the likeliest tokens that together have probability P; 1 draws from all
    #[arg(long, value_name = "P", default_value_t = 0.95,
          allow_negative_numbers = true, value_parser = top_p)]
    pub(crate) top_p: f32,

    /// Leave out tokens that are less than P times as probable as the likeliest; 0 leaves out none
    #[arg(long, value_name = "P", default_value_t = 0.0,
          allow_negative_numbers = true, value_parser = min_p)]
    pub(crate) min_p: f32,

    /// Make tokens that already occurred less likely by the factor R; 1 treats all alike
    #[arg(long, value_name = "R", default_value_t = 1.0,
          allow_negative_numbers = true, value_parser = repeat_penalty)]
    pub(crate) repeat_penalty: f32,

    /// Seed of the random draws; the same seed draws the same text
    #[arg(long, value_name = "S", default_value_t = 0,
          allow_negative_numbers = true, value_parser = seed)]
    pub(crate) seed: u64,
}

/// Print the distribution of the next token
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  deepthin logits smollm2-135m -p \"Water boils at\" --top 5")]
pub(crate) struct LogitsArgs {
    /// Which model, and how.
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// What comes before the token.
    #[command(flatten)]
    pub(crate) text: TextArgs,

    /// How many of the likeliest tokens to print
    #[arg(long, value_name = "K", default_value_t = 10,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: u32,

    /// Print a distribution after every token of the text, not only after the last
    #[arg(long)]
    pub(crate) all: bool,

    /// Read names of control tokens in the text, such as <|im_start|>, as those tokens
    #[arg(long)]
    pub(crate) special: bool,

    /// How the distribution is printed.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Measure how well a model predicts a text
///
/// The text's tokens are cut into chunks of the context length (-c, default 512, or the model's own
/// context where that is shorter). In each chunk the
/// second half is scored, with all tokens before it in the chunk as context.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  deepthin perplexity smollm2-135m -f text.txt -c 512
  deepthin perplexity smollm2-q4.packed.gguf -f text.txt --against smollm2-135m")]
pub(crate) struct PerplexityArgs {
    /// Which model, and how.
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// The text (UTF-8), at least one chunk long, or - for stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Another model with the same vocabulary: also measure how far the distributions are from its
    /// (Kullback-Leibler divergence). It runs with f32 activations and an f32 KV cache
    #[arg(long, value_name = "MODEL")]
    pub(crate) against: Option<String>,

    /// How the perplexity is printed.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Print the token ids of a text
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  deepthin tokenize smollm2-135m -p \"Once upon a time\"")]
pub(crate) struct TokenizeArgs {
    /// Whose tokenizer.
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// What to cut into tokens.
    #[command(flatten)]
    pub(crate) text: TextArgs,

    /// In the model's own chat format.
    #[command(flatten)]
    pub(crate) chat: ChatArgs,

    /// Read names of control tokens in the text, such as <|im_start|>, as those tokens
    #[arg(long, conflicts_with = "chat")]
    pub(crate) special: bool,

    /// How the ids are printed.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Print what a model needs: parameters, bytes, operations per token, kernels
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  deepthin info examples/mobilellm-ls-125m.thin -c 2048")]
pub(crate) struct InfoArgs {
    /// Which model, and how.
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// How the figures are printed.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Print a model as it is at one stage of compilation
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deepthin dump examples/mobilellm-125m.thin --stage fused
  deepthin dump smollm2-135m --stage asm --kernel attention
  deepthin dump smollm2-135m --stage asm --target aarch64-unknown-linux-gnu")]
pub(crate) struct DumpArgs {
    /// Which model, and how.
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Stage to print
    #[arg(long, value_name = "STAGE")]
    pub(crate) stage: Stage,

    /// Print only the kernels whose name contains NAME (stages vir, clif and asm)
    #[arg(long, value_name = "NAME")]
    pub(crate) kernel: Option<String>,

    /// For which machine (stages clif and asm).
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// The stages of compilation, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// The description as written
    Ast,
    /// The description with every number resolved
    Model,
    /// The graph of plain operations
    Fir,
    /// The graph after fusion
    Fused,
    /// Kernels, buffers and steps
    Plan,
    /// The kernels in vector instructions
    Vir,
    /// The kernels as Cranelift receives them
    Clif,
    /// The kernels in machine code
    Asm,
}

fn temperature(text: &str) -> Result<f32, String> {
    number_in(text, 0.0..=100.0)
}

fn top_p(text: &str) -> Result<f32, String> {
    number_in(text, f32::MIN_POSITIVE..=1.0)
        .map_err(|_| "expected a number above 0, up to 1".into())
}

fn min_p(text: &str) -> Result<f32, String> {
    number_in(text, 0.0..=1.0)
}

fn repeat_penalty(text: &str) -> Result<f32, String> {
    number_in(text, 0.01..=100.0)
}

/// A finite number of the range; NaN is in no range.
fn number_in(text: &str, range: RangeInclusive<f32>) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
}
