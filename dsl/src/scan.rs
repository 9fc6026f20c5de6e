//! Looks over the raw bytes before the parser does: size, encoding, characters, words, nesting.
//!
//! The parser recurses once for each open bracket, so the depth is bounded here, in a loop.

use crate::diagnostic::{Code, Diagnostic, Problem, Span};
use crate::number::grouped;
use crate::source::{Source, is_direction_mark};

/// Largest description, in bytes.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;

/// Most words, numbers and other marks of a description. The parser takes some three hundred bytes for
/// each.
pub const MAX_WORDS: usize = 1 << 17;

/// Deepest nesting of `{`, `(` and `[`.
pub const MAX_NESTING: usize = 64;

/// Most wrong characters that one file is answered with.
const MAX_CHARACTERS: usize = 10;

/// The text of a file.
///
/// # Errors
/// One diagnostic where the bytes are too many, or not UTF-8.
pub(crate) fn decode<'s>(bytes: &'s [u8], file: &'s str) -> Result<&'s str, Vec<Diagnostic>> {
    check_size(bytes.len(), file)?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let message = "a UTF-16 byte order mark at offset 0, expected UTF-8 text";
        return Err(encoding("", file, message.into()));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let (valid, rest) = bytes.split_at(error.valid_up_to());
        let byte = rest.first().copied().unwrap_or_default();
        let message = format!("byte 0x{byte:02x} at offset {} is not UTF-8", valid.len());
        encoding(std::str::from_utf8(valid).unwrap_or_default(), file, message)
    })
}

/// Refuses a description that is too long.
pub(crate) fn check_size(bytes: usize, file: &str) -> Result<(), Vec<Diagnostic>> {
    if bytes <= MAX_SOURCE_BYTES {
        return Ok(());
    }
    let message = format!(
        "the description has {} bytes or more, the limit is {} (1 MiB)",
        grouped(bytes as u64),
        grouped(MAX_SOURCE_BYTES as u64)
    );
    let problem = Problem::new(Code::FileSize, Span { start: 0, end: 0 }, message)
        .help("a description takes about a kilobyte: is this another kind of file?");
    Err(Source::new("", file).diagnose(vec![problem]))
}

/// What is wrong with the characters and the nesting of a text; empty where nothing is.
pub(crate) fn scan(source: &Source<'_>) -> Vec<Problem> {
    let problems = wrong_characters(source.text);
    if !problems.is_empty() {
        return problems;
    }
    too_deep(source.text).or_else(|| too_many(source.text)).into_iter().collect()
}

fn encoding(valid: &str, file: &str, message: String) -> Vec<Diagnostic> {
    let source = Source::new(valid, file);
    let end = source.text.len();
    let problem = Problem::new(Code::Encoding, Span { start: end, end }, message);
    source.diagnose(vec![problem.help("save the file as UTF-8")])
}

/// The first character of each run that no description may hold.
fn wrong_characters(text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut run = false;
    for (at, c, comment) in characters(text) {
        let wrong = match c {
            '\t' | '\n' | '\r' => false,
            _ if is_direction_mark(c) || c.is_ascii_control() => true,
            _ => !c.is_ascii() && !comment,
        };
        if wrong && !run && problems.len() < MAX_CHARACTERS {
            problems.push(wrong_character(at, c));
        }
        run = wrong;
    }
    problems
}

fn wrong_character(at: usize, c: char) -> Problem {
    let span = Span { start: at, end: at + c.len_utf8() };
    let point = format!("U+{:04X}", u32::from(c));
    if c == '\0' {
        let message = format!("NUL byte at offset {at}, expected text");
        return Problem::new(Code::Encoding, span, message).help("save the file as UTF-8");
    }
    let (message, hint) = if is_direction_mark(c) {
        (format!("{point} changes the direction of writing"), "remove this invisible mark".into())
    } else if c.is_control() {
        (format!("{point} is a control character"), "remove it".into())
    } else if let Some(ascii) = look_alike(c) {
        let ascii = if ascii == ' ' { "a space".to_owned() } else { format!("`{ascii}`") };
        (format!("{point} looks like {ascii} and is not"), format!("type {ascii} instead"))
    } else {
        let hint = "outside of comments a description is ASCII".to_owned();
        (format!("{point} (`{c}`) outside of a comment"), hint)
    };
    Problem::new(Code::Character, span, message).help(hint)
}

