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
minimum beside its scale, or as descriptions have them, \"q4m(group: 32)\"; and q8_0, q4_0, q4_1,
f16, bf16, f32.

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

/// The name of a format that is written as in a description: `q4g32m` of `q4m(group: 32)`.
fn compact(text: &str) -> Option<String> {
    let (form, group) = match text.split_once('(') {
        Some((form, rest)) => {
            let argument = rest.strip_suffix(')')?.trim();
            (form.trim_end(), argument.strip_prefix("group:").unwrap_or(argument).trim_start())
        }
        None => (text, "32"),
    };
    let (bits, minimum) = match form.strip_suffix('m') {
        Some(bits) => (bits, "m"),
        None => (form, ""),
    };
    ["q4", "q6", "q8"].contains(&bits).then(|| match group {
        "row" => format!("{bits}row{minimum}"),
        count => format!("{bits}g{count}{minimum}"),
    })
}

/// A storage format by its name.
fn format(text: &str) -> Result<Format, String> {
    let read = text.parse().or_else(|error| compact(text).ok_or(error)?.parse());
    read.map_err(|_: String| {
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

#[cfg(test)]
mod tests {
    use super::{Format, format};

    #[test]
    fn formats_are_read_in_both_notations() {
        for (text, name) in [
            ("q4g64", "q4g64"),
            ("q4", "q4g32"),
            ("q4m", "q4g32m"),
            ("q6(group: 64)", "q6g64"),
            ("q8m(192)", "q8g192m"),
            ("q4(row)", "q4row"),
            ("q4_1", "q4_1"),
        ] {
            assert_eq!(format(text).map(|format| format.to_string()), Ok(name.to_owned()));
        }
        for known in Format::ALL {
            let name = known.to_string();
            assert_eq!(format(&name), Ok(known));
            // As a description has it: q4m(group: 64), q8(group: row).
            let (bits, rest) = name.split_at(2);
            let (group, minimum) = rest.strip_suffix('m').map_or((rest, ""), |rest| (rest, "m"));
            if group.starts_with('g') || group == "row" {
                let group = group.trim_start_matches('g');
                assert_eq!(format(&format!("{bits}{minimum}(group: {group})")), Ok(known));
            }
        }
        for text in
            ["q5", "q4(group:group:32)", "q 4", "q4(group: 33)", "q4(32", "f16(32)", "q4mm", ""]
        {
            assert!(format(text).is_err(), "{text}");
        }
    }
}
