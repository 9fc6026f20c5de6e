//! `deepthin hw`: what it says of the machine, in every form.

use serde_json::Value;

use super::{assert_fails, ended, stdout};

/// A look with little to read.
const QUICK: [&str; 5] = ["hw", "--probe", "1", "-t", "2"];

/// The figures of two threads that any machine has; caches are told where the system knows them.
const FIGURES: [(&str, u64, &str); 7] = [
    ("read memory", 1, "GB/s"),
    ("read memory", 2, "GB/s"),
    ("f32 fma", 1, "GFLOP/s"),
    ("f32 fma", 2, "GFLOP/s"),
    ("int8 dot", 1, "GOP/s"),
    ("int8 dot", 2, "GOP/s"),
    ("barrier", 2, "ns"),
];

#[test]
fn figures_have_units_and_words() {
    let hw: Value = serde_json::from_str(&stdout(&[&QUICK[..], &["--json"]].concat())).unwrap();
    for key in
        ["processor", "online", "usable", "threads_per_core", "caches", "large_pages", "features"]
    {
        assert!(hw.get(key).is_some(), "{key}");
    }
    assert_eq!(hw["backend"], "clif128");
    assert!(hw["backend_features"].is_array());
    let figures = hw["figures"].as_array().unwrap();
    let found: Vec<_> = figures
        .iter()
        .map(|figure| {
            let text = |key: &str| figure[key].as_str().unwrap();
            (text("name"), figure["threads"].as_u64().unwrap(), text("unit"))
        })
        .filter(|(name, ..)| !name.starts_with("read L"))
        .collect();
    assert_eq!(found, FIGURES);
    for figure in figures {
        let (median, best) = (figure["median"].as_f64(), figure["best"].as_f64());
        assert!(median > Some(0.0) && best > Some(0.0), "{figure}");
        assert!(!figure["about"].as_str().unwrap().is_empty());
        let reads = figure["name"].as_str().unwrap().starts_with("read ");
        assert_eq!(figure["bytes"].is_u64(), reads, "{figure}");
    }
}

#[test]
fn the_page_has_a_line_for_each_topic_and_figure() {
    let page = stdout(&QUICK);
    for topic in ["processor ", "features ", "back end ", "cores ", "caches ", "pages ", "figures "]
    {
        assert!(page.lines().any(|line| line.starts_with(topic)), "{topic}: {page}");
    }
    for (name, threads, unit) in FIGURES {
        let who = if threads == 1 { "1 thread ".to_owned() } else { format!("{threads} threads") };
        let line = page.lines().find(|line| line.contains(name) && line.contains(&who));
        assert!(line.unwrap_or_else(|| panic!("{name}: {page}")).contains(unit), "{page}");
    }
    let table = stdout(&[&QUICK[..], &["-o", "csv"]].concat());
    assert!(table.starts_with("figure,threads,KiB,median,best,unit,what it is\n"), "{table}");
}

#[test]
fn one_thread_has_no_barrier() {
    let table = stdout(&["hw", "--probe", "1", "-t", "1", "-o", "csv"]);
    assert!(table.contains("\nread memory,1,1024,") && !table.contains("barrier"), "{table}");
    assert_fails(&ended(&["hw", "-t", "0"]), 2, &["--threads"]);
    assert_fails(&ended(&["hw", "--probe", "0"]), 2, &["--probe"]);
}
