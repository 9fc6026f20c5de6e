//! A text from the token at hand on: what every grammar asks of it.

use super::lex::{Lexer, Place, Token};
use super::{MAX_TEXT, ParseError, Parsed};

/// The token at hand, and the rest of the text.
pub(crate) struct Cursor<'t> {
    lexer: Lexer<'t>,
    token: Token<'t>,
    place: Place,
}

impl<'t> Cursor<'t> {
    /// A cursor on the first token of a text.
    pub(crate) fn new(text: &'t str) -> Parsed<Self> {
        let place = Place { line: 1, column: 1 };
        let mut cursor = Cursor { lexer: Lexer::new(text), token: Token::End, place };
        if text.len() > MAX_TEXT {
            let found = text.len();
            return cursor
                .fail(format!("found a text of {found} bytes, expected {MAX_TEXT} at most"));
        }
        cursor.advance()?;
        Ok(cursor)
    }

    /// The token at hand.
    pub(crate) fn token(&self) -> Token<'t> {
        self.token
    }

    /// Where the token at hand begins.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Goes on to the next token; the one left behind comes back.
    pub(crate) fn advance(&mut self) -> Parsed<Token<'t>> {
        let taken = self.token;
        (self.token, self.place) = self.lexer.next()?;
        Ok(taken)
    }

    /// An error at the token at hand.
    pub(crate) fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::new(self.place, message))
    }

    /// The error that the token at hand is not `what`.
    pub(crate) fn expected<T>(&self, what: &str) -> Parsed<T> {
        self.fail(format!("found {}, expected {what}", self.token.describe()))
    }

    /// Whether the token at hand is this sign or word.
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.token, Token::Word(t) | Token::Sign(t) if t == text)
    }

    /// Takes the sign or word if it is the token at hand.
    pub(crate) fn take(&mut self, text: &str) -> Parsed<bool> {
        let found = self.is(text);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// Takes the sign or word.
    pub(crate) fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.take(text)? { Ok(()) } else { self.expected(&format!("`{text}`")) }
    }

    /// Asks for the end of the text.
    pub(crate) fn expect_end(&self) -> Parsed<()> {
        if self.token == Token::End { Ok(()) } else { self.expected("the end of the text") }
    }

    /// A name, in quotes or without.
    pub(crate) fn name(&mut self) -> Parsed<String> {
        match self.token {
            Token::Word(name) | Token::Quoted(name) => {
                self.advance()?;
                Ok(name.to_owned())
            }
            Token::Number(_) | Token::Sign(_) | Token::End => self.expected("a name"),
        }
    }

    /// A word that `from_name` knows.
    pub(crate) fn word<T>(
        &mut self,
        from_name: impl Fn(&str) -> Option<T>,
        what: &str,
    ) -> Parsed<T> {
        let word = match self.token {
            Token::Word(word) => from_name(word),
            Token::Number(_) | Token::Quoted(_) | Token::Sign(_) | Token::End => None,
        };
        let Some(found) = word else { return self.expected(what) };
        self.advance()?;
        Ok(found)
    }

    /// The number of an id such as `v12`, where one is at hand: the prefix, then digits without
    /// needless zeros.
    pub(crate) fn peek_id(&self, prefix: &str) -> Option<u32> {
        let Token::Word(word) = self.token else { return None };
        let digits = word.strip_prefix(prefix)?;
        let id: u32 = digits.parse().ok()?;
        (id.to_string() == digits).then_some(id)
    }

    /// The number of an id.
    pub(crate) fn id(&mut self, prefix: &str, what: &str) -> Parsed<u32> {
        let Some(id) = self.peek_id(prefix) else { return self.expected(what) };
        self.advance()?;
        Ok(id)
    }

    /// A whole number, after its sign if `negative` came before.
    pub(crate) fn magnitude(&mut self, negative: bool) -> Parsed<i128> {
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
    pub(crate) fn integer<T: TryFrom<i128>>(&mut self) -> Parsed<T> {
        let place = self.place;
        let negative = self.take("-")?;
        let value = self.magnitude(negative)?;
        fit(value, place)
    }
}

/// The number as a `T`, or the error that it does not fit.
pub(crate) fn fit<T: TryFrom<i128>>(value: i128, place: Place) -> Parsed<T> {
    T::try_from(value).map_err(|_| {
        let bits = size_of::<T>() * 8;
        ParseError::new(place, format!("found {value}, expected a number that {bits} bits hold"))
    })
}
