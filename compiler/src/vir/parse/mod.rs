//! From text to kernel: the inverse of `print.rs`.
//!
//! The parser knows the grammar of `specs/vir.md` and no rule of the verifier: a text that says
//! something wrong parses, and the verifier names the rule. Any text gets an answer: the depth is
//! limited too, ids are collected in maps, so none of them is a count of what to allocate.

mod body;

use std::collections::BTreeMap;

use super::{Access, Buffer, Index, IndexId, Kernel, Ty, ValueId};
use crate::text::{Cursor, Parsed};

pub use crate::text::{MAX_TEXT, ParseError};

/// The deepest nest of loops that is read; rule V-21 allows less.
pub const MAX_TEXT_DEPTH: usize = 64;

/// Reads the text of one kernel. `parse(&kernel.to_string())` is the kernel again, for every
/// kernel whose values and indices are all defined in it.
pub fn parse(text: &str) -> Parsed<Kernel> {
    let parser = Parser {
        text: Cursor::new(text)?,
        lanes: 0,
        buffers: BTreeMap::new(),
        indices: BTreeMap::new(),
        values: BTreeMap::new(),
    };
    parser.kernel()
}

/// The rest of the text, and what it declared so far.
struct Parser<'t> {
    text: Cursor<'t>,
    lanes: u32,
    buffers: BTreeMap<u32, Buffer>,
    indices: BTreeMap<u32, Index>,
    values: BTreeMap<u32, Ty>,
}

impl Parser<'_> {
    fn index_id(&mut self) -> Parsed<IndexId> {
        self.text.id("i", "an index such as `i0`").map(IndexId)
    }

    fn value_id(&mut self) -> Parsed<ValueId> {
        self.text.id("v", "a value such as `v0`").map(ValueId)
    }

    fn kernel(mut self) -> Parsed<Kernel> {
        self.text.expect("kernel")?;
        let name = self.text.name()?;
        self.text.expect("lanes")?;
        self.lanes = self.text.integer()?;
        self.text.expect("{")?;
        self.parameters()?;
        let body = self.body(0)?;
        self.text.expect("}")?;
        self.text.expect_end()?;
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
                return self
                    .text
                    .fail(format!("{prefix}{found} is defined, {prefix}{expected} is not"));
            }
        }
        Ok(entries.values().cloned().collect())
    }

    fn parameters(&mut self) -> Parsed<()> {
        loop {
            if self.text.take("buffer")? {
                self.buffer()?;
            } else if self.text.take("scalar")? {
                let id = self.index_id()?;
                let name = self.text.name()?;
                self.text.expect(":")?;
                let lo = self.text.integer()?;
                self.text.expect("..=")?;
                let hi = self.text.integer()?;
                self.declare(id, Index::Scalar { name, lo, hi })?;
            } else if self.text.take("range")? {
                self.range()?;
            } else {
                return Ok(());
            }
        }
    }

    fn buffer(&mut self) -> Parsed<()> {
        let id = self.text.id("b", "a buffer such as `b0`")?;
        let name = self.text.name()?;
        self.text.expect(":")?;
        let access = self.text.word(Access::from_name, "`read`, `write` or `readwrite`")?;
        let bytes = self.text.integer()?;
        if self.buffers.insert(id, Buffer { name, bytes, access }).is_some() {
            return self.text.fail(format!("b{id} is declared twice"));
        }
        Ok(())
    }

    /// `i1..i2 rows: 40`; a half that stands alone as `i1.. rows: 40` or `..i2: 40`.
    fn range(&mut self) -> Parsed<()> {
        let begin = if self.text.peek_id("i").is_some() { Some(self.index_id()?) } else { None };
        self.text.expect("..")?;
        let end = match (begin, self.text.peek_id("i")) {
            (None, _) | (Some(_), Some(_)) => Some(self.index_id()?),
            (Some(_), None) => None,
        };
        let name = if begin.is_some() { self.text.name()? } else { String::new() };
        self.text.expect(":")?;
        let count = self.text.integer()?;
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
            Some(_) => self.text.fail(format!("{id} is declared twice")),
        }
    }
}
