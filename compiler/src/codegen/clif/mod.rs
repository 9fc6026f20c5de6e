//! Back end `clif128`: VIR of 4 lanes to Cranelift IR with 128-bit values, on x86-64 and aarch64.
//!
//! Instructions are emitted in the order of the VIR list and compiled with `opt_level=none`:
//! the kernel generator owns the schedule. Cranelift then neither hoists nor merges, so this
//! file does the two things that pay: pointers are computed once for each loop that changes
//! them (`address`), and constants are materialized where they are used (they become memory
//! operands instead of long-lived registers), but for masks that a body uses often (`constants`).

mod address;
mod constants;
mod dot;
mod inst;
mod math;

use super::bits::PossibleBits;
use super::target::{Isa, Target};
use super::{Backend, Code, CodegenError, Listing, check_lanes};
use crate::id::Id;
use crate::vir::verify::Verified;
use crate::vir::{Bound, Carried, IndexId, Inst, Kernel, Ty, ValueId};
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, BlockArg, Function, InstBuilder, MemFlagsData, Signature, Type, UserFuncName, Value,
    types,
};
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenError as ClifError, Context};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use dot::{DotForm, DotParts};
use std::collections::BTreeMap;

/// Cranelift for one target.
pub struct Clif {
    isa: OwnedTargetIsa,
    target: Target,
}

impl Clif {
    /// The back end for this host with the features it has.
    ///
    /// # Errors
    /// A host that kernels cannot run on.
    pub fn host() -> Result<Self, CodegenError> {
        Clif::new(&Target::host()?)
    }

    /// The back end for a target.
    ///
    /// # Errors
    /// Cranelift was built without the instruction set, or without a feature.
    pub fn new(target: &Target) -> Result<Self, CodegenError> {
        let mut flags = settings::builder();
        // The verifier doubles compile time; debug builds and tests keep it on.
        let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
        for (name, value) in
            [("opt_level", "none"), ("is_pic", "false"), ("enable_verifier", verifier)]
        {
            flags.set(name, value).map_err(|e| setup_error(&e))?;
        }
        let builder = match target.cpu().features() {
            None => cranelift_native::builder().map_err(|e| setup_error(&e))?,
            Some(features) => {
                let mut builder =
                    isa::lookup_by_name(target.triple()).map_err(|e| setup_error(&e))?;
                for feature in features {
                    builder.enable(feature).map_err(|e| setup_error(&e))?;
                }
                builder
            }
        };
        let isa = builder.finish(settings::Flags::new(flags)).map_err(|e| setup_error(&e))?;
        Ok(Clif { isa, target: *target })
    }

    /// The features of the processor that code may use, by Cranelift's names.
    pub fn features(&self) -> Vec<&'static str> {
        let flags = self.isa.isa_flags().into_iter();
        flags.filter(|flag| flag.as_bool() == Some(true)).map(|flag| flag.name).collect()
    }

    fn build(&self, kernel: &Verified) -> Result<Context, CodegenError> {
        check_lanes(self, kernel)?;
        let mut signature = Signature::new(self.isa.default_call_conv());
        let pointer = AbiParam::new(self.isa.pointer_type());
        signature.params.extend([pointer, pointer]);
        let function = Function::with_name_signature(UserFuncName::user(0, 0), signature);
        let mut context = Context::for_function(function);
        let mut frontend = FunctionBuilderContext::new();
        let builder = FunctionBuilder::new(&mut context.func, &mut frontend);
        let mut emitter = Emitter::new(builder, kernel, self);
        emitter.kernel();
        emitter.fb.finalize(self.isa.frontend_config());
        Ok(context)
    }
}

fn setup_error(error: &dyn std::fmt::Display) -> CodegenError {
    CodegenError::Backend { kernel: "(setup)".to_owned(), message: error.to_string() }
}

