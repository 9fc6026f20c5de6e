//! Cuts text into the words within which byte pairs are merged, before any merging is done.
//!
//! The GPT-2 rule is the regular expression
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`: an English
//! ending, or a run of letters, of numbers or of anything else, each with the one space before
//! it, or white space but for the last of it before a word. SmolLM's rule first sets every
//! numeric character apart and then cuts what is between them by the GPT-2 rule.
//!
//! It is a scanner of its own and no regular expression: it looks at each character once or
//! twice, whatever the text, and never recurses. Letters are Unicode's category L, numbers its
//! category N (Unicode 18 for letters), white space its property `White_Space`.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// The rule by which words are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordRule {
    /// The rule of GPT-2.
    Gpt2,
    /// The rule of SmolLM: each numeric character is a word, GPT-2's rule elsewhere.
    SmolLm,
}

/// What a run of characters is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Space,
    Other,
}

impl Class {
    fn of(character: char) -> Class {
        if character.is_ascii_alphabetic() {
            Class::Letter
        } else if character.is_whitespace() {
            Class::Space
        } else if character.is_numeric() {
            Class::Number
        } else if character.is_ascii() {
            Class::Other
        } else if character.general_category_group() == GeneralCategoryGroup::Letter {
            Class::Letter
        } else {
            Class::Other
        }
    }
}

impl WordRule {
    /// The words of a text; together they are the text.
    pub(super) fn words(self, text: &str) -> Words<'_> {
        Words { rule: self, piece: "", rest: text }
    }
}

/// Iterator over the words of a text.
#[derive(Debug)]
pub(super) struct Words<'a> {
    rule: WordRule,
    /// What is being cut by GPT-2's rule, which sees no further than this.
    piece: &'a str,
    /// What follows it.
    rest: &'a str,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.piece.is_empty() {
            let numeric = match self.rule {
                WordRule::Gpt2 => None,
                WordRule::SmolLm => self.rest.char_indices().find(|(_, c)| c.is_numeric()),
            };
            let length = match numeric {
                None => self.rest.len(),
                Some((0, number)) => {
                    let (word, rest) = self.rest.split_at(number.len_utf8());
                    self.rest = rest;
                    return Some(word);
                }
                Some((before, _)) => before,
            };
            (self.piece, self.rest) = self.rest.split_at(length);
        }
        if self.piece.is_empty() {
            return None;
        }
        let (word, piece) = self.piece.split_at(word_len(self.piece));
        self.piece = piece;
        Some(word)
    }
}

/// Bytes of the first word of a text that is not empty, by GPT-2's rule.
fn word_len(text: &str) -> usize {
    const ENDINGS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
    if let Some(ending) = ENDINGS.into_iter().find(|ending| text.starts_with(ending)) {
        return ending.len();
    }
    let body = text.strip_prefix(' ').unwrap_or(text);
    if let Some(class) = body.chars().next().map(Class::of)
        && class != Class::Space
    {
        return text.len() - body.len() + run_len(body, class);
    }
    let spaces = run_len(text, Class::Space);
    if spaces == text.len() {
        return spaces;
    }
    // A word follows: the last white space is left for it, unless there is no other.
    let run = text.get(..spaces).unwrap_or_default();
    match run.char_indices().next_back() {
        Some((last, _)) if last > 0 => last,
        _ => spaces,
    }
}

/// Bytes of the run of `class` that a text begins with.
fn run_len(text: &str, class: Class) -> usize {
    text.find(|character| Class::of(character) != class).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(rule: WordRule, text: &str) -> Vec<&str> {
        rule.words(text).collect()
    }

    #[test]
    fn gpt2_keeps_numbers_whole_and_smollm_takes_them_apart() {
        let text = "in 2024's\n";
        assert_eq!(words(WordRule::Gpt2, text), ["in", " 2024", "'s", "\n"]);
        assert_eq!(words(WordRule::SmolLm, text), ["in", " ", "2", "0", "2", "4", "'s", "\n"]);
        assert_eq!(words(WordRule::SmolLm, "²½Ⅷ٣"), ["²", "½", "Ⅷ", "٣"]);
    }

    #[test]
    fn the_last_space_goes_with_the_word_after_it() {
        assert_eq!(words(WordRule::Gpt2, "a   b"), ["a", "  ", " b"]);
        assert_eq!(words(WordRule::Gpt2, "a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(words(WordRule::Gpt2, " \u{a0}x \u{3000}"), [" ", "\u{a0}", "x", " \u{3000}"]);
        assert_eq!(words(WordRule::Gpt2, "a  "), ["a", "  "]);
        // SmolLM's numbers end a piece, and with it what the rule sees.
        assert_eq!(words(WordRule::SmolLm, "a  5"), ["a", "  ", "5"]);
    }

    #[test]
    fn runs_end_where_the_class_changes() {
        assert_eq!(
            words(WordRule::Gpt2, "'tis they'RE x-y"),
            ["'t", "is", " they", "'", "RE", " x", "-", "y"]
        );
        // A combining mark is no letter; a letter of another script is one.
        assert_eq!(words(WordRule::Gpt2, "e\u{301}мир"), ["e", "\u{301}", "мир"]);
    }
}
