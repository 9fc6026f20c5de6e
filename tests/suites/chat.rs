//! Chat templates through the library: Jinja as templates expect it, and what a user's text cannot
//! become.

use deepthin::chat::{ChatError, Render, TemplateError, Turn, render};
use deepthin_runtime::tokenizer::{Span, Tokenizer};
use deepthin_tests::piece_vocabulary::PieceVocabulary;
use expect_test::expect;
use proptest::prelude::*;

/// A tokenizer with the control tokens `<s>`, `</s>` and `<|user|>`.
fn tokenizer() -> Tokenizer {
    let gguf = PieceVocabulary::reference().0.writer().open().unwrap();
    Tokenizer::from_gguf(&gguf).unwrap()
}

/// What a template makes of a turn: 26 July 2024.
fn request(template: &str, turn: Turn<'_>) -> Render {
    turn.render(template, &tokenizer(), 1_721_990_096)
}

/// What a template makes of `hi`, with the text in the place of its mark.
fn rendered(template: &str) -> Result<String, TemplateError> {
    let turn = Turn { system: None, user: "hi" };
    let rendered = render(&request(template, turn))?;
    Ok(rendered.replace('\u{fdd1}', "hi"))
}

#[track_caller]
fn failed(template: &str) -> String {
    rendered(template).unwrap_err().to_string()
}

const CHATML: &str = "{% for message in messages %}\n\
    {{ '<|' + message['role'] + '|>' + message['content'] | trim + eos_token }}\n\
    {% endfor %}\n\
    {%- if add_generation_prompt %}<|assistant|>{% endif %}";

#[test]
fn blocks_are_trimmed_and_names_are_there() {
    assert_eq!(rendered(CHATML).unwrap(), "<|user|>hi</s>\n<|assistant|>");
    let template =
        "{{ bos_token }}{{ tools is none }}{{ documents is none }}{{ nothing is defined }}";
    assert_eq!(rendered(template).unwrap(), "<s>TrueTrueFalse");
    assert_eq!(rendered("{% for m in messages %}{% break %}{% endfor %}x\n").unwrap(), "x");
}

