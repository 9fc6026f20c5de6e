//! Slips of the finger: what was meant is offered, wherever a name is asked for.

use super::{Folder, assert_fails, ended};

#[test]
fn what_was_meant_is_offered() {
    let folder = Folder::new();
    let small = folder.small();
    let misspelled = format!("{small}:byets");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["tokenise", &small], 2, "similar subcommand exists: 'tokenize'"),
        (&["run", "smolm2-135m", "-p", "a"], 66, "did you mean `smollm2-135m`?"),
        (&["fetch", "smolm2-135m"], 2, "similar value exists: 'smollm2-135m'"),
        (&["info", &misspelled], 66, "small.thin:bytes`?"),
        (&["check", &misspelled], 66, "small.thin:bytes`?"),
        (&["dump", &misspelled, "--stage", "ast"], 66, "small.thin:bytes`?"),
        (&["dump", &small, "--stage", "fsued"], 2, "similar value exists: 'fused'"),
        (&["dump", &small, "--stage", "vir", "--kernel", "embdeding"], 2, "choose among "),
        (&["info", &small, "-o", "jsnol"], 2, "'jsonl'"),
    ];
    for (words, code, part) in cases {
        assert_fails(&ended(words), *code, &[part]);
    }
    // A kernel by its name but for a letter.
    let kernels = super::stdout(&["dump", &small, "--stage", "plan"]);
    let name = kernels.split_whitespace().find(|word| word.starts_with("attention_")).unwrap();
    let slip = name.replacen("attention", "atention", 1);
    let words = ["dump", &small, "--stage", "vir", "--kernel", &slip];
    assert_fails(&ended(&words), 2, &[&format!("did you mean `{name}`?")]);
}
