//! VIR, the vector IR: lane instructions in counted loops over declared buffers.
//!
//! (Essay to be completed by the VIR author.)
pub mod builder;
pub mod inst;

pub use builder::Builder;
pub use inst::{
    Address, Affine, BinaryOp, Bound, Carried, CompareOp, Elem, Inst, ReduceOp, ShiftOp, Ty,
    UnaryOp,
};

use crate::define_id;
use crate::id::Arena;

define_id! {
    /// A lane vector or mask.
    pub struct ValueId = "v";
}
define_id! {
    /// A buffer parameter.
    pub struct BufferId = "b";
}
define_id! {
    /// A scalar parameter or a loop variable.
    pub struct IndexId = "i";
}

/// Whether a kernel may read or write a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Loads only.
    Read,
    /// Stores, and loads of what was stored.
    Write,
    /// Both.
    ReadWrite,
}

/// A buffer parameter: `bytes` bytes that belong to the kernel during the call.
/// Different parameters never overlap where either is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// Name in texts: an identifier.
    pub name: String,
    /// Size. Every address is proved to lie inside.
    pub bytes: u32,
    /// What the kernel may do.
    pub access: Access,
}

/// What an index is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Index {
    /// A parameter with `lo <= value <= hi`, checked before the call.
    Scalar {
        /// Name in texts.
        name: String,
        /// Least value.
        lo: i64,
        /// Greatest value.
        hi: i64,
    },
    /// The first of a thread's share of `0..count`. The next index is its [`Index::RangeEnd`];
    /// `0 <= begin <= end <= count` is checked before the call.
    RangeBegin {
        /// Name in texts.
        name: String,
        /// Units in all.
        count: u32,
    },
    /// One past the last of the share begun by the index before this one.
    RangeEnd {
        /// Units in all.
        count: u32,
    },
    /// A loop variable; its values follow from the loop's bounds.
    Loop,
}

/// A kernel: one function of buffers and scalars, no control flow but counted loops.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// Name: an identifier, also the symbol of its machine code.
    pub name: String,
    /// Lanes of every value: 4, 8 or 16.
    pub lanes: u32,
    /// Buffer parameters.
    pub buffers: Arena<BufferId, Buffer>,
    /// Scalar parameters first (in the order of the call), then loop variables.
    pub indices: Arena<IndexId, Index>,
    /// The type of each value.
    pub values: Arena<ValueId, Ty>,
    /// Instructions in order.
    pub body: Vec<Inst>,
}

impl Kernel {
    /// Number of scalar parameters (a range counts two).
    pub fn scalar_count(&self) -> usize {
        self.indices.values().take_while(|i| !matches!(i, Index::Loop)).count()
    }
}
