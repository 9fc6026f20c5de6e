//! The plan: kernels, memory and steps of a fused graph, with every offset decided.
//!
//! Planning turns the schedule of block applications into the flat list of steps that the runtime
//! walks. It decides which kernels there are (one for each distinct shape, storage and token
//! tile), what the packed image holds and where, where each value lies in the arena, and how the
//! work of each step splits over threads. The result is checked by `Program::validate`.

mod ahead;
mod arena;
mod attended;
mod image;
mod kernels;
mod operands;
mod planner;
mod print;

pub use kernels::{PlannedKernel, Spec};

use crate::fir::Graph;
use crate::lower::CHUNK;
use crate::pack::PackedTensor;
use crate::pack::tables::RopeTable;
use deepthin_runtime::program::{Operand, Regions, Step};
use planner::Planner;
use thiserror::Error;

/// What a plan is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// Lanes of the kernels.
    pub lanes: u32,
    /// Positions of the KV cache.
    pub context: u32,
    /// Most tokens of one pass over the steps.
    pub chunk: u32,
    /// Token tiles of linear kernels, falling, the last 1.
    pub tiles: Vec<u32>,
    /// Whether kernels may ask for weights ahead of their use where a token is by itself; they do in
    /// models that repeat blocks, and in those of which caches keep nothing from token to token.
    pub asks_ahead: bool,
}

impl PlanOptions {
    /// The usual plan: chunks of 64 tokens, tiles of 4 and 1. Wide kernels may ask ahead: Cranelift's,
    /// of four lanes, have no instruction for it.
    pub fn new(lanes: u32, context: u32) -> Self {
        let chunk = 64.min(context.max(1));
        PlanOptions { lanes, context, chunk, tiles: vec![4, 1], asks_ahead: lanes > 4 }
    }
}

/// A planned model.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// What it was planned for.
    pub options: PlanOptions,
    /// Kernels in order of first use.
    pub kernels: Vec<PlannedKernel>,
    /// Parts of the image.
    pub image: Vec<PackedTensor>,
    /// Tables beside the image.
    pub tables: Vec<RopeTable>,
    /// Steps from tokens to the residual stream.
    pub body: Vec<Step>,
    /// Steps from the residual stream to logits.
    pub head: Vec<Step>,
    /// Index into `body` past the last step of each block application.
    pub application_ends: Vec<usize>,
    /// The residual stream, and its elements.
    pub stream: (Operand, u32),
    /// Bytes of the memory regions.
    pub regions: Regions,
}

impl Plan {
    /// Bytes of packed weights, without what aligns one tensor after another.
    pub fn weight_bytes(&self) -> u64 {
        self.image.iter().map(|t| t.content.bytes()).sum()
    }

    /// The steps that a token by itself takes, from its id to its logits.
    pub fn steps_of_one_token(&self) -> impl Iterator<Item = &Step> {
        self.body.iter().chain(&self.head).filter(|step| step.passes.have(1))
    }

    /// Bytes of tables.
    pub fn table_bytes(&self) -> u64 {
        self.tables.iter().map(RopeTable::bytes).sum()
    }
}

/// A graph that the planner has no layout for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// An op that fusion should have removed.
    #[error("function `{func}`: op {op} is not fused; plan takes fused graphs")]
    NotFused {
        /// The function.
        func: String,
        /// Index of the op.
        op: usize,
    },
    /// A residual that is read after the sum.
    #[error("function `{func}`: `{value}` is read after its residual sum, which is in place")]
    ResidualLive {
        /// The function.
        func: String,
        /// The value.
        value: String,
    },
    /// What attention gives is read where it cannot be merged from what each chunk gave.
    #[error(
        "function `{func}`: `{value}` of attention is not only the `x` of linear ops before the next \
         attention, which merge its chunks"
    )]
    Attended {
        /// The function.
        func: String,
        /// The value.
        value: String,
    },
    /// A function whose result is not a residual sum of its input.
    #[error("function `{func}`: the result does not lie in the residual stream")]
    ResultElsewhere {
        /// The function.
        func: String,
    },
    /// Gate and up of different storage or activations cannot share panels.
    #[error("function `{func}`: gate is {gate}, up is {up}; paired matrices need one format")]
    PairFormats {
        /// The function.
        func: String,
        /// Storage of gate, and its activations where storage is the same.
        gate: String,
        /// The same of up.
        up: String,
    },
    /// Tiles, chunk or context that make no sense.
    #[error(
        "tiles {tiles:?}, chunk {chunk}, context {context}: tiles fall from at most 4 to 1, chunk and context are positive, a context in whole chunks of 64 is below 2^32"
    )]
    Options {
        /// Token tiles.
        tiles: Vec<u32>,
        /// Chunk.
        chunk: u32,
        /// Context.
        context: u32,
    },
}

/// Plans a fused graph.
pub fn plan(graph: &Graph, options: &PlanOptions) -> Result<Plan, PlanError> {
    let tiles_fall = options.tiles.windows(2).all(|w| w[0] > w[1]);
    let tiles_end = options.tiles.last() == Some(&1) && options.tiles.iter().all(|t| *t <= 4);
    let has_context =
        options.context > 0 && options.context.checked_next_multiple_of(CHUNK).is_some();
    if !tiles_fall || !tiles_end || options.chunk == 0 || !has_context {
        return Err(PlanError::Options {
            tiles: options.tiles.clone(),
            chunk: options.chunk,
            context: options.context,
        });
    }
    Planner::new(options).graph(graph)
}
