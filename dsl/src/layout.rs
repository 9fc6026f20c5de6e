//! The layout of descriptions, the one place that knows it: where lines break, what is indented,
//! and what stands under what.
//!
//! An entry has a line of its own, and a section of one short entry has one too. The values of
//! neighboring entries begin in one column, and so do the comments behind neighboring lines. A list
//! that a line cannot hold, or that has comments in it, is filled line by line between its brackets.

use std::borrow::Cow;

/// Columns of a line that may still be broken.
const WIDTH: usize = 100;

/// Columns of one level.
const INDENT: usize = 4;

/// Longest key that the values of its neighbors are moved for.
const MAX_KEY: usize = 24;

/// What stands between braces, or in a file: entries, sections and comments, in their order.
#[derive(Debug)]
pub(crate) struct Item<'t> {
    /// Whether an empty line comes before it; none does at the start of a body.
    pub(crate) blank_before: bool,
    pub(crate) kind: ItemKind<'t>,
    /// The comment behind it.
    pub(crate) trailing: Option<&'t str>,
}

#[derive(Debug)]
pub(crate) enum ItemKind<'t> {
    /// A comment with a line of its own.
    Comment(&'t str),
    /// `KEY VALUE`.
    Entry { key: &'t str, value: Value<'t> },
    /// `HEAD { .. }`.
    Section {
        head: Cow<'t, str>,
        /// The comment behind the `{`.
        opened: Option<&'t str>,
        body: Vec<Item<'t>>,
    },
}

#[derive(Debug)]
pub(crate) enum Value<'t> {
    /// What no line break divides.
    Atom(Cow<'t, str>),
    /// `HEAD(..)` or `HEAD[..]`.
    List { head: Cow<'t, str>, brackets: Brackets, pieces: Vec<Piece<'t>> },
}

/// What the items of a list stand in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Brackets {
    /// `gqa(..)`.
    Round,
    /// `order [..]`, with a blank before it.
    Square,
}

