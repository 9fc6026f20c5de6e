//! From text to kernel: the inverse of `print.rs`.
//!
//! The parser knows the grammar of `specs/vir.md` and no rule of the verifier: a text that says
//! something wrong parses, and the verifier names the rule. Any text gets an answer: size and
//! depth are limited, ids are collected in maps, so none of them is a count of what to allocate.

use std::collections::BTreeMap;

use thiserror::Error;

use super::lex::{Lexer, Place, Token};
use super::{
    Access, Address, Affine, BinaryOp, Bound, Buffer, BufferId, Carried, CompareOp, Elem, Index,
    IndexId, Inst, Kernel, ReduceOp, ShiftOp, Ty, UnaryOp, ValueId,
};

/// The longest text in bytes.
pub const MAX_TEXT: usize = 1 << 26;
/// The deepest nest of loops that is read; rule V-21 allows less.
pub const MAX_TEXT_DEPTH: usize = 64;

/// A text that is not VIR.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What was found and what was expected.
    pub message: String,
}

impl ParseError {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        ParseError { line: place.line, column: place.column, message: message.into() }
    }
}

type Parsed<T> = Result<T, ParseError>;

/// Reads the text of one kernel. `parse(&kernel.to_string())` is the kernel again, for every
/// kernel whose values and indices are all defined in it.
pub fn parse(text: &str) -> Parsed<Kernel> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        token: Token::End,
        place: Place { line: 1, column: 1 },
        lanes: 0,
        buffers: BTreeMap::new(),
        indices: BTreeMap::new(),
        values: BTreeMap::new(),
    };
    if text.len() > MAX_TEXT {
        return parser.fail(format!("a text of {} bytes, at most {MAX_TEXT} are read", text.len()));
    }
    parser.advance()?;
    parser.kernel()
}

/// The token at hand, and what the text declared so far.
struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token<'t>,
    place: Place,
    lanes: u32,
    buffers: BTreeMap<u32, Buffer>,
    indices: BTreeMap<u32, Index>,
    values: BTreeMap<u32, Ty>,
}

impl<'t> Parser<'t> {
    // Tokens.

