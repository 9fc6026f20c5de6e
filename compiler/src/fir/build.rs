//! Builds the graph of a model in plain ops: one op for each term of the model's formula.

use deepthin_dsl::model as dsl;
use deepthin_dsl::model::Model;
use thiserror::Error;

use super::formats::{BlockFormats, tensor_name};
use super::verify::{VerifyErrors, verify};
use super::{
    Application, Epilogue, Formats, Func, Graph, HeadShape, NormSpec, Op, Role, RopeSpec, Value,
    ValueId, Weight, WeightId,
};
use crate::format::{Activations, BLOCK, Format, KvFormat, MOST_EXACT};
use crate::id::Arena;

/// Why a model has no graph.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BuildError {
    /// A row that the format's groups do not divide.
    #[error(
        "`{tensor}` has rows of {columns} elements, which {format} cannot cut into groups of {}: \
         choose f16, bf16 or f32 for it",
        .format.group(BLOCK)
    )]
    Group {
        /// The tensor in words.
        tensor: String,
        /// Elements of a row.
        columns: u32,
        /// Its storage.
        format: Format,
    },
    /// Columns that the groups of activations do not divide, or a sum of too many.
    #[error(
        "`{tensor}` has rows of {columns} elements, which cannot be multiplied with {activations} \
         activations: choose groups that divide them, or f32"
    )]
    Activations {
        /// The tensor in words.
        tensor: String,
        /// Elements of a row.
        columns: u32,
        /// What the model says.
        activations: dsl::Activations,
    },
    /// A size that does not fit 32 bits.
    #[error("{heads} heads of {head_dim} elements are more than a u32 counts")]
    TooLarge {
        /// Heads.
        heads: u32,
        /// Elements of a head.
        head_dim: u32,
    },
    /// Formats of another model.
    #[error("formats are given for {found} stored blocks, the model has {expected}")]
    Depth {
        /// Stored blocks of the model.
        expected: u32,
        /// Stored blocks of the formats.
        found: usize,
    },
    /// The sharing order names a block that is not stored.
    #[error("the sharing order names block {block}, the model stores blocks 0 to {}", .depth.saturating_sub(1))]
    Order {
        /// The block named.
        block: u32,
        /// Stored blocks.
        depth: u32,
    },
    /// A model that no checked description gives, such as heads that its groups do not divide.
    #[error("the model makes no valid graph:\n{0}")]
    Invalid(#[from] VerifyErrors),
}

/// The graph of `model` in plain ops, with one block function for each distinct set of formats,
/// KV slots of the format that the model's storage names, and the schedule of [`Model::schedule`].
/// The result passes [`verify`].
///
/// # Errors
/// Formats that do not fit the model's shapes or depth, and models whose numbers disagree.
pub fn build(model: &Model, formats: &Formats) -> Result<Graph, BuildError> {
    if formats.depth() != model.depth as usize {
        return Err(BuildError::Depth { expected: model.depth, found: formats.depth() });
    }
    let sizes = Sizes::of(model)?;
    let mut kinds: Vec<BlockFormats> = Vec::new();
    let mut blocks = Vec::new();
    let mut schedule = Vec::new();
    for block in model.schedule() {
        let kind = *formats.block(block).ok_or(BuildError::Order { block, depth: model.depth })?;
        let at = match kinds.iter().position(|k| *k == kind) {
            Some(at) => at,
            None => {
                kinds.push(kind);
                blocks.push(block_func(model, &sizes, formats, block, blocks.len())?);
                blocks.len() - 1
            }
        };
        let func = u32::try_from(at).unwrap_or(u32::MAX);
        schedule.push(Application { func, block });
    }
    let graph = Graph {
        name: model.name.clone(),
        embed: embed_func(model, formats)?,
        blocks,
        head: head_func(model, formats)?,
        schedule,
    };
    verify(&graph)?;
    Ok(graph)
}

/// Widths that follow from the model's numbers.
struct Sizes {
    /// `heads * head_dim`.
    q: u32,
    /// `kv_heads * head_dim`.
    kv: u32,
}

impl Sizes {
    fn of(model: &Model) -> Result<Self, BuildError> {
        let head_dim = model.block.head_dim;
        let product = |heads: u32| {
            heads.checked_mul(head_dim).ok_or(BuildError::TooLarge { heads, head_dim })
        };
        Ok(Sizes { q: product(model.block.heads)?, kv: product(model.block.kv_heads)? })
    }
}

fn embed_func(model: &Model, formats: &Formats) -> Result<Func, BuildError> {
    let mut draft = Draft::new("embed".to_owned(), model, formats, None);
    let table = draft.weight(Role::TokenEmbedding, model.vocab, model.width)?;
    let out = draft.value(model.width);
    draft.ops.push(Op::Embed { table, out });
    Ok(draft.finish(None, out))
}

fn head_func(model: &Model, formats: &Formats) -> Result<Func, BuildError> {
    let mut draft = Draft::new("head".to_owned(), model, formats, None);
    let x = draft.value(model.width);
    let normed = draft.norm(Role::OutputNorm, model.block.norm_eps, x, model.width)?;
    let role = if model.tied { Role::TokenEmbedding } else { Role::Output };
    let logits = draft.linear(role, model.vocab, normed, model.width)?;
    Ok(draft.finish(Some(x), logits))
}

