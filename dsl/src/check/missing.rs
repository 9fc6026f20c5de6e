//! What a model has to name and does not, told where it belongs.

use crate::ast::{Entry, ModelDecl, Value, ValueKind};
use crate::diagnostic::{Code, Problem, Span};
use crate::source::clipped;
use crate::suggest::join_names;

use super::draft::Draft;
use super::vocabulary as words;
use super::vocabulary::Required;

/// Problems for the values that a model lacks: one for the model, one for its block, and one for
/// each form of the block that lacks an argument. What a misspelled key stands for is not missed.
pub(super) fn missing(decl: &ModelDecl<'_>, draft: &Draft) -> Vec<Problem> {
    let absent = [
        draft.vocab.is_absent(),
        draft.context.is_absent(),
        draft.width.is_absent(),
        draft.depth.is_absent(),
        draft.heads.is_absent(),
        draft.rope_theta.is_absent(),
        draft.ffn_hidden.is_absent(),
    ];
    let is_meant = |required: &Required| {
        let Required { name, home, .. } = required;
        [Some(*name), *home, home.map(|_| "block")]
            .into_iter()
            .flatten()
            .any(|name| draft.misspelled.contains(name))
    };
    let required = words::REQUIRED.iter().zip(absent);
    let missing = required.filter(|(required, absent)| *absent && !is_meant(required));
    let (inside, outside): (Vec<&Required>, Vec<&Required>) =
        missing.map(|(required, _)| required).partition(|required| required.home.is_some());

    let name = decl.name;
    let model = format!("model `{}`", clipped(name.text));
    let mut lacking: Vec<(&str, &str)> = outside.iter().map(|r| (r.name, r.example)).collect();
    let mut problems = Vec::new();
    match entry(&decl.entries, "block") {
        None if !inside.is_empty() => lacking.push(("block", words::BLOCK_EXAMPLE)),
        Some((span, Value { kind: ValueKind::Section(entries), .. })) => {
            let mut keys = Vec::new();
            for Required { name, home, example } in inside {
                let home = home.unwrap_or_default();
                match entry(entries, home) {
                    None => keys.push((home, *example)),
                    Some((_, value)) => {
                        let (form, has_arguments) = match &value.kind {
                            ValueKind::Call { name, arguments } => {
                                (name.text, !arguments.is_empty())
                            }
                            ValueKind::Word(word) => (*word, false),
                            _ => (home, false),
                        };
                        let message = format!("`{}` lacks `{name}`", clipped(form));
                        let problem = Problem::new(Code::MissingKey, value.span, message);
                        // What is there already is kept.
                        let argument = example.split_once('(').map(|(_, rest)| rest);
                        problems.push(problem.help(match argument.filter(|_| has_arguments) {
                            Some(rest) => format!("add `{}` to it", rest.trim_end_matches(')')),
                            None => format!("write `{example}`"),
                        }));
                    }
                }
            }
            problems.extend(lacks("`block`", span, &keys));
        }
        _ => {}
    }
    problems.extend(lacks(&model, name.span, &lacking));
    problems
}

/// The problem of a section that lacks keys, each with a complete use.
fn lacks(what: &str, span: Span, keys: &[(&str, &str)]) -> Option<Problem> {
    let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    let uses: Vec<&str> = keys.iter().map(|(_, example)| *example).collect();
    let message = format!("{what} lacks {}", join_names(&names, "and"));
    let hint = match uses.as_slice() {
        [] => return None,
        [_] => format!("add {} to it", join_names(&uses, "and")),
        _ => format!("for example {}", join_names(&uses, "and")),
    };
    Some(Problem::new(Code::MissingKey, span, message).help(hint))
}

/// The place and the value of a key.
fn entry<'a, 's>(entries: &'a [Entry<'s>], key: &str) -> Option<(Span, &'a Value<'s>)> {
    let entry = entries.iter().find(|entry| entry.key.text == key)?;
    Some((entry.key.span, &entry.value))
}
