//! The text form of FIR: `Display` of a [`Graph`], which [`parse`](super::parse()) reads back.
//!
//! ```text
//! graph tiny
//!
//! func block0(v0[24]) {
//!   w0 = attention_norm f32[1, 24]
//!   w1 = query q8_0[24, 24]
//!   v1[24] = linear w1 v0 norm(w0, eps 1e-5)
//!   v2[24] = attention v1 (heads 3, kv_heads 1, head_dim 8)
//!   return v2
//! }
//!
//! schedule {
//!   block0(0) block0(0)
//! }
//! ```
//!
//! A definition carries its width in brackets, a use does not. What a KV slot keeps stands last in
//! the parentheses, as in `(head_dim 8, kv f16)`, unless it is `f32`. `block0(1)` in the schedule is
//! function `block0` run with the weights of stored block 1. Floats print as the shortest decimal
//! that reads back to the same bits. Invalid graphs print too (`?` stands for the width of a value
//! that is not there): the verifier quotes their lines.

use std::fmt;

use crate::format::Activations;

use super::{Epilogue, Func, Graph, HeadShape, NormSpec, Op, RopeSpec, ValueId};
use crate::format::KvFormat;

/// Applications on one line of a printed schedule.
const APPLICATIONS_PER_LINE: usize = 8;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {}", self.name)?;
        for func in self.funcs() {
            write!(f, "\n{func}")?;
        }
        writeln!(f, "\nschedule {{")?;
        for line in self.schedule.chunks(APPLICATIONS_PER_LINE) {
            let line: Vec<String> =
                line.iter().map(|a| format!("block{}({})", a.func, a.block)).collect();
            writeln!(f, "  {}", line.join(" "))?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Func {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let param = self.param.map(|v| definition(self, v)).unwrap_or_default();
        writeln!(f, "func {}({param}) {{", self.name)?;
        for (id, w) in self.weights.iter() {
            write!(f, "  {id} = {} {}[{}, {}]", w.role, w.format, w.rows, w.columns)?;
            match w.activations {
                Activations::F32 => writeln!(f)?,
                activations @ Activations::Q8(_) => writeln!(f, " {activations}")?,
            }
        }
        for op in &self.ops {
            writeln!(f, "  {}", op_line(self, op))?;
        }
        writeln!(f, "  return {}\n}}", self.result)
    }
}

/// One op as it stands in the text of its function, without indentation.
pub fn op_line(func: &Func, op: &Op) -> String {
    let results: Vec<String> = op.outputs().into_iter().map(|v| definition(func, v)).collect();
    let operation = match op {
        Op::Embed { table, .. } => format!("embed {table}"),
        Op::Norm { x, norm, .. } => format!("norm {x} {}", norm_arguments(norm)),
        Op::Linear { x, norm, weights, epilogue } => {
            let mut text = "linear".to_owned();
            for weight in weights {
                text += &format!(" {weight}");
            }
            text += &format!(" {x}");
            if let Some(norm) = norm {
                text += &format!(" norm{}", norm_arguments(norm));
            }
            text + &epilogue_suffix(epilogue)
        }
        Op::Rope { x, rope, heads, .. } => {
            format!("rope {x} (heads {heads}, {})", rope_arguments(rope))
        }
        Op::KvAppend { k, v, head_dim, kv } => {
            format!("kv_append {k} {v} (head_dim {head_dim}{})", kv_argument(*kv))
        }
        Op::Attention { q, shape, kv, .. } => {
            format!("attention {q} {}", shape_arguments(shape, *kv))
        }
        Op::Glu { gate, up, .. } => format!("glu {gate} {up}"),
        Op::Add { a, b, .. } => format!("add {a} {b}"),
    };
    if results.is_empty() { operation } else { format!("{} = {operation}", results.join(", ")) }
}

fn definition(func: &Func, value: ValueId) -> String {
    match func.values.get(value) {
        Some(v) => format!("{value}[{}]", v.width),
        None => format!("{value}[?]"),
    }
}

fn norm_arguments(norm: &NormSpec) -> String {
    format!("({}, eps {:?})", norm.gain, norm.eps)
}

fn rope_arguments(rope: &RopeSpec) -> String {
    format!("head_dim {}, theta {:?}", rope.head_dim, rope.theta)
}

fn shape_arguments(shape: &HeadShape, kv: KvFormat) -> String {
    let HeadShape { heads, kv_heads, head_dim } = shape;
    format!("(heads {heads}, kv_heads {kv_heads}, head_dim {head_dim}{})", kv_argument(kv))
}

/// The format of the KV slot as a last argument; `f32` goes without saying.
fn kv_argument(kv: KvFormat) -> String {
    match kv {
        KvFormat::F32 => String::new(),
        KvFormat::F16 | KvFormat::Q8 => format!(", kv {kv}"),
    }
}

fn epilogue_suffix(epilogue: &Epilogue) -> String {
    match epilogue {
        Epilogue::Store { .. } => String::new(),
        Epilogue::Residual { residual, .. } => format!(" residual {residual}"),
        Epilogue::Glu { .. } => " glu".to_owned(),
        Epilogue::RopeAppend { shape, rope, kv, .. } => {
            format!(" rope({}) append{}", rope_arguments(rope), shape_arguments(shape, *kv))
        }
    }
}
