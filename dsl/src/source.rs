//! The text of a description with its lines: turns spans into lines, columns and excerpts.

use crate::diagnostic::{Diagnostic, Problem, Span};

/// Most diagnostics that one file is answered with.
pub(crate) const MAX_DIAGNOSTICS: usize = 100;

/// Longest part of a source line, in characters, that a diagnostic shows.
const MAX_EXCERPT: usize = 96;

/// Characters kept before the caret where a line is cut.
const EXCERPT_LEAD: usize = 48;

/// A named text and the offsets where its lines begin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source<'s> {
    pub(crate) file: &'s str,
    pub(crate) text: &'s str,
    lines: Vec<usize>,
    /// Whether each character is one byte, so that columns need no counting.
    is_ascii: bool,
}

impl<'s> Source<'s> {
    /// Indexes the lines of `text`: `\n`, `\r\n` and a lone `\r` end one. A UTF-8 byte order
    /// mark is dropped.
    pub(crate) fn new(text: &'s str, file: &'s str) -> Source<'s> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let bytes = text.as_bytes();
        let ends_line = |at: usize, byte: u8| {
            byte == b'\n' || (byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
        };
        let after = bytes.iter().enumerate().filter(|&(at, &byte)| ends_line(at, byte));
        let lines = std::iter::once(0).chain(after.map(|(at, _)| at + 1)).collect();
        Source { file, text, lines, is_ascii: text.is_ascii() }
    }

    /// Line and column of a byte offset, from 1; columns count characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|&start| start <= offset);
        let start = self.line_start(line);
        let before = match self.is_ascii {
            true => offset.saturating_sub(start),
            false => self.slice(start, offset).chars().count(),
        };
        (line, 1 + before)
    }

    /// `LINE:COL` of the start of a span.
    pub(crate) fn place(&self, span: Span) -> String {
        let (line, col) = self.position(span.start);
        format!("{line}:{col}")
    }

    /// Resolves problems in the order of the text, each once, at most [`MAX_DIAGNOSTICS`].
    pub(crate) fn diagnose(&self, mut problems: Vec<Problem>) -> Vec<Diagnostic> {
        problems.sort_by_key(|p| (p.span, p.code));
        problems.dedup();
        problems.truncate(MAX_DIAGNOSTICS);
        problems.into_iter().map(|problem| self.resolve(problem)).collect()
    }

    fn resolve(&self, problem: Problem) -> Diagnostic {
        let Problem { span, code, message, hint } = problem;
        let (line, col) = self.position(span.start);
        let start = self.line_start(line);
        let end = self.line_start(line + 1);
        let text = self.slice(start, end).trim_end_matches(['\n', '\r']);
        let cut = if text.len() > MAX_EXCERPT { (col - 1).saturating_sub(EXCERPT_LEAD) } else { 0 };
        let excerpt: String = text.chars().skip(cut).take(MAX_EXCERPT).map(printable).collect();
        let indent = col - 1 - cut;
        let marked = self.slice(span.start, span.end.min(start + text.len())).chars();
        let room = MAX_EXCERPT.saturating_sub(indent).max(1);
        let carets = marked.take(room).count().max(1);
        let file = self.file.to_owned();
        Diagnostic { file, line, col, code, message, hint, excerpt, indent, carets }
    }

    /// Offset where a line, counted from 1, begins; the end of the text after the last one.
    fn line_start(&self, line: usize) -> usize {
        line.checked_sub(1).and_then(|at| self.lines.get(at)).copied().unwrap_or(self.text.len())
    }

    /// The text of a range; empty where the range is none of the text.
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'s str {
        self.text.get(start..end).unwrap_or("")
    }
}

/// Replaces what would move a terminal's cursor or its direction of writing.
fn printable(c: char) -> char {
    if (c.is_control() && c != '\t') || is_direction_mark(c) { '\u{fffd}' } else { c }
}

/// Marks that make text show in another order than it is read in.
pub(crate) fn is_direction_mark(c: char) -> bool {
    let single = matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}');
    single || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name or a literal of the text at a length that a message can hold.
pub(crate) fn clipped(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}..", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_lf_crlf_and_cr() {
        let source = Source::new("ab\ncd\r\nef\rgh", "f");
        let at = |needle| source.position(source.text.find(needle).unwrap());
        assert_eq!([at("b"), at("d"), at("f"), at("h")], [(1, 2), (2, 2), (3, 2), (4, 2)]);
        assert_eq!(source.position(source.text.len()), (4, 3));
    }

    #[test]
    fn columns_count_characters() {
        let source = Source::new("\u{feff}// \u{e9}\u{e9}x", "f");
        assert_eq!(source.position(source.text.find('x').unwrap()), (1, 6));
    }
}