    fn advance(&mut self) -> Parsed<Token<'t>> {
        let taken = self.token;
        (self.token, self.place) = self.lexer.next()?;
        Ok(taken)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::new(self.place, message))
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        self.fail(format!("found {}, expected {what}", self.token.describe()))
    }

    /// Takes the sign or word if it is the token at hand.
    fn take(&mut self, text: &str) -> Parsed<bool> {
        let found = matches!(self.token, Token::Word(t) | Token::Sign(t) if t == text);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.take(text)? { Ok(()) } else { self.expected(&format!("`{text}`")) }
    }

    fn name(&mut self) -> Parsed<String> {
        match self.token {
            Token::Word(name) | Token::Quoted(name) => {
                self.advance()?;
                Ok(name.to_owned())
            }
            Token::Number(_) | Token::Sign(_) | Token::End => self.expected("a name"),
        }
    }

    /// A word that `from_name` knows.
    fn word<T>(&mut self, from_name: fn(&str) -> Option<T>, what: &str) -> Parsed<T> {
        let word = match self.token {
            Token::Word(word) => from_name(word),
            Token::Number(_) | Token::Quoted(_) | Token::Sign(_) | Token::End => None,
        };
        let Some(found) = word else { return self.expected(what) };
        self.advance()?;
        Ok(found)
    }

    /// An id such as `v12`: the prefix, then digits without needless zeros.
    fn peek_id(&self, prefix: char) -> Option<u32> {
        let Token::Word(word) = self.token else { return None };
        let digits = word.strip_prefix(prefix)?;
        let id: u32 = digits.parse().ok()?;
        (id.to_string() == digits).then_some(id)
    }

    fn id(&mut self, prefix: char, what: &str) -> Parsed<u32> {
        let Some(id) = self.peek_id(prefix) else { return self.expected(what) };
        self.advance()?;
        Ok(id)
    }

    fn index_id(&mut self) -> Parsed<IndexId> {
        self.id('i', "an index such as `i0`").map(IndexId)
    }

    fn value_id(&mut self) -> Parsed<ValueId> {
        self.id('v', "a value such as `v0`").map(ValueId)
    }

    /// A whole number, after its sign if `negative` came before.
    fn magnitude(&mut self, negative: bool) -> Parsed<i128> {
        let Token::Number(text) = self.token else { return self.expected("a whole number") };
        let value = match text.strip_prefix("0x") {
            Some(digits) => i128::from_str_radix(digits, 16),
            None => text.parse(),
        };
        let Ok(value) = value else { return self.expected("a whole number") };
        self.advance()?;
        Ok(if negative { -value } else { value })
    }

    /// A whole number with an optional minus that fits `T`.
    fn integer<T: TryFrom<i128>>(&mut self) -> Parsed<T> {
        let place = self.place;
        let negative = self.take("-")?;
        let value = self.magnitude(negative)?;
        fit(value, place)
    }

    // The kernel.

    fn kernel(mut self) -> Parsed<Kernel> {
        self.expect("kernel")?;
        let name = self.name()?;
        self.expect("lanes")?;
        self.lanes = self.integer()?;
        self.expect("{")?;
        self.parameters()?;
        let body = self.body(0)?;
        self.expect("}")?;
        if self.token != Token::End {
            return self.expected("the end of the text");
        }
        let buffers = self.dense(&self.buffers, 'b')?;
        let indices = self.dense(&self.indices, 'i')?;
        let values = self.dense(&self.values, 'v')?;
        Ok(Kernel {
            name,
            lanes: self.lanes,
            buffers: buffers.into_iter().collect(),
            indices: indices.into_iter().collect(),
            values: values.into_iter().collect(),
            body,
        })
    }

    /// The entries in the order of their ids, which must be 0, 1, 2, ..
    fn dense<T: Clone>(&self, entries: &BTreeMap<u32, T>, prefix: char) -> Parsed<Vec<T>> {
        for (expected, (&found, _)) in (0..).zip(entries) {
            if found != expected {
                return self.fail(format!("{prefix}{found} is defined, {prefix}{expected} is not"));
            }
        }
        Ok(entries.values().cloned().collect())
    }

    fn parameters(&mut self) -> Parsed<()> {
        loop {
            if self.take("buffer")? {
                self.buffer()?;
            } else if self.take("scalar")? {
                let id = self.index_id()?;
                let name = self.name()?;
                self.expect(":")?;
                let lo = self.integer()?;
                self.expect("..=")?;
                let hi = self.integer()?;
                self.declare(id, Index::Scalar { name, lo, hi })?;
            } else if self.take("range")? {
                self.range()?;
            } else {
                return Ok(());
            }
        }
    }

    fn buffer(&mut self) -> Parsed<()> {
        let id = self.id('b', "a buffer such as `b0`")?;
        let name = self.name()?;
        self.expect(":")?;
        let access = self.word(Access::from_name, "`read`, `write` or `readwrite`")?;
        let bytes = self.integer()?;
        if self.buffers.insert(id, Buffer { name, bytes, access }).is_some() {
            return self.fail(format!("b{id} is declared twice"));
        }
        Ok(())
    }

    /// `i1..i2 rows: 40`; a half that stands alone as `i1.. rows: 40` or `..i2: 40`.
    fn range(&mut self) -> Parsed<()> {
        let begin = if self.peek_id('i').is_some() { Some(self.index_id()?) } else { None };
        self.expect("..")?;
        let end = match (begin, self.peek_id('i')) {
            (None, _) | (Some(_), Some(_)) => Some(self.index_id()?),
            (Some(_), None) => None,
        };
        let name = if begin.is_some() { self.name()? } else { String::new() };
        self.expect(":")?;
        let count = self.integer()?;
        if let Some(begin) = begin {
            self.declare(begin, Index::RangeBegin { name, count })?;
        }
        if let Some(end) = end {
            self.declare(end, Index::RangeEnd { count })?;
        }
        Ok(())
    }

    fn declare(&mut self, id: IndexId, index: Index) -> Parsed<()> {
        match self.indices.insert(id.0, index) {
            None => Ok(()),
            Some(_) => self.fail(format!("{id} is declared twice")),
        }
    }

    // Instructions.

    fn body(&mut self, depth: usize) -> Parsed<Vec<Inst>> {
        let mut body = Vec::new();
        loop {
            if self.peek_id('v').is_some() {
                body.push(self.definition()?);
            } else if self.take("store")? {
                body.push(self.store()?);
            } else if self.take("loop")? {
                if depth == MAX_TEXT_DEPTH {
                    return self.fail(format!("more than {MAX_TEXT_DEPTH} loops in each other"));
                }
                body.push(self.repeat(depth)?);
            } else if matches!(self.token, Token::Sign("}") | Token::Word("yield")) {
                return Ok(body);
            } else {
                return self.expected("an instruction or `}`");
            }
        }
    }

    /// `v3: f32`, where a value is defined.
    fn typed(&mut self) -> Parsed<(ValueId, Ty)> {
        let id = self.value_id()?;
        self.expect(":")?;
        let ty = self.word(Ty::from_name, "`f32`, `i32` or `mask`")?;
        // A second definition is the verifier's to refuse, but it has no type of its own.
        let first = *self.values.entry(id.0).or_insert(ty);
        if first != ty {
            return self.fail(format!("{id} is {ty} here and {first} before"));
        }
        Ok((id, ty))
    }

    fn definition(&mut self) -> Parsed<Inst> {
        let (dst, ty) = self.typed()?;
        self.expect("=")?;
        let Token::Word(word) = self.token else { return self.expected("an instruction") };
        self.advance()?;
        Ok(match word {
            "const" => Inst::Const { dst, bits: self.constant(ty)? },
            "iota" => Inst::Iota { dst },
            "index" => Inst::Index { dst, index: self.affine()? },
            "load" => {
                let (elem, at) = (self.elem()?, self.address()?);
                Inst::Load { dst, elem, at, count: self.count()? }
            }
            "splat" => Inst::Splat { dst, elem: self.elem()?, at: self.address()? },
            "fma" => {
                let [a, b, c] = self.operands()?;
                Inst::Fma { dst, a, b, c }
            }
            "select" => {
                let [mask, on, off] = self.operands()?;
                Inst::Select { dst, mask, on, off }
            }
            operator => self.operation(dst, operator)?,
        })
    }

    fn operation(&mut self, dst: ValueId, word: &str) -> Parsed<Inst> {
        if let Some(op) = UnaryOp::from_name(word) {
            return Ok(Inst::Unary { dst, op, src: self.value_id()? });
        }
        if let Some(op) = ReduceOp::from_name(word) {
            return Ok(Inst::Reduce { dst, op, src: self.value_id()? });
        }
        if let Some(op) = BinaryOp::from_name(word) {
            let [lhs, rhs] = self.operands()?;
            return Ok(Inst::Binary { dst, op, lhs, rhs });
        }
        if let Some(op) = CompareOp::from_name(word) {
            let [lhs, rhs] = self.operands()?;
            return Ok(Inst::Compare { dst, op, lhs, rhs });
        }
        if let Some(op) = ShiftOp::from_name(word) {
            let src = self.value_id()?;
            self.expect(",")?;
            return Ok(Inst::Shift { dst, op, src, amount: self.integer()? });
        }
        self.fail(format!("there is no instruction {}", Token::Word(word).describe()))
    }

    fn store(&mut self) -> Parsed<Inst> {
        let elem = self.elem()?;
        let src = self.value_id()?;
        self.expect(",")?;
        let at = self.address()?;
        let stride = if self.take("stride")? { self.integer()? } else { elem.bytes() };
        Ok(Inst::Store { src, elem, at, stride, count: self.count()? })
    }

    fn repeat(&mut self, depth: usize) -> Parsed<Inst> {
        let var = self.index_id()?;
        self.indices.entry(var.0).or_insert(Index::Loop);
        self.expect("in")?;
        let begin = self.bound()?;
        self.expect("..")?;
        let end = self.bound()?;
        self.expect("{")?;
        let mut heads = Vec::new();
        while self.take("carry")? {
            let (param, _) = self.typed()?;
            self.expect("=")?;
            let init = self.value_id()?;
            self.expect("->")?;
            let (result, _) = self.typed()?;
            heads.push((param, init, result));
        }
        let body = self.body(depth + 1)?;
        let mut carried = Vec::with_capacity(heads.len());
        for (param, init, result) in heads {
            self.expect(if carried.is_empty() { "yield" } else { "," })?;
            carried.push(Carried { param, init, next: self.value_id()?, result });
        }
        self.expect("}")?;
        Ok(Inst::Loop { var, begin, end, carried, body })
    }

    fn bound(&mut self) -> Parsed<Bound> {
        if self.peek_id('i').is_some() {
            return Ok(Bound::Scalar(self.index_id()?));
        }
        if !self.take("clamp")? {
            return Ok(Bound::Const(self.integer()?));
        }
        self.expect("(")?;
        let scalar = self.index_id()?;
        let mut minus = Affine::default();
        if self.take("-")? {
            self.expect("(")?;
            minus = self.affine()?;
            self.expect(")")?;
        }
        self.expect(",")?;
        let lo = self.integer()?;
        self.expect(",")?;
        let hi = self.integer()?;
        self.expect(")")?;
        Ok(Bound::Clamp { scalar, minus, lo, hi })
    }

    // Operands.

    fn operands<const N: usize>(&mut self) -> Parsed<[ValueId; N]> {
        let mut operands = [ValueId(0); N];
        for (position, operand) in operands.iter_mut().enumerate() {
            if position > 0 {
                self.expect(",")?;
            }
            *operand = self.value_id()?;
        }
        Ok(operands)
    }

    fn elem(&mut self) -> Parsed<Elem> {
        self.word(Elem::from_name, "`f32`, `i32` or `u16`")
    }

    fn count(&mut self) -> Parsed<u32> {
        if self.take("count")? { self.integer() } else { Ok(self.lanes) }
    }

    fn address(&mut self) -> Parsed<Address> {
        let buffer = BufferId(self.id('b', "a buffer such as `b0`")?);
        self.expect("[")?;
        let offset = self.affine()?;
        self.expect("]")?;
        Ok(Address { buffer, offset })
    }

    /// Terms such as `i2*640`, then a constant; kept as they stand, for the verifier to judge.
    fn affine(&mut self) -> Parsed<Affine> {
        let mut affine = Affine::default();
        if self.peek_id('i').is_none() {
            affine.base = self.integer()?;
            return Ok(affine);
        }
        loop {
            let index = self.index_id()?;
            let factor = if self.take("*")? { self.integer()? } else { 1 };
            affine.terms.push((index, factor));
            let place = self.place;
            let minus = self.take("-")?;
            if !minus && !self.take("+")? {
                return Ok(affine);
            }
            if minus || self.peek_id('i').is_none() {
                affine.base = fit(self.magnitude(minus)?, place)?;
                return Ok(affine);
            }
        }
    }

    /// The bits of a constant of type `ty`: a number of that type, or any bits as `0x..`.
    fn constant(&mut self, ty: Ty) -> Parsed<u32> {
        let place = self.place;
        if let Token::Number(text) = self.token
            && text.starts_with("0x")
        {
            return fit(self.magnitude(false)?, place);
        }
        match ty {
            Ty::F32 => Ok(self.float()?.to_bits()),
            Ty::I32 => {
                let value: i128 = self.integer()?;
                i32::try_from(value).map(i32::cast_unsigned).or_else(|_| fit(value, place))
            }
            Ty::Mask if self.take("true")? => Ok(1),
            Ty::Mask if self.take("false")? => Ok(0),
            Ty::Mask => self.expected("`true`, `false` or bits as `0x..`"),
        }
    }

    fn float(&mut self) -> Parsed<f32> {
        let negative = self.take("-")?;
        let value = match self.token {
            Token::Word("nan") => Some(f32::NAN),
            Token::Word("inf") => Some(f32::INFINITY),
            Token::Number(text) => text.parse().ok().filter(|x: &f32| x.is_finite()),
            Token::Word(_) | Token::Quoted(_) | Token::Sign(_) | Token::End => None,
        };
        let Some(value) = value else { return self.expected("an f32") };
        self.advance()?;
        Ok(if negative { -value } else { value })
    }
}

/// The number as a `T`, or the error that it does not fit.
fn fit<T: TryFrom<i128>>(value: i128, place: Place) -> Parsed<T> {
    T::try_from(value).map_err(|_| {
        let bits = size_of::<T>() * 8;
        ParseError::new(place, format!("{value} does not fit the {bits} bits it has here"))
    })
}
