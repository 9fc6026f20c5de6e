//! The C header of a model's object file: every kernel, its buffers and its scalars, told so that
//! a C programmer needs no other page.
//!
//! It begins with a comment that holds the model, the contract of a call and the layouts that
//! occur (`opening`), goes on with the sizes of the model as macros, and has for each kernel a
//! comment, the indices and sizes of its parameters, and its prototype (`entry`). It is C99 and
//! C++, and needs `<stdint.h>` alone.

mod buffers;
mod entry;
mod opening;
mod order;

use crate::codegen::object::symbol;
use crate::codegen::target::Target;
use crate::format::KvFormat;
use crate::lower::{CHUNK, CacheLayout};
use crate::pack::layout::PANEL;
use crate::pipeline::Lowered;
use deepthin_dsl::Model;
use std::fmt;

/// The header of a model's kernels: its `Display` is the text of the file.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// The model as it was lowered.
    pub model: &'a Model,
    /// Its kernels.
    pub lowered: &'a Lowered,
    /// What they were compiled for.
    pub target: Target,
}

impl Header<'_> {
    /// The symbols of all kernels, in order of first use.
    pub fn symbols(&self) -> Vec<String> {
        let kernels = &self.lowered.plan.kernels;
        kernels.iter().map(|kernel| symbol(&self.model.name, &kernel.name)).collect()
    }

    /// What all macros of the model begin with.
    fn prefix(&self) -> String {
        symbol(&self.model.name, "").to_ascii_uppercase()
    }

    /// The layout of a layer's caches.
    fn cache(&self) -> CacheLayout {
        let block = &self.model.block;
        CacheLayout {
            kv: self.model.storage.kv_cache.into(),
            kv_heads: block.kv_heads,
            head_dim: block.head_dim,
            context: self.lowered.plan.options.context,
        }
    }

    /// The sizes of the model, a macro each.
    fn constants(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { model, lowered, target } = self;
        let (block, plan) = (&model.block, &lowered.plan);
        let (context, cache) = (plan.options.context, self.cache());
        let prefix = self.prefix();
        writeln!(f, "#define {prefix}TARGET \"{}\"", target.triple())?;
        writeln!(f, "#define {prefix}CPU    \"{}\"\n", target.cpu().name)?;
        let mut lines: Vec<(&str, String, &str)> = vec![
            ("VOCAB", model.vocab.to_string(), "tokens"),
            ("CONTEXT", context.to_string(), "positions of a sequence"),
            ("POSITIONS", cache.positions().to_string(), "positions of a cache"),
            ("WIDTH", model.width.to_string(), "elements of the residual stream"),
            ("BLOCKS", model.depth.to_string(), "stored blocks"),
            ("LAYERS", plan.application_ends.len().to_string(), "applications of blocks"),
            ("HEADS", block.heads.to_string(), "query heads"),
            ("KV_HEADS", block.kv_heads.to_string(), "key and value heads"),
            ("HEAD_DIM", block.head_dim.to_string(), "elements of a head"),
            ("FFN_HIDDEN", block.ffn_hidden.to_string(), "elements inside the feed-forward part"),
            ("TIED", u8::from(model.tied).to_string(), "1: the head is the embedding table"),
            ("NORM_EPS", format!("{:?}f", block.norm_eps), "epsilon of the norms"),
            ("ROPE_THETA", format!("{:?}", block.rope_theta), "base of the rotary angles"),
            ("PANEL_ROWS", PANEL.to_string(), "rows of a panel"),
            ("CHUNKS", cache.chunks().to_string(), "chunks of a cache"),
            ("CHUNK", CHUNK.to_string(), "positions of a chunk of attention"),
            ("KEY_CACHE_BYTES", cache.key_bytes().to_string(), "of one layer"),
            ("VALUE_CACHE_BYTES", cache.value_bytes().to_string(), "of one layer"),
            ("ROPE_ROW_BYTES", (block.head_dim * 4).to_string(), "rotary row of one position"),
        ];
        if cache.kv == KvFormat::Q8 {
            let (keys, values) = (cache.key_groups(), cache.value_groups());
            lines.extend([
                ("KEY_GROUPS", keys.to_string(), "groups of a key head, with a scale each"),
                ("KEY_SCALE_BYTES", cache.key_scale_bytes().to_string(), "of one layer"),
                ("VALUE_GROUPS", values.to_string(), "groups of a value head, with a scale each"),
                ("VALUE_SCALE_BYTES", cache.value_scale_bytes().to_string(), "of one layer"),
            ]);
        }
        let name_width = lines.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        let value_width = lines.iter().map(|(_, value, _)| value.len()).max().unwrap_or(0);
        for (name, value, what) in &lines {
            writeln!(f, "#define {prefix}{name:name_width$} {value:value_width$} /* {what} */")?;
        }
        Ok(())
    }
}

impl fmt::Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = format!("{}H", self.prefix());
        f.write_str(&comment(&opening::text(self)))?;
        writeln!(f, "#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n")?;
        writeln!(f, "#ifdef __cplusplus\nextern \"C\" {{\n#endif\n")?;
        self.constants(f)?;
        for kernel in &self.lowered.plan.kernels {
            let entry = entry::Entry::new(self, kernel);
            write!(f, "\n{}{}", comment(&entry.text()), entry.declarations())?;
        }
        writeln!(f, "\n#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {guard} */")
    }
}

/// A text as a C comment of whole lines.
fn comment(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { " *\n".into() } else { format!(" * {line}\n") };
    format!("/*\n{} */\n", text.lines().map(line).collect::<String>())
}

/// Most columns of a line inside a comment.
const COLUMNS: usize = 96;

/// A paragraph in lines that begin with `first`, then with as many spaces, none too long.
fn paragraph(first: &str, text: &str) -> String {
    let indent = " ".repeat(first.len());
    let mut lines = String::new();
    let mut line = first.to_owned();
    for word in text.split_whitespace() {
        let begun = line.len() > indent.len();
        if begun && line.len() + 1 + word.len() > COLUMNS {
            lines.push_str(&line);
            lines.push('\n');
            line.clone_from(&indent);
        } else if begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines + &line + "\n"
}

/// `1 head`, `2 heads`.
fn count(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
