//! From text to kernel: the inverse of `print.rs`.
//!
//! The parser knows the grammar of `specs/vir.md` and no rule of the verifier: a text that says
//! something wrong parses, and the verifier names the rule. Any text gets an answer: size and
//! depth are limited, ids are collected in maps, so none of them is a count of what to allocate.

mod body;
mod lex;

use std::collections::BTreeMap;

use thiserror::Error;

use self::lex::{Lexer, Place, Token};
use super::{Access, Buffer, Index, IndexId, Kernel, Ty, ValueId};

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
    fn new(place: Place, message: impl Into<String>) -> Self {
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
}

/// The number as a `T`, or the error that it does not fit.
fn fit<T: TryFrom<i128>>(value: i128, place: Place) -> Parsed<T> {
    T::try_from(value).map_err(|_| {
        let bits = size_of::<T>() * 8;
        ParseError::new(place, format!("{value} does not fit the {bits} bits it has here"))
    })
}
