//! The verbs that measure: models, and the machine.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args};
use deepthin::bench::probe::READ_BYTES;
use deepthin::bench::test::Test;
use deepthin::engine::RunOptions;

use super::model::{Activations, Isa, KvFormat, ModelArgs, SourceArgs, seed};
use super::output::OutputArgs;

/// Heading of the options that make variants, and of those about peers, in help texts.
const VARIANTS: &str = "Variants, compared in the same rounds";
const PEERS: &str = "Other engines, compared in the same rounds";

/// Time prompt processing and generation
///
/// Prints a row for each test: ppN processes a prompt of N tokens, tgN generates N tokens. Token ids
/// are drawn; tokenization and sampling are left out, and a repetition that is not counted warms up.
/// Several models, and lists of settings, are variants: each round runs every one of them once, and
/// ratios are those within a round. Each round first measures how long a barrier takes and how fast
/// memory is read, for machines change both within seconds. Compare only figures of one run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deepthin bench smollm2-135m
  deepthin bench model.gguf -p 0 -n 64,256 -d 0,1024 -r 10 -o jsonl
  deepthin bench q4_0.gguf q8_0.gguf -t 1,2
  deepthin bench wide.thin deep.thin --random 1 -p 128 -n 32
  deepthin bench model.gguf -t 2 --peers bench_peers.py --peer-names ik,llamacpp

Columns:
  ratio        tokens a second, as a multiple of those of the first variant
  ours/peer    ours as a multiple of the peer's
  regime       a barrier crossing of the threads, and the rate of a linear read
  share        bytes that a token reads times tokens a second, of the read rate")]
pub(crate) struct BenchArgs {
    /// Models: catalog names, GGUF files, or descriptions (FILE.thin or FILE.thin:NAME)
    #[arg(required = true, value_name = "MODEL")]
    pub(crate) models: Vec<String>,

    /// GGUF file, or catalog name, with the weights of a description
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    /// Draw the weights of descriptions at random
    #[arg(long, value_name = "SEED", conflicts_with = "weights",
          allow_negative_numbers = true, value_parser = seed)]
    random: Option<u64>,

    /// Prompt lengths, in tokens; 0 for no such test
    #[arg(short, long, alias = "n-prompt", value_name = "N,..",
          default_value = "512", value_delimiter = ',', allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    prompts: Vec<u32>,

    /// Numbers of tokens to generate; 0 for no such test
    #[arg(short = 'n', long, alias = "n-gen", value_name = "N,..",
          default_value = "128", value_delimiter = ',', allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    generations: Vec<u32>,

    /// Also time a prompt of P tokens together with N tokens generated after it; may be given
    /// several times, and is written -pg too
    #[arg(long = "pg", value_name = "P,N", action = ArgAction::Append, value_parser = pair)]
    pairs: Vec<(u32, u32)>,

    /// Tokens in the KV cache before the clock starts
    #[arg(short, long, alias = "n-depth", value_name = "N,..",
          default_value = "0", value_delimiter = ',', allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    depths: Vec<u32>,

    /// Rounds: repetitions of each test
    #[arg(short, long, value_name = "N", default_value_t = 5,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) repetitions: u32,

    /// Number of token positions to make room for [default: as many as the tests take]
    #[arg(short, long, value_name = "N",
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    context: Option<u32>,

    /// MiB that each round reads to measure the read rate; 0 leaves that out
    #[arg(long, value_name = "MIB", default_value_t = READ_BYTES >> 20,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(..=1 << 16))]
    pub(crate) probe: u64,

    /// What is compared.
    #[command(flatten)]
    pub(crate) variants: VariantArgs,

    /// With whom.
    #[command(flatten)]
    pub(crate) peers: PeerArgs,

    /// How the times are printed; for people as tables in Markdown.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Lists of settings: each combination is a variant.