fn compile_error(kernel: &str, error: &ClifError) -> CodegenError {
    CodegenError::Backend { kernel: kernel.to_owned(), message: error.to_string() }
}

impl Backend for Clif {
    fn name(&self) -> &'static str {
        "clif128"
    }

    fn lanes(&self) -> u32 {
        4
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn isa(&self) -> &OwnedTargetIsa {
        &self.isa
    }

    fn emit(&self, kernel: &Verified) -> Result<Code, CodegenError> {
        let mut context = self.build(kernel)?;
        let compiled = context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|e| compile_error(&kernel.name, &e.inner))?;
        if !compiled.buffer.relocs().is_empty() {
            return Err(CodegenError::Backend {
                kernel: kernel.name.clone(),
                message: "the code needs relocations: an operation became a library call".into(),
            });
        }
        Ok(Code {
            name: kernel.name.clone(),
            bytes: compiled.code_buffer().to_vec(),
            alignment: u64::from(compiled.buffer.alignment.max(64)),
        })
    }

    fn listing(&self, kernel: &Verified) -> Result<Listing, CodegenError> {
        let mut context = self.build(kernel)?;
        let ir = context.func.display().to_string();
        context.set_disasm(true);
        let compiled = context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|e| compile_error(&kernel.name, &e.inner))?;
        let asm = compiled.vcode.clone().unwrap_or_default();
        Ok(Listing { ir, asm })
    }
}

/// A value as CLIF sees it: emitted, or a constant that is emitted where it is used.
#[derive(Clone, Copy)]
enum Slot {
    Undefined,
    Const(u32),
    Value(Value),
}

/// Emits one kernel.
struct Emitter<'k, 'f> {
    fb: FunctionBuilder<'f>,
    kernel: &'k Kernel,
    values: Vec<Slot>,
    indices: Vec<Option<Value>>,
    buffers: Vec<Value>,
    pointers: address::Pointers,
    isa: Isa,
    bits: PossibleBits,
    dot_form: DotForm,
    dot_parts: DotParts,
    kept: constants::KeptConstants,
}

impl<'k, 'f> Emitter<'k, 'f> {
    fn new(fb: FunctionBuilder<'f>, kernel: &'k Kernel, clif: &Clif) -> Self {
        let isa = clif.target.isa();
        Emitter {
            fb,
            kernel,
            values: vec![Slot::Undefined; kernel.values.len()],
            indices: vec![None; kernel.indices.len()],
            buffers: Vec::new(),
            pointers: address::Pointers::default(),
            isa,
            bits: PossibleBits::of(kernel),
            dot_form: DotForm::of(isa, &*clif.isa),
            dot_parts: DotParts::default(),
            kept: constants::KeptConstants::default(),
        }
    }

    /// The whole function: parameters from the two tables of the ABI, then the body.
    fn kernel(&mut self) {
        let entry = self.fb.create_block();
        self.fb.append_block_params_for_function_params(entry);
        self.fb.switch_to_block(entry);
        let (buffers, scalars) = {
            let params = self.fb.block_params(entry);
            (params[0], params[1])
        };
        let flags = MemFlagsData::trusted();
        for i in 0..self.kernel.buffers.len() {
            let offset = table_offset(i);
            let pointer = self.fb.ins().load(types::I64, flags, buffers, offset);
            self.buffers.push(pointer);
        }
        for i in 0..self.kernel.scalar_count() {
            let offset = table_offset(i);
            self.indices[i] = Some(self.fb.ins().load(types::I64, flags, scalars, offset));
        }
        self.scope(&self.kernel.body, None);
        self.fb.ins().return_(&[]);
        self.fb.seal_all_blocks();
    }

    /// A body whose newly visible index is `var`: its pointers first, then its instructions.
    fn scope(&mut self, body: &'k [Inst], var: Option<IndexId>) {
        self.enter_scope(body, var);
        self.dot_parts.enter_scope();
        self.keep_constants(body);
        for inst in body {
            self.inst(inst);
        }
        self.forget_constants();
        self.dot_parts.leave_scope();
        self.leave_scope();
    }

