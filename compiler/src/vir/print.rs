//! The text of a kernel, made to be read and to parse back to the same kernel.
//!
//! The grammar stands in `specs/vir.md`. Ids are printed as they are: a verified kernel's are
//! dense. What only the verifier refuses (a lone half of a range, a factor of 0) has a text too,
//! so that each rule can be broken in a test file.

use std::fmt::{self, Display, Formatter};

use super::{Address, Affine, Bound, Index, Inst, Kernel, Ty, ValueId};

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {} lanes {} {{", Name(&self.name), self.lanes)?;
        for (id, buffer) in self.buffers.iter() {
            let (name, access) = (Name(&buffer.name), buffer.access);
            writeln!(f, "  buffer {id} {name}: {access} {}", buffer.bytes)?;
        }
        self.fmt_parameters(f)?;
        self.fmt_body(f, &self.body, 1)?;
        writeln!(f, "}}")
    }
}

impl Kernel {
    fn fmt_parameters(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut indices = self.indices.iter().peekable();
        while let Some((id, index)) = indices.next() {
            match index {
                Index::Scalar { name, lo, hi } => {
                    writeln!(f, "  scalar {id} {}: {lo}..={hi}", Name(name))?;
                }
                Index::RangeBegin { name, count } => {
                    let pair =
                        |(_, next): &(_, &Index)| **next == Index::RangeEnd { count: *count };
                    write!(f, "  range {id}..")?;
                    if let Some((end, _)) = indices.next_if(pair) {
                        write!(f, "{end}")?;
                    }
                    writeln!(f, " {}: {count}", Name(name))?;
                }
                Index::RangeEnd { count } => writeln!(f, "  range ..{id}: {count}")?,
                Index::Loop => {}
            }
        }
        Ok(())
    }

    fn fmt_body(&self, f: &mut Formatter<'_>, body: &[Inst], depth: usize) -> fmt::Result {
        let indent = 2 * depth;
        for inst in body {
            writeln!(f, "{:indent$}{}", "", Line { kernel: self, inst })?;
            if let Inst::Loop { carried, body, .. } = inst {
                for c in carried {
                    let (param, result) = (self.typed(c.param), self.typed(c.result));
                    writeln!(f, "{:indent$}  carry {param} = {} -> {result}", "", c.init)?;
                }
                self.fmt_body(f, body, depth + 1)?;
                if !carried.is_empty() {
                    let next: Vec<String> = carried.iter().map(|c| c.next.to_string()).collect();
                    writeln!(f, "{:indent$}  yield {}", "", next.join(", "))?;
                }
                writeln!(f, "{:indent$}}}", "")?;
            }
        }
        Ok(())
    }

    fn typed(&self, value: ValueId) -> Typed {
        Typed(value, self.values.get(value).copied())
    }
}

/// The line of one instruction; of a loop the first.
pub(super) struct Line<'k> {
    /// The kernel, for the types of results.
    pub(super) kernel: &'k Kernel,
    /// The instruction.
    pub(super) inst: &'k Inst,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = self.inst.name();
        let typed = |dst: &ValueId| self.kernel.typed(*dst);
        match self.inst {
            Inst::Const { dst, bits } => {
                write!(f, "{} = {word} {}", typed(dst), Constant(typed(dst).1, *bits))
            }
            Inst::Iota { dst } => write!(f, "{} = {word}", typed(dst)),
            Inst::Index { dst, index } => write!(f, "{} = {word} {index}", typed(dst)),
            Inst::Load { dst, elem, at, count } => {
                write!(f, "{} = {word} {elem} {at}", typed(dst))?;
                self.fmt_count(f, *count)
            }
            Inst::Splat { dst, elem, at } => write!(f, "{} = {word} {elem} {at}", typed(dst)),
            Inst::Store { src, elem, at, stride, count } => {
                write!(f, "{word} {elem} {src}, {at}")?;
                if *stride != elem.bytes() {
                    write!(f, " stride {stride}")?;
                }
                self.fmt_count(f, *count)
            }
            Inst::Prefetch { locality, at } => write!(f, "{word} {locality} {at}"),
            Inst::Unary { dst, src, .. } | Inst::Reduce { dst, src, .. } => {
                write!(f, "{} = {word} {src}", typed(dst))
            }
            Inst::Binary { dst, lhs, rhs, .. } | Inst::Compare { dst, lhs, rhs, .. } => {
                write!(f, "{} = {word} {lhs}, {rhs}", typed(dst))
            }
            Inst::Shift { dst, src, amount, .. } => {
                write!(f, "{} = {word} {src}, {amount}", typed(dst))
            }
            Inst::Fma { dst, a, b, c } => write!(f, "{} = {word} {a}, {b}, {c}", typed(dst)),
            Inst::Dot4 { dst, u8s, s8s, acc } => {
                write!(f, "{} = {word} {u8s}, {s8s}, {acc}", typed(dst))
            }
            Inst::Select { dst, mask, on, off } => {
                write!(f, "{} = {word} {mask}, {on}, {off}", typed(dst))
            }
            Inst::Loop { var, begin, end, .. } => write!(f, "{word} {var} in {begin}..{end} {{"),
        }
    }
}