/// The function of a block stored in the formats of `block`.
fn block_func(
    model: &Model,
    sizes: &Sizes,
    formats: &Formats,
    block: u32,
    index: usize,
) -> Result<Func, BuildError> {
    let (width, hidden, shape) = (model.width, model.block.ffn_hidden, &model.block);
    let (heads, kv_heads, head_dim) = (shape.heads, shape.kv_heads, shape.head_dim);
    let rope = RopeSpec { head_dim, theta: shape.rope_theta };
    let mut draft = Draft::new(format!("block{index}"), model, formats, Some(block));
    let x = draft.value(width);

    let normed = draft.norm(Role::AttentionNorm, shape.norm_eps, x, width)?;
    let q = draft.linear(Role::Query, sizes.q, normed, width)?;
    let k = draft.linear(Role::Key, sizes.kv, normed, width)?;
    let v = draft.linear(Role::Value, sizes.kv, normed, width)?;
    let q = draft.rope(rope, heads, q, sizes.q);
    let k = draft.rope(rope, kv_heads, k, sizes.kv);
    let kv = KvFormat::from(model.storage.kv_cache);
    draft.ops.push(Op::KvAppend { k, v, head_dim, kv });
    let attended = draft.value(sizes.q);
    let shape = HeadShape { heads, kv_heads, head_dim };
    draft.ops.push(Op::Attention { q, shape, kv, out: attended });
    let projected = draft.linear(Role::AttentionOutput, width, attended, sizes.q)?;
    let x1 = draft.add(projected, x, width);

    let normed = draft.norm(Role::FfnNorm, model.block.norm_eps, x1, width)?;
    let gate = draft.linear(Role::FfnGate, hidden, normed, width)?;
    let up = draft.linear(Role::FfnUp, hidden, normed, width)?;
    let activated = draft.value(hidden);
    draft.ops.push(Op::Glu { gate, up, out: activated });
    let down = draft.linear(Role::FfnDown, width, activated, hidden)?;
    let x2 = draft.add(down, x1, width);
    Ok(draft.finish(Some(x), x2))
}

/// A function being written.
struct Draft<'a> {
    name: String,
    formats: &'a Formats,
    activations: Option<dsl::Activations>,
    block: Option<u32>,
    weights: Arena<WeightId, Weight>,
    values: Arena<ValueId, Value>,
    ops: Vec<Op>,
}

impl<'a> Draft<'a> {
    fn new(name: String, model: &Model, formats: &'a Formats, block: Option<u32>) -> Self {
        let (weights, values) = (Arena::new(), Arena::new());
        let activations = model.storage.activations;
        Draft { name, formats, activations, block, weights, values, ops: Vec::new() }
    }

    fn value(&mut self, width: u32) -> ValueId {
        self.values.push(Value { width })
    }

    fn weight(&mut self, role: Role, rows: u32, columns: u32) -> Result<WeightId, BuildError> {
        let Some(format) = self.formats.get(self.block, role) else {
            unreachable!("each function asks for tensors of its own kind, of a block in range");
        };
        if format.row_bytes(columns as usize).is_none() {
            let tensor = tensor_name(self.block, role);
            return Err(BuildError::Group { tensor, columns, format });
        }
        let width = columns as usize;
        let activations = Activations::of(self.activations, format, width)
            .filter(|activations| activations.piece(format, width) <= MOST_EXACT)
            .ok_or_else(|| BuildError::Activations {
                tensor: tensor_name(self.block, role),
                columns,
                activations: self.activations.unwrap_or(dsl::Activations::Q8 { group: None }),
            })?;
        Ok(self.weights.push(Weight { role, rows, columns, format, activations }))
    }

    fn norm(&mut self, role: Role, eps: f32, x: ValueId, n: u32) -> Result<ValueId, BuildError> {
        let gain = self.weight(role, 1, n)?;
        let out = self.value(n);
        self.ops.push(Op::Norm { x, norm: NormSpec { gain, eps }, out });
        Ok(out)
    }

    fn linear(
        &mut self,
        role: Role,
        rows: u32,
        x: ValueId,
        columns: u32,
    ) -> Result<ValueId, BuildError> {
        let weights = vec![self.weight(role, rows, columns)?];
        let out = self.value(rows);
        let epilogue = Epilogue::Store { out: vec![out] };
        self.ops.push(Op::Linear { x, norm: None, weights, epilogue });
        Ok(out)
    }

    fn rope(&mut self, rope: RopeSpec, heads: u32, x: ValueId, width: u32) -> ValueId {
        let out = self.value(width);
        self.ops.push(Op::Rope { x, rope, heads, out });
        out
    }

    fn add(&mut self, a: ValueId, b: ValueId, width: u32) -> ValueId {
        let out = self.value(width);
        self.ops.push(Op::Add { a, b, out });
        out
    }

    fn finish(self, param: Option<ValueId>, result: ValueId) -> Func {
        let Draft { name, weights, values, ops, .. } = self;
        Func { name, weights, values, param, ops, result }
    }
}
