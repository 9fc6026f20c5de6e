//! The image and the tables: where each packed tensor lies, each once however often it is used.

use crate::fir::{Epilogue, Func, HeadShape, Role, Weight, WeightId};
use crate::lower::Segment;
use crate::pack::layout::Layout;
use crate::pack::tables::RopeTable;
use crate::pack::{Content, PackedTensor, Rows};

/// Collects the tensors of the image in order of first use.
#[derive(Default)]
pub(super) struct Image {
    pub(super) tensors: Vec<PackedTensor>,
    pub(super) bytes: u64,
}

impl Image {
    /// The offset of a tensor, which is added where it is new. A tied table and the blocks of a
    /// shared schedule are so stored once.
    pub(super) fn place(&mut self, block: Option<u32>, content: Content) -> u64 {
        if let Some(known) = self.tensors.iter().find(|t| t.block == block && t.content == content)
        {
            return known.offset;
        }
        let offset = self.bytes;
        self.bytes = (offset + content.bytes()).next_multiple_of(64);
        self.tensors.push(PackedTensor { block, content, offset });
        offset
    }
}

/// Collects the tables.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) tables: Vec<RopeTable>,
    pub(super) bytes: u64,
}

impl Tables {
    /// The offset of a table, which is added where it is new; its own is of no account.
    pub(super) fn place(&mut self, table: RopeTable) -> u64 {
        let same = |known: &&RopeTable| RopeTable { offset: table.offset, ..**known } == table;
        if let Some(known) = self.tables.iter().find(same) {
            return known.offset;
        }
        let offset = self.bytes;
        self.bytes = (offset + table.bytes()).next_multiple_of(64);
        self.tables.push(RopeTable { offset, ..table });
        offset
    }
}

/// The panels of a linear op: parts of one format and one kind of activations that follow one
/// another are one segment.
pub(super) fn segments(
    func: &Func,
    weights: &[WeightId],
    epilogue: &Epilogue,
) -> Vec<(Segment, Content)> {
    let weights: Vec<Weight> = weights.iter().map(|w| func.weights[*w]).collect();
    let plain = |w: &Weight| (*w, Rows::Plain { role: w.role, rows: w.rows });
    let parts = match (epilogue, weights.as_slice()) {
        (Epilogue::RopeAppend { shape, .. }, [q, k, v]) => rope_parts(*shape, *q, *k, *v),
        (Epilogue::Glu { .. }, [gate, up]) => {
            let rows = Rows::Pair { first: gate.role, second: up.role, rows: gate.rows };
            vec![(*gate, rows)]
        }
        (
            Epilogue::Store { .. }
            | Epilogue::Residual { .. }
            | Epilogue::Glu { .. }
            | Epilogue::RopeAppend { .. },
            weights,
        ) => weights.iter().map(plain).collect(),
    };
    let mut segments: Vec<(Segment, Content)> = Vec::new();
    for (Weight { format, columns, activations, .. }, rows) in parts {
        match segments.last_mut() {
            Some((segment, Content::Panels { parts, .. }))
                if (segment.format, segment.activations) == (format, activations) =>
            {
                segment.panels += rows.panels();
                parts.push(rows);
            }
            _ => {
                let layout = Layout { format, columns };
                let segment = Segment { format, activations, panels: rows.panels() };
                segments.push((segment, Content::Panels { layout, parts: vec![rows] }));
            }
        }
    }
    segments
}

fn rope_parts(shape: HeadShape, q: Weight, k: Weight, v: Weight) -> Vec<(Weight, Rows)> {
    let HeadShape { heads, kv_heads, head_dim } = shape;
    vec![
        (q, Rows::Rope { role: q.role, heads, head_dim }),
        (k, Rows::Rope { role: k.role, heads: kv_heads, head_dim }),
        (v, Rows::Heads { role: v.role, heads: kv_heads, head_dim }),
    ]
}

/// The stored block that a tensor of `role` belongs to, inside block `block`.
pub(super) fn owner(role: Role, block: Option<u32>) -> Option<u32> {
    block.filter(|_| role.in_block())
}
