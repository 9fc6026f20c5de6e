//! Words, numbers and signs of a text, with their places.

use super::ParseError;

/// The smallest piece of text that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'t> {
    /// Letters, digits and underscores, not digit first.
    Word(&'t str),
    /// A decimal or `0x` number without sign; a fraction or exponent makes it an f32.
    Number(&'t str),
    /// What stands in quotes: no control character.
    Quoted(&'t str),
    /// Punctuation.
    Sign(&'static str),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// The token as an error message shows it.
    pub(crate) fn describe(self) -> String {
        match self {
            Token::Word(text) | Token::Number(text) | Token::Quoted(text) => {
                // A word may be as long as the text.
                let start: String = text.chars().take(40).collect();
                format!("`{start}`")
            }
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end of the text".to_owned(),
        }
    }
}

/// Signs, each before any that is its beginning.
const SIGNS: [&str; 15] =
    ["..=", "..", "->", "{", "}", "[", "]", "(", ")", ",", ":", "=", "+", "-", "*"];

/// A place in the text, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The rest of a text.
pub(crate) struct Lexer<'t> {
    rest: &'t str,
    place: Place,
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Lexer { rest: text, place: Place { line: 1, column: 1 } }
    }

    /// The next token and where it starts. After the end there is only the end.
    pub(crate) fn next(&mut self) -> Result<(Token<'t>, Place), ParseError> {
        self.skip_blank();
        let place = self.place;
        let Some(first) = self.rest.chars().next() else { return Ok((Token::End, place)) };
        if first.is_ascii_alphabetic() || first == '_' {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            return Ok((Token::Word(self.take_while(word)), place));
        }
        if first.is_ascii_digit() {
            let length = number_length(self.rest);
            return Ok((Token::Number(self.take(length)), place));
        }
        if first == '"' {
            self.take(1);
            let inside = self.take_while(|c| c != '"' && !c.is_control());
            let ends_line = |c: char| c == '\n' || c == '\r';
            return match self.rest.chars().next() {
                Some('"') => {
                    self.take(1);
                    Ok((Token::Quoted(inside), place))
                }
                Some(c) if !ends_line(c) => {
                    Err(ParseError::new(self.place, format!("{c:?} has no place in quotes")))
                }
                _ => Err(ParseError::new(place, "a quote that its line does not close")),
            };
        }
        for sign in SIGNS {
            if self.rest.starts_with(sign) {
                self.take(sign.len());
                return Ok((Token::Sign(sign), place));
            }
        }
        Err(ParseError::new(place, format!("{first:?} has no meaning here")))
    }

    /// Skips white space, and comments from `;` to the end of the line.
    fn skip_blank(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest.starts_with(';') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let length = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        self.take(length)
    }

    /// Takes `length` bytes, or what there is, where `length` is not a character's boundary
    /// nothing.
    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or(("", self.rest));
        for c in taken.chars() {
            if c == '\n' {
                self.place.line = self.place.line.saturating_add(1);
                self.place.column = 1;
            } else {
                self.place.column = self.place.column.saturating_add(1);
            }
        }
        self.rest = rest;
        taken
    }
}

/// Bytes of the number that `text` starts with. A `.` belongs to it only before a digit, so that
/// `0..4` is a range; an `e` only before an exponent.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize, digit: fn(&u8) -> bool| {
        from + bytes.iter().skip(from).take_while(|b| digit(b)).count()
    };
    if text.starts_with("0x") {
        return digits(2, u8::is_ascii_hexdigit);
    }
    let mut length = digits(0, u8::is_ascii_digit);
    if bytes.get(length) == Some(&b'.') {
        let end = digits(length + 1, u8::is_ascii_digit);
        length = if end > length + 1 { end } else { length };
    }
    if bytes.get(length) == Some(&b'e') {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let end = digits(length + 1 + sign, u8::is_ascii_digit);
        length = if end > length + 1 + sign { end } else { length };
    }
    length
}
