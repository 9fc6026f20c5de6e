//! Text to AST by the pest grammar; each rule of recovery becomes one diagnostic.

use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};
use pest::iterators::{Pair, Pairs};
use pest_derive::Parser;

use crate::ast::{Argument, Ast, Entry, Ident, ModelDecl, Value, ValueKind};
use crate::diagnostic::{Code, Problem, Span};
use crate::source::{MAX_DIAGNOSTICS, Source, clipped};
use crate::suggest::{join, nearest_name};

/// Most syntax errors that one file is answered with.
const MAX_SYNTAX_ERRORS: usize = 10;

/// The generated parser.
#[derive(Parser)]
#[grammar = "grammar.pest"]
struct Grammar;

/// Reads a scanned text: all models that could be read, and what is wrong with the rest.
/// The problems are syntax errors and parts of the language that are not there yet.
pub(crate) fn parse(source: Source<'_>) -> (Ast<'_>, Vec<Problem>) {
    let mut builder = Builder { text: source.text, problems: Vec::new() };
    let models = match Grammar::parse(Rule::file, source.text) {
        Ok(pairs) => {
            pairs.flat_map(Pair::into_inner).filter_map(|item| builder.item(item)).collect()
        }
        Err(_) => unreachable!("the grammar's rule `file` accepts every text"),
    };
    (Ast { source, models }, builder.problems)
}

struct Builder<'s> {
    text: &'s str,
    problems: Vec<Problem>,
}

impl<'s> Builder<'s> {
    /// Keeps a problem, as long as one more of its kind is shown.
    fn report(&mut self, problem: Problem) {
        if !self.is_full(problem.code) {
            self.problems.push(problem);
        }
    }

    fn is_full(&self, code: Code) -> bool {
        let most = if code == Code::Syntax { MAX_SYNTAX_ERRORS } else { MAX_DIAGNOSTICS };
        self.problems.iter().filter(|problem| problem.code == code).count() >= most
    }

