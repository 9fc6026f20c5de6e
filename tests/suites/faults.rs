//! The list of seeded faults follows the sources.

use deepthin_tests::faults::{all, seed};
use deepthin_tests::project::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

#[test]
fn every_fault_names_a_place_that_occurs_once() {
    let faults = all();
    let files: BTreeSet<&str> = faults.iter().map(|fault| fault.file).collect();
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        for fault in faults.iter().filter(|fault| fault.file == file) {
            wrong.extend(seed(file, &text, std::slice::from_ref(fault)).err());
        }
        if wrong.is_empty() {
            wrong.extend(seed(file, &text, &faults).err());
        }
    }
    assert!(wrong.is_empty(), "tests/harness/faults must follow:\n{}", wrong.join("\n"));
}

#[test]
fn there_are_faults_of_every_area_with_names_of_their_own() {
    let faults = all();
    assert!(faults.len() >= 60, "{} faults, expected 60 at least", faults.len());
    let names: BTreeSet<&str> = faults.iter().map(|fault| fault.name).collect();
    assert_eq!(names.len(), faults.len(), "two faults have one name");
    let mut areas = BTreeMap::new();
    faults.iter().for_each(|fault| *areas.entry(fault.area).or_insert(0) += 1);
    assert!(areas.len() == 10 && areas.values().all(|count| *count >= 6), "{areas:?}");
}

#[test]
fn a_seeded_fault_asks_and_keeps_the_right_text() {
    let fault = all().into_iter().find(|fault| fault.name == "epsilon-left-out");
    let Some(fault) = fault else { panic!("the fault `epsilon-left-out` is not in the list") };
    let text = format!("let x = {};", fault.found);
    let seeded = seed(fault.file, &text, &[fault]).unwrap_or_else(|error| panic!("{error}"));
    assert!(seeded.contains(r#"crate::fault::is("epsilon-left-out")"#), "{seeded}");
    assert!(seeded.contains(&format!("else {{ {} }}", fault.found)), "{seeded}");
}
