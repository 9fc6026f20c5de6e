//! `specs/language.md` is true: its code parses, its wrong code does not, its codes are all.

use deepthin_dsl::{Code, SMALLEST, parse};
use deepthin_tests::project::root;

fn page() -> String {
    std::fs::read_to_string(root().join("specs/language.md")).unwrap()
}

/// The code blocks of a language, each with the line where it begins.
fn blocks(page: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().zip(1..);
    while let Some((line, at)) = lines.next() {
        if line == format!("```{language}") {
            let inside = lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```");
            blocks.push((at, inside.map(|line| format!("{line}\n")).collect()));
        }
    }
    blocks
}

#[test]
fn right_code_parses() {
    let blocks = blocks(&page(), "thin");
    assert!(blocks.len() >= 3, "{} blocks", blocks.len());
    for (line, text) in blocks {
        if let Err(errors) = parse(&text, "language.md") {
            panic!("the block at line {line}:\n{}", super::rendered(&errors));
        }
    }
}

/// Each block names the codes that it is answered with in its first line.
#[test]
fn wrong_code_is_answered_as_the_page_says() {
    let blocks = blocks(&page(), "thin-error");
    assert!(blocks.len() >= 3, "{} blocks", blocks.len());
    for (line, text) in blocks {
        let errors = parse(&text, "language.md").expect_err("wrong code");
        let found: Vec<String> = errors.iter().map(|error| error.code.to_string()).collect();
        let first = text.lines().next().and_then(|line| line.strip_prefix("// ")).unwrap();
        assert_eq!(found.join(" "), first, "the block at line {line}");
    }
}

#[test]
fn every_code_has_its_row() {
    let page = page();
    let rows: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| D")?.split_once(' '))
        .map(|row| row.0)
        .collect();
    let codes: Vec<String> =
        Code::ALL.iter().map(|code| code.to_string()[1..].to_owned()).collect();
    assert_eq!(rows, codes);
}

#[test]
fn the_smallest_description_has_five_lines() {
    assert_eq!(SMALLEST.lines().count(), 5);
    assert!(parse(SMALLEST, "m.thin").is_ok());
}
