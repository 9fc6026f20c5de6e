//! Reads the text form of FIR back: the inverse of [`print`](super::print).
//!
//! Whether the graph that a text describes is valid is the verifier's question.

use std::collections::BTreeMap;
use std::ops::Neg;
use std::str::FromStr;

use super::{
    Application, Epilogue, Func, Graph, HeadShape, NormSpec, Op, Role, RopeSpec, Value, ValueId,
    Weight, WeightId,
};
use crate::format::{Activations, Format, Group, KvFormat};
use crate::id::{Arena, Id};
use crate::text::{Cursor, Parsed, Place, Token};

pub use crate::text::ParseError;

/// The graph that `text` describes.
///
/// # Errors
/// The first place where the text leaves the form that [`Graph`] prints.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut parser = Parser { text: Cursor::new(text)? };
    parser.text.expect("graph")?;
    let name = parser.text.name()?;
    let (mut embed, mut blocks, mut head) = (None, Vec::new(), None);
    while parser.text.is("func") {
        let place = parser.text.place();
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
            let message = format!("function `{}` is there twice", func.name);
            return Err(ParseError::new(place, message));
        }
        *slot = Some(func);
    }
    let schedule = parser.schedule()?;
    parser.text.expect_end()?;
    let place = parser.text.place();
    let missing = |name| ParseError::new(place, format!("function `{name}` is missing"));
    Ok(Graph {
        name,
        embed: embed.ok_or_else(|| missing("embed"))?,
        blocks,
        head: head.ok_or_else(|| missing("head"))?,
        schedule,
    })
}

struct Parser<'t> {
    text: Cursor<'t>,
}

impl<'t> Parser<'t> {
    /// The value of a name of FIR, such as a role or a format.
    fn value_of<T: FromStr>(&mut self, what: &str) -> Parsed<T> {
        self.text.word(|word| word.parse().ok(), what)
    }

    /// A float: digits with a fraction and an exponent, `inf` or `NaN`.
    fn float<T: FromStr + Neg<Output = T>>(&mut self) -> Parsed<T> {
        let negative = self.text.take("-")?;
        let value = match self.text.token() {
            Token::Number(text) | Token::Word(text) => text.parse::<T>().ok(),
            Token::Quoted(_) | Token::Sign(_) | Token::End => None,
        };
        let Some(value) = value else { return self.text.expected("a float") };
        self.text.advance()?;
        Ok(if negative { -value } else { value })
    }

    fn number(&mut self) -> Parsed<u32> {
        self.text.integer()
    }

    /// The key of an argument, with `,` before it unless it is the first of its list.
    fn key(&mut self, first: bool, key: &str) -> Parsed<()> {
        if !first {
            self.text.expect(",")?;
        }
        self.text.expect(key)
    }

    /// `key NUMBER`.
    fn count(&mut self, first: bool, key: &str) -> Parsed<u32> {
        self.key(first, key)?;
        self.number()
    }

    fn value(&mut self) -> Parsed<ValueId> {
        self.text.id("v", "a value such as `v0`").map(ValueId)
    }

    fn weight(&mut self) -> Parsed<WeightId> {
        self.text.id("w", "a weight such as `w0`").map(WeightId)
    }

    fn schedule(&mut self) -> Parsed<Vec<Application>> {
        self.text.expect("schedule")?;
        self.text.expect("{")?;
        let mut schedule = Vec::new();
        while !self.text.take("}")? {
            let func = self.text.id("block", "a block such as `block0(0)`, or `}`")?;
            self.text.expect("(")?;
            let block = self.number()?;
            self.text.expect(")")?;
            schedule.push(Application { func, block });
        }
        Ok(schedule)
    }

