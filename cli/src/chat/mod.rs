//! One turn of a chat, in the format of the model's own template.
//!
//! # Why the user's text cannot become a control token
//!
//! A template is a program that puts control tokens and the texts of a chat into one string. Read
//! back as a whole, a `<|im_end|>` that a user wrote would end the user's turn. So a template
//! never sees what a user wrote: each text is a single [mark](Turn) to it, a noncharacter of
//! Unicode, and what it renders is split at the marks. Only what lies between is read for names of
//! control tokens. Whatever a template does to a text - cut, join, repeat, compare - it has nothing
//! but the mark to do it to, and the mark comes back as plain text or not at all.
//!
//! White space around a text is passed as it is, so that a template that trims does trim. A
//! template that looks *into* a text sees the mark; those that there are do so for answers of the
//! model and for results of tools, of which a single turn has none.

mod date;
mod error;
mod render;

pub use error::{ChatError, TemplateError};
pub use render::{MAX_TEMPLATE_BYTES, Message, Render, render};

use deepthin_runtime::tokenizer::{Span, Tokenizer};

/// The mark of the system's text: U+FDD0 and the next one never stand for characters.
const SYSTEM: char = '\u{fdd0}';
/// The mark of the user's text.
const USER: char = '\u{fdd1}';

/// What is said before the model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn<'a> {
    /// How the model is to behave, where the user says so.
    pub system: Option<&'a str>,
    /// What the user says.
    pub user: &'a str,
}

impl<'a> Turn<'a> {
    /// What is to be rendered: the texts as marks. `now` is the time for templates that print it,
    /// in seconds of Unix time.
    pub fn render(&self, template: &str, tokenizer: &Tokenizer, now: u64) -> Render {
        let token = |id: Option<u32>| {
            let name = tokenizer.piece(id?, true).ok()?;
            Some(String::from_utf8_lossy(name).into_owned())
        };
        let messages = self.texts().map(|text| Message {
            role: text.role.to_owned(),
            content: format!("{}{}{}", text.before, text.shown(), text.after),
        });
        Render {
            template: template.to_owned(),
            messages: messages.collect(),
            bos_token: token(tokenizer.bos()),
            eos_token: token(tokenizer.eos()),
            now,
        }
    }

    /// What was rendered, with the texts in the places of their marks. Only what the template
    /// wrote may name control tokens.
    ///
    /// # Errors
    /// A text that is not there, or more than once.
    pub fn spans<'s>(&self, rendered: &'s str) -> Result<Vec<Span<'s>>, ChatError>
    where
        'a: 's,
    {
        for text in self.texts().filter(|text| !text.core.is_empty()) {
            let times = rendered.matches(text.mark).count();
            if times != 1 {
                return Err(ChatError::Times { role: text.role, times });
            }
        }
        let mut spans = Vec::new();
        let mut rest = rendered;
        let texts: Vec<Text<'a>> = self.texts().collect();
        while let Some((place, text)) = next_mark(rest, &texts) {
            let (before, after) = rest.split_at(place);
            let after = after.get(text.mark.len_utf8()..).unwrap_or_default();
            // White space of the user is no part of a control token's name either.
            let template = before.strip_suffix(text.before).unwrap_or(before);
            let after_space = after.strip_prefix(text.after).unwrap_or(after);
            let space_before = before.get(template.len()..).unwrap_or_default();
            let space_after = after.get(..after.len() - after_space.len()).unwrap_or_default();
            spans.push(Span { text: template, special: true });
            spans.extend([space_before, text.core, space_after].map(plain));
            rest = after_space;
        }
        spans.push(Span { text: rest, special: true });
        spans.retain(|span| !span.text.is_empty());
        Ok(spans)
    }

    /// The texts in their order.
    fn texts(&self) -> impl Iterator<Item = Text<'a>> {
        let system = self.system.map(|text| Text::new("system", SYSTEM, text));
        system.into_iter().chain([Text::new("user", USER, self.user)])
    }
}

/// A text, between the white space around it.
#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    role: &'static str,
    mark: char,
    before: &'a str,
    core: &'a str,
    after: &'a str,
}

impl<'a> Text<'a> {
    fn new(role: &'static str, mark: char, text: &'a str) -> Text<'a> {
        let rest = text.trim_start();
        let (before, _) = text.split_at(text.len() - rest.len());
        let (core, after) = rest.split_at(rest.trim_end().len());
        Text { role, mark, before, core, after }
    }

    /// The mark, but for a text of nothing but white space: templates ask whether there is one.
    fn shown(&self) -> String {
        if self.core.is_empty() { String::new() } else { self.mark.to_string() }
    }
}

/// The first mark in a text, and what it stands for.
fn next_mark<'t, 'a>(text: &str, texts: &'t [Text<'a>]) -> Option<(usize, &'t Text<'a>)> {
    let places = texts.iter().filter_map(|marked| Some((text.find(marked.mark)?, marked)));
    places.filter(|(_, marked)| !marked.core.is_empty()).min_by_key(|(place, _)| *place)
}

fn plain(text: &str) -> Span<'_> {
    Span { text, special: false }
}
