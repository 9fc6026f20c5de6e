//! Renders a chat template: Jinja as Hugging Face's library sets it up, within limits.
//!
//! A template comes with the weights and is to be trusted no more than they are. It sees only what
//! [`Render`] holds: there is no loader, no file, no environment, and a value has no attributes
//! beyond its own items. Its steps, its depth and its output are limited here. What a single
//! step may allocate or take is not: whoever renders a stranger's template does so in a process
//! with limits of its own, as the program does.

use std::collections::BTreeMap;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context, filters};
use minijinja_contrib::pycompat;
use serde::{Deserialize, Serialize};

use super::date;
use super::error::TemplateError;

/// The longest template: some thousand times longer than common ones.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// Instructions of the template's machine, in a thousand of which common templates end.
const STEPS: u64 = 1_000_000;

/// Calls and loops within each other.
const DEPTH: usize = 64;

/// Bytes of the output.
const MAX_OUTPUT_BYTES: usize = 4 << 20;

/// A template and what it sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Render {
    /// The template.
    pub template: String,
    /// What is said, in order.
    pub messages: Vec<Message>,
    /// The name of the token that begins a text.
    pub bos_token: Option<String>,
    /// The name of the token that ends a text.
    pub eos_token: Option<String>,
    /// The time that `strftime_now` tells, in seconds of Unix time.
    pub now: u64,
}

/// A message as templates see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it: `system` or `user`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// What is rendered, up to where the model answers.
///
/// # Errors
/// A template that is wrong, refuses, or goes beyond its limits.
pub fn render(render: &Render) -> Result<String, TemplateError> {
    let source = render.template.as_str();
    if source.len() > MAX_TEMPLATE_BYTES {
        let length = source.len();
        let message = format!("has {length} bytes, expected at most {MAX_TEMPLATE_BYTES}");
        return Err(TemplateError::Limit(message));
    }
    let environment = environment(render.now);
    let failed = |error: &Error| failure(error, source);
    let template =
        environment.template_from_named_str("chat", source).map_err(|error| failed(&error))?;
    let messages: Vec<Value> = render
        .messages
        .iter()
        .map(|Message { role, content }| context! { role, content })
        .collect();
    // As Hugging Face's library has it: there are neither tools nor documents, and names that the
    // vocabulary lacks are not defined.
    let names = [("bos_token", &render.bos_token), ("eos_token", &render.eos_token)];
    let names: BTreeMap<&str, String> =
        names.into_iter().filter_map(|(key, name)| Some((key, name.clone()?))).collect();
    let values = context! {
        messages,
        add_generation_prompt => true,
        tools => (),
        documents => (),
        ..Value::from(names)
    };
    let mut output = Output(Vec::new());
    match template.render_captured_to(values, &mut output) {
        Ok(_) => Ok(String::from_utf8_lossy(&output.0).into_owned()),
        Err(error) => Err(failed(&error)),
    }
}

/// Jinja with the settings and functions that templates are written for.
fn environment(now: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_debug(true); // errors tell their place
    environment.set_fuel(Some(STEPS));
    environment.set_recursion_limit(DEPTH);
    environment.set_unknown_method_callback(pycompat::unknown_method_callback);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        let raised = Raised(message);
        Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(raised))
    });
    environment.add_function("strftime_now", move |format: &str| {
        date::format(now, format).map_err(|directive| {
            let message = format!("strftime_now does not know `{directive}`");
            Error::new(ErrorKind::InvalidOperation, message)
        })
    });
    environment
}

/// JSON as Python writes it. The filter of HTML templates escapes four characters more; an escape
/// of theirs always begins at a backslash that no other escapes.
fn tojson(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let _: Option<bool> = options.get("ensure_ascii")?; // what Hugging Face's filter does anyway
    let json = filters::tojson(value, indent, options)?.to_string();
    let mut text = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        text.push_str(before);
        let html = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
        let html = html.into_iter().find(|(escaped, _)| escape.starts_with(escaped));
        let len = match html {
            Some((escaped, character)) => {
                text.push(character);
                escaped.len()
            }
            None => {
                // The backslash, and the character that it escapes.
                let len = escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end);
                text.push_str(escape.get(..len).unwrap_or_default());
                len
            }
        };
        rest = escape.get(len..).unwrap_or_default();
    }
    text.push_str(rest);
    Ok(text)
}

/// What a template says when it refuses.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// The output, which is full.
#[derive(Debug, thiserror::Error)]
#[error("full")]
struct Full;

/// Takes output up to the limit.
struct Output(Vec<u8>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_OUTPUT_BYTES - self.0.len() {
            return Err(io::Error::other(Full));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error of the template's machine: what it is at bottom, and where it arose.
fn failure(error: &Error, source: &str) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut innermost = error;
    while let Some(current) = cause {
        if let Some(Raised(message)) = current.downcast_ref() {
            return TemplateError::Raised(message.clone());
        }
        let is_full = |error: &io::Error| error.get_ref().is_some_and(|inner| inner.is::<Full>());
        if current.downcast_ref().is_some_and(is_full) {
            let message = format!("writes more than {MAX_OUTPUT_BYTES} bytes");
            return TemplateError::Limit(message);
        }
        if let Some(error) = current.downcast_ref() {
            innermost = error;
        }
        cause = current.source();
    }
    if innermost.kind() == ErrorKind::OutOfFuel {
        return TemplateError::Limit(format!("takes more than {STEPS} steps"));
    }
    let (line, column) = place(innermost, source);
    let message = match innermost.detail() {
        Some(detail) => format!("{}: {detail}", innermost.kind()),
        None => innermost.kind().to_string(),
    };
    TemplateError::Failed { line, column, message }
}

/// Line and column of an error; the whole line where only that is known.
fn place(error: &Error, source: &str) -> (usize, usize) {
    let before = error.range().and_then(|range| source.get(..range.start));
    match before {
        Some(before) => {
            let line = before.rsplit('\n').next().unwrap_or_default();
            (before.matches('\n').count() + 1, line.chars().count() + 1)
        }
        None => (error.line().unwrap_or(1), 1),
    }
}