    fn item(&mut self, pair: Pair<'s, Rule>) -> Option<ModelDecl<'s>> {
        match pair.as_rule() {
            Rule::model => return Some(self.model(pair)),
            Rule::broken_section => {
                self.broken(Rule::probe_model, span(&pair));
                self.rest(pair.into_inner(), true);
            }
            Rule::stray => self.broken(Rule::probe_model, span(&pair)),
            Rule::stray_close => {
                let problem = Problem::new(Code::Syntax, span(&pair), "`}` closes nothing");
                self.report(problem.help("remove it, or look for a `}` too many above"));
            }
            _ => self.later(&pair),
        }
        None
    }

    fn model(&mut self, pair: Pair<'s, Rule>) -> ModelDecl<'s> {
        let whole = span(&pair);
        let mut inner = pair.into_inner();
        let mut name = Ident { text: "", span: whole };
        let mut base = None;
        let mut header_is_whole = true;
        while let Some(part) = inner.peek() {
            match part.as_rule() {
                Rule::name => name = ident(&part),
                Rule::base => base = Some(ident(&part)),
                Rule::header_junk | Rule::missing_open => {
                    self.broken(Rule::probe_model, whole);
                    header_is_whole = false;
                }
                Rule::model_word | Rule::equals => {}
                _ => break,
            }
            inner.next();
        }
        let entries = self.rest(inner, header_is_whole);
        ModelDecl { name, base, entries, span: whole }
    }

    /// The elements after a `{`. A missing `}` is reported by the `outermost` section alone: what
    /// holds an unclosed section is unclosed itself.
    fn rest(&mut self, pairs: Pairs<'s, Rule>, outermost: bool) -> Vec<Entry<'s>> {
        let mut entries = Vec::new();
        let mut opened = None;
        for pair in pairs {
            match pair.as_rule() {
                Rule::open => opened = Some(span(&pair)),
                Rule::entry => entries.push(self.entry(pair)),
                Rule::broken_section => {
                    self.broken(Rule::probe_entry, span(&pair));
                    self.rest(pair.into_inner(), false);
                }
                Rule::broken_line => self.broken(Rule::probe_entry, span(&pair)),
                Rule::unclosed if outermost => {
                    if let Some(open) = opened {
                        let problem = Problem::new(Code::Syntax, open, "this `{` is never closed");
                        self.report(problem.help("add the missing `}`"));
                    }
                }
                _ => self.later(&pair),
            }
        }
        entries
    }

    fn entry(&mut self, pair: Pair<'s, Rule>) -> Entry<'s> {
        let whole = span(&pair);
        let mut key = Ident { text: "", span: whole };
        let mut value = Value { kind: ValueKind::Section(Vec::new()), span: whole };
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::key => key = ident(&part),
                Rule::value => value = self.value(part),
                _ => {
                    let span = span(&part);
                    value = Value {
                        kind: ValueKind::Section(self.rest(part.into_inner(), false)),
                        span,
                    };
                }
            }
        }
        Entry { key, value }
    }

    fn value(&mut self, pair: Pair<'s, Rule>) -> Value<'s> {
        let mut span = span(&pair);
        let mut terms = pair.into_inner();
        // A comment behind a value belongs to the pairs of the value and of its last word.
        if let Some(last) = terms.clone().next_back() {
            let last =
                if last.as_rule() == Rule::word { last.into_inner().next() } else { Some(last) };
            span.end = last.map_or(span.end, |last| last.as_span().end());
        }
        let kind = match (terms.next(), terms.next()) {
            (Some(term), None) => self.term(term),
            _ => ValueKind::Arithmetic,
        };
        Value { kind, span }
    }

    fn term(&mut self, pair: Pair<'s, Rule>) -> ValueKind<'s> {
        let rule = pair.as_rule();
        let text = pair.as_str();
        let mut inner = pair.into_inner();
        let mut name =
            || inner.next().map_or(Ident { text, span: Span { start: 0, end: 0 } }, |p| ident(&p));
        match rule {
            Rule::number => ValueKind::Number(text),
            Rule::word => ValueKind::Word(name().text),
            Rule::call => {
                let name = name();
                let arguments = inner.filter(|p| p.as_rule() == Rule::argument);
                ValueKind::Call { name, arguments: arguments.map(|p| self.argument(p)).collect() }
            }
            Rule::list => {
                let name = name();
                let items = inner.filter(|p| p.as_rule() == Rule::value);
                ValueKind::List { name, items: items.map(|p| self.value(p)).collect() }
            }
            _ => ValueKind::Arithmetic,
        }
    }

    fn argument(&mut self, pair: Pair<'s, Rule>) -> Argument<'s> {
        let mut name = None;
        let mut value = Value { kind: ValueKind::Arithmetic, span: span(&pair) };
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::parameter => name = Some(ident(&part)),
                Rule::value => value = self.value(part),
                _ => {}
            }
        }
        Argument { name, value }
    }

    /// Reports what the language will have and has not.
    fn later(&mut self, pair: &Pair<'s, Rule>) {
        let (what, hint) = match pair.as_rule() {
            Rule::space => ("`space`", "write each model of the space out, derived from one base"),
            Rule::binding => ("`let`", "write the number itself where it is used"),
            Rule::block_range => ("a block range", "`block { .. }` gives one shape to all blocks"),
            _ => return,
        };
        let Span { start, end } = span(pair);
        let first_line = pair.as_str().lines().next().unwrap_or_default().trim_end();
        let span = Span { start, end: end.min(start + first_line.len()) };
        let message = format!("{what} is not supported yet");
        self.report(Problem::new(Code::NotYet, span, message).help(hint));
    }

    /// Reads a broken place again by `probe` to learn where and on what the grammar failed.
    fn broken(&mut self, probe: Rule, place: Span) {
        if self.is_full(Code::Syntax) {
            return;
        }
        let rest = self.text.get(place.start..).unwrap_or_default();
        let (at, expected) = match Grammar::parse(probe, rest) {
            Ok(_) => (0, Vec::new()),
            Err(error) => {
                let at = match error.location {
                    InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
                };
                match error.variant {
                    ErrorVariant::ParsingError { positives, .. } => (at, positives),
                    ErrorVariant::CustomError { .. } => (at, Vec::new()),
                }
            }
        };
        self.report(syntax_error(self.text, place.start + at, &expected));
    }
}

fn syntax_error(text: &str, at: usize, expected: &[Rule]) -> Problem {
    let (found, length) = found_at(text.get(at..).unwrap_or_default());
    let mut labels: Vec<String> =
        expected.iter().filter_map(|r| label(*r)).map(str::to_owned).collect();
    labels.dedup();
    let message = match labels.as_slice() {
        [] => format!("unexpected {found}"),
        _ => format!("expected {}, found {found}", join(&labels, "or")),
    };
    let problem = Problem::new(Code::Syntax, Span { start: at, end: at + length }, message);
    let word = text.get(at..at + length).unwrap_or_default();
    let from = |at: usize| text.get(at..).unwrap_or_default();
    if from(at).starts_with("/*") || at > 0 && from(at - 1).starts_with("/*") {
        return problem.help("a comment begins with `//` and ends with its line");
    }
    match syntax_hint(word, expected) {
        Some(hint) => problem.help(hint),
        None => problem,
    }
}

/// What stands at the start of `rest`, in words, and its length in bytes.
fn found_at(rest: &str) -> (String, usize) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match rest.chars().next() {
        None => ("the end of the file".into(), 0),
        Some('\n' | '\r') => ("the end of the line".into(), 0),
        Some(c) if is_part(c) => {
            let is_number = c.is_ascii_digit();
            let goes_on = |c: char| is_part(c) || (is_number && matches!(c, '.' | '+' | '-'));
            let length = rest.find(|c| !goes_on(c)).unwrap_or(rest.len());
            (format!("`{}`", clipped(rest.get(..length).unwrap_or(rest))), length)
        }
        Some(_) if rest.starts_with("//") => ("a comment".into(), 2),
        Some(c) => (format!("`{c}`"), c.len_utf8()),
    }
}

/// What the user calls a rule of the grammar.
fn label(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::model_word | Rule::model | Rule::probe_model => "`model`",
        Rule::name => "a name",
        Rule::base => "the name of a base",
        Rule::key | Rule::entry | Rule::probe_entry => "a key",
        Rule::value | Rule::number | Rule::word | Rule::call | Rule::list => "a value",
        Rule::argument | Rule::parameter => "an argument",
        Rule::open => "`{`",
        Rule::close => "`}`",
        Rule::close_paren => "`)`",
        Rule::close_bracket => "`]`",
        Rule::comma => "`,`",
        Rule::colon => "`:`",
        Rule::equals => "`=`",
        _ => return None,
    })
}