#[derive(Debug, Args)]
pub(crate) struct VariantArgs {
    /// Numbers of threads [default: the processor cores that this process may use]
    #[arg(short, long, value_name = "N,..", help_heading = VARIANTS, value_delimiter = ',',
          allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,

    /// Pin each thread but the first to a processor core of its own, cores that share a cache first
    #[arg(long, help_heading = VARIANTS)]
    pub(crate) pin: bool,

    /// Number formats of activations, in place of the description's
    #[arg(long, value_name = "FORMAT,..", help_heading = VARIANTS, value_delimiter = ',')]
    pub(crate) activations: Vec<Activations>,

    /// Number formats of the KV cache, in place of the description's
    #[arg(long, value_name = "FORMAT,..", help_heading = VARIANTS, value_delimiter = ',')]
    pub(crate) kv: Vec<KvFormat>,

    /// Instruction sets to compile for [default: the best that this processor has]
    #[arg(long, value_name = "ISA,..", help_heading = VARIANTS, value_delimiter = ',')]
    pub(crate) isa: Vec<Isa>,
}

/// A script that measures other engines.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// Python script that measures other engines on the same GGUF file. It is called with the file,
    /// --peers NAME, -t, -p, -n, -d and --reps 1, and prints a JSON object with peer, version,
    /// threads, pp, pp_tps, tg and tg_tps
    #[arg(long, value_name = "SCRIPT", help_heading = PEERS)]
    pub(crate) peers: Option<PathBuf>,

    /// Which engines of the script [default: its own choice]
    #[arg(long, value_name = "NAME,..", help_heading = PEERS, value_delimiter = ',',
          requires = "peers", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) peer_names: Vec<String>,

    /// Python interpreter for the script
    #[arg(long, value_name = "PATH", help_heading = PEERS, requires = "peers",
          default_value = "python3")]
    pub(crate) python: PathBuf,

    /// Seconds that one call of the script may take
    #[arg(long, value_name = "SECONDS", help_heading = PEERS, requires = "peers",
          default_value_t = 300, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) peer_limit: u32,
}

impl BenchArgs {
    /// One of the models and its weights.
    pub(crate) fn source(&self, model: &str) -> SourceArgs {
        let (weights, random) = (self.weights.clone(), self.random);
        SourceArgs { model: model.to_owned(), weights, random }
    }

    /// The tests, in llama-bench's order: for each depth prompts, generations, both together.
    pub(crate) fn tests(&self) -> Vec<Test> {
        let prompts = self.prompts.iter().map(|prompt| (*prompt, 0));
        let generations = self.generations.iter().map(|generate| (0, *generate));
        let sizes: Vec<(u32, u32)> =
            prompts.chain(generations).chain(self.pairs.iter().copied()).collect();
        let tests = self.depths.iter().flat_map(|&depth| {
            sizes.iter().map(move |&(prompt, generate)| Test { prompt, generate, depth })
        });
        tests.filter(|test| test.tokens() > 0).collect()
    }

    /// How the models are to run, for each combination of formats.
    pub(crate) fn options(&self) -> Vec<RunOptions> {
        let VariantArgs { activations, kv, isa, .. } = &self.variants;
        let needed = self.tests().into_iter().map(Test::positions).max();
        let context = self.context.or(needed);
        let base = RunOptions { context, pin: self.variants.pin, ..RunOptions::default() };
        let mut options = vec![base];
        options = each(&options, activations, |options, choice| RunOptions {
            activations: Some(choice.of_model()),
            ..options
        });
        options = each(&options, kv, |options, choice| RunOptions {
            kv: Some(choice.of_model()),
            ..options
        });
        each(&options, isa, |options, choice| RunOptions {
            isa: Some(choice.of_engine()),
            ..options
        })
    }

