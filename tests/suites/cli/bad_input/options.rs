//! Options out of their range: rows 86 and 92.

use deepthin_tests::gguf_model;

use super::case::{Case, check_all};

/// A value that an option does not take; the message names the option, the value and the range.
fn refused(row: u32, flag: &str, value: &str, range: &str) -> Case {
    Case::new(format!("{flag} {value}"), &[row])
        .line("run m.thin -p a")
        .word(flag)
        .word(value)
        .fails(2, [format!("invalid value '{value}' for '{flag} <"), range.to_owned()])
}

/// A run of the small model.
fn small(name: &str, row: u32, words: &str) -> Case {
    Case::new(name, &[row])
        .file("m.thin", || deepthin_dsl::print(&gguf_model::model()))
        .line("run @m.thin --random 1 -p a -n 1")
        .line(words)
}

pub(super) fn cases() -> Vec<Case> {
    let whole = "18446744073709551615";
    let mut cases = vec![
        small("more threads than cores", 92, "-t 65")
            .says(["deepthin: note: 65 threads share the"]),
        small("more memory for threads than there may be", 92, "-t 1024")
            .script("ulimit -v 900000; exec \"$@\"")
            .fails(
                71,
                [
                    "found room for ",
                    " of 1024 threads",
                    "a thread's stack",
                    "fix: ask for no more than can be had: -t ",
                ],
            ),
    ];
    for (row, flag, value, range) in [
        (86, "--temp", "-1", "a number from 0 to 100"),
        (86, "--temp", "NaN", "a number from 0 to 100"),
        (86, "--temp", "inf", "a number from 0 to 100"),
        (86, "--top-k", "-5", "0..=4294967295"),
        (86, "--top-p", "2", "a number above 0, up to 1"),
        (86, "--top-p", "0", "a number above 0, up to 1"),
        (86, "--min-p", "1.5", "a number from 0 to 1"),
        (86, "--repeat-penalty", "-2147483648", "a number from 0.01 to 100"),
        (86, "--repeat-penalty", "0", "a number from 0.01 to 100"),
        (86, "--seed", "-1", whole),
        (86, "--seed", "18446744073709551616", whole),
        (86, "--random", "-1", whole),
        (86, "--tokens", "0", "1..=4294967295"),
        (86, "--context", "0", "1..=16777216"),
        (92, "--threads", "0", "1..=1024"),
        (92, "--threads", "-1", "1..=1024"),
        (92, "--threads", "1000000", "1..=1024"),
    ] {
        cases.push(refused(row, flag, value, range));
    }
    cases
}

#[test]
fn options_out_of_range() {
    check_all("cli::bad_input::options::options_out_of_range", &cases());
}
