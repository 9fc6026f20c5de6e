//! What a user reads about a wrong description: where, what, and how to mend it.

use std::fmt;

/// A range of bytes of the source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// Whether `other` lies wholly inside of this span.
    pub(crate) fn holds(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// The kind of a diagnostic; prints as `D0001` and so on, each explained in specs/language.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Code {
    /// The file holds no model.
    NoModel = 1,
    /// The text does not follow the grammar.
    Syntax = 2,
    /// A key or an argument that does not exist.
    UnknownKey = 3,
    /// A key or an argument given twice.
    Duplicate = 4,
    /// The file is not UTF-8 text.
    Encoding = 5,
    /// A character that is allowed in no description, or only in comments.
    Character = 6,
    /// The file is larger than [`MAX_SOURCE_BYTES`](crate::MAX_SOURCE_BYTES), or has more words than
    /// [`MAX_WORDS`](crate::MAX_WORDS).
    FileSize = 7,
    /// Brackets are nested deeper than [`MAX_NESTING`](crate::MAX_NESTING).
    Nesting = 8,
    /// A literal that is no number, or a number outside of the range of its type.
    Number = 9,
    /// A required key is not there.
    MissingKey = 10,
    /// A value of the wrong form.
    WrongValue = 11,
    /// A base that does not exist, or a model derived from itself.
    Base = 12,
    /// The heads do not divide the width.
    Heads = 13,
    /// The key and value heads do not divide the heads.
    KvHeads = 14,
    /// A count outside of its range.
    Range = 15,
    /// An odd head dimension.
    HeadDim = 16,
    /// More parameters than [`MAX_PARAMETERS`](crate::MAX_PARAMETERS).
    Parameters = 17,
    /// A part of the language that is designed but not built.
    NotYet = 18,
    /// A sharing scheme that misses a block, or applies too many.
    Sharing = 19,
    /// Two models of one name, or too many models.
    Models = 20,
    /// A storage group that does not divide the rows of its matrices.
    Group = 21,
    /// A real number that is not positive.
    Positive = 22,
}

impl Code {
    /// All codes, in ascending order.
    pub const ALL: [Code; 22] = [
        Code::NoModel,
        Code::Syntax,
        Code::UnknownKey,
        Code::Duplicate,
        Code::Encoding,
        Code::Character,
        Code::FileSize,
        Code::Nesting,
        Code::Number,
        Code::MissingKey,
        Code::WrongValue,
        Code::Base,
        Code::Heads,
        Code::KvHeads,
        Code::Range,
        Code::HeadDim,
        Code::Parameters,
        Code::NotYet,
        Code::Sharing,
        Code::Models,
        Code::Group,
        Code::Positive,
    ];
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "D{:04}", *self as u16)
    }
}

/// One error of a description. `Display` renders it as plain text of several lines, without a
/// final line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub col: usize,
    /// The kind of error.
    pub code: Code,
    /// What was found and what was expected.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// The source line, or the part of it around the caret; control characters are replaced.
    pub excerpt: String,
    /// Characters of the excerpt before the caret.
    pub indent: usize,
    /// Carets under the excerpt, at least one.
    pub carets: usize,
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { file, line, col, code, message, .. } = self;
        write!(f, "error[{code}]: {file}:{line}:{col}: {message}")?;
        if !self.excerpt.trim().is_empty() {
            // A tab is repeated under a tab, so that the caret stands right at any tab width.
            let blank = |c| if c == '\t' { '\t' } else { ' ' };
            let pad: String = self.excerpt.chars().take(self.indent).map(blank).collect();
            write!(f, "\n  {}\n  {pad}{}", self.excerpt.trim_end(), "^".repeat(self.carets))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhelp: {hint}"),
            None => Ok(()),
        }
    }
}

/// A diagnostic before its span is resolved to a line and a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) span: Span,
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub(crate) fn new(code: Code, span: Span, message: impl Into<String>) -> Problem {
        Problem { span, code, message: message.into(), hint: None }
    }

    /// The same problem with a hint.
    pub(crate) fn help(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }
}
