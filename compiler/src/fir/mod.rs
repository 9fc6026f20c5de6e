//! FIR, the fused-op IR: the model as operations on whole per-token vectors.
//!
//! # Values
//!
//! A value is one vector of f32 *for each token at hand*. Its width is a concrete number, stored
//! when the value is made; the number of tokens is not part of the program: a [`Func`] means the
//! same whether it is run for one token (decode) or for a tile of them (prefill), because no op
//! but attention looks at another token, and attention looks at it only through the KV slot.
//!
//! Weights are not values. A weight is named by its [`Role`] and by the stored block at hand: the
//! same function runs on the weights of any block that has its shapes and formats.
//!
//! # Functions
//!
//! A model is three kinds of function:
//!
//! - `embed`: a token becomes a vector of the residual stream. The only place that sees tokens.
//! - `block0`, `block1`, ..: the residual stream goes in and comes out. There is one function for
//!   each distinct kind of block, so just one unless blocks are stored in different formats.
//! - `head`: the residual stream becomes logits, one for each row of the vocabulary.
//!
//! A function is straight-line code: its ops run in list order, each defines its results exactly
//! once, and nothing is read before it is defined. Values are numbered in order of definition.
//! There is no dead-value rule: an unread result is computed and dropped.
//!
//! # Schedule and KV slots
//!
//! [`Graph::schedule`] lists the block applications in order; each names a function and the stored
//! block whose weights it gets. Layer sharing is nothing but this list: `immediate(2)` reads
//! `0, 0, 1, 1, ..`, and no code is ever copied. The index of an application is its *KV slot*: two
//! applications of one stored block share weights, but keep the keys and values of their own
//! inputs. An appending op writes the slot of the application at hand at the token's position; the
//! attention after it reads positions up to the token's own.
//!
//! # When an op is evaluated
//!
//! For a tile of tokens at positions p, p+1, .., an op is evaluated for all tokens of the tile
//! before the next op of the list. So every key of the tile is appended before any attention of
//! the tile runs, and a later key is invisible to an earlier token only by the rule of attention
//! (positions up to its own), never by timing. This is why prefill and decode give the same bits.
//!
//! # Plain and fused
//!
//! [`build`](build::build) writes plain ops, one for each term of the model's formula. The passes
//! of [`passes`] fuse them, never changing which float operations are done or in which order, so
//! each prefix of the list, and the list with any pass left out, gives the same bits. After all
//! of them `embed` is one op, a block is five, and `head` is one:
//!
//! ```text
//! linear{norm -> q, k, v -> rope, append}   attention   linear{-> + residual}
//! linear{norm -> gate, up -> silu, mul}                 linear{-> + residual}
//! ```
//!
//! # A valid graph
//!
//! [`verify`](verify::verify) checks the numbered rules listed there; everything after it (passes,
//! interpreter, planner) relies on them. Texts come from `Display` and go back through
//! [`parse`](parse::parse). The interpreter in [`interp::fir`](crate::interp::fir) is the meaning.
//!
//! # What this level does not know
//!
//! Lanes, panels, tiles of rows, threads, buffers and addresses; how a weight lies in memory
//! beyond its storage [`Format`]; how long the context is (the capacity of a KV slot belongs to the
//! run); how tokens are cut into tiles.
pub mod build;
pub mod formats;
pub mod op;
pub mod parse;
pub mod passes;
pub mod print;
pub mod role;
pub mod verify;

pub use build::{BuildError, build};
pub use formats::{Formats, FormatsError};
pub use op::{Epilogue, HeadShape, NormSpec, Op, RopeSpec};
pub use parse::{ParseError, parse};
pub use passes::fuse;
pub use role::Role;
pub use verify::{VerifyErrors, verify, verify_fused};

use crate::define_id;
use crate::format::{Activations, Format};
use crate::id::Arena;

define_id! {
    /// A per-token vector inside one [`Func`].
    pub struct ValueId = "v";
}
define_id! {
    /// A weight tensor that one [`Func`] reads.
    pub struct WeightId = "w";
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
    /// What a product multiplies it with.
    pub activations: Activations,
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

impl Graph {
    /// All functions: `embed`, the blocks, `head`.
    pub fn funcs(&self) -> impl Iterator<Item = &Func> {
        std::iter::once(&self.embed).chain(&self.blocks).chain(std::iter::once(&self.head))
    }

    /// All functions, to be changed: `embed`, the blocks, `head`.
    pub fn funcs_mut(&mut self) -> impl Iterator<Item = &mut Func> {
        std::iter::once(&mut self.embed)
            .chain(&mut self.blocks)
            .chain(std::iter::once(&mut self.head))
    }
}
