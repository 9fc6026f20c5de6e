//! What was verified, line by line, and what was found wrong.

use deepthin_compiler::format::Activations;
use deepthin_compiler::lower::{EpilogueKernel, Segment};
use deepthin_compiler::pack::layout::PANEL;
use deepthin_compiler::plan::Spec;

use super::exact::Distance;
use super::machine::Mismatch;

/// Counts of the calls of some kernels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// Calls on interpreter and machine code.
    pub cases: u64,
    /// Those after which a bit differed.
    pub mismatches: u64,
    /// Those held against f64.
    pub held: u64,
    /// The greatest distance from f64 over its bound.
    pub worst: Option<Distance>,
}

impl Tally {
    /// Adds the counts of other calls.
    pub fn add(&mut self, other: &Tally) {
        self.cases += other.cases;
        self.mismatches += other.mismatches;
        self.held += other.held;
        if let Some(distance) = &other.worst {
            self.hold(distance);
        }
    }

    /// Takes note of a distance.
    pub fn hold(&mut self, distance: &Distance) {
        if self.worst.as_ref().is_none_or(|worst| distance.share > worst.share) {
            self.worst = Some(distance.clone());
        }
    }

    /// Whether nothing was found wrong.
    pub fn is_clean(&self) -> bool {
        self.mismatches == 0 && self.worst.as_ref().is_none_or(|worst| worst.share <= 1.0)
    }
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The operation: `norm linear glu x4` for tiles of four tokens.
    pub kernel: String,
    /// Sizes, or how many there were.
    pub shape: String,
    /// Storage of the weights.
    pub storage: String,
    /// The counts.
    pub tally: Tally,
}

/// What is wrong about a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Wrong {
    /// Machine code and interpreter differ.
    Bits(Mismatch),
    /// Both are further from f64 than the bound.
    Distance(Distance),
}

/// A text that shows a fault, and how to see it again.
#[derive(Debug, Clone, PartialEq)]
pub struct CounterExample {
    /// What is wrong, in words.
    pub message: String,
    /// A name for files.
    pub name: String,
    /// The model, made small where it was generated.
    pub thin: Option<String>,
    /// The kernel and its call, made small.
    pub vir: Option<String>,
    /// The arguments of `verify` that show it again where there is no `.vir`; `{thin}` stands for
    /// the file of the model.
    pub replay: String,
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The kernels.
    pub rows: Vec<Row>,
    /// Models, 1 where it is the user's own.
    pub models: u64,
    /// Different calls among all.
    pub distinct: u64,
    /// Comparisons of the logits of a whole model.
    pub sequences: u64,
    /// Those that differed.
    pub different_sequences: u64,
    /// Kernels left out, each with the reason.
    pub left_out: Vec<String>,
    /// The first fault.
    pub counter_example: Option<CounterExample>,
    /// Whether all that was asked for was done.
    pub is_complete: bool,
}

impl Report {
    /// All calls of kernels.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.rows.iter().for_each(|row| total.add(&row.tally));
        total
    }

    /// Whether nothing was found wrong.
    pub fn is_clean(&self) -> bool {
        self.counter_example.is_none()
            && self.different_sequences == 0
            && self.rows.iter().all(|row| row.tally.is_clean())
    }
}

/// The operation of a kernel in words.
pub fn operation(spec: &Spec) -> String {
    match spec {
        Spec::Embed(_) => "embed".to_owned(),
        Spec::Attention(_) => "attention".to_owned(),
        Spec::AttentionChunks(_) => "attention chunks".to_owned(),
        Spec::Linear(kernel) => {
            let merge = if kernel.merge.is_some() { "merge " } else { "" };
            let norm = if kernel.norm.is_some() { "norm " } else { "" };
            let epilogue = match kernel.epilogue {
                EpilogueKernel::Logits { .. } => " logits",
                EpilogueKernel::Residual => " residual",
                EpilogueKernel::Glu => " glu",
                EpilogueKernel::RopeAppend { .. } => " rope append",
            };
            format!("{merge}{norm}linear{epilogue} x{}", kernel.tokens)
        }
    }
}

/// The sizes of a kernel in words: rows and columns, or heads and elements of a head.
pub fn shape(spec: &Spec) -> String {
    match spec {
        Spec::Embed(kernel) => format!("{}x{}", kernel.vocab, kernel.width),
        Spec::Linear(kernel) => format!("{}x{}", kernel.panels() * PANEL, kernel.columns),
        Spec::Attention(kernel) | Spec::AttentionChunks(kernel) => {
            let shape = kernel.shape;
            format!("{}/{} heads of {}", shape.heads, shape.kv_heads, shape.head_dim)
        }
    }
}

/// The storage of a kernel's matrix in words, and that of the keys and values that it appends or
/// attends to.
pub fn storage(spec: &Spec) -> String {
    match spec {
        Spec::Embed(kernel) => kernel.format.to_string(),
        Spec::Attention(kernel) | Spec::AttentionChunks(kernel) => kernel.kv.to_string(),
        Spec::Linear(kernel) => {
            let segment = |s: &Segment| match s.activations {
                Activations::F32 => s.format.to_string(),
                activations @ Activations::Q8(_) => format!("{} by {activations}", s.format),
            };
            let segments: Vec<String> = kernel.segments.iter().map(segment).collect();
            let matrix = segments.join(" + ");
            match kernel.epilogue.appends() {
                Some((_, cache)) => format!("{matrix} to {}", cache.kv),
                None => matrix,
            }
        }
    }
}
