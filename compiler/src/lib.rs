//! The deepthin compiler: Model to fused-op IR to vector IR to machine code.
pub mod codegen;
pub mod dequant;
pub mod fir;
pub mod format;
pub mod id;
pub mod interp;
pub mod lower;
pub mod numerics;
pub mod pack;
pub mod pipeline;
pub mod plan;
pub mod vir;
pub mod weights;