    /// The CLIF value of `v`, emitting a constant here.
    fn get(&mut self, v: ValueId) -> Value {
        match self.values[v.index()] {
            Slot::Value(value) => value,
            Slot::Const(bits) => self.constant(self.kernel.values[v], bits),
            Slot::Undefined => unreachable!("rule V: a value is defined before it is used"),
        }
    }

    fn set(&mut self, v: ValueId, value: Value) {
        self.values[v.index()] = Slot::Value(value);
    }

    fn index(&self, i: IndexId) -> Value {
        match self.indices[i.index()] {
            Some(value) => value,
            None => unreachable!("rule V: an index is used in its scope"),
        }
    }

    fn bound(&mut self, bound: &Bound) -> Value {
        match bound {
            Bound::Const(n) => self.fb.ins().iconst(types::I64, i64::from(*n)),
            Bound::Scalar(i) => self.index(*i),
            Bound::Clamp { scalar, minus, lo, hi } => {
                let minus = self.affine(minus);
                let scalar = self.index(*scalar);
                let x = self.fb.ins().isub(scalar, minus);
                let lo = self.fb.ins().iconst(types::I64, i64::from(*lo));
                let x = self.fb.ins().smax(x, lo);
                let hi = self.fb.ins().iconst(types::I64, i64::from(*hi));
                self.fb.ins().smin(x, hi)
            }
        }
    }

    /// A bottom-tested loop; the test before it is left out where the bounds are constant.
    fn emit_loop(
        &mut self,
        var: IndexId,
        begin: &Bound,
        end: &Bound,
        carried: &'k [Carried],
        body: &'k [Inst],
    ) {
        let surely_runs = match (begin, end) {
            (Bound::Const(b), Bound::Const(e)) => b < e,
            _ => false,
        };
        let (begin, end) = (self.bound(begin), self.bound(end));
        self.prepare_dots(body);
        let (head, exit) = (self.fb.create_block(), self.fb.create_block());
        let var_in = self.fb.append_block_param(head, types::I64);
        let mut init = Vec::new();
        for c in carried {
            let ty = clif_type(self.kernel.values[c.param]);
            let param = self.fb.append_block_param(head, ty);
            let result = self.fb.append_block_param(exit, ty);
            init.push(BlockArg::from(self.get(c.init)));
            self.set(c.param, param);
            self.set(c.result, result);
        }
        let mut enter = vec![BlockArg::from(begin)];
        enter.extend(init.iter().copied());
        if surely_runs {
            self.fb.ins().jump(head, &enter);
        } else {
            let runs = self.fb.ins().icmp(IntCC::SignedLessThan, begin, end);
            self.fb.ins().brif(runs, head, &enter, exit, &init);
        }
        self.fb.switch_to_block(head);
        self.indices[var.index()] = Some(var_in);
        self.scope(body, Some(var));
        let following = self.fb.ins().iadd_imm_s(var_in, 1);
        let next: Vec<BlockArg> =
            carried.iter().map(|c| BlockArg::from(self.get(c.next))).collect();
        let mut again = vec![BlockArg::from(following)];
        again.extend(next.iter().copied());
        let more = self.fb.ins().icmp(IntCC::SignedLessThan, following, end);
        self.fb.ins().brif(more, head, &again, exit, &next);
        self.indices[var.index()] = None;
        self.fb.switch_to_block(exit);
    }
}

fn table_offset(entry: usize) -> i32 {
    i32::try_from(entry * 8).unwrap_or(i32::MAX)
}

fn clif_type(ty: Ty) -> Type {
    match ty {
        Ty::F32 => types::F32X4,
        Ty::I32 | Ty::Mask => types::I32X4,
    }
}

/// Pointers by (buffer, terms): see `address`.
type PointerMap = BTreeMap<address::Key, Value>;
