//! The canonical text of a model: every value written out, one form for each.

use std::fmt::Write;

use crate::model::{Model, Sharing};
use crate::number::{group_digits, grouped};

/// Entries of an `order` on one line.
const ORDER_LINE: usize = 24;

/// A model as text that [`parse`](crate::parse) reads back to an equal model. Nothing is left
/// to a default, and a derived model stands alone.
pub fn print(model: &Model) -> String {
    let Model { name, vocab, context, width, depth, block, tied, sharing, storage } = model;
    let [vocab, context, width, depth] = [vocab, context, width, depth].map(|&n| grouped(n.into()));
    let attention = format!(
        "gqa(heads: {}, kv_heads: {}, head_dim: {})",
        grouped(block.heads.into()),
        grouped(block.kv_heads.into()),
        grouped(block.head_dim.into())
    );
    let eps = real(&format!("{:?}", block.norm_eps));
    let theta = real(&format!("{:?}", block.rope_theta));
    let hidden = grouped(block.ffn_hidden.into());
    let tied = if *tied { "tied" } else { "untied" };
    let sharing = sharing_text(sharing);
    format!(
        "\
model {name} {{
    vocab    {vocab}
    context  {context}
    width    {width}
    depth    {depth}

    block {{
        norm       rms(eps: {eps})
        attention  {attention}
        position   rope(theta: {theta})
        ffn        swiglu(hidden: {hidden})
    }}

    embeddings  {tied}
    sharing     {sharing}

    storage {{
        blocks       {}
        embeddings   {}
        kv_cache     {}
        activations  {}
    }}
}}
",
        storage.blocks, storage.embeddings, storage.kv_cache, storage.activations
    )
}

/// The shortest text that reads back to the same real: Rust's `Debug`, with the fraction of a
/// whole number dropped and its digits grouped.
fn real(debug: &str) -> String {
    match debug.strip_suffix(".0") {
        Some(whole) => group_digits(whole),
        None => debug.to_owned(),
    }
}

fn sharing_text(sharing: &Sharing) -> String {
    match sharing {
        Sharing::None => "none".into(),
        Sharing::Immediate(n) => format!("immediate({})", grouped((*n).into())),
        Sharing::Loop(n) => format!("loop({})", grouped((*n).into())),
        Sharing::Reverse => "reverse".into(),
        Sharing::Order(order) => {
            let mut text = "order [".to_owned();
            for (at, block) in order.iter().enumerate() {
                let separator = match at {
                    0 => "",
                    _ if at.is_multiple_of(ORDER_LINE) => ",\n        ",
                    _ => ", ",
                };
                // Writing to a String cannot fail.
                let _ = write!(text, "{separator}{}", grouped((*block).into()));
            }
            text + "]"
        }
    }
}
