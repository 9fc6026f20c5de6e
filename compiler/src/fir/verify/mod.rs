//! Checks a graph against the rules of FIR, collects every breach, and quotes its line.
//!
//! Names and places
//! - F-01 every value and weight that a function names is in its arenas
//! - F-02 a value is defined before it is read or returned
//! - F-03 values are numbered in order of definition and each is defined once
//! - F-04 `embed` has no parameter and reads the token by exactly one `embed` op; every other
//!   function has a parameter and no `embed` op
//!
//! Weights
//! - F-05 a weight has rows and columns, its format's groups divide a row, a gain is one f32 row;
//!   quantized activations meet codes, their groups divide a row, and sums of codes fit 32 bits
//! - F-06 block tensors are read by blocks, the others by `embed` and `head`; each once in a
//!   function; a table, a gain and a matrix are used as what they are
//!
//! Ops
//! - F-07 the widths of operands and results agree, recomputed from weights and head counts
//! - F-08 a product has as many weights and results as its epilogue takes
//! - F-09 head counts, angles and epsilons are numbers that the formulas take
//! - F-10 only fused ops are left ([`verify_fused`] alone asks this)
//! - F-11 a block appends to its KV slot at most once, and attends only after that, with the same
//!   heads in the same format; `embed` and `head` do neither
//!
//! The graph
//! - F-12 the residual stream has one width from `embed` through every block to `head`
//! - F-13 functions are named `embed`, `block0`, `block1`, .., `head`; the graph by an identifier
//! - F-14 each application runs a function that is there, a stored block always the same one
//! - F-15 `embed` and `head` declare a tensor of both alike, and `head` gives a logit for each row
//!   of the table that `embed` reads
//! - F-16 the KV slots of all blocks have one format
//!
//! Not checked: that every stored block has weights (the weight source answers for that), that
//! every result is read, that positions fit a context (a run's own limit).

mod func;
mod op;

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use super::print::op_line;
use super::{Func, Graph, Op, ValueId, Weight};

/// A rule of FIR; the numbers are listed at the top of this file and in `specs/fir.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule(u8);

impl Rule {
    /// Named ids lie in their arenas.
    pub const IDS: Rule = Rule(1);
    /// Defined before read.
    pub const DEFINED: Rule = Rule(2);
    /// Defined once, in order.
    pub const ORDER: Rule = Rule(3);
    /// Tokens are read in `embed` alone.
    pub const TOKEN: Rule = Rule(4);
    /// Weight shapes and formats.
    pub const WEIGHT: Rule = Rule(5);
    /// Roles fit function and use.
    pub const ROLE: Rule = Rule(6);
    /// Widths agree.
    pub const WIDTH: Rule = Rule(7);
    /// Counts of an epilogue.
    pub const ARITY: Rule = Rule(8);
    /// Numbers of heads, angles, epsilons.
    pub const NUMBERS: Rule = Rule(9);
    /// Fused ops only.
    pub const FUSED: Rule = Rule(10);
    /// KV slot discipline.
    pub const SLOT: Rule = Rule(11);
    /// One width of the residual stream.
    pub const STREAM: Rule = Rule(12);
    /// Names.
    pub const NAMES: Rule = Rule(13);
    /// Schedule.
    pub const SCHEDULE: Rule = Rule(14);
    /// One vocabulary.
    pub const VOCABULARY: Rule = Rule(15);
    /// One format of KV slots.
    pub const KV_FORMAT: Rule = Rule(16);

