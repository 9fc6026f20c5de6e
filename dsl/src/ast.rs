//! The description as written: names, values and their places, without meaning.
//!
//! `Display` of [`Ast`] is the text of `dump --stage ast`: one node a line, each with the
//! `line:col` where it begins.

use std::fmt;

use crate::diagnostic::Span;
use crate::source::Source;

/// A parsed file.
#[derive(Debug, Clone, PartialEq)]
pub struct Ast<'s> {
    /// The text that the spans point into.
    pub(crate) source: Source<'s>,
    /// The models, in the order of the file.
    pub models: Vec<ModelDecl<'s>>,
}

/// `model NAME { .. }` or `model NAME = BASE { .. }`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDecl<'s> {
    /// The name of the model.
    pub name: Ident<'s>,
    /// The model that this one is derived from.
    pub base: Option<Ident<'s>>,
    /// What stands between the braces.
    pub entries: Vec<Entry<'s>>,
    /// From `model` to the closing brace.
    pub span: Span,
}

/// A name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ident<'s> {
    /// The name itself.
    pub text: &'s str,
    /// Where it stands.
    pub span: Span,
}

/// `KEY VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'s> {
    /// What is set.
    pub key: Ident<'s>,
    /// What it is set to.
    pub value: Value<'s>,
}

/// What stands after a key, or inside of parentheses and square brackets.
#[derive(Debug, Clone, PartialEq)]
pub struct Value<'s> {
    /// The value.
    pub kind: ValueKind<'s>,
    /// Where it stands.
    pub span: Span,
}

/// The forms of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueKind<'s> {
    /// A literal that begins with a digit or a minus, not yet read.
    Number(&'s str),
    /// `tied`.
    Word(&'s str),
    /// `gqa(heads: 9, kv_heads: 3)`.
    Call {
        /// What stands before the parenthesis.
        name: Ident<'s>,
        /// What stands inside.
        arguments: Vec<Argument<'s>>,
    },
    /// `order [0, 0, 1]`.
    List {
        /// What stands before the bracket.
        name: Ident<'s>,
        /// What stands inside.
        items: Vec<Value<'s>>,
    },
    /// `{ KEY VALUE .. }`.
    Section(Vec<Entry<'s>>),
    /// Anything with an operator in it: read, but without a meaning yet.
    Arithmetic,
}

/// `NAME: VALUE` or `VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument<'s> {
    /// What stands before the colon.
    pub name: Option<Ident<'s>>,
    /// The value of the argument.
    pub value: Value<'s>,
}

impl fmt::Display for Ast<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printer = Printer { source: &self.source, f };
        self.models.iter().try_for_each(|model| printer.model(model))
    }
}

struct Printer<'a, 'f> {
    source: &'a Source<'a>,
    f: &'a mut fmt::Formatter<'f>,
}

impl Printer<'_, '_> {
    fn model(&mut self, model: &ModelDecl<'_>) -> fmt::Result {
        let base = model.base.map(|base| format!(" = {}", base.text)).unwrap_or_default();
        self.line(0, &format!("model {}{base}", model.name.text), model.span)?;
        model.entries.iter().try_for_each(|entry| self.entry(1, entry))
    }

    fn entry(&mut self, depth: usize, entry: &Entry<'_>) -> fmt::Result {
        self.line(depth, entry.key.text, entry.key.span)?;
        self.value(depth + 1, &entry.value)
    }

    fn value(&mut self, depth: usize, value: &Value<'_>) -> fmt::Result {
        let span = value.span;
        match &value.kind {
            ValueKind::Number(text) => self.line(depth, &format!("number {text}"), span),
            ValueKind::Word(text) => self.line(depth, &format!("word {text}"), span),
            ValueKind::Arithmetic => self.line(depth, "arithmetic", span),
            ValueKind::Section(entries) => {
                self.line(depth, "section", span)?;
                entries.iter().try_for_each(|entry| self.entry(depth + 1, entry))
            }
            ValueKind::List { name, items } => {
                self.line(depth, &format!("list {}", name.text), span)?;
                items.iter().try_for_each(|item| self.value(depth + 1, item))
            }
            ValueKind::Call { name, arguments } => {
                self.line(depth, &format!("call {}", name.text), span)?;
                arguments.iter().try_for_each(|argument| match &argument.name {
                    Some(name) => {
                        self.line(depth + 1, &format!("{}:", name.text), name.span)?;
                        self.value(depth + 2, &argument.value)
                    }
                    None => self.value(depth + 1, &argument.value),
                })
            }
        }
    }

    fn line(&mut self, depth: usize, text: &str, span: Span) -> fmt::Result {
        writeln!(self.f, "{:indent$}{text} @ {}", "", self.source.place(span), indent = 2 * depth)
    }
}
