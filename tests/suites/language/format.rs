//! The canonical form: stable, the same models, every comment, and the layout of the examples.

use deepthin_dsl::{Code, MAX_SOURCE_BYTES, SMALLEST, format, format_bytes, parse, print};
use deepthin_tests::{models, project};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{WHOLE, rendered};

/// The canonical form of a text, which is its own.
#[track_caller]
fn canonical(text: &str) -> String {
    let formatted = format(text, "m.thin").unwrap_or_else(|errors| panic!("{}", rendered(&errors)));
    assert_eq!(format(&formatted, "m.thin").as_ref(), Ok(&formatted), "not stable");
    assert_eq!(comments(&formatted), comments(text), "{formatted}");
    formatted
}

#[track_caller]
fn becomes(text: &str, expected: Expect) {
    expected.assert_eq(&canonical(text));
}

/// The comments of a text, in their order.
fn comments(text: &str) -> Vec<&str> {
    let lines = text.split(['\n', '\r']);
    lines
        .filter_map(|line| line.find("//").and_then(|at| line.get(at..)))
        .map(str::trim_end)
        .collect()
}

#[test]
fn examples_are_canonical() {
    let mut seen = 0;
    for file in project::sources("thin").iter().filter(|file| file.path.starts_with("examples/")) {
        assert_eq!(canonical(&file.text), file.text, "{}", file.path);
        seen += 1;
    }
    assert!(seen >= 9, "{seen} examples");
}

