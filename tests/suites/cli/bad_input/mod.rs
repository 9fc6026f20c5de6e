//! Bad input to the command, class by class of the catalog of them, and the faults of other
//! programs' past: each has its exit code, a message that names place, finding and expectation,
//! advice, nothing on stdout, and little time and memory.
//!
//! All files are made by code, most by damage to a sound one. The promise is in specs/errors.md.

mod case;
mod description;
mod gguf;
mod options;
mod packed;
mod prompt;
mod quantize;
mod system;
mod tokenizer;
mod weights;

use deepthin_tests::project::sources;

use case::Case;

/// The rows of the catalog that the command answers for so far. The others are of features that
/// are not there: sweeps, safetensors, templates' limits, servers, caches of code.
const ROWS: &[u32] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 27, 28, 29, 30,
    31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 54, 64, 65,
    66, 67, 68, 70, 74, 75, 76, 81, 82, 84, 85, 86, 87, 88, 89, 90, 92, 93,
];

/// The faults of other programs that a reader of GGUF files and vocabularies can repeat.
const HISTORY: &[u32] =
    &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 26, 34, 35, 36, 37, 38];

/// Rows with a test of their own, where an answer takes more than a command line: the row, the
/// file of the test, and its name.
const COVERED_BY: &[(u32, &str, &str)] = &[
    (
        64,
        "tests/suites/cli/bad_input/system.rs",
        "a_file_that_shrinks_while_it_is_loaded_ends_with_74",
    ),
    (64, "tests/suites/cli/packed.rs", "a_file_that_is_cut_under_its_map_ends_with_74"),
    (65, "tests/suites/gguf/changes.rs", "a_file_that_is_edited_while_it_is_read_is_an_error"),
    (88, "tests/suites/cli/bad_input/system.rs", "the_second_signal_ends_at_once"),
    (88, "tests/suites/cli/run.rs", "ctrl_c_ends_after_a_whole_token_with_130"),
    (89, "tests/suites/cli/run.rs", "a_closed_pipe_ends_quietly"),
    (90, "tests/suites/cli/terminal.rs", "a_terminal_is_shown_escapes_and_a_pipe_gets_the_bytes"),
];

fn all_cases() -> Vec<Case> {
    let groups = [
        description::cases(),
        gguf::cases(),
        options::cases(),
        packed::cases(),
        prompt::cases(),
        quantize::cases(),
        system::cases(),
        tokenizer::cases(),
        weights::cases(),
    ];
    groups.into_iter().flatten().collect()
}

#[test]
fn every_row_has_a_case() {
    let cases = all_cases();
    let elsewhere = |row| COVERED_BY.iter().any(|(covered, ..)| *covered == row);
    let of_row = |row: &&u32| !elsewhere(**row) && !cases.iter().any(|c| c.rows.contains(row));
    let missing: Vec<&u32> = ROWS.iter().filter(of_row).collect();
    assert!(missing.is_empty(), "rows without a case: {missing:?}");
    let of_past = |number: &&u32| !cases.iter().any(|c| c.history.contains(number));
    let missing: Vec<&u32> = HISTORY.iter().filter(of_past).collect();
    assert!(missing.is_empty(), "faults of the past without a case: {missing:?}");
    let stray = cases.iter().find(|case| case.rows.iter().any(|row| !ROWS.contains(row)));
    assert!(stray.is_none_or(|case| panic!("a row that is not listed: {}", case.name)));
}

#[test]
fn cases_have_names_of_their_own() {
    let mut names: Vec<String> = all_cases().into_iter().map(|case| case.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn tests_that_cover_rows_exist() {
    let all = sources("rs");
    for (row, path, name) in COVERED_BY {
        let has_it = |text: &str| text.contains(&format!("#[test]\nfn {name}()"));
        let found = all.iter().any(|source| source.path == *path && has_it(&source.text));
        assert!(found, "row {row}: no test `{name}` in {path}");
    }
}
