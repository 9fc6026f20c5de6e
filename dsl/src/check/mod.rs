//! AST to models: all that is wrong with the meaning of a file, at once.
//!
//! `read` takes each model's own entries into a draft, by the words of `vocabulary` and the
//! value readers of `values`; bases are then merged in, `missing` tells what a model lacks, and
//! `rules` checks what ties values together. A value that was reported once is `Broken`, so that
//! nothing else complains of it.

mod draft;
mod missing;
mod read;
mod rules;
mod values;
mod vocabulary;

use std::collections::BTreeMap;

use crate::ast::{Ast, Ident, ModelDecl};
use crate::diagnostic::{Code, Problem, Span};
use crate::model::Model;
use crate::source::clipped;
use crate::suggest::nearest_name;

use draft::Draft;
use values::Reader;
use vocabulary::MAX_MODELS;
pub use vocabulary::MAX_PARAMETERS;

/// A complete description of five lines: what an empty file is answered with.
pub const SMALLEST: &str = "\
model tiny {
    vocab 256  context 64  width 32  depth 2
    block { attention gqa(heads: 2)
            position rope(theta: 10_000)  ffn swiglu(hidden: 64) }
}";

/// The models of a file, in order, and all problems of the file.
pub(crate) fn check(ast: &Ast<'_>) -> (Vec<Model>, Vec<Problem>) {
    let models = ast.models.as_slice();
    if let Some(problem) = wrong_number(ast) {
        return (Vec::new(), vec![problem]);
    }
    let mut reader = Reader { source: &ast.source, problems: Vec::new() };
    let names = names(models, &mut reader);
    let drafts: Vec<Draft> = models.iter().map(|model| reader.model(model)).collect();
    let chains = chains(models, &names, &mut reader);
    let mut problems = reader.problems;
    let mut checked = Vec::new();
    for (decl, chain) in models.iter().zip(chains) {
        // A model without a sound chain of bases has been reported.
        let Some(chain) = chain else { continue };
        let mut whole = Draft::default();
        for draft in chain.iter().filter_map(|&at| drafts.get(at)) {
            whole.inherit(draft);
            whole.misspelled.extend(&draft.misspelled);
        }
        checked.extend(rules::finish(decl, &whole, &mut problems));
    }
    (checked, problems)
}

fn wrong_number(ast: &Ast<'_>) -> Option<Problem> {
    if let Some(model) = ast.models.get(MAX_MODELS) {
        let message = format!("{} models, the limit is {MAX_MODELS} in a file", ast.models.len());
        let hint = "divide the models over several files";
        return Some(Problem::new(Code::Models, model.name.span, message).help(hint));
    }
    if !ast.models.is_empty() {
        return None;
    }
    let hint = format!("a complete description:\n{SMALLEST}");
    let problem = Problem::new(Code::NoModel, Span { start: 0, end: 0 }, "no `model` in the file");
    Some(problem.help(hint))
}

/// The first model of each name, by its place in the file.
fn names<'s>(models: &[ModelDecl<'s>], reader: &mut Reader<'_, 's>) -> BTreeMap<&'s str, usize> {
    let mut names = BTreeMap::new();
    for (at, ModelDecl { name, .. }) in models.iter().enumerate() {
        let first = *names.entry(name.text).or_insert(at);
        if let Some(other) = models.get(first).filter(|_| first != at) {
            let place = reader.source.place(other.name.span);
            let message =
                format!("duplicate model `{}`, first given at {place}", clipped(name.text));
            let problem = Problem::new(Code::Models, name.span, message);
            reader.report(problem.help("rename one of the two"));
        }
    }
    names
}

/// For each model the models that it takes values from, itself first; `None` where a base is
/// unknown or the chain is a circle.
fn chains(
    models: &[ModelDecl<'_>],
    names: &BTreeMap<&str, usize>,
    reader: &mut Reader<'_, '_>,
) -> Vec<Option<Vec<usize>>> {
    let base_of = |at: usize| models.get(at).and_then(|model| model.base);
    let mut chains = Vec::new();
    for at in 0..models.len() {
        let mut chain = vec![at];
        let mut last = at;
        let sound = loop {
            let Some(base) = base_of(last) else { break true };
            let Some(&next) = names.get(base.text) else {
                if last == at {
                    unknown_base(base, names, reader);
                }
                break false;
            };
            if chain.contains(&next) {
                // The circle is reported once, at the first of its models.
                if next == at && chain.iter().min() == Some(&at) {
                    circle(&chain, models, base_of(at).unwrap_or(base), reader);
                }
                break false;
            }
            chain.push(next);
            last = next;
        };
        chains.push(sound.then_some(chain));
    }
    chains
}

fn unknown_base(base: Ident<'_>, names: &BTreeMap<&str, usize>, reader: &mut Reader<'_, '_>) {
    let message =
        format!("unknown base `{}`: no model of this name in the file", clipped(base.text));
    let known: Vec<&str> = names.keys().copied().collect();
    let hint = match nearest_name(base.text, &known) {
        Some(meant) => format!("did you mean `{}`?", clipped(meant)),
        None => "a base is the name of another model of the same file".into(),
    };
    reader.report(Problem::new(Code::Base, base.span, message).help(hint));
}

fn circle(chain: &[usize], models: &[ModelDecl<'_>], base: Ident<'_>, reader: &mut Reader<'_, '_>) {
    const MOST: usize = 8;
    let names = chain.iter().chain(chain.first()).filter_map(|&at| models.get(at));
    let mut steps: Vec<String> = names.map(|model| clipped(model.name.text)).collect();
    if steps.len() > MOST {
        steps.splice(MOST / 2..steps.len() - MOST / 2, ["..".to_owned()]);
    }
    let message = format!("a model is derived from itself: {}", steps.join(" = "));
    let problem = Problem::new(Code::Base, base.span, message);
    reader.report(problem.help("give one of these models all of its keys, and no base"));
}
