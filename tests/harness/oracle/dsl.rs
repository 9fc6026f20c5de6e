//! Any bytes as a description: models that print and compile, or diagnostics that point into it.

use deepthin_compiler::fir::Formats;
use deepthin_dsl::{Code, Diagnostic, Model, format, format_bytes, parse, parse_ast};
use deepthin_dsl::{parse_bytes, print};

use super::{assert_printable, compile};

/// The name that diagnostics show.
const FILE: &str = "any.thin";

/// Checks the answer to bytes as a description.
///
/// # Panics
/// If a promise of the language is broken.
pub fn dsl(data: &[u8]) {
    let parsed = parse_bytes(data, FILE);
    check_format(data, &parsed);
    match parsed {
        Ok(models) => {
            assert!(!models.is_empty(), "a file without models is an error");
            let text = str::from_utf8(data).expect("only text is accepted");
            let ast = parse_ast(text, FILE).expect("what is checked was parsed");
            assert_printable(&ast.to_string());
            models.iter().for_each(check_model);
        }
        Err(diagnostics) => check_diagnostics(data, &diagnostics),
    }
}

/// A model prints to a description of itself, and compiles if it is small.
fn check_model(model: &Model) {
    let text = print(model);
    assert_eq!(parse(&text, FILE).as_deref(), Ok(std::slice::from_ref(model)), "{text}");
    if let Ok(formats) = Formats::from_storage(model) {
        compile(model, &formats);
    }
}

/// The canonical form is its own, holds the same comments and means the same.
fn check_format(data: &[u8], parsed: &Result<Vec<Model>, Vec<Diagnostic>>) {
    match format_bytes(data, FILE) {
        Ok(text) => {
            assert_eq!(format(&text, FILE).as_ref(), Ok(&text), "formatted twice");
            let before = str::from_utf8(data).expect("only text is formatted");
            assert_eq!(comments(before), comments(&text), "comments of\n{text}");
            // Places in messages move, and what is wrong does not.
            let codes = |problems: &Vec<Diagnostic>| -> Vec<Code> {
                problems.iter().map(|problem| problem.code).collect()
            };
            let again = parse(&text, FILE);
            let (parsed, again) = (parsed.as_ref().map_err(codes), again.as_ref().map_err(codes));
            assert_eq!(parsed, again, "the canonical form means something else:\n{text}");
        }
        Err(diagnostics) => check_diagnostics(data, &diagnostics),
    }
}

/// The comments of a description: from `//` to the end of a line, without blanks there.
fn comments(text: &str) -> Vec<&str> {
    text.split(['\n', '\r'])
        .filter_map(|line| Some(line.get(line.find("//")?..)?.trim_end()))
        .collect()
}

/// Diagnostics come in the order of the text, and each shows the part of it that it is about.
fn check_diagnostics(data: &[u8], diagnostics: &[Diagnostic]) {
    assert!((1..=100).contains(&diagnostics.len()), "{} diagnostics", diagnostics.len());
    let in_order = diagnostics.is_sorted_by_key(|d| (d.line, d.col));
    assert!(in_order, "diagnostics out of order: {diagnostics:?}");
    let lines = str::from_utf8(data).map(lines);
    for diagnostic in diagnostics {
        assert_printable(&diagnostic.to_string());
        let Diagnostic { file, line, col, excerpt, indent, carets, .. } = diagnostic;
        assert_eq!(file, FILE);
        assert!(*line >= 1 && *col >= 1 && *carets >= 1, "{diagnostic:?}");
        let shown = excerpt.chars().count();
        assert!(*indent <= shown && indent + carets <= shown + 1, "{diagnostic:?}");
        let Ok(lines) = &lines else { continue };
        let text = lines.get(line - 1).unwrap_or_else(|| panic!("no such line: {diagnostic:?}"));
        assert!(col - 1 <= text.chars().count(), "no such column: {diagnostic:?}");
        assert!(text.contains(excerpt), "not the text of the line: {diagnostic:?}");
        assert!(indent < col, "{diagnostic:?}");
    }
}

/// The lines of a text as excerpts show them, without their ends and without a byte order mark.
fn lines(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let shown = |c: char| match c {
        '\t' => c,
        '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.split(['\n', '\r']).map(|line| line.chars().map(shown).collect()).collect()
}
