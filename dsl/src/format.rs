//! A description in canonical form: the same models and the same comments, laid out anew.
//!
//! The tree gives names and values in their order, the scanner the comments; each comment goes to
//! the place between two of them where it stands, so that none is lost and none overtakes another.
//! Spellings of numbers, bare arguments and empty lines (one of several) stay as they are written.

use std::borrow::Cow;

use crate::ast::{Argument, Ast, Entry, Ident, ModelDecl, Value, ValueKind};
use crate::diagnostic::{Code, Problem, Span};
use crate::layout::{self, Brackets, Item, ItemKind, Piece};
use crate::scan;

/// The canonical text of a file, or what of it has no canonical form yet.
pub(crate) fn format(ast: &Ast<'_>) -> Result<String, Vec<Problem>> {
    let text = ast.source.text;
    let mut builder = Builder {
        text,
        comments: scan::comments(text).map(|span| Comment::new(text, span)).collect(),
        next: 0,
        problems: Vec::new(),
    };
    let items = builder.file(&ast.models);
    if builder.problems.is_empty() { Ok(layout::text(&items)) } else { Err(builder.problems) }
}

/// A comment of the text.
#[derive(Debug, Clone, Copy)]
struct Comment<'s> {
    /// From `//` on, without blanks at its end.
    text: &'s str,
    start: usize,
    /// Whether nothing stands before it on its line.
    has_line: bool,
}

impl<'s> Comment<'s> {
    fn new(text: &'s str, Span { start, end }: Span) -> Comment<'s> {
        let before = text.get(..start).unwrap_or_default().trim_end_matches([' ', '\t']);
        let has_line = before.is_empty() || before.ends_with(['\n', '\r']);
        let text = text.get(start..end).unwrap_or_default().trim_end();
        Comment { text, start, has_line }
    }
}

struct Builder<'s> {
    text: &'s str,
    comments: Vec<Comment<'s>>,
    /// The first comment that has no place yet.
    next: usize,
    problems: Vec<Problem>,
}

