//! Reads single values: counts, reals, and the forms that a key takes.

use crate::ast::{Argument, Ident, Value, ValueKind};
use crate::diagnostic::{Code, Problem, Span};
use crate::model::Group;
use crate::number::{self, BadCount, grouped};
use crate::source::{MAX_DIAGNOSTICS, Source, clipped};
use crate::suggest::{join, join_names, nearest_name};

use super::draft::Slot;
use super::vocabulary::{CountKey, Form, GROUP, HOMES, later, said_otherwise, synonym};

/// A value that names one of its key's forms.
pub(super) struct Taken<'a, 's> {
    pub(super) form: Form,
    pub(super) name: Ident<'s>,
    /// The items of `order [..]`.
    pub(super) items: &'a [Value<'s>],
    arguments: Vec<(&'static str, &'a Value<'s>)>,
    /// Whether an argument was wrong, so that a missing one is no news.
    broken: bool,
}

/// Collects what is wrong while it reads.
pub(super) struct Reader<'a, 's> {
    pub(super) source: &'a Source<'s>,
    pub(super) problems: Vec<Problem>,
}

impl<'s> Reader<'_, 's> {
    /// Keeps a problem, as long as one more is shown.
    pub(super) fn report(&mut self, problem: Problem) {
        if !self.is_full() {
            self.problems.push(problem);
        }
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= MAX_DIAGNOSTICS
    }

    /// Reports a name that was given before.
    pub(super) fn duplicate(&mut self, what: &str, name: Ident<'_>, first: Span) {
        // To find a place takes time in the length of its line.
        if self.is_full() {
            return;
        }
        let place = self.source.place(first);
        let message = format!("duplicate {what} `{}`, first given at {place}", clipped(name.text));
        let problem = Problem::new(Code::Duplicate, name.span, message);
        self.report(problem.help("keep one of the two"));
    }

    /// Reports a name that is none of `known`; the known one that was meant, if that is plain.
    pub(super) fn unknown(
        &mut self,
        what: &str,
        place: &str,
        name: Ident<'_>,
        known: &[&'static str],
    ) -> Option<&'static str> {
        let listed = format!("`{place}` takes {}", join_names(known, "and"));
        if let Some(feature) = later(place, name.text) {
            self.not_yet(name.span, feature, &listed);
            return None;
        }
        let elsewhere: Vec<&str> = HOMES.iter().map(|(key, _)| *key).collect();
        let synonym = synonym(name.text);
        let here = synonym.filter(|s| known.contains(s)).or(nearest_name(name.text, known));
        let there = synonym.or(nearest_name(name.text, &elsewhere)).filter(|t| !known.contains(t));
        let home = HOMES.iter().find(|(key, _)| Some(*key) == there);
        let hint = match (said_otherwise(place, name.text), here, home) {
            (Some(known), ..) => known.to_owned(),
            (None, Some(here), _) => format!("did you mean `{here}`?"),
            (None, None, Some((key, home))) if *key == name.text => {
                format!("`{key}` belongs in `{home}`")
            }
            (None, None, Some((key, home))) => format!("did you mean `{key}`, of `{home}`?"),
            (None, None, None) => listed,
        };
        let message = format!("unknown {what} `{}` in `{place}`", clipped(name.text));
        self.report(Problem::new(Code::UnknownKey, name.span, message).help(hint));
        here.or(there)
    }

    /// Reports a part of the language that is not there yet, and what is.
    pub(super) fn not_yet(&mut self, span: Span, feature: &str, instead: &str) {
        let message = format!("{feature} is not supported yet");
        self.report(Problem::new(Code::NotYet, span, message).help(instead));
    }

    /// A count within the limits of its key.
    pub(super) fn count(&mut self, value: &Value<'_>, key: CountKey) -> Slot<u32> {
        let CountKey { name, min, max, example } = key;
        let ValueKind::Number(literal) = value.kind else {
            self.no_number(value, name, "a count", example);
            return Slot::Broken;
        };
        let read = number::count(literal);
        let fits = read.ok().and_then(|n| u32::try_from(n).ok());
        if let Some(n) = fits.filter(|n| (min..=max).contains(n)) {
            return Slot::Given(n, value.span);
        }
        let shown = clipped(literal);
        let problem = if read == Err(BadCount::Malformed) {
            let message = format!("{name} `{shown}` is no count");
            let hint = "write digits, `_` between them, and K, M or G for a thousand, a million \
                        or a billion: `32_000`, `32K`";
            Problem::new(Code::Number, value.span, message).help(hint)
        } else {
            // Beyond any 64-bit count it is the literal itself that is wrong.
            let is_number = read.is_ok() || literal.starts_with('-');
            let code = if is_number { Code::Range } else { Code::Number };
            let limits = format!("{} to {}", grouped(min.into()), grouped(max.into()));
            let message = format!("{name} `{shown}` is out of range {limits}");
            Problem::new(code, value.span, message).help(format!("for example `{example}`"))
        };
        self.report(problem);
        Slot::Broken
    }

    /// A finite real above zero, in the type that the model keeps it in.
    pub(super) fn positive<T>(&mut self, value: &Value<'_>, name: &str, example: &str) -> Slot<T>
    where
        T: std::str::FromStr + Into<f64> + Copy,
    {
        let ValueKind::Number(literal) = value.kind else {
            self.no_number(value, name, "a number", example);
            return Slot::Broken;
        };
        let text = number::real(literal);
        let read = text.as_ref().and_then(|text| text.parse::<T>().ok());
        let wide = read.map(Into::into);
        let (code, wrong) = match (read, wide) {
            (Some(real), Some(wide)) if wide > 0.0 && wide.is_finite() => {
                return Slot::Given(real, value.span);
            }
            (_, Some(f64::INFINITY | f64::NEG_INFINITY)) => (Code::Number, "is out of range"),
            (_, Some(_)) if text.is_some_and(|text| text.parse().is_ok_and(|x: f64| x > 0.0)) => {
                (Code::Positive, "rounds to zero")
            }
            (_, Some(_)) => (Code::Positive, "is not above zero"),
            (_, None) => (Code::Number, "is no number"),
        };
        let message = format!("{name} `{}` {wrong}", clipped(literal));
        let hint = format!("write a positive number without suffix, such as `{example}`");
        self.report(Problem::new(code, value.span, message).help(hint));
        Slot::Broken
    }

    fn no_number(&mut self, value: &Value<'_>, name: &str, what: &str, example: &str) {
        let hint = format!("for example `{example}`");
        match &value.kind {
            ValueKind::Arithmetic => self.not_yet(value.span, "arithmetic", &hint),
            ValueKind::Call { name, .. } if matches!(name.text, "round_up" | "min" | "max") => {
                self.not_yet(value.span, "arithmetic", &hint);
            }
            _ => {
                let message = format!("`{name}` takes {what}, found {}", found(value));
                self.report(Problem::new(Code::WrongValue, value.span, message).help(hint));
            }
        }
    }

    /// The form that a value names, among those that its key takes.
    pub(super) fn take<'a>(
        &mut self,
        key: &str,
        value: &'a Value<'s>,
        forms: &[Form],
    ) -> Option<Taken<'a, 's>> {
        let nothing: (&[Argument<'_>], &[Value<'_>]) = (&[], &[]);
        let (name, (arguments, items)) = match &value.kind {
            ValueKind::Word(text) => (Ident { text, span: value.span }, nothing),
            ValueKind::Call { name, arguments } => (*name, (arguments.as_slice(), nothing.1)),
            ValueKind::List { name, items } => (*name, (nothing.0, items.as_slice())),
            ValueKind::Number(_) | ValueKind::Section(_) | ValueKind::Arithmetic => {
                self.wrong_form(key, value, None, forms);
                return None;
            }
        };
        let Some(form) = forms.iter().find(|form| form.name == name.text).copied() else {
            self.wrong_form(key, value, Some(name), forms);
            return None;
        };
        let is_list = matches!(value.kind, ValueKind::List { .. });
        let wrong = match form.name == "order" {
            true if !is_list => Some("needs a list of blocks"),
            false if is_list => Some("takes no list"),
            _ if form.parameters.is_empty() && !arguments.is_empty() => Some("takes no arguments"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            let message = format!("`{}` {wrong}, found {}", form.name, found(value));
            let hint = format!("write `{}`", form.example);
            self.report(Problem::new(Code::WrongValue, value.span, message).help(hint));
            return None;
        }
        let mut taken = Taken { form, name, items, arguments: Vec::new(), broken: false };
        arguments.iter().for_each(|argument| self.argument(&mut taken, argument));
        Some(taken)
    }

    /// Sorts one argument to its parameter; a bare value goes to a form's only parameter.
    fn argument<'a>(&mut self, taken: &mut Taken<'a, 's>, argument: &'a Argument<'s>) {
        let form = taken.form;
        let value = &argument.value;
        let name = match (argument.name, form.parameters) {
            (Some(name), _) => name,
            (None, [only]) => {
                if let ValueKind::Word(word) = value.kind
                    && let Some(feature) = later(form.name, word)
                {
                    taken.broken = true;
                    return self.not_yet(value.span, feature, &format!("`{}`", form.example));
                }
                Ident { text: only, span: value.span }
            }
            (None, _) => {
                taken.broken = true;
                let message = format!("`{}` takes its arguments by name", form.name);
                let problem = Problem::new(Code::WrongValue, value.span, message);
                return self.report(problem.help(format!("`{}`", form.example)));
            }
        };
        let Some(parameter) = form.parameters.iter().find(|p| **p == name.text) else {
            taken.broken = true;
            self.unknown("argument", form.name, name, form.parameters);
            return;
        };
        match taken.arguments.iter().find(|(p, _)| p == parameter) {
            Some((_, first)) => self.duplicate("argument", name, first.span),
            None => taken.arguments.push((parameter, value)),
        }
    }

    fn wrong_form(
        &mut self,
        key: &str,
        value: &Value<'_>,
        name: Option<Ident<'_>>,
        forms: &[Form],
    ) {
        let examples: Vec<String> =
            forms.iter().map(|form| format!("`{}`", form.example)).collect();
        let takes = format!("`{key}` takes {}", join(&examples, "or"));
        let names: Vec<&'static str> = forms.iter().map(|form| form.name).collect();
        if let Some(feature) = name.and_then(|name| later(key, name.text)) {
            return self.not_yet(value.span, feature, &takes);
        }
        let span = name.map_or(value.span, |name| name.span);
        let compact = name.and_then(|name| long_form(forms, name.text));
        let known = name.and_then(|name| said_otherwise(key, name.text));
        let near = name.and_then(|name| nearest_name(name.text, &names));
        let hint = match (compact, known, near) {
            (Some(long), ..) => format!("write `{long}`"),
            (None, Some(known), _) => known.to_owned(),
            (None, None, Some(meant)) => format!("did you mean `{meant}`?"),
            (None, None, None) => {
                format!("for example `{key} {}`", forms.first().map_or("", |form| form.example))
            }
        };
        let message = format!("{takes}, found {}", found(value));
        self.report(Problem::new(Code::WrongValue, span, message).help(hint));
    }
}

