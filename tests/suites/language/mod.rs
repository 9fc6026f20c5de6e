//! The description language: what is read, what is refused and how, and that nothing panics.

mod format;
mod meaning;
mod published;
mod robustness;
mod rule_errors;
mod specification;
mod text_errors;
mod value_errors;

use deepthin_dsl::{Diagnostic, Model, parse};
use expect_test::Expect;

/// A complete model in the middle of which tests change something.
const WHOLE: &str = "\
model m {
    vocab 32_000
    context 2_048
    width 576
    depth 30
    block {
        norm rms(eps: 1e-5)
        attention gqa(heads: 9, kv_heads: 3)
        position rope(theta: 10_000)
        ffn swiglu(hidden: 1_536)
    }
    sharing none
    storage { blocks q4(group: 32)  embeddings q8(group: 32) }
}
";

/// [`WHOLE`] with each `from` replaced by its `to`.
#[track_caller]
fn with(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(WHOLE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the text");
        text.replacen(from, to, 1)
    })
}

/// The only model of a text.
#[track_caller]
fn model(text: &str) -> Model {
    match parse(text, "m.thin") {
        Ok(models) if models.len() == 1 => models.into_iter().next().unwrap(),
        Ok(models) => panic!("{} models", models.len()),
        Err(errors) => panic!("{}", rendered(&errors)),
    }
}

/// The diagnostics of a wrong text.
#[track_caller]
fn errors(text: &str) -> Vec<Diagnostic> {
    parse(text, "m.thin").expect_err("a wrong description")
}

fn rendered(errors: &[Diagnostic]) -> String {
    let texts: Vec<String> = errors.iter().map(|error| format!("{error}\n")).collect();
    texts.concat()
}

/// Compares all diagnostics of a text, word for word.
#[track_caller]
fn answers(text: &str, expected: Expect) {
    expected.assert_eq(&rendered(&errors(text)));
}

/// [`answers`] of [`WHOLE`] with each of the changes alone, one after the other.
#[track_caller]
fn each_answers<const N: usize>(changes: [(&str, &str); N], expected: Expect) {
    let texts = changes.map(|change| rendered(&errors(&with(&[change]))));
    expected.assert_eq(&texts.concat());
}
