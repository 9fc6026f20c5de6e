//! What each buffer of a kernel holds, in words.

use super::count;
use crate::fir::HeadShape;
use crate::format::Format;
use crate::lower::{
    AttentionKernel, EpilogueKernel, LinearKernel, Lines, Role, qkv_panels, vector_bytes,
};
use crate::pack::layout::{Layout, PANEL, TILE};
use crate::plan::Spec;
use deepthin_dsl::Model;

/// How a kernel uses a buffer: the mark in its table.
pub(super) fn usage(spec: &Spec, role: Role) -> &'static str {
    match (role, spec) {
        (Role::Scratch(_), _) => "scratch",
        (Role::Output, Spec::Linear(kernel)) if kernel.epilogue == EpilogueKernel::Residual => {
            "in out"
        }
        (Role::Output | Role::Maxima, _)
        | (Role::Partials, Spec::AttentionChunks(_))
        | (Role::Keys | Role::Values | Role::KeyScales | Role::ValueScales, Spec::Linear(_)) => {
            "out"
        }
        (Role::Ahead(..), _) => "hint",
        (Role::Input | Role::Weights(_) | Role::Gain | Role::RopeTable, _)
        | (Role::Keys | Role::Values | Role::KeyScales | Role::ValueScales | Role::Partials, _) => {
            "in"
        }
    }
}

/// What a buffer holds, in one line or two.
pub(super) fn contents(model: &Model, spec: &Spec, role: Role) -> String {
    match (role, spec) {
        (Role::Scratch(_), _) => "working memory".to_owned(),
        (Role::Ahead(_, lines), _) => {
            let lines = if lines == Lines::Even { "even" } else { "odd" };
            format!(
                "any address: as the {lines} lines of the matrix are read, those from there on\nare brought into the cache; a matrix that is read next is good"
            )
        }
        (Role::Gain, Spec::Linear(kernel)) => format!("gain: vector of {}", kernel.columns),
        (Role::Weights(_), Spec::Embed(kernel)) => {
            matrix(kernel.format, kernel.width, kernel.vocab)
        }
        (Role::Output, Spec::Embed(kernel)) => format!("vector of {}", kernel.width),
        (Role::Input, Spec::Linear(kernel)) => vectors(kernel, kernel.columns),
        (Role::Output, Spec::Linear(kernel)) => {
            let output = vectors(kernel, rows(model, kernel));
            match kernel.epilogue {
                EpilogueKernel::Logits { .. } | EpilogueKernel::Residual | EpilogueKernel::Glu => {
                    output
                }
                EpilogueKernel::RopeAppend { .. } => format!("rotated q: {output}"),
            }
        }
        (Role::Weights(segment), Spec::Linear(kernel)) => weights(model, kernel, segment),
        (Role::RopeTable, Spec::Linear(kernel)) => {
            format!("{} from the first token's position on", count(kernel.tokens, "rotary row"))
        }
        (Role::Input, Spec::Attention(kernel) | Spec::AttentionChunks(kernel)) => {
            format!("rotated q: vector of {}", kernel.shape.heads * kernel.shape.head_dim)
        }
        (
            Role::Output,
            Spec::Attention(AttentionKernel { shape: HeadShape { heads, head_dim, .. }, .. }),
        ) => format!("heads side by side: vector of {}", heads * head_dim),
        (Role::Maxima, Spec::Linear(kernel)) => {
            let panels =
                format!("of each of {} the greatest rank, i32", count(kernel.panels(), "panel"));
            match kernel.tokens {
                1 => panels,
                tokens => format!("{panels}, {tokens} times"),
            }
        }
        (Role::Partials, _) => "what is known of each chunk".to_owned(),
        (Role::Keys, _) => "key cache of the layer".to_owned(),
        (Role::Values, _) => "value cache of the layer".to_owned(),
        (Role::KeyScales, _) => "scales of the layer's key cache".to_owned(),
        (Role::ValueScales, _) => "scales of the layer's value cache".to_owned(),
        (Role::Input | Role::Gain | Role::RopeTable | Role::Weights(_) | Role::Maxima, _)
        | (Role::Output, Spec::AttentionChunks(_)) => {
            unreachable!("lowering gives these roles to no such kernel")
        }
    }
}

/// Rows of the matrix, or of each of the two that a panel holds, or of q.
pub(super) fn rows(model: &Model, kernel: &LinearKernel) -> u32 {
    match kernel.epilogue {
        EpilogueKernel::Logits { .. } => model.vocab,
        EpilogueKernel::Residual => model.width,
        EpilogueKernel::Glu => model.block.ffn_hidden,
        EpilogueKernel::RopeAppend { heads, head_dim, .. } => heads * head_dim,
    }
}

/// The vectors of a tile's tokens.
fn vectors(kernel: &LinearKernel, width: u32) -> String {
    match kernel.tokens {
        1 => format!("vector of {width}"),
        tokens => format!("{tokens} vectors of {width}, {} bytes apart", vector_bytes(width)),
    }
}

fn matrix(format: Format, columns: u32, rows: u32) -> String {
    let bytes = Layout { format, columns }.panel_bytes();
    let panels = count(rows.div_ceil(PANEL), "panel");
    format!("packed matrix, {format}, {columns} columns: {panels} of {bytes} bytes")
}

/// A matrix of a linear kernel, and what its panels are.
fn weights(model: &Model, kernel: &LinearKernel, segment: usize) -> String {
    let before: u32 = kernel.segments.iter().take(segment).map(|s| s.panels).sum();
    let Some(own) = kernel.segments.get(segment) else {
        unreachable!("a kernel has a matrix for each segment")
    };
    let matrix = matrix(own.format, kernel.columns, own.panels * PANEL);
    let range = before..before + own.panels;
    let parts = match kernel.epilogue {
        EpilogueKernel::Logits { .. } | EpilogueKernel::Residual => {
            format!("rows 0 to {}", rows(model, kernel) - 1)
        }
        EpilogueKernel::Glu => {
            let last = rows(model, kernel) - 1;
            format!("gate and up, rows 0 to {last} of each, {TILE} of each in a panel")
        }
        EpilogueKernel::RopeAppend { heads, kv_heads, head_dim, .. } => {
            let mut first = 0;
            let mut parts = Vec::new();
            let panels = qkv_panels(HeadShape { heads, kv_heads, head_dim });
            for (name, panels) in ["q", "k", "v"].into_iter().zip(panels) {
                let (from, to) = (first.max(range.start), (first + panels).min(range.end));
                match to.saturating_sub(from) {
                    0 => {}
                    1 => parts.push(format!("{name} in panel {from}")),
                    _ => parts.push(format!("{name} in panels {from} to {}", to - 1)),
                }
                first += panels;
            }
            parts.join(", ")
        }
    };
    format!("{matrix},\n{parts}")
}
