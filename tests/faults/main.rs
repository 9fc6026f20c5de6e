//! Measures the tests: builds a copy of the project with seeded faults and counts how many of
//! them the suites notice.
//!
//! `cargo run --package deepthin-tests --bin faults [NAME..]` seeds all faults (or the named)
//! into `target/faults/`, builds the suites there once, and runs them once for each fault until
//! the first test fails. Ends with 1 if fewer than 95 in 100 are noticed.

mod copy;
mod suites;

use deepthin_tests::faults::{Fault, all};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;
use suites::Verdict;

/// Least share of the faults that the suites must notice, in percent.
const LEAST_PERCENT: usize = 95;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match measure(&names) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            say(&format!("error: {message}"));
            ExitCode::from(2)
        }
    }
}

/// A line on standard output; a closed pipe is no reason to stop measuring.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Whether enough of the faults are noticed.
fn measure(names: &[String]) -> Result<bool, String> {
    let faults = all();
    if let Some(name) = names.iter().find(|name| !faults.iter().any(|f| f.name == name.as_str())) {
        return Err(format!("there is no fault `{name}`; run without names to see all"));
    }
    let chosen = |fault: &&Fault| names.is_empty() || names.iter().any(|n| n == fault.name);
    let chosen: Vec<&Fault> = faults.iter().filter(chosen).collect();

    let start = Instant::now();
    copy::seed_copy(&faults)?;
    let binary = suites::build(&copy::folder())?;
    say(&format!("built in {} s; {} faults", start.elapsed().as_secs(), chosen.len()));
    match suites::run(&binary, None, None)? {
        Verdict::Survived => {}
        Verdict::Noticed(by) => {
            return Err(format!("without any fault, {by} fails; expected all tests to pass"));
        }
    }
    say(&format!("without a fault all pass; {} s so far", start.elapsed().as_secs()));

    let mut survivors = Vec::new();
    for fault in &chosen {
        let verdict = suites::judge(&binary, fault)?;
        let seconds = start.elapsed().as_secs();
        match verdict {
            Verdict::Noticed(by) => {
                say(&format!("{:>4} s  {:<10} {:<36} {by}", seconds, fault.area, fault.name));
            }
            Verdict::Survived => {
                say(&format!("{:>4} s  {:<10} {:<36} SURVIVED", seconds, fault.area, fault.name));
                survivors.push(fault);
            }
        }
    }
    let noticed = chosen.len() - survivors.len();
    say(&format!("{noticed} of {} faults noticed", chosen.len()));
    for fault in &survivors {
        say(&format!("survived: {} ({}): {}", fault.name, fault.file, fault.found));
    }
    Ok(noticed * 100 >= chosen.len() * LEAST_PERCENT)
}