#[test]
fn functions_of_templates_are_those_of_hugging_face() {
    let json = "{{ {'a': [1, 2], 'b': '<é\\\\u003c\\'&\"\\n'} | tojson }}";
    expect![[r#"{"a": [1, 2], "b": "<é\\u003c'&\"\n"}"#]].assert_eq(&rendered(json).unwrap());
    let json = "{{ {'a': []} | tojson(indent=1, ensure_ascii=false) }}";
    expect![[r#"
        {
         "a": []
        }"#]]
    .assert_eq(&rendered(json).unwrap());
    assert_eq!(rendered("{{ strftime_now('%d %b %Y') }}").unwrap(), "26 Jul 2024");
    let methods = "{{ ' x '.strip() ~ 'a-b'.split('-')[1] ~ messages[0].get('role').upper() }}";
    assert_eq!(rendered(methods).unwrap(), "xbUSER");
}

#[test]
fn errors_name_their_place() {
    expect!["the model's chat template, 2:4: syntax error: unknown statement unless"]
        .assert_eq(&failed("{# é #}\n{% unless x %}"));
    expect!["the model's chat template, 1:4: undefined value: `x` is undefined"]
        .assert_eq(&failed("{{ x.y.z }}"));
    expect![[r#"the model's chat template refuses: "no \u{1b}[31mroles""#]].assert_eq(&failed(
        "{% macro f() %}{{ raise_exception('no \x1b[31mroles') }}{% endmacro %}{{ f() }}",
    ));
}

/// What these would do without limits: run for ever, overflow the stack, fill the memory.
#[test]
fn hostile_templates_end_in_an_error() {
    let nested = |unit: &str, count| unit.repeat(count);
    for (template, message) in [
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(), "recursion limit"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".into(),
            "steps",
        ),
        ("{% for i in range(10**9) %}{% endfor %}".into(), "too many elements"),
        ("{{ 'A' * 200000000 }}".into(), "too large"),
        ("{{ 'A' * 5000000 }}".into(), "writes more than 4194304 bytes"),
        ("{% for i in range(99) %}{{ 'A' * 50000 }}{% endfor %}".into(), "writes more"),
        ("{{ messages.__class__.__mro__ }}".into(), "undefined"),
        ("{{ messages[0].__init__.__globals__ }}".into(), "undefined"),
        ("{% include '/etc/passwd' %}".into(), "template not found"),
        ("{% import 'os' as os %}".into(), "template not found"),
        (format!("{{{{ {}1{} }}}}", nested("(", 9999), nested(")", 9999)), "recursion"),
        (nested("{% if 1 %}", 9999), "recursion"),
        (nested("\n", 70_000) + "{{ x.y.z }}", "undefined"),
        ("x".repeat((1 << 20) + 1), "expected at most 1048576"),
    ] {
        let start: String = template.chars().take(60).collect();
        let error = failed(&template);
        assert!(error.contains(message), "{start}: {error}");
    }
}

#[test]
fn a_text_has_to_be_there_once() {
    let spans = |template: &str| {
        let turn = Turn { system: Some("be"), user: "hi" };
        turn.spans(&render(&request(template, turn)).unwrap()).map(|_| ())
    };
    let both = "{{ messages[0].content }}{{ messages[1].content }}";
    assert_eq!(spans(both), Ok(()));
    let times = |role, times| Err(ChatError::Times { role, times });
    assert_eq!(spans("{{ messages[0].content }}"), times("user", 0));
    assert_eq!(spans("{{ messages[1].content }}"), times("system", 0));
    assert_eq!(spans(&format!("{both}{both}")), times("system", 2));
    // A text of white space alone may be left out.
    let turn = Turn { system: Some(" "), user: "\n" };
    assert_eq!(turn.spans("<s>").unwrap(), [Span { text: "<s>", special: true }]);
}

#[test]
fn white_space_around_a_text_is_trimmed_by_templates_that_trim() {
    let texts = |template: &str| {
        let turn = Turn { system: None, user: " \n hi\t" };
        let rendered = render(&request(template, turn)).unwrap();
        let spans = turn.spans(&rendered).unwrap();
        spans.iter().map(|span| (span.text.to_owned(), span.special)).collect::<Vec<_>>()
    };
    let spans = |spans: &[(&str, bool)]| {
        spans.iter().map(|(text, special)| ((*text).to_owned(), *special)).collect::<Vec<_>>()
    };
    let whole = texts("<s>{{ messages[0].content }}</s>");
    let plain = [("<s>", true), (" \n ", false), ("hi", false), ("\t", false), ("</s>", true)];
    assert_eq!(whole, spans(&plain));
    let trimmed = texts("<s>{{ messages[0].content | trim }}</s>");
    assert_eq!(trimmed, spans(&[("<s>", true), ("hi", false), ("</s>", true)]));
}

/// Templates that do all kinds of things to a text.
const TEMPLATES: &[&str] = &[
    "<s><|user|>{{ messages[-1].content }}</s>",
    "<s><|user|>\n {{ messages[-1]['content'].strip() }} </s>",
    "<s><|{{ messages[-1].content }}|></s><s>",
    "<s></{{ messages[-1].content | replace('x', '') }}></s><s>",
    "<s>{{ messages[-1].content[:40] ~ '</s>' ~ bos_token }}",
    "<s>{{ (messages[-1].content ~ '</s>') | upper | lower }}<s>",
];

proptest! {
    /// Whatever the user writes, the control tokens are those that the template writes, and the
    /// text comes back from its ids.
    #[test]
    fn a_users_text_is_never_a_control_token(
        template in prop::sample::select(TEMPLATES),
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "<s>", "</s>", "<|user|>", "s", "user", "|", "<", ">", "<|", "|>", "<sx>", "/s",
                " ", "\n", "a", "{{ bos_token }}", "\u{fdd0}", "\u{fdd1}", "é",
            ]),
            1..8,
        ),
    ) {
        let tokenizer = tokenizer();
        let text = parts.concat();
        prop_assume!(!text.trim().is_empty());
        let turn = Turn { system: None, user: &text };
        let rendered = render(&turn.render(template, &tokenizer, 0)).unwrap();
        let spans = turn.spans(&rendered).unwrap();
        let ids = tokenizer.encode_spans(&spans).unwrap();
        let control = ids.iter().filter(|id| tokenizer.is_control(**id)).count();
        let harmless = Turn { system: None, user: "a" };
        let expected = rendered_control(&tokenizer, template, harmless);
        prop_assert_eq!(control, expected, "{:?}", ids);
        let decoded = String::from_utf8(tokenizer.decode(&ids, true).unwrap()).unwrap();
        prop_assert!(decoded.contains(text.trim()), "{:?} of {:?}", decoded, text);
    }
}

/// How many control tokens a template writes.
fn rendered_control(tokenizer: &Tokenizer, template: &str, turn: Turn<'_>) -> usize {
    let rendered = render(&turn.render(template, tokenizer, 0)).unwrap();
    let ids = tokenizer.encode_spans(&turn.spans(&rendered).unwrap()).unwrap();
    ids.iter().filter(|id| tokenizer.is_control(**id)).count()
}
