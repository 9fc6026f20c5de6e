//! VIR, the vector IR: lane instructions in counted loops over declared buffers.
//!
//! A [`Kernel`] is one function. It reads and writes buffers, takes a few scalars, and has no
//! control flow but counted loops. It is the last level that is the same on every machine: the
//! interpreter in `interp/vir.rs` says what it means, and every back end gives the same bits.
//!
//! # A kernel
//!
//! Rows of 8 elements of `x` are scaled by the factor of their row; a thread does the rows of
//! its share, and the largest result of the share goes to `top`.
//!
//! ```
//! use deepthin_compiler::interp::vir::run;
//! use deepthin_compiler::vir::{parse, verify};
//!
//! let text = "\
//! kernel scale_rows lanes 8 {
//!   buffer b0 x: readwrite 320
//!   buffer b1 factors: read 40
//!   buffer b2 top: write 4
//!   range i0..i1 rows: 10
//!   v0: f32 = const -inf
//!   loop i2 in i0..i1 {
//!     carry v1: f32 = v0 -> v2: f32
//!     v3: f32 = load f32 b0[i2*32]
//!     v4: f32 = splat f32 b1[i2*4]
//!     v5: f32 = fmul v3, v4
//!     store f32 v5, b0[i2*32]
//!     v6: f32 = fmax v5, v1
//!     yield v6
//!   }
//!   v7: f32 = reduce_fmax v2
//!   store f32 v7, b2[0] count 1
//! }
//! ";
//! let kernel = parse(text)?;
//! assert_eq!(kernel.to_string(), text);
//!
//! let kernel = verify(kernel)?;
//! let ones: Vec<u8> = [1.0f32; 80].iter().flat_map(|x| x.to_le_bytes()).collect();
//! let factors: Vec<u8> = (0..10u8).flat_map(|x| f32::from(x).to_le_bytes()).collect();
//! let mut buffers = [ones, factors, vec![0; 4]];
//! run(&kernel, &mut buffers[..], &[2, 6])?;
//! assert_eq!(buffers[2], 5.0f32.to_le_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Values
//!
//! A value ([`ValueId`], `v3`) holds one element for each lane of the kernel: an f32, an i32, or
//! a mask's true or false ([`Ty`]). The lane count is the kernel's, 4, 8 or 16 whatever the
//! machine has; a back end cuts values to its registers. An i32 may stand for four bytes, which
//! [`Inst::Dot4`] multiplies. A value is defined once and never changes; one defined in a loop is
//! new in each iteration and ends with it. Instructions work lane by lane, but for
//! [`Inst::Reduce`], whose tree of sums is spelled out, so the only freedom left to a back end is
//! which NaN a NaN is.
//!
//! # Order
//!
//! Instructions run in the order of the list. Loads and stores are part of that order: a load
//! sees every store before it. Nothing is evaluated on demand, so what the text says is what is
//! done, once.
//!
//! # Buffers and addresses
//!
//! A buffer ([`BufferId`], `b0`) is a parameter of so many bytes, 4-byte aligned, and apart from
//! every other where either is written. An [`Address`] is a buffer and an offset in *bytes*,
//! whatever the element: rows of mixed content (codes beside scales) need no second view. Offsets
//! are linear in the indices ([`Affine`]), never computed from values, so memory a kernel touches
//! does not depend on what it reads.
//!
//! # Indices
//!
//! An index ([`IndexId`], `i2`) is a whole number outside the lanes: a scalar parameter or a loop
//! variable. Scalars are the only dynamic input (position, token, panel) and each declares its
//! bounds. A *range* is a pair of scalars, begin and end of a thread's share of `0..count`.
//! [`check_scalars`] holds the arguments against the declarations once before the call; the
//! kernel itself checks nothing.
//!
//! # Loops
//!
//! [`Inst::Loop`] counts its variable up from one [`Bound`] to below another: constants, scalars,
//! or a scalar clamped to a window (the part of a share that falls in a chunk). The bounds are
//! fixed before the first iteration. Accumulators are *carried*: a param stands for the value in
//! the body, the yielded value is the next iteration's param, the result is visible after the
//! loop. All carried values of a round move at once.
//!
//! # What VIR does not know
//!
//! Tensors, layers, tokens and threads: lowering turned them into addresses and ranges. Registers,
//! instruction sets and the machine's vector width: code generation knows those. Files, pointers
//! and allocation: the runtime binds buffers. `exp`, `silu` and the reciprocal root: lowering
//! spells them in arithmetic, so that they are the same everywhere.
//!
//! # Why verified is memory safe
//!
//! [`verify()`] gives every index an interval (declared bounds; the span of a loop) and proves that
//! each access, first byte to last, lies in its buffer for all values of all indices. As addresses
//! hold nothing else, a [`Verified`] kernel whose scalars passed [`check_scalars`] cannot touch a
//! byte that is not its own; the machine code needs no checks. Back ends take only `Verified`.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod bounds;
pub mod builder;
pub mod inst;
pub mod op;
pub mod parse;
pub mod print;
pub mod rule;
pub mod scalars;
pub mod verify;

pub use builder::Builder;
pub use inst::{Address, Affine, Bound, Carried, Inst};
pub use op::{BinaryOp, CompareOp, Elem, Locality, ReduceOp, ShiftOp, Ty, UnaryOp};
pub use parse::{ParseError, parse};
pub use rule::{Rule, VerifyError, VerifyErrors};
pub use scalars::{ScalarError, check_scalars};
pub use verify::{Verified, verify};

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
    /// What the kernel may do with it.
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
