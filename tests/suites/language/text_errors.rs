//! The answers to text that is not read, word for word: bytes, characters, syntax.

use deepthin_dsl::parse_bytes;
use expect_test::expect;

use super::{WHOLE, answers, each_answers, errors, rendered, with};

#[test]
fn no_model() {
    answers(
        "// nothing here\n",
        expect![[r#"
        error[D0001]: m.thin:1:1: no `model` in the file
          // nothing here
          ^
        help: a complete description:
        model tiny {
            vocab 256  context 64  width 32  depth 2
            block { attention gqa(heads: 2)
                    position rope(theta: 10_000)  ffn swiglu(hidden: 64) }
        }
    "#]],
    );
}

#[test]
fn bytes_that_are_no_text() {
    let files: [&[u8]; 4] = [b"model a\xff {", b"\xff\xfem\0", b"model a\0 {", b"\xfe\xff\0m"];
    let texts = files.map(|bytes| rendered(&parse_bytes(bytes, "m.thin").unwrap_err()));
    expect![[r#"
        error[D0005]: m.thin:1:8: byte 0xff at offset 7 is not UTF-8
          model a
                 ^
        help: save the file as UTF-8
        error[D0005]: m.thin:1:1: a UTF-16 byte order mark at offset 0, expected UTF-8 text
        help: save the file as UTF-8
        error[D0005]: m.thin:1:8: NUL byte at offset 7, expected text
          model a� {
                 ^
        help: save the file as UTF-8
        error[D0005]: m.thin:1:1: a UTF-16 byte order mark at offset 0, expected UTF-8 text
        help: save the file as UTF-8
    "#]]
    .assert_eq(&texts.concat());
}

#[test]
fn characters_that_are_no_ascii() {
    answers(
        "// caf\u{e9} is fine, \u{202e}this is not\nmodel \u{430}bc {\n    width\u{a0}576 \u{1b}\n}\n",
        expect![[r#"
            error[D0006]: m.thin:1:18: U+202E changes the direction of writing
              // café is fine, �this is not
                               ^
            help: remove this invisible mark
            error[D0006]: m.thin:2:7: U+0430 looks like `a` and is not
              model аbc {
                    ^
            help: type `a` instead
            error[D0006]: m.thin:3:10: U+00A0 looks like a space and is not
                  width 576 �
                       ^
            help: type a space instead
            error[D0006]: m.thin:3:15: U+001B is a control character
                  width 576 �
                            ^
            help: remove it
        "#]],
    );
}

#[test]
fn missing_braces() {
    answers(
        &with(&[("hidden: 1_536)\n    }\n", "hidden: 1_536)\n")]),
        expect![[r#"
        error[D0002]: m.thin:1:9: this `{` is never closed
          model m {
                  ^
        help: add the missing `}`
    "#]],
    );
    answers(
        "model a {\n    vocab 5\n    block {\n        norm rms\n\nmodel b {\n    depth 3\n",
        expect![[r#"
            error[D0002]: m.thin:1:9: this `{` is never closed
              model a {
                      ^
            help: add the missing `}`
            error[D0002]: m.thin:6:9: this `{` is never closed
              model b {
                      ^
            help: add the missing `}`
        "#]],
    );
    answers(
        &format!("{WHOLE}}}\n"),
        expect![[r#"
        error[D0002]: m.thin:15:1: `}` closes nothing
          }
          ^
        help: remove it, or look for a `}` too many above
    "#]],
    );
    answers(
        &WHOLE.replace("model m {", "model m"),
        expect![[r#"
        error[D0002]: m.thin:1:8: expected `{` or `=`, found the end of the line
          model m
                 ^
        help: a model is `model NAME { .. }` or `model NAME = BASE { .. }`
    "#]],
    );
}

#[test]
fn broken_headers() {
    answers(
        "modle m { vocab 5 }\n",
        expect![[r#"
        error[D0002]: m.thin:1:1: expected `model`, found `modle`
          modle m { vocab 5 }
          ^^^^^
        help: did you mean `model`?
    "#]],
    );
    answers(
        "model a-b { vocab 5 }\n",
        expect![[r#"
        error[D0002]: m.thin:1:8: expected `{` or `=`, found `-`
          model a-b { vocab 5 }
                 ^
        help: names are letters, digits and `_`: `mobilellm_125m`
    "#]],
    );
    answers(
        "model 5 { vocab 5 }\n",
        expect![[r#"
        error[D0002]: m.thin:1:7: expected a name, found `5`
          model 5 { vocab 5 }
                ^
        help: a name is letters, digits and `_`, and does not begin with a digit
    "#]],
    );
    answers(
        "model a = { vocab 5 }\n",
        expect![[r#"
        error[D0002]: m.thin:1:11: expected the name of a base, found `{`
          model a = { vocab 5 }
                    ^
        help: a name is letters, digits and `_`, and does not begin with a digit
    "#]],
    );
    answers(
        "model a = b\n",
        expect![[r#"
        error[D0002]: m.thin:1:12: expected `{`, found the end of the line
          model a = b
                     ^
        help: a model is `model NAME { .. }` or `model NAME = BASE { .. }`
    "#]],
    );
    answers(
        "vocab 5\nwidth 3\n",
        expect![[r#"
        error[D0002]: m.thin:1:1: expected `model`, found `vocab`
          vocab 5
          ^^^^^
        help: a file is a list of `model NAME { .. }`
    "#]],
    );
}

#[test]
fn broken_entries() {
    each_answers(
        [
            ("width 576", "width = 576"),
            ("width 576", "width: 576,"),
            ("width 576", "width 576,"),
            ("width 576", "width"),
            ("width 576", "576"),
            ("width 576", "width 576 12"),
            ("width 576", "\"width\" 576"),
            ("width 576", "width 576 # embedding"),
            ("width 576", "width .5"),
            ("width 576", "width )"),
            ("(eps: 1e-5)", "(eps 1e-5)"),
            ("(eps: 1e-5)", "(eps: 1e-5"),
            ("heads: 9, kv_heads: 3", "heads: 9 kv_heads: 3"),
            ("block {", "block 3 {"),
        ],
        expect![[r#"
            error[D0002]: m.thin:4:11: expected a value or `{`, found `=`
                  width = 576
                        ^
            help: a key and its value stand side by side: `width 576`
            error[D0002]: m.thin:4:10: expected a value or `{`, found `:`
                  width: 576,
                       ^
            help: a key and its value stand side by side: `width 576`
            error[D0002]: m.thin:4:14: expected a key, found `,`
                  width 576,
                           ^
            help: entries need no separator: `width 576  depth 30`; in a number it is `_`: `32_000`
            error[D0002]: m.thin:4:10: expected a value or `{`, found the end of the line
                  width
                       ^
            help: a key is followed by its value: `width 576`
            error[D0002]: m.thin:4:5: expected a key, found `576`
                  576
                  ^^^
            help: each value needs a key of its own: `width 576`
            error[D0002]: m.thin:4:15: expected a key, found `12`
                  width 576 12
                            ^^
            help: each value needs a key of its own: `width 576`
            error[D0002]: m.thin:4:5: expected a key, found `"`
                  "width" 576
                  ^
            help: names and values are written without quotes
            error[D0002]: m.thin:4:15: expected a key, found `#`
                  width 576 # embedding
                            ^
            help: a comment begins with `//`
            error[D0002]: m.thin:4:11: expected a value or `{`, found `.`
                  width .5
                        ^
            help: a real number begins with a digit: `0.5`
            error[D0002]: m.thin:4:11: expected a value or `{`, found `)`
                  width )
                        ^
            help: a key is followed by its value: `width 576`
            error[D0002]: m.thin:7:22: expected `)`, `,` or `:`, found `1e-5`
                      norm rms(eps 1e-5)
                                   ^^^^
            help: an argument is a name, `:` and a value: `heads: 9`
            error[D0002]: m.thin:8:9: expected `)` or `,`, found `attention`
                      attention gqa(heads: 9, kv_heads: 3)
                      ^^^^^^^^^
            help: separate arguments by `,`, and close them with `)`
            error[D0002]: m.thin:8:32: expected `)` or `,`, found `kv_heads`
                      attention gqa(heads: 9 kv_heads: 3)
                                             ^^^^^^^^
            help: separate arguments by `,`, and close them with `)`
            error[D0002]: m.thin:6:13: expected a key, found `{`
                  block 3 {
                          ^
        "#]],
    );
}

/// Several syntax errors in one file: each is found, none twice, and what is right is not named.
#[test]
fn syntax_errors_are_all_found() {
    answers(
        "model a {\n    vocab = 5\n    context 2_048\n    block {\n        norm rms(eps 1)\n        \
         attention gqa(heads: 9,\n            kv_heads 3)\n        ffn swiglu(hidden: 5)\n    }\n    \
         sharing order [0 1]\n}\n\nmodle b { width 5; }\n\nmodel c { depth }\n",
        expect![[r#"
            error[D0002]: m.thin:2:11: expected a value or `{`, found `=`
                  vocab = 5
                        ^
            help: a key and its value stand side by side: `width 576`
            error[D0002]: m.thin:5:22: expected `)`, `,` or `:`, found `1`
                      norm rms(eps 1)
                                   ^
            help: an argument is a name, `:` and a value: `heads: 9`
            error[D0002]: m.thin:7:22: expected `)`, `,` or `:`, found `3`
                          kv_heads 3)
                                   ^
            help: an argument is a name, `:` and a value: `heads: 9`
            error[D0002]: m.thin:10:22: expected `]` or `,`, found `1`
                  sharing order [0 1]
                                   ^
            error[D0002]: m.thin:13:1: expected `model`, found `modle`
              modle b { width 5; }
              ^^^^^
            help: did you mean `model`?
            error[D0002]: m.thin:13:18: expected a key, found `;`
              modle b { width 5; }
                               ^
            help: entries need no separator: `width 576  depth 30`; in a number it is `_`: `32_000`
            error[D0002]: m.thin:15:17: expected a value or `{`, found `}`
              model c { depth }
                              ^
            help: a key is followed by its value: `width 576`
        "#]],
    );
}

#[test]
fn syntax_errors_end_at_ten() {
    let text = format!("model a {{\n{}}}\n", "    width =\n".repeat(30));
    let errors = errors(&text);
    assert_eq!(errors.len(), 10);
    assert_eq!(errors.iter().map(|e| e.line).collect::<Vec<_>>(), (2..12).collect::<Vec<_>>());
}

#[test]
fn a_long_line_is_cut_around_the_caret() {
    let text = format!("model m {{ {} width @ {} }}", "vocab 5 ".repeat(40), "depth 3 ".repeat(40));
    answers(
        &text,
        expect![[r#"
            error[D0002]: m.thin:1:338: expected a value or `{`, found `@`
               vocab 5 vocab 5 vocab 5 vocab 5 vocab 5  width @ depth 3 depth 3 depth 3 depth 3 depth 3 depth
                                                              ^
            help: a key is followed by its value: `width 576`
        "#]],
    );
}

#[test]
fn tabs_and_line_ends_keep_the_caret_in_place() {
    answers(
        &with(&[("    width 576", "\t\twidth\t0")]).replace('\n', "\r\n"),
        expect![[r#"
            error[D0015]: m.thin:4:9: width `0` is out of range 1 to 65_536
              		width	0
              		     	^
            help: for example `width 576`
        "#]],
    );
}
