//! `run --chat` and `tokenize --chat`: the file's own template, and every way in which it fails.

use std::fmt::Write as _;

use deepthin_tests::gguf_model;
use expect_test::expect;

use super::{Folder, assert_fails, ended, stdout};

/// The small model with a chat template.
fn model(folder: &Folder, template: &str) -> String {
    let file = gguf_model::writer(&gguf_model::model(), 1);
    let file = file.str("tokenizer.chat_template", template);
    folder.file("chat.gguf", file.build().bytes)
}

const TEMPLATE: &str = "{{ bos_token }}\
    {% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{{ eos_token }}{% endfor %}";

#[test]
fn a_turn_is_put_into_the_models_format() {
    let folder = Folder::new();
    let file = model(&folder, TEMPLATE);
    // begin, <user>, h, i, end: the file's own tokens.
    assert_eq!(stdout(&["tokenize", &file, "--chat", "-p", " hi\n"]), "257 258 104 105 256\n");
    // The user's names are text.
    let names = stdout(&["tokenize", &file, "--chat", "-p", "<end>"]);
    assert_eq!(names, "257 258 60 101 110 100 62 256\n");
    let system = stdout(&["tokenize", &file, "--chat", "-p", "a", "--system", "b"]);
    assert_eq!(system, "257 60 115 121 115 116 101 109 62 98 256 258 97 256\n");
    let words = ["run", &file, "--chat", "-p", "hi", "-n", "4", "--temp", "0"];
    let ended = ended(&words);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.starts_with("deepthin: 5 prompt tokens, "), "{}", ended.stderr);
    let written = "<begin><user>hi<end>";
    let plain = ["run", &file, "--special", "-p", written, "-n", "4", "--temp", "0"];
    assert_eq!(stdout(&plain), ended.stdout, "the same prompt by hand");
}

#[test]
fn the_beginning_is_added_where_the_template_leaves_it_out() {
    let folder = Folder::new();
    let file = gguf_model::writer(&gguf_model::model(), 1)
        .bool("tokenizer.ggml.add_bos_token", true)
        .str("tokenizer.chat_template", "<user>{{ messages[0].content }}");
    let file = folder.file("chat.gguf", file.build().bytes);
    assert_eq!(stdout(&["tokenize", &file, "--chat", "-p", "a"]), "257 258 97\n");
}

#[test]
fn flags_that_do_not_go_with_a_chat_are_refused() {
    for words in [
        &["run", "m.gguf", "-p", "a", "--chat", "--echo"][..],
        &["run", "m.gguf", "-p", "a", "--chat", "--special"],
        &["run", "m.gguf", "-p", "a", "--system", "b"],
        &["tokenize", "m.gguf", "-p", "a", "--chat", "--special"],
        &["run", "m.gguf", "-p", "a", "--stop", ""],
    ] {
        assert_fails(&ended(words), 2, &["--"]);
    }
}

/// The verb that renders is for the program itself.
#[test]
fn people_are_not_shown_the_renderer() {
    for words in [&["--help"][..], &["completions", "bash"], &["completions", "zsh"]] {
        assert!(!stdout(words).contains("render-template"), "{words:?}");
    }
    let answer = ended(&["render-template"]);
    assert_fails(&answer, 65, &["stdin: no request"]);
}

#[test]
fn without_a_template_there_is_no_chat() {
    let folder = Folder::new();
    let file = gguf_model::writer(&gguf_model::model(), 1);
    let file = folder.file("plain.gguf", file.build().bytes);
    let small = folder.small();
    for words in [
        &["run", &file, "--chat", "-p", "a"][..],
        &["tokenize", &file, "--chat", "-p", "a"],
        &["run", &small, "--random", "1", "--chat", "-p", "a"],
    ] {
        let parts =
            ["`bytes` has no chat template", "tokenizer.chat_template", "fix: leave out --chat"];
        assert_fails(&ended(words), 65, &parts);
    }
    let number = gguf_model::writer(&gguf_model::model(), 1).u32("tokenizer.chat_template", 1);
    let number = folder.file("number.gguf", number.build().bytes);
    let parts = ["`tokenizer.chat_template`", "u32", "string"];
    assert_fails(&ended(&["run", &number, "--chat", "-p", "a"]), 65, &parts);
}

/// Each in a process with limits: what a single step allocates is not counted as steps are.
#[test]
fn bad_templates_are_told_with_their_place() {
    let mut messages = String::new();
    for template in [
        "{{ bos_token }}\n  {% for %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(x='A') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set x = 'A' * 90000000 %}{{ x | replace('A', x) }}",
        "{{ 'A' * 90000000 }}",
        "{{ messages.__class__.__mro__ }}",
        "{% include '/etc/passwd' %}",
        "{{ raise_exception('only \x1b[31mtools') }}",
        "<user><end>",
        "{{ messages[0].content }}{{ messages[0].content }}",
    ] {
        let folder = Folder::new();
        let ended = ended(&["tokenize", &model(&folder, template), "--chat", "-p", "hi"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(65), ""), "{template}: {ended:?}");
        let (message, fix) = ended.stderr.split_once('\n').unwrap();
        assert!(fix.starts_with("fix: leave out --chat, and write"), "{fix}");
        writeln!(messages, "{}\n  {message}", template.escape_debug()).unwrap();
    }
    expect![[r#"
        {{ bos_token }}\n  {% for %}
          deepthin: error: the model's chat template, 2:10: syntax error: unexpected end of block, expected in
        {% macro f() %}{{ f() }}{% endmacro %}{{ f() }}
          deepthin: error: the model's chat template, 1:19: invalid operation: recursion limit exceeded
        {% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}
          deepthin: error: the model's chat template takes more than 1000000 steps
        {% set n = namespace(x=\'A\') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}
          deepthin: error: the model's chat template takes more than 256 MiB of memory
        {% set x = \'A\' * 90000000 %}{{ x | replace(\'A\', x) }}
          deepthin: error: the model's chat template takes more than 256 MiB of memory
        {{ \'A\' * 90000000 }}
          deepthin: error: the model's chat template writes more than 4194304 bytes
        {{ messages.__class__.__mro__ }}
          deepthin: error: the model's chat template, 1:12: undefined value: `messages.__class__` is undefined
        {% include \'/etc/passwd\' %}
          deepthin: error: the model's chat template, 1:4: template not found: tried to include non-existing template '/etc/passwd'
        {{ raise_exception(\'only \u{1b}[31mtools\') }}
          deepthin: error: the model's chat template refuses: "only \u{1b}[31mtools"
        <user><end>
          deepthin: error: the model's chat template writes the user's text 0 times, expected once
        {{ messages[0].content }}{{ messages[0].content }}
          deepthin: error: the model's chat template writes the user's text 2 times, expected once
    "#]].assert_eq(&messages);
}