impl Line<'_> {
    /// A lane count that is not all lanes.
    fn fmt_count(&self, f: &mut Formatter<'_>, count: u32) -> fmt::Result {
        if count == self.kernel.lanes { Ok(()) } else { write!(f, " count {count}") }
    }
}

/// A value where it is defined: `v3: f32`. A value that is not in the table has the type `?`.
struct Typed(ValueId, Option<Ty>);

impl Display for Typed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1.map_or("?", Ty::name))
    }
}

/// A name: bare where it is an identifier, else in quotes.
struct Name<'n>(&'n str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_identifier(self.0) {
            return f.write_str(self.0);
        }
        let plain = |c: char| if c == '"' || c.is_control() { '?' } else { c };
        write!(f, "\"{}\"", self.0.chars().map(plain).collect::<String>())
    }
}

/// Whether `name` is a letter or underscore, then letters, digits and underscores, all ASCII.
pub(super) fn is_identifier(name: &str) -> bool {
    let head = |c: char| c.is_ascii_alphabetic() || c == '_';
    let tail = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(head) && name.chars().all(tail)
}

/// The bits of a constant, read as its type.
struct Constant(Option<Ty>, u32);

impl Display for Constant {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Constant(ty, bits) = *self;
        let (float, int) = (f32::from_bits(bits), bits.cast_signed());
        match ty {
            Some(Ty::F32) if bits == f32::NAN.to_bits() => f.write_str("nan"),
            // The shortest decimal that reads back as the same f32; `inf` and `-inf` too.
            Some(Ty::F32) if !float.is_nan() => write!(f, "{float:?}"),
            Some(Ty::I32) if int.unsigned_abs() < 0x1_0000 => write!(f, "{int}"),
            Some(Ty::Mask) if bits <= 1 => write!(f, "{}", bits == 1),
            Some(Ty::F32 | Ty::I32 | Ty::Mask) | None => write!(f, "{bits:#x}"),
        }
    }
}

impl Display for Affine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (position, (index, factor)) in self.terms.iter().enumerate() {
            let plus = if position == 0 { "" } else { " + " };
            match factor {
                1 => write!(f, "{plus}{index}")?,
                _ => write!(f, "{plus}{index}*{factor}")?,
            }
        }
        match self.base {
            base if self.terms.is_empty() => write!(f, "{base}"),
            0 => Ok(()),
            base if base < 0 => write!(f, " - {}", base.unsigned_abs()),
            base => write!(f, " + {base}"),
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.buffer, self.offset)
    }
}

impl Display for Bound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Const(value) => write!(f, "{value}"),
            Bound::Scalar(index) => write!(f, "{index}"),
            Bound::Clamp { scalar, minus, lo, hi } => {
                write!(f, "clamp({scalar}")?;
                if *minus != Affine::default() {
                    write!(f, " - ({minus})")?;
                }
                write!(f, ", {lo}, {hi})")
            }
        }
    }
}