    fn func(&mut self) -> Parsed<Func> {
        let place = self.text.place();
        self.text.expect("func")?;
        let name = self.text.name()?;
        let mut widths = BTreeMap::new();
        self.text.expect("(")?;
        let param = if self.text.is(")") { None } else { Some(self.definition(&mut widths)?) };
        self.text.expect(")")?;
        self.text.expect("{")?;
        let mut weights = Arena::new();
        while self.text.peek_id("w").is_some() {
            let place = self.text.place();
            let declared = self.weight()?;
            let weight = self.tensor()?;
            let id: WeightId = weights.push(weight);
            if id != declared {
                let message = format!("weight {declared} stands in {id}'s place");
                return Err(ParseError::new(place, message));
            }
        }
        let mut ops = Vec::new();
        while !self.text.is("return") {
            ops.push(self.op(&mut widths)?);
        }
        self.text.expect("return")?;
        let result = self.value()?;
        self.text.expect("}")?;
        let mut values = Arena::new();
        for (id, width) in widths {
            let next = ValueId::from_index(values.len());
            if id != next {
                let message = format!("`{name}` defines {id} but not {next}: number without gaps");
                return Err(ParseError::new(place, message));
            }
            values.push(Value { width });
        }
        Ok(Func { name, weights, values, param, ops, result })
    }

    /// `= ROLE FORMAT[ROWS, COLUMNS]`, and what it is multiplied with: `q8(64)`, or nothing for f32.
    fn tensor(&mut self) -> Parsed<Weight> {
        self.text.expect("=")?;
        let role: Role = self.value_of("a tensor such as `ffn_up`")?;
        let format: Format = self.value_of("a format such as `q8_0`")?;
        self.text.expect("[")?;
        let rows = self.number()?;
        self.text.expect(",")?;
        let columns = self.number()?;
        self.text.expect("]")?;
        let activations =
            if self.text.take("q8")? { Activations::Q8(self.group()?) } else { Activations::F32 };
        Ok(Weight { role, rows, columns, format, activations })
    }

    /// `(64)` or `(row)`.
    fn group(&mut self) -> Parsed<Group> {
        self.text.expect("(")?;
        let place = self.text.place();
        let group = if self.text.take("row")? {
            Group::Row
        } else {
            let elements = self.number()?;
            Group::of(elements).ok_or_else(|| {
                let message =
                    format!("found a group of {elements}, expected 32, 64, 96, 192 or `row`");
                ParseError::new(place, message)
            })?
        };
        self.text.expect(")")?;
        Ok(group)
    }

    /// `v3[24]`. A value defined twice keeps one width; that it is twice is the verifier's find.
    fn definition(&mut self, widths: &mut BTreeMap<ValueId, u32>) -> Parsed<ValueId> {
        let place = self.text.place();
        let id = self.value()?;
        self.text.expect("[")?;
        let width = self.number()?;
        self.text.expect("]")?;
        match widths.insert(id, width) {
            Some(before) if before != width => {
                let message = format!("{id} is defined with width {before} and {width}");
                Err(ParseError::new(place, message))
            }
            Some(_) | None => Ok(id),
        }
    }

    fn op(&mut self, widths: &mut BTreeMap<ValueId, u32>) -> Parsed<Op> {
        let place = self.text.place();
        let mut results = Vec::new();
        if self.text.peek_id("v").is_some() {
            results.push(self.definition(widths)?);
            while self.text.take(",")? {
                results.push(self.definition(widths)?);
            }
            self.text.expect("=")?;
        }
        let Token::Word(word) = self.text.token() else {
            return self.text.expected("an op, or `return`");
        };
        self.text.advance()?;
        match word {
            "kv_append" if results.is_empty() => self.kv_append(),
            "linear" => self.linear(place, results),
            name => {
                let out = self.single(place, &results)?;
                self.plain(place, name, out)
            }
        }
    }

    fn single(&self, place: Place, results: &[ValueId]) -> Parsed<ValueId> {
        match results {
            [one] => Ok(*one),
            _ => {
                let message =
                    format!("found an op of one result, expected one of {}", results.len());
                Err(ParseError::new(place, message))
            }
        }
    }

