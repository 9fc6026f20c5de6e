//! VIR: text, verifier and interpreter, by test files and on generated kernels.

mod features;
mod generated;
mod interpreter;
mod one_out;

use std::fs;

use deepthin_compiler::vir::{Builder, Rule, Ty, parse, verify};
use deepthin_tests::filetest::{self, INTERPRETER};
use deepthin_tests::jit::JIT;
use deepthin_tests::project::root;

use self::features::Features;

#[test]
fn parse_files() {
    filetest::check_directory(&filetest::directory("vir/parse"), &[]);
}

#[test]
fn verify_files() {
    filetest::check_directory(&filetest::directory("vir/verify"), &[]);
}

#[test]
fn run_files() {
    filetest::check_directory(&filetest::directory("vir/run"), &[INTERPRETER, JIT]);
}

#[test]
fn roundtrip_files() {
    filetest::check_directory(&filetest::directory("vir/roundtrip"), &[]);
}

#[test]
fn asm_files() {
    filetest::check_directory(&filetest::directory("vir/asm"), &[]);
}

#[test]
fn each_kind_has_a_file() {
    for kind in filetest::KINDS {
        for (path, text) in filetest::files(&filetest::directory("vir").join(kind)) {
            let says_so = text.starts_with(&format!(";; test {kind}"));
            assert!(says_so, "{} is in the directory of another kind", path.display());
        }
    }
}

#[test]
fn each_rule_has_a_file_that_breaks_it() {
    let files = filetest::files(&filetest::directory("vir/verify"));
    for rule in Rule::ALL {
        let first = format!(";; test verify error {rule}\n");
        assert!(files.iter().any(|(_, text)| text.starts_with(&first)), "no file breaks {rule}");
    }
}

/// `specs/vir.md` lists the rules in their own words, and explains every instruction.
#[test]
fn the_page_states_the_rules_and_the_instructions() {
    let page = fs::read_to_string(root().join("specs/vir.md")).unwrap();
    for rule in Rule::ALL {
        let row = format!("| {rule} | {} |", rule.statement());
        assert!(page.contains(&row), "the page lacks the row `{row}`");
    }
    for name in features::instructions() {
        let mentioned =
            page.contains(&format!("`{name}`")) || page.contains(&format!("### {name}"));
        assert!(mentioned, "the page does not explain `{name}`");
    }
}

#[test]
fn each_instruction_has_a_file_that_runs_it() {
    let mut seen = Features::default();
    for (_, text) in filetest::files(&filetest::directory("vir/run")) {
        seen.add(&parse(&text).unwrap());
    }
    seen.assert_instructions(1);
}

// Rules that no text can break.

#[test]
fn a_value_that_nothing_defines_is_refused() {
    let mut kernel = Builder::new("k", 4).finish();
    kernel.values.push(Ty::F32);
    let errors = verify(kernel).unwrap_err();
    assert_eq!(errors.errors[0].to_string(), "V-07: v0 is never defined");
}

#[test]
fn a_loop_index_that_no_loop_has_is_refused() {
    let mut b = Builder::new("k", 4);
    b.repeat(2, |_, _| ());
    let mut kernel = b.finish();
    kernel.body.clear();
    let errors = verify(kernel).unwrap_err().to_string();
    assert!(errors.contains("V-06: i0 is no loop's variable"), "{errors}");
}

#[test]
fn a_text_deeper_than_is_read_is_an_error() {
    let depth = 100_000;
    let mut text = "kernel k lanes 4 {\n".to_owned();
    for index in 0..depth {
        text += &format!("loop i{index} in 0..2 {{\n");
    }
    text += &"}\n".repeat(depth + 1);
    assert_eq!(parse(&text).unwrap_err().to_string(), "66:6: more than 64 loops in each other");
}