    /// Every rule, for tests that pair them with their filetests.
    pub fn all() -> impl Iterator<Item = Rule> {
        (1..=16).map(Rule)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "F-{:02}", self.0)
    }
}

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct VerifyError {
    /// The rule.
    pub rule: Rule,
    /// The function, or `schedule` or `graph`.
    pub func: String,
    /// Index of the op, where one is to blame.
    pub op: Option<usize>,
    /// The op's printed line, or what stands for it.
    pub line: String,
    /// Found and expected.
    pub message: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.rule, self.func)?;
        if let Some(op) = self.op {
            write!(f, " at op {op}")?;
        }
        if !self.line.is_empty() {
            write!(f, " ({})", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// All breaches found, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct VerifyErrors(pub Vec<VerifyError>);

impl fmt::Display for VerifyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(VerifyError::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Checks all rules but F-10.
///
/// # Errors
/// Every breach, in the order of the text.
pub fn verify(graph: &Graph) -> Result<(), VerifyErrors> {
    let mut found = Findings::default();
    names(graph, &mut found);
    for func in graph.funcs() {
        func::check(func, Kind::of(graph, func), &mut found);
    }
    stream(graph, &mut found);
    schedule(graph, &mut found);
    kv_format(graph, &mut found);
    vocabulary(graph, &mut found);
    found.finish()
}

/// Checks all rules: [`verify`], and that only fused ops are left (F-10).
///
/// # Errors
/// Every breach, in the order of the rules' check.
pub fn verify_fused(graph: &Graph) -> Result<(), VerifyErrors> {
    let mut found = Findings::default();
    for func in graph.funcs() {
        for (at, op) in func.ops.iter().enumerate().filter(|(_, op)| !op.legal_when_fused()) {
            found.at_op(Rule::FUSED, func, at, format!("plain op after fusion: {}", op.name()));
        }
    }
    let valid = verify(graph);
    found.errors.extend(valid.err().into_iter().flat_map(|errors| errors.0));
    found.finish()
}

/// Which of the three kinds of function is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Embed,
    Block,
    Head,
}

impl Kind {
    fn of(graph: &Graph, func: &Func) -> Kind {
        if std::ptr::eq(func, &graph.embed) {
            Kind::Embed
        } else if std::ptr::eq(func, &graph.head) {
            Kind::Head
        } else {
            Kind::Block
        }
    }
}

/// Breaches found so far.
#[derive(Default)]
struct Findings {
    errors: Vec<VerifyError>,
}

impl Findings {
    fn at_op(&mut self, rule: Rule, func: &Func, at: usize, message: String) {
        let line = func.ops.get(at).map(|op| op_line(func, op)).unwrap_or_default();
        let func = func.name.clone();
        self.errors.push(VerifyError { rule, func, op: Some(at), line, message });
    }

    fn in_part(&mut self, rule: Rule, part: &str, line: String, message: String) {
        self.errors.push(VerifyError { rule, func: part.to_owned(), op: None, line, message });
    }

    fn finish(self) -> Result<(), VerifyErrors> {
        if self.errors.is_empty() { Ok(()) } else { Err(VerifyErrors(self.errors)) }
    }
}

/// F-13.
fn names(graph: &Graph, found: &mut Findings) {
    let blocks = (0..graph.blocks.len()).map(|i| format!("block{i}"));
    let expected = std::iter::once("embed".to_owned()).chain(blocks).chain(["head".to_owned()]);
    for (func, name) in graph.funcs().zip(expected) {
        if func.name != name {
            let message = format!("this function's place is that of `{name}`");
            found.in_part(Rule::NAMES, &func.name, String::new(), message);
        }
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if graph.name.is_empty() || !graph.name.chars().all(word) {
        let message = "a graph's name is an identifier of letters, digits and `_`".to_owned();
        found.in_part(Rule::NAMES, "graph", graph.name.clone(), message);
    }
}

/// F-12.
fn stream(graph: &Graph, found: &mut Findings) {
    let width = |func: &Func, value: ValueId| func.values.get(value).map(|v| v.width);
    let Some(expected) = width(&graph.embed, graph.embed.result) else {
        return; // F-01 has been reported.
    };
    let params = graph.blocks.iter().chain([&graph.head]).filter_map(|f| Some((f, f.param?)));
    let results = graph.blocks.iter().map(|f| (f, f.result));
    for (func, value) in params.chain(results) {
        match width(func, value) {
            Some(found_width) if found_width != expected => {
                let message = format!(
                    "{value} has width {found_width}, the residual stream of `embed` {expected}"
                );
                found.in_part(Rule::STREAM, &func.name, String::new(), message);
            }
            Some(_) | None => {}
        }
    }
}

/// F-14.
fn schedule(graph: &Graph, found: &mut Findings) {
    let mut func_of_block = BTreeMap::new();
    for (slot, application) in graph.schedule.iter().enumerate() {
        let (func, block) = (application.func, application.block);
        let message = if func as usize >= graph.blocks.len() {
            format!("slot {slot} runs block{func}, there are {} functions", graph.blocks.len())
        } else {
            let first = *func_of_block.entry(block).or_insert(func);
            if first == func {
                continue;
            }
            format!("slot {slot} runs stored block {block} by block{func}, earlier by block{first}")
        };
        found.in_part(Rule::SCHEDULE, "schedule", format!("block{func}({block})"), message);
    }
}

/// F-16, by the first op of each block that has a KV slot; F-11 holds the others to it.
fn kv_format(graph: &Graph, found: &mut Findings) {
    let of = |func: &Func| func.ops.iter().find_map(Op::kv_format);
    let mut formats = graph.blocks.iter().filter_map(|func| Some((func, of(func)?)));
    let Some((_, first)) = formats.next() else { return };
    for (func, format) in formats.filter(|(_, format)| *format != first) {
        let message = format!("the KV slot is {format}, that of an earlier block {first}");
        found.in_part(Rule::KV_FORMAT, &func.name, String::new(), message);
    }
}

/// F-15, of functions that are sound for themselves.
fn vocabulary(graph: &Graph, found: &mut Findings) {
    let Graph { embed, head, .. } = graph;
    if !found.errors.is_empty() {
        return;
    }
    let shape = |w: &Weight| format!("{} {}[{}, {}]", w.role, w.format, w.rows, w.columns);
    for weight in embed.weights.values() {
        let other = head.weights.values().find(|w| w.role == weight.role);
        if let Some(other) = other.filter(|other| *other != weight) {
            let message = format!("declared otherwise than in `embed`: {}", shape(weight));
            found.in_part(Rule::VOCABULARY, &head.name, shape(other), message);
        }
    }
    let Some(logits) = head.values.get(head.result).map(|value| value.width) else { return };
    for op in &embed.ops {
        if let Op::Embed { table, .. } = op
            && let Some(weight) = embed.weights.get(*table).filter(|w| w.rows != logits)
        {
            let message = format!("{logits} logits for a table of {} rows", weight.rows);
            found.in_part(Rule::VOCABULARY, &head.name, String::new(), message);
        }
    }
}
