//! The plan as text, for `dump --stage plan`.

use super::{Plan, Spec};
use crate::lower::{Asks, EpilogueKernel, LinearKernel, Lines, OWN_DISTANCE, Role};
use crate::pack::Content;
use deepthin_runtime::program::{Base, Operand, Passes, Split, Step};
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = &self.regions;
        writeln!(f, "plan {} {{", self.name)?;
        writeln!(
            f,
            "  lanes {}  context {}  chunk {}  tiles {:?}",
            self.options.lanes, self.options.context, self.options.chunk, self.options.tiles
        )?;
        writeln!(
            f,
            "  bytes  image {}  tables {}  arena {}  scratch {} a thread  kv {}  logits {}",
            r.image, r.tables, r.arena, r.scratch, r.kv, r.logits
        )?;
        writeln!(f, "\n  kernels {{")?;
        for (i, kernel) in self.kernels.iter().enumerate() {
            writeln!(f, "    k{i} = {}{}", kernel.name, asked(&kernel.spec))?;
        }
        writeln!(f, "  }}\n\n  image {{")?;
        for tensor in &self.image {
            let block = tensor.block.map_or(String::new(), |b| format!("block {b} "));
            let bytes = tensor.content.bytes();
            writeln!(f, "    {:>10}: {block}{} ({bytes} bytes)", tensor.offset, tensor.content)?;
        }
        writeln!(f, "  }}\n\n  tables {{")?;
        for table in &self.tables {
            writeln!(f, "    {:>10}: {table} ({} bytes)", table.offset, table.bytes())?;
        }
        writeln!(f, "  }}\n\n  body {{")?;
        for (i, step) in self.body.iter().enumerate() {
            self.step(f, i, step)?;
            if let Some(application) = self.application_ends.iter().position(|e| *e == i + 1) {
                writeln!(f, "    // end of layer {application}")?;
            }
        }
        writeln!(f, "  }}\n\n  head {{")?;
        for (i, step) in self.head.iter().enumerate() {
            self.step(f, i, step)?;
        }
        writeln!(f, "  }}\n}}")
    }
}

impl Plan {
    fn step(&self, f: &mut fmt::Formatter<'_>, number: usize, step: &Step) -> fmt::Result {
        write!(f, "    {number:>4}:")?;
        for variant in &step.variants {
            write!(f, " k{}x{}", variant.kernel, variant.tile)?;
        }
        match step.split {
            Split::Units { count } => write!(f, " units {count}")?,
            Split::TokenUnits { count } => write!(f, " token-units {count}")?,
            Split::ChunkUnits { count, positions } => {
                write!(f, " units {count} each {positions} positions")?;
            }
        }
        match step.passes {
            Passes::All => {}
            Passes::OneToken => f.write_str(" of one token")?,
            Passes::SeveralTokens => f.write_str(" of several tokens")?,
        }
        let last = step.variants.last().and_then(|variant| self.kernels.get(variant.kernel));
        let roles = last.map_or(&[][..], |kernel| &kernel.lowered.buffers);
        for (at, operand) in step.operands.iter().enumerate() {
            let Some(Role::Ahead(_, lines)) = roles.get(at) else {
                write!(f, " {}", Place(operand))?;
                continue;
            };
            let lines = match lines {
                Lines::Even => "even",
                Lines::Odd => "odd",
            };
            write!(f, " {lines}({}{})", Place(operand), self.holder(operand.offset))?;
        }
        writeln!(f)
    }

    /// The block whose weights a byte of the image belongs to.
    fn holder(&self, offset: u64) -> String {
        let tensor = self.image.iter().rfind(|tensor| tensor.offset <= offset);
        tensor.and_then(|tensor| tensor.block).map_or(String::new(), |b| format!(" of block {b}"))
    }
}

/// What a kernel asks for ahead, behind its name.
fn asked(spec: &Spec) -> String {
    match spec {
        Spec::Linear(LinearKernel { tokens: 1, asks: Asks::Own, .. }) => {
            format!(" asks for its own lines {OWN_DISTANCE} bytes ahead")
        }
        Spec::Linear(LinearKernel {
            tokens: 1, asks: Asks::Operand { is_last }, epilogue, ..
        }) => {
            let cache = match epilogue {
                EpilogueKernel::RopeAppend { .. } => ", for the KV chunk at hand",
                _ => "",
            };
            let own = if *is_last { ", and lets its own lines leave first" } else { "" };
            format!(" asks for lines behind `even` and `odd`{cache}{own}")
        }
        _ => String::new(),
    }
}

struct Place<'a>(&'a Operand);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = match self.0.base {
            Base::Image => "image",
            Base::Tables => "tables",
            Base::Arena => "arena",
            Base::Scratch => "scratch",
            Base::Kv => "kv",
            Base::Logits => "logits",
        };
        write!(f, "{base}+{}", self.0.offset)?;
        if self.0.token_stride != 0 {
            write!(f, "+{}t", self.0.token_stride)?;
        }
        if self.0.position_stride != 0 {
            write!(f, "+{}p", self.0.position_stride)?;
        }
        Ok(())
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Panels { layout, parts } => {
                let names: Vec<String> =
                    parts.iter().flat_map(|p| p.roles()).map(|r| r.to_string()).collect();
                write!(f, "{} {} k {}", names.join(" "), layout.format, layout.columns)
            }
            Content::Gain { role, width } => write!(f, "{role} f32 [{width}]"),
        }
    }
}
