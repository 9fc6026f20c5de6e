//! Relocatable object files (ELF) with the code of all kernels of a model.
//!
//! Each kernel lies in a text section of its own, so that a linker with `--gc-sections` keeps
//! those that are called. There is nothing else in the file: no data, no relocations, no unwind
//! tables. The same code gives the same bytes.

use super::define::define;
use super::{Backend, Code, CodegenError};
use cranelift_module::{Linkage, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};

/// The symbol of a kernel of a model. Both names are identifiers, and so is the symbol; kernels
/// of one model have different names, and so different symbols.
pub fn symbol(model: &str, kernel: &str) -> String {
    format!("deepthin_{model}_{kernel}")
}

/// An object file in which the kernels of `model` are global functions named by [`symbol`].
///
/// # Errors
/// Two kernels of one name; anything else is a bug.
pub fn object(backend: &dyn Backend, model: &str, codes: &[Code]) -> Result<Vec<u8>, CodegenError> {
    let failed = |error: &dyn std::fmt::Display| CodegenError::Object(error.to_string());
    let mut builder = ObjectBuilder::new(backend.isa().clone(), model, default_libcall_names())
        .map_err(|e| failed(&e))?;
    builder.per_function_section(true);
    let mut module = ObjectModule::new(builder);
    let symbols: Vec<String> = codes.iter().map(|code| symbol(model, &code.name)).collect();
    define(&mut module, codes, &symbols, Linkage::Export).map_err(|e| failed(&e))?;
    module.finish().emit().map_err(|e| failed(&e))
}
