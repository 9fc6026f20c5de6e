//! The deepthin compiler: a checked model to fused ops, to a plan, to lane kernels, to machine code.
//!
//! ```text
//! Model --fir::build--> plain graph --fir::fuse--> fused graph --plan--> Plan --lower--> VIR
//!   --vir::verify--> verified kernels --codegen--> machine code  (or --interp--> their meaning)
//! ```
//!
//! [`pipeline`] is the list of these stages. Each level is a type of its own, prints as text and
//! has a verifier; the two IRs also have an interpreter, which is what they mean. One product of
//! the model, at each level:
//!
//! | level | `y = W · norm(x) + r` |
//! |---|---|
//! | plain FIR | `norm`, `linear`, `add`: three ops on per-token vectors |
//! | fused FIR | one `linear` with a norm before it and a residual behind it |
//! | plan | a kernel for tiles of 4 tokens and one for 1; 18 panels of 32 rows; a step for each block |
//! | VIR | loops over panels, steps of K and lines; a lane is a row; no sum crosses lanes |
//! | machine code | the same instructions in the same order, 4 rows a register |
//!
//! ```
//! use deepthin_compiler::codegen::clif::Clif;
//! use deepthin_compiler::fir::Formats;
//! use deepthin_compiler::pipeline::{constants, jit_program, lower};
//! use deepthin_compiler::plan::PlanOptions;
//! use deepthin_compiler::weights::RandomWeights;
//! use deepthin_runtime::session::Session;
//! use std::sync::Arc;
//!
//! let text = "model tiny {
//!     vocab 50  context 32  width 24  depth 2
//!     block { attention gqa(heads: 3)  position rope(theta: 10_000)  ffn swiglu(hidden: 40) }
//! }";
//! let model = deepthin_dsl::parse(text, "tiny.thin").unwrap().remove(0);
//! let clif = Clif::host()?;
//! let lowered = lower(&model, &Formats::from_storage(&model)?, &PlanOptions::new(4, 32))?;
//! let program = jit_program(&lowered, &clif)?;
//! let constants = constants(&lowered.plan, &RandomWeights::new(&lowered.plain, 1), 1)?;
//! let mut session = Session::new(Arc::new(program), Arc::new(constants), 2)?;
//! assert_eq!(session.feed(&[1, 2, 3])?.len(), 50);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod codegen;
pub mod codes;
pub mod dequant;
pub mod fir;
pub mod format;
pub mod header;
pub mod id;
pub mod interp;
pub mod lower;
pub mod numerics;
pub mod pack;
mod parts;
pub mod pipeline;
pub mod plan;
pub mod quantize;
pub mod text;
pub mod vir;
pub mod weights;