fn syntax_hint(found: &str, expected: &[Rule]) -> Option<String> {
    let expects = |rule| expected.contains(&rule);
    Some(match found {
        _ if expects(Rule::colon) => "an argument is a name, `:` and a value: `heads: 9`".into(),
        "=" | ":" => "a key and its value stand side by side: `width 576`".into(),
        "," | ";" if expects(Rule::key) => {
            "entries need no separator: `width 576  depth 30`; in a number it is `_`: `32_000`"
                .into()
        }
        _ if expects(Rule::close_paren) && expects(Rule::comma) => {
            "separate arguments by `,`, and close them with `)`".into()
        }
        "\"" | "'" => "names and values are written without quotes".into(),
        "#" => "a comment begins with `//`".into(),
        "." => "a real number begins with a digit: `0.5`".into(),
        "-" if expects(Rule::open) => "names are letters, digits and `_`: `mobilellm_125m`".into(),
        _ if expects(Rule::model_word) => {
            let meant = nearest_name(found, &["model"]);
            meant.map_or("a file is a list of `model NAME { .. }`".into(), |m| {
                format!("did you mean `{m}`?")
            })
        }
        _ if expects(Rule::key) && found.starts_with(|c: char| c.is_ascii_digit()) => {
            "each value needs a key of its own: `width 576`".into()
        }
        _ if expects(Rule::name) || expects(Rule::base) => {
            "a name is letters, digits and `_`, and does not begin with a digit".into()
        }
        _ if expects(Rule::open) && !expects(Rule::value) => {
            "a model is `model NAME { .. }` or `model NAME = BASE { .. }`".into()
        }
        _ if expects(Rule::value) && expects(Rule::open) => {
            "a key is followed by its value: `width 576`".into()
        }
        _ => return None,
    })
}

fn ident<'s>(pair: &Pair<'s, Rule>) -> Ident<'s> {
    Ident { text: pair.as_str(), span: span(pair) }
}

/// The place of a pair, without the blanks that implicit whitespace left at its end.
fn span(pair: &Pair<'_, Rule>) -> Span {
    let text = pair.as_str();
    let start = pair.as_span().start();
    let lead = text.len() - text.trim_start().len();
    Span { start: start + lead, end: start + text.trim_end().len().max(lead) }
}
