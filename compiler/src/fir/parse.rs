//! Reads the text form of FIR back: the inverse of [`print`](super::print).
//!
//! Any text gives a graph or an error with its place, never a panic; whether the graph is valid is
//! the verifier's question. `;` starts a comment that ends with the line. The parser stops at the
//! first error: FIR texts are written by the compiler or by a test's author, not by users.

use std::collections::BTreeMap;
use std::str::FromStr;

use thiserror::Error;

use super::{
    Application, Epilogue, Func, Graph, HeadShape, NormSpec, Op, Role, RopeSpec, Value, ValueId,
    Weight, WeightId,
};
use crate::format::Format;
use crate::id::{Arena, Id};

/// Why a text is no graph, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Found and expected.
    pub message: String,
}

/// The graph that `text` describes.
///
/// # Errors
/// The first place where the text leaves the form that [`Graph`] prints.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut parser = Parser { tokens: tokenize(text)?, at: 0 };
    parser.keyword("graph")?;
    let name = parser.word("the graph's name")?.to_owned();
    let (mut embed, mut blocks, mut head) = (None, Vec::new(), None);
    while parser.peek() == "func" {
        let place = parser.at;
        let func = parser.func()?;
        let slot = match func.name.as_str() {
            "embed" => &mut embed,
            "head" => &mut head,
            _ => {
                blocks.push(func);
                continue;
            }
        };
        if slot.is_some() {
            return Err(parser.error_at(place, format!("function `{}` is there twice", func.name)));
        }
        *slot = Some(func);
    }
    let schedule = parser.schedule()?;
    if parser.at != parser.tokens.len() {
        return Err(parser.expected("the end of the text"));
    }
    let missing = |name: &str| parser.error_at(parser.at, format!("function `{name}` is missing"));
    Ok(Graph {
        name,
        embed: embed.ok_or_else(|| missing("embed"))?,
        blocks,
        head: head.ok_or_else(|| missing("head"))?,
        schedule,
    })
}

/// A word or a punctuation mark with its place.
struct Token<'t> {
    text: &'t str,
    line: usize,
    column: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-')
}