    /// An op with one result that is no product, after its name.
    fn plain(&mut self, place: Place, name: &str, out: ValueId) -> Parsed<Op> {
        Ok(match name {
            "embed" => Op::Embed { table: self.weight()?, out },
            "norm" => Op::Norm { x: self.value()?, norm: self.norm_arguments()?, out },
            "rope" => {
                let x = self.value()?;
                self.text.expect("(")?;
                let heads = self.count(true, "heads")?;
                let rope = self.rope_arguments(false)?;
                self.text.expect(")")?;
                Op::Rope { x, rope, heads, out }
            }
            "attention" => {
                let q = self.value()?;
                let (shape, kv) = self.head_shape()?;
                Op::Attention { q, shape, kv, out }
            }
            "glu" => Op::Glu { gate: self.value()?, up: self.value()?, out },
            "add" => Op::Add { a: self.value()?, b: self.value()?, out },
            _ => {
                return Err(ParseError::new(
                    place,
                    format!("there is no op `{name}` with a result"),
                ));
            }
        })
    }

    /// A product after the word `linear`.
    fn linear(&mut self, place: Place, results: Vec<ValueId>) -> Parsed<Op> {
        let mut weights = vec![self.weight()?];
        while self.text.peek_id("w").is_some() {
            weights.push(self.weight()?);
        }
        let x = self.value()?;
        let norm = if self.text.take("norm")? { Some(self.norm_arguments()?) } else { None };
        let epilogue = if self.text.take("residual")? {
            Epilogue::Residual { residual: self.value()?, out: self.single(place, &results)? }
        } else if self.text.take("glu")? {
            Epilogue::Glu { out: self.single(place, &results)? }
        } else if self.text.take("rope")? {
            self.text.expect("(")?;
            let rope = self.rope_arguments(true)?;
            self.text.expect(")")?;
            self.text.expect("append")?;
            let (shape, kv) = self.head_shape()?;
            Epilogue::RopeAppend { shape, rope, kv, q: self.single(place, &results)? }
        } else {
            Epilogue::Store { out: results }
        };
        Ok(Op::Linear { x, norm, weights, epilogue })
    }

    fn norm_arguments(&mut self) -> Parsed<NormSpec> {
        self.text.expect("(")?;
        let gain = self.weight()?;
        self.key(false, "eps")?;
        let eps = self.float()?;
        self.text.expect(")")?;
        Ok(NormSpec { gain, eps })
    }

    fn rope_arguments(&mut self, first: bool) -> Parsed<RopeSpec> {
        let head_dim = self.count(first, "head_dim")?;
        self.key(false, "theta")?;
        let theta = self.float()?;
        Ok(RopeSpec { head_dim, theta })
    }

    /// An append after its name.
    fn kv_append(&mut self) -> Parsed<Op> {
        let (k, v) = (self.value()?, self.value()?);
        self.text.expect("(")?;
        let head_dim = self.count(true, "head_dim")?;
        let kv = self.kv_format()?;
        Ok(Op::KvAppend { k, v, head_dim, kv })
    }

    fn head_shape(&mut self) -> Parsed<(HeadShape, KvFormat)> {
        self.text.expect("(")?;
        let heads = self.count(true, "heads")?;
        let kv_heads = self.count(false, "kv_heads")?;
        let head_dim = self.count(false, "head_dim")?;
        let kv = self.kv_format()?;
        Ok((HeadShape { heads, kv_heads, head_dim }, kv))
    }

    /// `, kv FORMAT` where it is there, and the end of the list.
    fn kv_format(&mut self) -> Parsed<KvFormat> {
        let kv = match self.text.take(",")? {
            true => {
                self.text.expect("kv")?;
                self.value_of("a format of a KV cache: `f16` or `q8`")?
            }
            false => KvFormat::F32,
        };
        self.text.expect(")")?;
        Ok(kv)
    }
}