/// A part of a list.
#[derive(Debug)]
pub(crate) enum Piece<'t> {
    /// An item, without the comma behind it.
    Item(Value<'t>),
    /// A comment behind something.
    Trailing(&'t str),
    /// A comment with a line of its own.
    Comment(&'t str),
}

impl<'t> Item<'t> {
    /// An item without a comment behind it.
    pub(crate) fn new(blank_before: bool, kind: ItemKind<'t>) -> Item<'t> {
        Item { blank_before, kind, trailing: None }
    }

    /// An entry with a value that is never broken, right below what comes before it.
    pub(crate) fn entry(key: &'t str, value: impl Into<Cow<'t, str>>) -> Item<'t> {
        Item::new(false, ItemKind::Entry { key, value: Value::Atom(value.into()) })
    }

    /// A section below an empty line.
    pub(crate) fn section(head: impl Into<Cow<'t, str>>, body: Vec<Item<'t>>) -> Item<'t> {
        Item::new(true, ItemKind::Section { head: head.into(), opened: None, body })
    }

    /// Whether a comment may be put behind it.
    pub(crate) fn takes_comment(&self) -> bool {
        self.trailing.is_none() && !matches!(self.kind, ItemKind::Comment(_))
    }

    fn is_entry(&self) -> bool {
        matches!(self.kind, ItemKind::Entry { .. })
    }

    fn is_section(&self) -> bool {
        matches!(self.kind, ItemKind::Section { .. })
    }
}

impl Brackets {
    const fn ends(self) -> (&'static str, &'static str) {
        match self {
            Brackets::Round => ("(", ")"),
            Brackets::Square => (" [", "]"),
        }
    }
}

/// The text of a file's items, each line ended by a line feed.
pub(crate) fn text(items: &[Item<'_>]) -> String {
    let mut text = String::new();
    body(&mut text, items, 0);
    text
}

/// The lines of items that are indented by `indent` columns.
fn body(text: &mut String, items: &[Item<'_>], indent: usize) {
    let columns = value_columns(items);
    let lines: Vec<String> =
        items.iter().zip(columns).map(|(item, column)| line(item, column, indent)).collect();
    let comments = comment_columns(items, &lines);
    for (at, ((item, line), column)) in items.iter().zip(&lines).zip(comments).enumerate() {
        if item.blank_before && at > 0 {
            text.push('\n');
        }
        push_blanks(text, indent);
        text.push_str(line);
        if let Some(comment) = item.trailing {
            push_blanks(text, column.saturating_sub(line.len()).max(2));
            text.push_str(comment);
        }
        text.push('\n');
    }
}

/// For each item the column behind its indent where an entry's value begins: the same for
/// neighbors, up to an empty line or a section.
fn value_columns(items: &[Item<'_>]) -> Vec<usize> {
    let mut columns = Vec::with_capacity(items.len());
    for group in items.chunk_by(|a, b| !b.blank_before && !a.is_section() && !b.is_section()) {
        let keys = group.iter().filter_map(|item| match &item.kind {
            ItemKind::Entry { key, .. } => Some(key.len()),
            ItemKind::Comment(_) | ItemKind::Section { .. } => None,
        });
        let longest = keys.filter(|length| *length <= MAX_KEY).max().unwrap_or(0);
        columns.extend(group.iter().map(|_| longest + 2));
    }
    columns
}

/// For each item the column behind its indent where the comment behind it begins: the same for
/// entries without anything between them.
fn comment_columns(items: &[Item<'_>], lines: &[String]) -> Vec<usize> {
    let short = |line: &str| line.len() <= WIDTH && !line.contains('\n');
    let takes_part: Vec<bool> = items
        .iter()
        .zip(lines)
        .map(|(item, line)| item.trailing.is_some() && item.is_entry() && short(line))
        .collect();
    let mut columns = vec![0; items.len()];
    let mut start = 0;
    while start < items.len() {
        let goes_on = |at: &usize| {
            takes_part.get(*at) == Some(&true) && items.get(*at).is_some_and(|i| !i.blank_before)
        };
        let end = match takes_part.get(start) {
            Some(true) => start + 1 + (start + 1..items.len()).take_while(goes_on).count(),
            _ => start + 1,
        };
        let longest = lines.get(start..end).into_iter().flatten().map(String::len).max();
        if let Some(run) = columns.get_mut(start..end).filter(|run| run.len() > 1) {
            run.fill(longest.unwrap_or(0) + 2);
        }
        start = end;
    }
    columns
}

/// An item without its indent and without the comment behind it.
fn line(item: &Item<'_>, column: usize, indent: usize) -> String {
    match &item.kind {
        ItemKind::Comment(comment) => (*comment).to_owned(),
        ItemKind::Entry { key, value } => {
            let mut text = (*key).to_owned();
            push_blanks(&mut text, column.saturating_sub(key.len()).max(2));
            let used = indent + text.len();
            text + &value_text(value, indent, used)
        }
        ItemKind::Section { head, opened: None, body } if body.is_empty() => format!("{head} {{}}"),
        ItemKind::Section { head, opened, body: items } => {
            if let Some(line) = short_section(head, *opened, items, indent) {
                return line;
            }
            let comment = opened.map(|comment| format!("  {comment}")).unwrap_or_default();
            let mut text = format!("{head} {{{comment}\n");
            body(&mut text, items, indent + INDENT);
            push_blanks(&mut text, indent);
            text + "}"
        }
    }
}

/// A section of a single entry on one line, where that holds it and there is no comment in it.
fn short_section(
    head: &str,
    opened: Option<&str>,
    items: &[Item<'_>],
    indent: usize,
) -> Option<String> {
    let ([Item { kind: ItemKind::Entry { key, value }, trailing: None, .. }], None) =
        (items, opened)
    else {
        return None;
    };
    let line = format!("{head} {{ {key} {} }}", flat(value)?);
    (indent + line.len() <= WIDTH).then_some(line)
}

/// A value that begins at column `used` of an entry that is indented by `indent`.
fn value_text(value: &Value<'_>, indent: usize, used: usize) -> String {
    match flat(value) {
        Some(line) if used + line.len() <= WIDTH => line,
        _ => broken(value, indent),
    }
}

/// A value on one line; `None` where a comment is in it.
fn flat(value: &Value<'_>) -> Option<String> {
    let (head, brackets, pieces) = match value {
        Value::Atom(text) => return Some(text.clone().into_owned()),
        Value::List { head, brackets, pieces } => (head, brackets, pieces),
    };
    let items = pieces.iter().map(|piece| match piece {
        Piece::Item(value) => flat(value),
        Piece::Trailing(_) | Piece::Comment(_) => None,
    });
    let (open, close) = brackets.ends();
    Some(format!("{head}{open}{}{close}", items.collect::<Option<Vec<_>>>()?.join(", ")))
}

/// A value with its items on lines of their own, as many on each as it holds.
fn broken(value: &Value<'_>, indent: usize) -> String {
    let (head, brackets, pieces) = match value {
        Value::Atom(text) => return text.clone().into_owned(),
        Value::List { head, brackets, pieces } => (head, brackets, pieces),
    };
    let (open, close) = brackets.ends();
    let mut filler =
        Filler { text: format!("{head}{open}"), line: String::new(), indent: indent + INDENT };
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Item(value) => filler.item(value),
            Piece::Trailing(comment) if at == 0 => filler.text += &format!("  {comment}"),
            Piece::Trailing(comment) if !filler.line.is_empty() => {
                filler.line += &format!("  {comment}");
                filler.end_line();
            }
            Piece::Trailing(comment) | Piece::Comment(comment) => {
                filler.end_line();
                filler.line += comment;
                filler.end_line();
            }
        }
    }
    filler.end_line();
    let mut text = filler.text;
    text.push('\n');
    push_blanks(&mut text, indent);
    text + close
}

/// Fills lines with the items of a list.
struct Filler {
    /// The lines that are done, without the last line end.
    text: String,
    /// The line at hand, without its indent.
    line: String,
    indent: usize,
}

impl Filler {
    fn item(&mut self, value: &Value<'_>) {
        match flat(value) {
            Some(flat) if self.indent + flat.len() < WIDTH => {
                let is_full = self.indent + self.line.len() + 1 + flat.len() >= WIDTH;
                if is_full || self.line.contains('\n') {
                    self.end_line();
                }
                let blank = if self.line.is_empty() { "" } else { " " };
                self.line += &format!("{blank}{flat},");
            }
            _ => {
                self.end_line();
                self.line = broken(value, self.indent) + ",";
            }
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.text.push('\n');
            push_blanks(&mut self.text, self.indent);
            self.text.push_str(&self.line);
            self.line.clear();
        }
    }
}

fn push_blanks(text: &mut String, count: usize) {
    text.extend(std::iter::repeat_n(' ', count));
}