#[test]
fn entries_have_lines_and_values_a_column() {
    becomes(
        SMALLEST,
        expect![[r#"
            model tiny {
                vocab    256
                context  64
                width    32
                depth    2
                block {
                    attention  gqa(heads: 2)
                    position   rope(theta: 10_000)
                    ffn        swiglu(hidden: 64)
                }
            }
        "#]],
    );
    becomes(
        "model a=b{width 96 block{attention gqa( kv_heads:9 )}\n\n\nsharing order[0,0,1]}model c = a { }",
        expect![[r#"
            model a = b {
                width  96
                block { attention gqa(kv_heads: 9) }

                sharing  order [0, 0, 1]
            }
            model c = a {}
        "#]],
    );
}

#[test]
fn spellings_stay() {
    becomes(
        "model m { vocab 32K context 2048 norm rms(1E-5) x q4(32,) y q4() z f(a:1_0,b : -5) }",
        expect![[r#"
            model m {
                vocab    32K
                context  2048
                norm     rms(1E-5)
                x        q4(32)
                y        q4()
                z        f(a: 1_0, b: -5)
            }
        "#]],
    );
}

#[test]
fn comments_stay_where_they_are() {
    becomes(
        "\
// head

//second
model m // of
// two
{ // opened

  // before
  vocab 32 // rows
  context 2_048 // tokens
    // own
  width 5   // w


  block // b
  { // more
  } // closed
  storage { // only this
  }
  // last
} // end
// after
",
        expect![[r#"
            // head

            //second
            model m {  // of
                // two
                // opened

                // before
                vocab    32     // rows
                context  2_048  // tokens
                // own
                width    5  // w

                block {  // b
                    // more
                }  // closed
                storage {  // only this
                }
                // last
            }  // end
            // after
        "#]],
    );
    becomes("// nothing else", expect!["// nothing else\n"]);
    becomes("", expect![""]);
    becomes(" \n\t\n", expect![""]);
}

#[test]
fn comments_break_the_lists_that_they_are_in() {
    becomes(
        "\
model m {
    attention gqa( // a
        heads: 9 // b
        , // c
        kv_heads: 3, head_dim: 64) // d
    ffn swiglu(
        // e
        hidden: 5
    )
    sharing order [0, 0, // first
        1, 1, 2, // second

        // third
        2]
    x f( // only
    )
    y f(1, g(2, // inner
        3), 4)
}
",
        expect![[r#"
            model m {
                attention  gqa(  // a
                    heads: 9,  // b
                    // c
                    kv_heads: 3, head_dim: 64,
                )  // d
                ffn        swiglu(
                    // e
                    hidden: 5,
                )
                sharing    order [
                    0, 0,  // first
                    1, 1, 2,  // second
                    // third
                    2,
                ]
                x          f(  // only
                )
                y          f(
                    1,
                    g(
                        2,  // inner
                        3,
                    ),
                    4,
                )
            }
        "#]],
    );
}

#[test]
fn long_lists_are_filled() {
    let numbers: Vec<String> = (100..140).map(|n| n.to_string()).collect();
    becomes(
        &format!("model m {{ sharing order [{}] }}", numbers.join(",\n\n")),
        expect![[r#"
            model m {
                sharing  order [
                    100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117,
                    118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 130, 131, 132, 133, 134, 135,
                    136, 137, 138, 139,
                ]
            }
        "#]],
    );
}

#[test]
fn any_line_end_is_read_and_a_line_feed_is_written() {
    let canonical = canonical(WHOLE);
    for end in ["\r\n", "\r"] {
        let text = WHOLE.replace('\n', end);
        assert_eq!(format(&text, "m.thin").as_ref(), Ok(&canonical));
        assert_eq!(format(&format!("\u{feff}{text}"), "m.thin").as_ref(), Ok(&canonical));
    }
    let commented = "model m {\r\n    // one \r\n    vocab  5  // two\r\n}\r\n";
    assert_eq!(
        format(commented, "m.thin").unwrap(),
        commented.replace("one \r", "one").replace('\r', "")
    );
}

#[test]
fn what_is_not_written_right_is_not_laid_out() {
    let codes = |text: &str| -> Vec<Code> {
        format(text, "m.thin").unwrap_err().iter().map(|error| error.code).collect()
    };
    assert_eq!(codes("model m { vocab }"), [Code::Syntax]);
    assert_eq!(codes("model m { let a = 1 }"), [Code::NotYet]);
    assert_eq!(codes("model m {\n width 2 * 5 // half\n depth (1 + 1)\n}"), [Code::NotYet; 2]);
    assert_eq!(format_bytes(b"model \xff", "m.thin").unwrap_err()[0].code, Code::Encoding);
    // What it means is no concern of the layout.
    assert_eq!(canonical("model m { widht 0 }"), "model m { widht 0 }\n");
    // An indent for each of many lines: the canonical form could not be read back.
    let lines = "//\n".repeat((MAX_SOURCE_BYTES - 100) / 3);
    assert_eq!(codes(&format!("model m {{\n{lines}}}")), [Code::FileSize]);
}

/// What may stand where a line may end.
const GAPS: [&str; 8] = ["", " ", "\t ", "\n", "\r\n", "\n\n\n", " // #\n", "\n // #\n\n"];

/// How many of [`GAPS`] change neither comments nor empty lines.
const PLAIN: usize = 5;

/// A description with each of its gaps filled: `gap` chooses among [`GAPS`].
fn filled(text: &str, mut gap: impl FnMut() -> usize) -> String {
    let mut filled = String::new();
    let mut number = 0;
    let mut push = |filled: &mut String| {
        number += 1;
        filled.push_str(&GAPS[gap()].replace('#', &number.to_string()));
    };
    for c in text.chars() {
        let is_inside = !filled.ends_with("order ");
        if ")]}".contains(c) || c == '{' {
            push(&mut filled);
        }
        filled.push(c);
        if ",({[\n".contains(c) && is_inside || c == '[' {
            push(&mut filled);
        }
    }
    filled
}

/// A description of two generated models, one derived from the first.
fn description() -> impl Strategy<Value = String> {
    (models::model(), "[a-z]{1,30}").prop_map(|(model, name)| {
        let base = print(&model);
        format!(
            "{base}\nmodel {name}_ = {} {{\n    sharing order [0, {}]\n    block {{\n        \
             position  rope(1e3)\n    }}\n}}\n",
            model.name,
            (0..model.depth).map(|block| block.to_string()).collect::<Vec<_>>().join(", ")
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn comments_and_models_survive(
        text in description(),
        gaps in prop::collection::vec(0..GAPS.len(), 200),
    ) {
        let mut gaps = gaps.iter().copied().cycle();
        let text = filled(&text, || gaps.next().unwrap());
        let models = parse(&text, "m.thin");
        prop_assert!(models.is_ok(), "{text}\n{}", rendered(&models.unwrap_err()));
        prop_assert_eq!(parse(&canonical(&text), "m.thin"), models);
    }

    /// Where blanks and line ends stand is no matter.
    #[test]
    fn one_description_has_one_form(
        text in description(),
        gaps in prop::collection::vec(0..PLAIN, 200),
    ) {
        // Without its empty lines: two line ends in a row would make one.
        let text = text.replace("\n\n", "\n");
        let mut gaps = gaps.iter().copied().cycle();
        let mut last = 0;
        let spread = filled(&text, || {
            let gap = gaps.next().unwrap();
            last = if last > 2 || gap > 2 { gap.min(2) } else { gap };
            last
        });
        prop_assert_eq!(canonical(&spread), canonical(&text));
    }

    #[test]
    fn printed_models_are_canonical(model in models::model()) {
        let text = print(&model);
        prop_assert_eq!(canonical(&text), text);
    }
}
