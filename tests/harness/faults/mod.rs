//! Seeded faults: known wrong versions of single expressions, to measure what the suites notice.
//!
//! A [`Fault`] names a file, an expression in it and a wrong one. [`seed`] rewrites a copy of the
//! sources so that the wrong version runs where the environment variable `DEEPTHIN_FAULT` has
//! the fault's name: one build holds all faults, the product's own sources none. The command
//! `cargo run --package deepthin-tests --bin faults` builds that copy and runs the suites on it
//! once for each fault (specs/testing.md).

mod caches;
mod codegen;
mod codes;
mod fusion;
mod lowering;
mod packing;
mod planning;
mod quantizing;
mod sampling;
mod scheduling;

/// The environment variable that chooses a fault of the seeded copy.
pub const VARIABLE: &str = "DEEPTHIN_FAULT";

/// What a rewritten expression asks; stands in [`Change::With`] where the question goes.
const QUESTION: &str = "FAULT";

/// A wrong version of one place in the sources.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Part of the compiler or runtime that is wrong.
    pub area: &'static str,
    /// Unique name.
    pub name: &'static str,
    /// File, from the project's top folder.
    pub file: &'static str,
    /// Text of the file that is rewritten; occurs there once.
    pub found: &'static str,
    /// What takes its place.
    pub change: Change,
}

/// How the text of a fault is rewritten.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// The text is an expression; the fault has this one instead.
    To(&'static str),
    /// The text becomes this one, in which `FAULT` is true where the fault is chosen.
    With(&'static str),
}

impl Fault {
    /// The text that takes the place of `found`.
    fn rewritten(&self) -> String {
        let question = format!("crate::fault::is({:?})", self.name);
        match self.change {
            Change::To(wrong) => {
                format!("(if {question} {{ {wrong} }} else {{ {} }})", self.found)
            }
            Change::With(text) => text.replace(QUESTION, &question),
        }
    }
}

/// All faults, area by area.
pub fn all() -> Vec<Fault> {
    [
        ("lowering", lowering::FAULTS),
        ("caches", caches::FAULTS),
        ("packing", packing::FAULTS),
        ("codes", codes::FAULTS),
        ("quantizing", quantizing::FAULTS),
        ("codegen", codegen::FAULTS),
        ("fusion", fusion::FAULTS),
        ("planning", planning::FAULTS),
        ("scheduling", scheduling::FAULTS),
        ("sampling", sampling::FAULTS),
    ]
    .into_iter()
    .flat_map(|(area, list)| {
        list.iter().map(move |&(name, file, found, change)| Fault {
            area,
            name,
            file,
            found,
            change,
        })
    })
    .collect()
}

/// A fault of a list: name, file, text found, what it becomes.
type Entry = (&'static str, &'static str, &'static str, Change);

/// The module that answers in each rewritten crate whether a fault is chosen.
pub const MODULE: &str = r#"//! Which fault of the seeded copy is chosen.

use std::sync::OnceLock;

pub(crate) fn is(name: &str) -> bool {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("DEEPTHIN_FAULT").ok()).as_deref() == Some(name)
}
"#;

/// `text`, the content of `file`, with all faults of that file in it.
///
/// # Errors
/// A fault whose text does not occur once: the sources have changed, and the list must follow.
pub fn seed(file: &str, text: &str, faults: &[Fault]) -> Result<String, String> {
    let mut seeded = text.to_owned();
    for fault in faults.iter().filter(|fault| fault.file == file) {
        let count = text.matches(fault.found).count();
        if count != 1 {
            return Err(format!(
                "{file}: fault `{}`: its text occurs {count} times, expected once: {}",
                fault.name, fault.found
            ));
        }
        seeded = seeded.replacen(fault.found, &fault.rewritten(), 1);
    }
    Ok(seeded)
}
