//! The forms of numbers: the same flags for every verb that prints some, and what each form is.

use expect_test::expect;
use serde_json::Value;

use super::{Folder, assert_fails, ended, stdout};

/// Verbs that print numbers of the small model.
fn verbs<'a>(small: &'a str, text: &'a str) -> [Vec<&'a str>; 6] {
    let model = [small, "--random", "1"];
    let words = |verb: &'a str, rest: &[&'a str]| [&[verb], &model[..], rest].concat();
    [
        words("logits", &["-p", "abc", "--top", "2"]),
        words("tokenize", &["-p", "a|b,"]),
        words("perplexity", &["-f", text, "-c", "32"]),
        words("info", &["-t", "1"]),
        words("bench", &["-p", "4", "-n", "0", "-r", "1", "-t", "1", "--probe", "1"]),
        vec!["hw", "-t", "1", "--probe", "1"],
    ]
}

#[test]
fn every_verb_takes_every_form() {
    let folder = Folder::new();
    let small = folder.small();
    let text = folder.file("text", "a".repeat(70));
    for words in verbs(&small, &text) {
        let printed = |form: &[&str]| stdout(&[&words[..], form].concat());
        let lines = printed(&["-o", "jsonl"]);
        for line in lines.lines() {
            assert!(serde_json::from_str::<Value>(line).unwrap().is_object(), "{line}");
        }
        let json: Value = serde_json::from_str(&printed(&["--json"])).unwrap();
        assert_eq!(json.is_array(), words[0] == "bench", "one answer is no list: {words:?}");
        let tables = printed(&["-o", "md"]);
        let table = tables.split("\n\n").next().unwrap();
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        let head = table.lines().next().unwrap();
        assert!(table.lines().all(|line| bars(line) == bars(head)), "{table}");
        let widths = |line: &str| line.chars().count();
        assert!(table.lines().all(|line| widths(line) == widths(head)), "{table}");
        let csv = printed(&["-o", "csv"]);
        assert!(csv.lines().count() >= 2 && csv.lines().next().unwrap().contains(','), "{csv}");
        let both = [&words[..], &["--json", "-o", "csv"]].concat();
        assert_fails(&ended(&both), 2, &["--json", "--output"]);
        let wrong = [&words[..], &["-o", "jsonk"]].concat();
        assert_fails(&ended(&wrong), 2, &["jsonk", "similar value exists: 'json"]);
    }
}

#[test]
fn tables_quote_what_would_divide_them() {
    let folder = Folder::new();
    let file = deepthin_tests::gguf_model::writer(&deepthin_tests::gguf_model::model(), 1);
    let file = folder.file("m.gguf", file.build().bytes);
    let words = ["tokenize", &file, "-p", "a|,\"\n", "-o"];
    expect![[r#"
        |  id | piece |
        | --: | ----- |
        |  97 | a     |
        | 124 | \|    |
        |  44 | ,     |
        |  34 | "     |
        |  10 |       |
    "#]]
    .assert_eq(&stdout(&[&words[..], &["md"]].concat()));
    let csv = stdout(&[&words[..], &["csv"]].concat());
    assert!(csv.starts_with("id,piece\n97,a\n124,|\n44,\",\"\n34,\"\"\"\"\n10,\"\n\"\n"), "{csv}");
}

#[test]
fn several_answers_are_an_array_or_a_line_each() {
    let folder = Folder::new();
    let wrong = folder.file("wrong.thin", "model m { widht 5 depth 0 }");
    let found = ended(&["check", &wrong, "--json"]);
    assert_eq!((found.code, found.stderr.as_str()), (Some(1), ""));
    let findings: Value = serde_json::from_str(&found.stdout).unwrap();
    let found = ended(&["check", &wrong, "-o", "jsonl"]);
    let lines: Vec<Value> =
        found.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 2);
    assert_eq!(findings, Value::Array(lines));
    let right = folder.small();
    assert_eq!(stdout(&["check", &right, "--json"]), "[]\n");
    assert_eq!(stdout(&["check", &right, "-o", "jsonl"]), "");
    assert_eq!(stdout(&["check", &right, "-o", "csv"]), "file,line,column,code,message,help\n");
}

#[test]
fn benchmarks_have_the_columns_of_llama_bench() {
    let folder = Folder::new();
    let small = folder.small();
    let model = ["bench", &small, "--random", "1", "--probe", "1"];
    let words = [&model[..], &["-p", "4,8", "-n", "0", "-r", "2", "-o"]].concat();
    let csv = stdout(&[&words[..], &["csv"]].concat());
    let mut lines = csv.lines();
    let head = lines.next().unwrap();
    assert!(head.starts_with("cpu_info,backends,model_filename,model_type,model_size,"), "{head}");
    let column = head.split(',').position(|name| name == "n_prompt").unwrap();
    // Features of a processor are divided by commas, inside of quotes.
    let cells = |line: &str| {
        let line = line.strip_prefix('"').map_or(line, |line| line.split_once('"').unwrap().1);
        line.split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    let prompts: Vec<String> = lines.map(|line| cells(line)[column].clone()).collect();
    assert_eq!(prompts, ["4", "8"]);
    let json: Value = serde_json::from_str(&stdout(&[&words[..], &["json"]].concat())).unwrap();
    let keys = json[0].as_object().unwrap();
    assert!(head.split(',').all(|name| keys.contains_key(name)), "{head}");
}
