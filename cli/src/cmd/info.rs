//! `deepthin info`: prints what a model needs and how it runs.

use std::fmt::{Display, Write};

use deepthin::engine;
use deepthin::info::{Bytes, Info, Kernel, Vocabulary};
use serde_json::Value;

use crate::answers::{self, Answer};
use crate::args::text::InfoArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;
use crate::table::{Align, Column};

use super::input;

/// Looks at a model; its weights are needed only where their storage is not described.
pub(crate) fn run(args: &InfoArgs) -> Result<Exit, Failure> {
    let source = input::source_for_short(&args.model.source)?;
    let options = args.model.options();
    let info = Info::new(&source, &options)?;
    input::notes(&engine::notices(&source, &options));
    match args.output.form() {
        Some(form) => answers::print_one(form, &info)?,
        None => Stdout::new().bytes(page(&info).as_bytes())?,
    }
    Ok(Exit::Success)
}

impl Answer for Info {
    const COLUMNS: &'static [Column] = &[("key", Align::Left), ("value", Align::Left)];

    /// The leaves of the JSON object, each with its path.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        // What has no JSON is told by the forms that are JSON.
        if let Ok(value) = serde_json::to_value(self) {
            leaves(String::new(), &value, &mut rows);
        }
        rows
    }
}

/// Adds the path and the text of each number, text and truth value of a tree.
fn leaves(path: String, value: &Value, rows: &mut Vec<Vec<String>>) {
    let below = |key: &dyn Display| match path.as_str() {
        "" => key.to_string(),
        path => format!("{path}.{key}"),
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(below(key), value, rows)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, value)| leaves(below(&at), value, rows));
        }
        Value::String(text) => rows.push(vec![path, text.clone()]),
        Value::Null => rows.push(vec![path, String::new()]),
        Value::Bool(_) | Value::Number(_) => rows.push(vec![path, value.to_string()]),
    }
}

/// The page for people: a topic a line, then the table of kernels.
fn page(info: &Info) -> String {
    let Info { parameters, layers, shape, storage, flops, host, .. } = info;
    let blocks: Vec<String> =
        storage.blocks.iter().map(|(format, count)| format!("{count} {format}")).collect();
    let tied = if shape.tied { "tied" } else { "untied" };
    let lines = [
        ("model", info.model.clone()),
        (
            "parameters",
            format!(
                "{} stored, {} applied, {} of them in embeddings ({tied})",
                grouped(parameters.stored),
                grouped(parameters.applied),
                grouped(parameters.embedding)
            ),
        ),
        (
            "layers",
            format!(
                "{} stored blocks, {} applications (sharing {})",
                layers.stored, layers.applications, layers.sharing
            ),
        ),
        (
            "shape",
            format!(
                "width {}, {} heads on {} KV heads of {}, FFN {}, vocabulary {}, context {}",
                shape.width,
                shape.heads,
                shape.kv_heads,
                shape.head_dim,
                shape.ffn_hidden,
                shape.vocab,
                shape.context
            ),
        ),
        (
            "storage",
            format!(
                "block matrices {}; embeddings {}; head {}; KV cache {}; activations {}{}",
                blocks.join(", "),
                storage.embeddings,
                storage.head,
                storage.kv_cache,
                storage.activations,
                if storage.packed { "; packed, mapped from the file" } else { "" }
            ),
        ),
        ("tokenizer", vocabulary(info.tokenizer.as_ref())),
        (
            "compute",
            format!(
                "{} FLOP a token, and {} for each position it looks at",
                grouped(flops.per_token),
                grouped(flops.per_position)
            ),
        ),
        ("weights", weights(info)),
        ("memory", memory(&info.bytes)),
        ("host", format!("{} on {}, {} threads", host.backend, host.features, host.threads)),
    ];
    let mut page = String::new();
    for (topic, text) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{topic:12}{text}");
    }
    page + &kernels(info)
}

/// How texts become ids.
fn vocabulary(vocabulary: Option<&Vocabulary>) -> String {
    let Some(Vocabulary { kind, tokens, chat_template, error }) = vocabulary else {
        return "none without a file of weights: bytes are ids".to_owned();
    };
    let template = if *chat_template { "a chat template" } else { "no chat template" };
    match (kind, tokens, error) {
        (Some(kind), Some(tokens), None) => {
            format!("{kind}, {} tokens, {template}", grouped(*tokens as u64))
        }
        (_, _, error) => format!("unusable: {}", error.as_deref().unwrap_or("not read")),
    }
}

/// The bytes of weights, and what sharing saves of them.
fn weights(info: &Info) -> String {
    let Bytes { weights, weights_unshared, .. } = info.bytes;
    let held = format!("{}, each tensor once", mib(weights));
    if weights_unshared == weights {
        return held;
    }
    let copies = info.layers.applications;
    format!("{held} ({} if the {copies} applications had their own)", mib(weights_unshared))
}

fn memory(bytes: &Bytes) -> String {
    let formats = &bytes.kv_per_token_by_format;
    let others = formats.iter().filter(|(_, other)| **other != bytes.kv_per_token);
    let others: Vec<String> =
        others.map(|(format, bytes)| format!("{format} {}", grouped(*bytes))).collect();
    format!(
        "KV cache {} bytes a token ({}), {} for the context; activations {}, {} a thread; tables {}",
        grouped(bytes.kv_per_token),
        others.join(", "),
        mib(bytes.kv),
        mib(bytes.arena.saturating_add(bytes.logits)),
        mib(bytes.scratch_per_thread),
        mib(bytes.tables)
    )
}

fn kernels(info: &Info) -> String {
    let count = info.kernels.len();
    let mut text = match (&info.host.missing, info.host.compile_ms) {
        (Some(missing), _) => format!("kernels     {count}; they cannot run here: no {missing}\n"),
        (None, Some(ms)) => format!("kernels     {count}, compiled in {ms:.1} ms\n"),
        (None, None) => format!("kernels     {count}\n"),
    };
    let width = info.kernels.iter().map(|kernel| kernel.name.len()).max().unwrap_or(0);
    let _ = writeln!(text, "  {:width$}  {:>5}  {:>10}", "name", "steps", "code bytes");
    for Kernel { name, steps, code_bytes } in &info.kernels {
        let bytes = code_bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        let _ = writeln!(text, "  {name:width$}  {steps:5}  {bytes:>10}");
    }
    text
}

/// A number with a comma before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in MiB.
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped_by_three() {
        let texts = [0, 12, 999, 1000, 134_515_008, u64::MAX].map(grouped);
        assert_eq!(texts, ["0", "12", "999", "1,000", "134,515,008", "18,446,744,073,709,551,615"]);
    }
}