impl<'s> Builder<'s> {
    fn file(&mut self, models: &[ModelDecl<'s>]) -> Vec<Item<'s>> {
        let mut items = Vec::new();
        for model in models {
            self.comments_between(model.span.start, &mut items);
            items.push(self.model(model));
        }
        self.comments_between(self.text.len(), &mut items);
        items
    }

    fn model(&mut self, model: &ModelDecl<'s>) -> Item<'s> {
        let ModelDecl { name, base, entries, span } = model;
        let head = match base {
            Some(base) => format!("model {} = {}", name.text, base.text),
            None => format!("model {}", name.text),
        };
        let head_end = base.unwrap_or(*name).span.end;
        self.section(head.into(), *span, head_end, entries)
    }

    fn entry(&mut self, Entry { key, value }: &Entry<'s>) -> Item<'s> {
        if let ValueKind::Section(entries) = &value.kind {
            let span = Span { start: key.span.start, end: value.span.end };
            return self.section(key.text.into(), span, key.span.end, entries);
        }
        let blank_before = self.has_blank_before(key.span.start);
        let value = self.value("", value);
        Item::new(blank_before, ItemKind::Entry { key: key.text, value })
    }

    /// A section in `span`, whose head ends at `head_end`.
    fn section(
        &mut self,
        head: Cow<'s, str>,
        span: Span,
        head_end: usize,
        entries: &[Entry<'s>],
    ) -> Item<'s> {
        let blank_before = self.has_blank_before(span.start);
        let (opened, body) = self.body(head_end, entries, span.end);
        Item::new(blank_before, ItemKind::Section { head, opened, body })
    }

    /// The items of a body that opens after `head_end` and closes before `end`. The first comment
    /// before its `{` or behind it stays there; others before it have to go below.
    fn body(
        &mut self,
        head_end: usize,
        entries: &[Entry<'s>],
        end: usize,
    ) -> (Option<&'s str>, Vec<Item<'s>>) {
        let open = self.opening_brace(head_end);
        let mut opened = None;
        let mut items = Vec::new();
        while let Some(comment) = self.comment_before(open) {
            match opened {
                None => opened = Some(comment.text),
                Some(_) => items.push(Item::new(false, ItemKind::Comment(comment.text))),
            }
        }
        let first = entries.first().map_or(end, |entry| entry.key.span.start);
        if let Some(comment) = self.peek().filter(|c| c.start < first && !c.has_line)
            && opened.is_none()
        {
            opened = Some(comment.text);
            self.next += 1;
        }
        for entry in entries {
            self.comments_between(entry.key.span.start, &mut items);
            items.push(self.entry(entry));
        }
        self.comments_between(end, &mut items);
        (opened, items)
    }

    /// The value with `name` before it.
    fn value(&mut self, name: &str, value: &Value<'s>) -> layout::Value<'s> {
        let named = |text: &'s str| match name {
            "" => Cow::Borrowed(text),
            _ => Cow::Owned(format!("{name}: {text}")),
        };
        match &value.kind {
            ValueKind::Number(text) | ValueKind::Word(text) => layout::Value::Atom(named(text)),
            ValueKind::Call { name: Ident { text, .. }, arguments } => {
                let pieces = self.pieces(arguments, value.span.end, |builder, argument| {
                    let Argument { name, value } = argument;
                    builder.value(name.map_or("", |name| name.text), value)
                });
                layout::Value::List { head: named(text), brackets: Brackets::Round, pieces }
            }
            ValueKind::List { name: Ident { text, .. }, items } => {
                let pieces =
                    self.pieces(items, value.span.end, |builder, item| builder.value("", item));
                layout::Value::List { head: named(text), brackets: Brackets::Square, pieces }
            }
            ValueKind::Arithmetic | ValueKind::Section(_) => {
                let message = "arithmetic is not supported yet";
                let problem = Problem::new(Code::NotYet, value.span, message);
                self.problems.push(problem.help("write the number itself"));
                layout::Value::Atom(Cow::Borrowed(""))
            }
        }
    }

    /// The items of a list and the comments between them, up to `end`.
    fn pieces<T: Starts>(
        &mut self,
        items: &[T],
        end: usize,
        mut value: impl FnMut(&mut Self, &T) -> layout::Value<'s>,
    ) -> Vec<Piece<'s>> {
        let mut pieces = Vec::new();
        let comments = |builder: &mut Self, pieces: &mut Vec<Piece<'s>>, before| {
            while let Some(Comment { text, has_line, .. }) = builder.comment_before(before) {
                pieces.push(if has_line { Piece::Comment(text) } else { Piece::Trailing(text) });
            }
        };
        for item in items {
            comments(self, &mut pieces, item.start());
            let value = value(self, item);
            pieces.push(Piece::Item(value));
        }
        comments(self, &mut pieces, end);
        pieces
    }

    /// Puts the comments before `offset` behind the last item, or on lines of their own.
    fn comments_between(&mut self, offset: usize, items: &mut Vec<Item<'s>>) {
        while let Some(comment) = self.comment_before(offset) {
            match items.last_mut() {
                Some(item) if !comment.has_line && item.takes_comment() => {
                    item.trailing = Some(comment.text);
                }
                _ => {
                    let blank_before = self.has_blank_before(comment.start);
                    items.push(Item::new(blank_before, ItemKind::Comment(comment.text)));
                }
            }
        }
    }

    fn peek(&self) -> Option<Comment<'s>> {
        self.comments.get(self.next).copied()
    }

    /// The next comment, if it begins before `offset`.
    fn comment_before(&mut self, offset: usize) -> Option<Comment<'s>> {
        let comment = self.peek().filter(|comment| comment.start < offset)?;
        self.next += 1;
        Some(comment)
    }

    /// Where the first `{` after `offset` stands, comments left out.
    fn opening_brace(&self, offset: usize) -> usize {
        let mut from = offset;
        for comment in self.comments.iter().skip(self.next) {
            let code = self.text.get(from..comment.start).unwrap_or_default();
            if code.contains('{') {
                break;
            }
            from = from.max(comment.start + comment.text.len());
        }
        let rest = self.text.get(from..).unwrap_or_default();
        rest.find('{').map_or(self.text.len(), |at| from + at)
    }

    /// Whether an empty line stands before `offset`.
    fn has_blank_before(&self, offset: usize) -> bool {
        let before = self.text.get(..offset).unwrap_or_default();
        let blanks = &before[before.trim_end().len()..];
        blanks.replace("\r\n", "\n").matches(['\n', '\r']).count() >= 2
    }
}

/// What begins somewhere in the text.
trait Starts {
    fn start(&self) -> usize;
}

impl Starts for Value<'_> {
    fn start(&self) -> usize {
        self.span.start
    }
}

impl Starts for Argument<'_> {
    fn start(&self) -> usize {
        self.name.map_or(self.value.span.start, |name| name.span.start)
    }
}
