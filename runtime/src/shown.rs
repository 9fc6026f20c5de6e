//! Names and texts from outside as messages show them: nothing in them steers a terminal, begins a
//! line of its own, or fills the screen.

use std::fmt::{self, Write as _};
use std::path::Path;

/// Characters of a [`Quoted`] text that are shown.
const SHOWN: usize = 60;

/// Whether a character does something to the text around it instead of standing in it: control
/// characters, line and paragraph separators, and the overrides of writing direction.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2066}'..='\u{2069}')
}

/// A path, whole, with the characters that [`steers`] finds escaped.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_string_lossy().chars().try_for_each(|character| match character {
            character if steers(character) => write!(f, "{}", character.escape_debug()),
            character => f.write_char(character),
        })
    }
}

/// A text in quotes, escaped as in the sources of a program; its beginning where it is long.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.0.char_indices().nth(SHOWN).map_or(self.0, |(end, _)| &self.0[..end]);
        let more = if start.len() < self.0.len() { ".." } else { "" };
        write!(f, "{start:?}{more}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_escaped_and_what_stands_is_not() {
        let shown = |path: &str| Shown(Path::new(path)).to_string();
        assert_eq!(shown("a b/é'\"漢.gguf"), "a b/é'\"漢.gguf");
        assert_eq!(shown("\x1b[31m\n\u{202e}\u{9b}"), "\\u{1b}[31m\\n\\u{202e}\\u{9b}");
        assert_eq!(Quoted("\x1b\"\u{2066}").to_string(), "\"\\u{1b}\\\"\\u{2066}\"");
    }

    #[test]
    fn long_texts_are_shown_by_their_beginning() {
        assert_eq!(Quoted(&"é".repeat(60)).to_string(), format!("\"{}\"", "é".repeat(60)));
        assert_eq!(Quoted(&"é".repeat(61)).to_string(), format!("\"{}\"..", "é".repeat(60)));
    }
}