fn tokenize(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut tokens = Vec::new();
    for (index, full) in text.lines().enumerate() {
        let code = full.split(';').next().unwrap_or_default();
        let (line, mut column, mut rest) = (index + 1, 1, code);
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let bytes = word.max(first.len_utf8());
            let (text, tail) = rest.split_at(bytes);
            if word > 0 || "()[]{}=,".contains(first) {
                tokens.push(Token { text, line, column });
            } else if !first.is_whitespace() {
                let message = format!("`{}` has no place in this text", first.escape_debug());
                return Err(ParseError { line, column, message });
            }
            column += text.chars().count();
            rest = tail;
        }
    }
    Ok(tokens)
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl<'t> Parser<'t> {
    /// The next token's text; empty at the end.
    fn peek(&self) -> &'t str {
        self.tokens.get(self.at).map_or("", |t| t.text)
    }

    fn error_at(&self, at: usize, message: String) -> ParseError {
        let (line, column) = match (self.tokens.get(at), self.tokens.last()) {
            (Some(token), _) => (token.line, token.column),
            (None, Some(last)) => (last.line, last.column + last.text.chars().count()),
            (None, None) => (1, 1),
        };
        ParseError { line, column, message }
    }

    fn expected(&self, what: &str) -> ParseError {
        let found = match self.peek() {
            "" => "the end of the text".to_owned(),
            text => format!("`{text}`"),
        };
        self.error_at(self.at, format!("expected {what}, found {found}"))
    }

    fn accept(&mut self, text: &str) -> bool {
        let found = self.peek() == text;
        self.at += usize::from(found);
        found
    }

    fn keyword(&mut self, text: &str) -> Parsed<()> {
        if self.accept(text) { Ok(()) } else { Err(self.expected(&format!("`{text}`"))) }
    }

    fn word(&mut self, what: &str) -> Parsed<&'t str> {
        let text = self.peek();
        if text.starts_with(is_word) {
            self.at += 1;
            Ok(text)
        } else {
            Err(self.expected(what))
        }
    }

    fn value_of<T: FromStr>(&mut self, what: &str) -> Parsed<T> {
        let parsed = self.peek().parse().map_err(|_| self.expected(what))?;
        self.at += 1;
        Ok(parsed)
    }

    fn number(&mut self) -> Parsed<u32> {
        self.value_of("a number below 2^32")
    }

    /// `key NUMBER`, with `,` before it unless it is the first of its list.
    fn argument<T: FromStr>(&mut self, first: bool, key: &str, what: &str) -> Parsed<T> {
        if !first {
            self.keyword(",")?;
        }
        self.keyword(key)?;
        self.value_of(what)
    }

    fn count(&mut self, first: bool, key: &str) -> Parsed<u32> {
        self.argument(first, key, "a number below 2^32")
    }

    /// The number after `prefix` in the next word, such as 3 in `v3`.
    fn peek_id(&self, prefix: &str) -> Option<u32> {
        let digits = self.peek().strip_prefix(prefix)?;
        digits.starts_with(|c: char| c.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    }

    fn id(&mut self, prefix: &str, what: &str) -> Parsed<u32> {
        let id = self.peek_id(prefix).ok_or_else(|| self.expected(what))?;
        self.at += 1;
        Ok(id)
    }

    fn value(&mut self) -> Parsed<ValueId> {
        self.id("v", "a value such as `v0`").map(ValueId)
    }

    fn weight(&mut self) -> Parsed<WeightId> {
        self.id("w", "a weight such as `w0`").map(WeightId)
    }

    fn schedule(&mut self) -> Parsed<Vec<Application>> {
        self.keyword("schedule")?;
        self.keyword("{")?;
        let mut schedule = Vec::new();
        while !self.accept("}") {
            let func = self.id("block", "a block such as `block0(0)`, or `}`")?;
            self.keyword("(")?;
            let block = self.number()?;
            self.keyword(")")?;
            schedule.push(Application { func, block });
        }
        Ok(schedule)
    }

    fn func(&mut self) -> Parsed<Func> {
        let place = self.at;
        self.keyword("func")?;
        let name = self.word("the function's name")?.to_owned();
        let mut widths = BTreeMap::new();
        self.keyword("(")?;
        let param = if self.peek() == ")" { None } else { Some(self.definition(&mut widths)?) };
        self.keyword(")")?;
        self.keyword("{")?;
        let mut weights = Arena::new();
        while self.peek_id("w").is_some() {
            let place = self.at;
            let declared = self.weight()?;
            let weight = self.tensor()?;
            let id: WeightId = weights.push(weight);
            if id != declared {
                let message = format!("weight {declared} stands in {id}'s place");
                return Err(self.error_at(place, message));
            }
        }
        let mut ops = Vec::new();
        while self.peek() != "return" {
            ops.push(self.op(&mut widths)?);
        }
        self.keyword("return")?;
        let result = self.value()?;
        self.keyword("}")?;
        let mut values = Arena::new();
        for (id, width) in widths {
            let next = ValueId::from_index(values.len());
            if id != next {
                let message = format!("`{name}` defines {id} but not {next}: number without gaps");
                return Err(self.error_at(place, message));
            }
            values.push(Value { width });
        }
        Ok(Func { name, weights, values, param, ops, result })
    }

    /// `= ROLE FORMAT[ROWS, COLUMNS]`.
    fn tensor(&mut self) -> Parsed<Weight> {
        self.keyword("=")?;
        let role: Role = self.value_of("a tensor such as `ffn_up`")?;
        let format: Format = self.value_of("a format such as `q8_0`")?;
        self.keyword("[")?;
        let rows = self.number()?;
        self.keyword(",")?;
        let columns = self.number()?;
        self.keyword("]")?;
        Ok(Weight { role, rows, columns, format })
    }

    /// `v3[24]`. A value defined twice keeps one width; that it is twice is the verifier's find.
    fn definition(&mut self, widths: &mut BTreeMap<ValueId, u32>) -> Parsed<ValueId> {
        let place = self.at;
        let id = self.value()?;
        self.keyword("[")?;
        let width = self.number()?;
        self.keyword("]")?;
        match widths.insert(id, width) {
            Some(before) if before != width => {
                let message = format!("{id} is defined with width {before} and {width}");
                Err(self.error_at(place, message))
            }
            Some(_) | None => Ok(id),
        }
    }

    fn op(&mut self, widths: &mut BTreeMap<ValueId, u32>) -> Parsed<Op> {
        let place = self.at;
        let mut results = Vec::new();
        if self.peek_id("v").is_some() {
            results.push(self.definition(widths)?);
            while self.accept(",") {
                results.push(self.definition(widths)?);
            }
            self.keyword("=")?;
        }
        match self.word("an op, or `return`")? {
            "kv_append" if results.is_empty() => {
                Ok(Op::KvAppend { k: self.value()?, v: self.value()? })
            }
            "linear" => self.linear(place, results),
            name => {
                let out = self.single(place, &results)?;
                self.plain(place, name, out)
            }
        }
    }

    fn single(&self, place: usize, results: &[ValueId]) -> Parsed<ValueId> {
        match results {
            [one] => Ok(*one),
            _ => {
                let message =
                    format!("expected an op of {} results, this one has one", results.len());
                Err(self.error_at(place, message))
            }
        }
    }

    /// An op with one result that is no product, after its name.
    fn plain(&mut self, place: usize, name: &str, out: ValueId) -> Parsed<Op> {
        Ok(match name {
            "embed" => Op::Embed { table: self.weight()?, out },
            "norm" => Op::Norm { x: self.value()?, norm: self.norm_arguments()?, out },
            "rope" => {
                let x = self.value()?;
                self.keyword("(")?;
                let heads = self.count(true, "heads")?;
                let rope = self.rope_arguments(false)?;
                self.keyword(")")?;
                Op::Rope { x, rope, heads, out }
            }
            "attention" => Op::Attention { q: self.value()?, shape: self.head_shape()?, out },
            "glu" => Op::Glu { gate: self.value()?, up: self.value()?, out },
            "add" => Op::Add { a: self.value()?, b: self.value()?, out },
            _ => return Err(self.error_at(place, format!("there is no op `{name}` with a result"))),
        })
    }

    /// A product after the word `linear`.
    fn linear(&mut self, place: usize, results: Vec<ValueId>) -> Parsed<Op> {
        let mut weights = vec![self.weight()?];
        while self.peek_id("w").is_some() {
            weights.push(self.weight()?);
        }
        let x = self.value()?;
        let norm = if self.accept("norm") { Some(self.norm_arguments()?) } else { None };
        let epilogue = if self.accept("residual") {
            Epilogue::Residual { residual: self.value()?, out: self.single(place, &results)? }
        } else if self.accept("glu") {
            Epilogue::Glu { out: self.single(place, &results)? }
        } else if self.accept("rope") {
            self.keyword("(")?;
            let rope = self.rope_arguments(true)?;
            self.keyword(")")?;
            self.keyword("append")?;
            let shape = self.head_shape()?;
            Epilogue::RopeAppend { shape, rope, q: self.single(place, &results)? }
        } else {
            Epilogue::Store { out: results }
        };
        Ok(Op::Linear { x, norm, weights, epilogue })
    }

    fn norm_arguments(&mut self) -> Parsed<NormSpec> {
        self.keyword("(")?;
        let gain = self.weight()?;
        let eps = self.argument(false, "eps", "a float")?;
        self.keyword(")")?;
        Ok(NormSpec { gain, eps })
    }

    fn rope_arguments(&mut self, first: bool) -> Parsed<RopeSpec> {
        let head_dim = self.count(first, "head_dim")?;
        let theta = self.argument(false, "theta", "a float")?;
        Ok(RopeSpec { head_dim, theta })
    }

    fn head_shape(&mut self) -> Parsed<HeadShape> {
        self.keyword("(")?;
        let heads = self.count(true, "heads")?;
        let kv_heads = self.count(false, "kv_heads")?;
        let head_dim = self.count(false, "head_dim")?;
        self.keyword(")")?;
        Ok(HeadShape { heads, kv_heads, head_dim })
    }
}
