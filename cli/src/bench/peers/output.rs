//! What a script prints: read, and held against what it was asked for.

use deepthin_runtime::shown::Quoted;
use serde::Deserialize;

use super::{Pair, Question};

/// What a script says of one engine; other keys are not looked at.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Measured {
    /// The engine.
    pub peer: String,
    /// Its version.
    pub version: String,
    threads: usize,
    pp: u32,
    /// Prompt tokens a second.
    pub pp_tps: f64,
    tg: u32,
    /// Generated tokens a second.
    pub tg_tps: f64,
}

/// The figures in a script's output; what is wrong with it where they are not those asked for.
pub(super) fn measured(text: &str, question: &Question<'_>) -> Result<Vec<Measured>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let rows = lines.map(|line| row(line, question)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<&str> = rows.iter().map(|row| row.peer.as_str()).collect();
    match (names.as_slice(), question.peer) {
        ([], _) => Err("nothing".to_owned()),
        ([_, _, ..], Some(_)) => Err(format!("{} lines", names.len())),
        (names, _) => match names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            Some((_, name)) => Err(format!("two lines for {}", Quoted(name))),
            None => Ok(rows),
        },
    }
}

/// A line of a script's output.
fn row(line: &str, question: &Question<'_>) -> Result<Measured, String> {
    let row: Measured =
        serde_json::from_str(line).map_err(|error| format!("{} ({error})", Quoted(line)))?;
    let Pair { prompt, generate, .. } = question.pair;
    let is_rate = |rate: f64| rate.is_finite() && rate > 0.0;
    let name = Quoted(&row.peer);
    let wrong = [
        (question.peer.is_none_or(|peer| row.peer == peer), format!("\"peer\": {name}")),
        (row.threads == question.threads, format!("\"threads\": {}", row.threads)),
        (row.pp == prompt, format!("\"pp\": {}", row.pp)),
        (row.tg == generate, format!("\"tg\": {}", row.tg)),
        (is_rate(row.pp_tps), format!("\"pp_tps\": {}", row.pp_tps)),
        (is_rate(row.tg_tps), format!("\"tg_tps\": {}", row.tg_tps)),
    ];
    match wrong.into_iter().find(|(holds, _)| !holds) {
        Some((_, found)) => Err(found),
        None => Ok(row),
    }
}

/// What a script was to print, in words.
pub(super) fn expected(question: &Question<'_>) -> String {
    let Question { peer, threads, pair, .. } = question;
    let line = format!(
        "\"threads\": {threads}, \"pp\": {}, \"pp_tps\": RATE, \"tg\": {}, \"tg_tps\": RATE",
        pair.prompt, pair.generate
    );
    match peer {
        Some(peer) => format!("one line {{\"peer\": {peer:?}, \"version\": .., {line}}}"),
        None => format!("a line {{\"peer\": .., \"version\": .., {line}}} for each engine"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::pairs;
    use super::*;

    fn question(peer: Option<&str>) -> Question<'_> {
        let pair = pairs(&[crate::bench::test::Test { prompt: 8, generate: 0, depth: 0 }])[0];
        Question { file: Path::new("m.gguf"), peer, threads: 2, pair }
    }

    const LINE: &str = r#"{"peer": "a", "version": "1", "threads": 2, "pp": 8, "pp_tps": 5.5,
        "depth": 0, "tg": 1, "tg_tps": 2, "load_s": 0.1}"#;

    fn line() -> String {
        LINE.replace('\n', "")
    }

    #[test]
    fn figures_are_read() {
        let text = format!("\n{}\n{}\n", line(), line().replace("\"a\"", "\"b\""));
        let rows = measured(&text, &question(None)).unwrap();
        let names: Vec<_> = rows.iter().map(|row| (row.peer.as_str(), row.tg_tps)).collect();
        assert_eq!(names, [("a", 2.0), ("b", 2.0)]);
        assert_eq!(measured(&line(), &question(Some("a"))).unwrap()[0].pp_tps, 5.5);
    }

    #[test]
    fn what_was_not_asked_for_is_no_figure() {
        let twice = format!("{0}\n{0}", line());
        for (text, peer, found) in [
            ("", None, "nothing"),
            ("loading ..", None, "\"loading ..\" ("),
            (&twice, None, "two lines for \"a\""),
            (&twice, Some("a"), "2 lines"),
            (&line(), Some("b"), "\"peer\": \"a\""),
            (&line().replace("\"pp\": 8", "\"pp\": 9"), None, "\"pp\": 9"),
            (&line().replace("\"tg\": 1", "\"tg\": 2"), None, "\"tg\": 2"),
            (&line().replace("\"threads\": 2", "\"threads\": 1"), None, "\"threads\": 1"),
            (&line().replace("5.5", "0"), None, "\"pp_tps\": 0"),
            (&line().replace("5.5", "-1"), None, "\"pp_tps\": -1"),
            (&line().replace("5.5", "NaN"), None, "expected value"),
            (&line().replace("\"version\": \"1\", ", ""), None, "missing field `version`"),
        ] {
            let message = measured(text, &question(peer)).unwrap_err();
            assert!(message.contains(found), "{message}");
        }
    }
}
