//! FIR, the fused-op IR: the model as operations on whole per-token vectors.
//!
//! (Essay to be completed by the FIR author.)
pub mod op;

pub use op::{Epilogue, HeadShape, NormSpec, Op, RopeSpec};

use crate::define_id;
use crate::format::Format;
use crate::id::Arena;

define_id! {
    /// A per-token vector inside one [`Func`].
    pub struct ValueId = "v";
}
define_id! {
    /// A weight tensor that one [`Func`] reads.
    pub struct WeightId = "w";
}

/// Which tensor of the model a weight is; block tensors are those of the stored block at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Embedding table, `[vocab, width]`.
    TokenEmbedding,
    /// Gain before attention, `[1, width]`.
    AttentionNorm,
    /// Query projection, `[heads * head_dim, width]`.
    Query,
    /// Key projection, `[kv_heads * head_dim, width]`.
    Key,
    /// Value projection, `[kv_heads * head_dim, width]`.
    Value,
    /// Attention output projection, `[width, heads * head_dim]`.
    AttentionOutput,
    /// Gain before the feed-forward network, `[1, width]`.
    FfnNorm,
    /// Gate projection, `[hidden, width]`.
    FfnGate,
    /// Up projection, `[hidden, width]`.
    FfnUp,
    /// Down projection, `[width, hidden]`.
    FfnDown,
    /// Gain before the head, `[1, width]`.
    OutputNorm,
    /// Head of its own, `[vocab, width]`, where the table is not tied.
    Output,
}

/// A weight tensor: `rows` output rows of `columns` elements, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Which tensor.
    pub role: Role,
    /// Output rows.
    pub rows: u32,
    /// Elements of a row (K).
    pub columns: u32,
    /// Storage.
    pub format: Format,
}

/// A value: a vector of `width` f32 for each token at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Elements.
    pub width: u32,
}

/// A function on per-token vectors: `embed` (token to x), a block (x to x), or `head`
/// (x to logits). Ops run in list order; a value is defined before it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Func {
    /// `embed`, `block0`, .. or `head`.
    pub name: String,
    /// Tensors read.
    pub weights: Arena<WeightId, Weight>,
    /// All values, the parameter included.
    pub values: Arena<ValueId, Value>,
    /// The residual stream that comes in; `None` in `embed`.
    pub param: Option<ValueId>,
    /// Straight-line code.
    pub ops: Vec<Op>,
    /// What goes out.
    pub result: ValueId,
}

/// One entry of the schedule: a stored block run through a block function. Its index in
/// [`Graph::schedule`] is its KV slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Application {
    /// Index into [`Graph::blocks`].
    pub func: u32,
    /// Stored block whose weights are used.
    pub block: u32,
}

/// A whole model in FIR: sharing stays a schedule over stored blocks, never an unrolled copy.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// Token to residual stream.
    pub embed: Func,
    /// One function for each distinct kind of block (all the same unless storage differs).
    pub blocks: Vec<Func>,
    /// Residual stream to logits.
    pub head: Func,
    /// Block applications in order.
    pub schedule: Vec<Application>,
}