/// The ASCII character that a common look-alike is taken for.
fn look_alike(c: char) -> Option<char> {
    const PAIRS: [(&str, &str); 2] = [
        ("\u{430}\u{435}\u{43e}\u{440}\u{441}\u{445}\u{443}\u{456}", "aeopcxyi"), // Cyrillic
        (
            "\u{3bf}\u{3bd}\u{a0}\u{2010}\u{2011}\u{2013}\u{2212}\u{d7}\u{201c}\u{201d}",
            "ov ----*\"\"",
        ),
    ];
    let found = |(likes, ascii): &(&str, &str)| likes.chars().zip(ascii.chars()).find(|p| p.0 == c);
    PAIRS.iter().find_map(found).map(|(_, ascii)| ascii)
}

/// The first word past the most that there may be, if there is one.
fn too_many(text: &str) -> Option<Problem> {
    let (mut count, mut in_word) = (0, false);
    for (at, c, comment) in characters(text) {
        let is_part = !comment && (c.is_ascii_alphanumeric() || c == '_');
        let is_mark = !comment && !is_part && !c.is_ascii_whitespace();
        count += usize::from(is_mark || is_part && !in_word);
        in_word = is_part;
        if count > MAX_WORDS {
            let most = grouped(MAX_WORDS as u64);
            let message = format!("more than {most} words and marks");
            let hint = "a description takes about two hundred: give a file fewer models";
            let span = Span { start: at, end: at + 1 };
            return Some(Problem::new(Code::FileSize, span, message).help(hint));
        }
    }
    None
}

/// The bracket that nests too deeply, if one does.
///
/// A brace ends what parentheses and square brackets are open, as it does in the grammar, and a
/// closing bracket closes its own kind only: the depth counted is never below the parser's.
fn too_deep(text: &str) -> Option<Problem> {
    let (mut braces, mut parens, mut squares) = (0_usize, 0_usize, 0_usize);
    for (at, c, comment) in characters(text) {
        match c {
            _ if comment => {}
            '{' => (braces, parens, squares) = (braces + 1, 0, 0),
            '}' => (braces, parens, squares) = (braces.saturating_sub(1), 0, 0),
            '(' => parens += 1,
            ')' => parens = parens.saturating_sub(1),
            '[' => squares += 1,
            ']' => squares = squares.saturating_sub(1),
            _ => {}
        }
        if braces + parens + squares > MAX_NESTING {
            let message = format!("nesting deeper than {MAX_NESTING}");
            let hint = "a model nests three deep: look for a bracket that is never closed";
            let span = Span { start: at, end: at + 1 };
            return Some(Problem::new(Code::Nesting, span, message).help(hint));
        }
    }
    None
}

/// Each comment of a text, from its `//` to the end of its line.
pub(crate) fn comments(text: &str) -> impl Iterator<Item = Span> {
    let mut rest = characters(text).peekable();
    std::iter::from_fn(move || {
        let (start, ..) = rest.find(|(.., comment)| *comment)?;
        while rest.next_if(|(.., comment)| *comment).is_some() {}
        Some(Span { start, end: rest.peek().map_or(text.len(), |(at, ..)| *at) })
    })
}

/// Offset and value of each character, and whether it belongs to a comment.
fn characters(text: &str) -> impl Iterator<Item = (usize, char, bool)> {
    let mut comment = false;
    text.char_indices().map(move |(at, c)| {
        if matches!(c, '\n' | '\r') {
            comment = false;
        } else if c == '/' && text.as_bytes().get(at + 1) == Some(&b'/') {
            comment = true;
        }
        (at, c, comment)
    })
}