impl<'a, 's> Taken<'a, 's> {
    /// The argument of a parameter.
    pub(super) fn argument(&self, parameter: &str) -> Option<&'a Value<'s>> {
        self.arguments.iter().find(|(p, _)| *p == parameter).map(|(_, value)| *value)
    }

    /// What a parameter without an argument counts as.
    pub(super) fn missing<T>(&self) -> Slot<T> {
        if self.broken { Slot::Broken } else { Slot::Absent }
    }
}

/// A use of one of the forms, by the name that kernels and tables have for it: `q4m(group: 32)` of
/// `q4g32m`.
fn long_form(forms: &[Form], name: &str) -> Option<String> {
    let groups = || {
        let sizes = Group::SIZES.iter().map(|size| (format!("g{size}"), size.to_string()));
        sizes.chain([("row".to_owned(), "row".to_owned())])
    };
    let grouped = forms.iter().filter(|form| form.parameters.contains(&GROUP.name));
    let mut uses = grouped.flat_map(|form| groups().map(move |group| (form.name, group)));
    uses.find_map(|(form, (short, group))| {
        let (bits, minimum) = form.split_at(form.len().min(2));
        (name == format!("{bits}{short}{minimum}")).then(|| format!("{form}(group: {group})"))
    })
}

/// A value in words.
fn found(value: &Value<'_>) -> String {
    match &value.kind {
        ValueKind::Number(text) | ValueKind::Word(text) => format!("`{}`", clipped(text)),
        ValueKind::Call { name, .. } => format!("`{}(..)`", clipped(name.text)),
        ValueKind::List { name, .. } => format!("`{} [..]`", clipped(name.text)),
        ValueKind::Section(_) => "a section `{ .. }`".into(),
        ValueKind::Arithmetic => "an expression".into(),
    }
}
