//! The canonical text of a model: every value written out, one form for each.

use crate::layout::{self, Brackets, Item, ItemKind, Piece, Value};
use crate::model::{Model, Sharing};
use crate::number::{group_digits, grouped};

/// A model as text that [`parse`](crate::parse) reads back to an equal model. Nothing is left
/// to a default but activations that follow the storage, and a derived model stands alone.
pub fn print(model: &Model) -> String {
    let Model { name, vocab, context, width, depth, block, tied, sharing, storage } = model;
    let count = |key, n: u32| Item::entry(key, grouped(n.into()));
    let [heads, kv_heads, head_dim] =
        [block.heads, block.kv_heads, block.head_dim].map(|n| grouped(n.into()));
    let attention = format!("gqa(heads: {heads}, kv_heads: {kv_heads}, head_dim: {head_dim})");
    let shape = vec![
        Item::entry("norm", format!("rms(eps: {})", real(&format!("{:?}", block.norm_eps)))),
        Item::entry("attention", attention),
        Item::entry(
            "position",
            format!("rope(theta: {})", real(&format!("{:?}", block.rope_theta))),
        ),
        Item::entry("ffn", format!("swiglu(hidden: {})", grouped(block.ffn_hidden.into()))),
    ];
    let mut tensors = vec![
        Item::entry("blocks", storage.blocks.to_string()),
        Item::entry("embeddings", storage.embeddings.to_string()),
        Item::entry("kv_cache", storage.kv_cache.to_string()),
    ];
    if let Some(activations) = storage.activations {
        tensors.push(Item::entry("activations", activations.to_string()));
    }
    let embeddings = Item::entry("embeddings", if *tied { "tied" } else { "untied" });
    let body = vec![
        count("vocab", *vocab),
        count("context", *context),
        count("width", *width),
        count("depth", *depth),
        Item::section("block", shape),
        Item { blank_before: true, ..embeddings },
        Item::new(false, ItemKind::Entry { key: "sharing", value: sharing_value(sharing) }),
        Item::section("storage", tensors),
    ];
    layout::text(&[Item::section(format!("model {name}"), body)])
}

/// The shortest text that reads back to the same real: Rust's `Debug`, with the fraction of a
/// whole number dropped and its digits grouped.
fn real(debug: &str) -> String {
    match debug.strip_suffix(".0") {
        Some(whole) => group_digits(whole),
        None => debug.to_owned(),
    }
}

fn sharing_value(sharing: &Sharing) -> Value<'static> {
    let times = |name, n: &u32| Value::Atom(format!("{name}({})", grouped((*n).into())).into());
    match sharing {
        Sharing::None => Value::Atom("none".into()),
        Sharing::Immediate(n) => times("immediate", n),
        Sharing::Loop(n) => times("loop", n),
        Sharing::Reverse => Value::Atom("reverse".into()),
        Sharing::Order(order) => {
            let item = |block: &u32| Piece::Item(Value::Atom(grouped((*block).into()).into()));
            Value::List {
                head: "order".into(),
                brackets: Brackets::Square,
                pieces: order.iter().map(item).collect(),
            }
        }
    }
}
