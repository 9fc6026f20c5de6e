//! The deepthin compiler: Model to fused-op IR to vector IR to machine code.
pub mod fir;
pub mod format;
pub mod id;
pub mod vir;