    /// The first value that a list has twice, with its flag; such rows could not be told apart.
    pub(crate) fn twice(&self) -> Option<(&'static str, String)> {
        let VariantArgs { threads, activations, kv, isa, pin: _ } = &self.variants;
        let lists = [
            ("MODEL", texts(&self.models, Clone::clone)),
            ("--prompts", texts(&self.prompts, u32::to_string)),
            ("--generations", texts(&self.generations, u32::to_string)),
            ("--pg", texts(&self.pairs, |(prompt, generate)| format!("{prompt},{generate}"))),
            ("--depths", texts(&self.depths, u32::to_string)),
            ("--threads", texts(threads, u16::to_string)),
            ("--activations", texts(activations, |choice| choice.of_model().to_string())),
            ("--kv", texts(kv, |choice| choice.of_model().to_string())),
            ("--isa", texts(isa, |choice| choice.of_engine().name().to_owned())),
            ("--peer-names", texts(&self.peers.peer_names, Clone::clone)),
        ];
        lists.into_iter().find_map(|(flag, mut values)| {
            values.sort_unstable();
            let pair = values.windows(2).find(|pair| pair[0] == pair[1])?;
            Some((flag, pair[0].clone()))
        })
    }
}

/// Every option with every choice; the options as they are where there is no choice.
fn each<T: Copy>(
    options: &[RunOptions],
    choices: &[T],
    with: impl Fn(RunOptions, T) -> RunOptions,
) -> Vec<RunOptions> {
    if choices.is_empty() {
        return options.to_vec();
    }
    let with = &with;
    let combine = |&options| choices.iter().map(move |choice| with(options, *choice));
    options.iter().flat_map(combine).collect()
}

fn texts<T>(values: &[T], text: impl Fn(&T) -> String) -> Vec<String> {
    values.iter().map(text).collect()
}

/// `P,N`: a prompt and a generation.
fn pair(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| (1..=1 << 20).contains(n));
    let numbers = text.split_once(',').and_then(|(p, n)| number(p).zip(number(n)));
    numbers.ok_or_else(|| format!("expected two numbers from 1 to {}, as in 512,128", 1 << 20))
}

/// Tell where a token's time goes: each kernel's time, bytes and waiting
///
/// Generates tokens of drawn ids with a look at the clock around each step, on each thread. Of a
/// kernel's steps in a token the median is told: their time with the barriers behind them, how much
/// of it a thread waits for others, and the rate at which weights, keys and values are read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deepthin profile smollm2-135m
  deepthin profile model.gguf -d 1024 -n 200 -t 1 -o json")]
pub(crate) struct ProfileArgs {
    /// Which model, and how it is to run.
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Number of tokens to time
    #[arg(short = 'n', long, value_name = "N", default_value = "64",
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) generate: u32,

    /// Tokens in the KV cache before the first
    #[arg(short, long, value_name = "N", default_value = "0",
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    pub(crate) depth: u32,

    /// MiB to read for the machine's read rate; 0 leaves it out
    #[arg(long, value_name = "MIB", default_value_t = READ_BYTES >> 20,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(..=1 << 16))]
    pub(crate) probe: u64,

    /// How the figures are printed.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl ProfileArgs {
    /// How the model is to run: with no more room than the tokens take, where nothing else is said.
    pub(crate) fn options(&self) -> RunOptions {
        let options = self.model.options();
        let positions = self.depth.saturating_add(self.generate);
        RunOptions { context: options.context.or(Some(positions)), ..options }
    }
}

/// Measure the machine: caches, read rates, arithmetic, barriers
///
/// Reads memory that fits each cache, and memory that fits none, with one thread and with all, and
/// computes with all registers at hand, by kernels of our own 128-bit code; takes a few seconds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deepthin hw
  deepthin hw -o json > machine.json")]
pub(crate) struct HwArgs {
    /// Number of threads of the rows for all [default: the processor cores that this process may
    /// use]
    #[arg(short, long, value_name = "N",
          allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// MiB to read for the rate of memory, and no more for that of a cache [default: 512, or four
    /// times the largest cache where that is more]
    #[arg(long, value_name = "MIB",
          allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=1 << 16))]
    pub(crate) probe: Option<u64>,

    /// How the figures are printed.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
