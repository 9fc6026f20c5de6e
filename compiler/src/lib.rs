//! The deepthin compiler: Model to fused-op IR to vector IR to machine code.
pub mod dequant;
pub mod fir;
pub mod format;
pub mod id;
pub mod interp;
pub mod numerics;
pub mod vir;
pub mod weights;
