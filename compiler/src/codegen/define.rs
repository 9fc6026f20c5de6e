//! Emitted code in a Cranelift module, whichever kind of module it is.

use super::Code;
use cranelift_codegen::ir::AbiParam;
use cranelift_module::{FuncId, Linkage, Module, ModuleError};

/// Least alignment of a function: a cache line.
const ALIGNMENT: u64 = 64;

/// Defines the code of each kernel as a function with the symbol of the same place, in order.
pub(super) fn define(
    module: &mut dyn Module,
    codes: &[Code],
    symbols: &[String],
    linkage: Linkage,
) -> Result<Vec<FuncId>, Box<ModuleError>> {
    let mut signature = module.make_signature();
    let pointer = AbiParam::new(module.target_config().pointer_type());
    signature.params.extend([pointer, pointer]);
    let mut ids = Vec::with_capacity(codes.len());
    for (code, symbol) in codes.iter().zip(symbols) {
        let id = module.declare_function(symbol, linkage, &signature)?;
        module.define_function_bytes(id, code.alignment.max(ALIGNMENT), &code.bytes, &[])?;
        ids.push(id);
    }
    Ok(ids)
}
