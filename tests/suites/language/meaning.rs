//! What a correct description means: values, defaults, sharing, bases, and the way back to text.

use deepthin_dsl::model::{Activations, Group, KvStorage, Sharing, TensorStorage};
use deepthin_dsl::{SMALLEST, parse, parse_ast, print};
use deepthin_tests::models;
use expect_test::expect;
use proptest::prelude::*;

use super::{WHOLE, model, with};

#[test]
fn what_is_left_out_has_a_default() {
    let tiny = model(SMALLEST);
    assert_eq!((tiny.vocab, tiny.context, tiny.width, tiny.depth), (256, 64, 32, 2));
    assert_eq!((tiny.block.heads, tiny.block.kv_heads, tiny.block.head_dim), (2, 2, 16));
    assert_eq!((tiny.block.norm_eps, tiny.tied), (1e-5, true));
    assert_eq!(tiny.sharing, Sharing::None);
    assert_eq!(tiny.storage.blocks, TensorStorage::F32);
    assert_eq!(tiny.storage.embeddings, TensorStorage::F32);
    assert_eq!(tiny.storage.kv_cache, KvStorage::F16);
    assert_eq!(tiny.storage.activations, None, "what the storage asks for");
}

#[test]
fn one_value_has_several_spellings() {
    let whole = model(WHOLE);
    let same: &[&[(&str, &str)]] = &[
        &[("vocab 32_000", "vocab 32K")],
        &[("vocab 32_000", "vocab 32000 // rows")],
        &[("(eps: 1e-5)", "(eps: 0.000_01)")],
        &[("(eps: 1e-5)", "(1E-5)")],
        &[("(theta: 10_000)", "(\n theta: 1.0e+4, // base\n)")],
        &[("kv_heads: 3", "kv_heads: 3, head_dim: 64")],
        &[("heads: 9, kv_heads: 3", "kv_heads: 3,\n heads: 9")],
        &[("q4(group: 32)", "q4(32)")],
        &[("q4(group: 32)", "q4")],
        &[("q4(group: 32)", "q4()")],
        &[("    sharing none\n", "")],
        &[("sharing none", "embeddings tied  sharing none")],
        &[("model m {", "model m\n\n{")],
        &[("block {", "block\n    {")],
        &[("model m {", "\u{feff}// \u{e9}\nmodel m {")],
    ];
    for changes in same {
        assert_eq!(model(&with(changes)), whole, "{changes:?}");
    }
    assert_eq!(model(&WHOLE.replace('\n', "\r\n")), whole);
    assert_eq!(model(&WHOLE.replace('\n', "\r").replace("    ", "\t")), whole);
    assert_eq!(model(WHOLE.trim_end()), whole);
}

/// Codes of each size and group, with a minimum and without, and activations in groups.
#[test]
fn storage_of_codes() {
    let of = |text: &str| model(&with(&[("q4(group: 32)", text)])).storage.blocks;
    for (bits, minimum) in [(4, false), (4, true), (6, false), (6, true), (8, false), (8, true)] {
        let name = format!("q{bits}{}", if minimum { "m" } else { "" });
        for size in Group::SIZES {
            let codes = TensorStorage::Codes { bits, group: Group::Of(size), minimum };
            assert_eq!(of(&format!("{name}(group: {size})")), codes);
            assert_eq!(of(&format!("{name}({size})")), codes);
            assert_eq!(codes.to_string(), format!("{name}(group: {size})"));
        }
        let codes = |group| TensorStorage::Codes { bits, group, minimum };
        assert_eq!(of(&format!("{name}(group: row)")), codes(Group::Row));
        assert_eq!(of(&format!("{name}(row)")), codes(Group::Row));
        assert_eq!(codes(Group::Row).to_string(), format!("{name}(group: row)"));
        assert_eq!(of(&name), codes(Group::Of(32)), "the default");
    }
}

#[test]
fn activations_are_said_or_follow_the_storage() {
    let of = |text: &str| model(&with(&[("q8(group: 32) }", text)])).storage.activations;
    let q8 = |group| Some(Activations::Q8 { group });
    assert_eq!(of("q8(group: 32) }"), None);
    assert_eq!(of("q8  activations f32 }"), Some(Activations::F32));
    assert_eq!(of("q8  activations q8 }"), q8(None));
    assert_eq!(of("q8  activations q8(group: 96) }"), q8(Some(Group::Of(96))));
    assert_eq!(of("q8  activations q8(row) }"), q8(Some(Group::Row)));
    let printed = print(&model(&with(&[("q8(group: 32) }", "q8  activations q8(192) }")])));
    assert!(printed.contains("activations  q8(group: 192)\n"), "{printed}");
}

#[test]
fn sharing_is_an_order_of_stored_blocks() {
    let schedule = |sharing: &str| {
        let changes = [("depth 30", "depth 3"), ("sharing none", sharing)];
        model(&with(&changes)).schedule()
    };
    assert_eq!(schedule("sharing none"), [0, 1, 2]);
    assert_eq!(schedule("sharing immediate(2)"), [0, 0, 1, 1, 2, 2]);
    assert_eq!(schedule("sharing loop(2)"), [0, 1, 2, 0, 1, 2]);
    assert_eq!(schedule("sharing reverse"), [0, 1, 2, 2, 1, 0]);
    assert_eq!(schedule("sharing order [2, 0, 0,\n 1, 2,]"), [2, 0, 0, 1, 2]);
}

#[test]
fn a_derived_model_keeps_what_it_does_not_name() {
    let text = format!(
        "model twice = halved {{ sharing immediate(2) }}\n\
         model halved = m {{ depth 15  block {{ attention gqa(kv_heads: 9) }} }}\n{WHOLE}"
    );
    let [twice, halved, m] = <[_; 3]>::try_from(parse(&text, "m.thin").unwrap()).unwrap();
    assert_eq!((halved.depth, halved.block.heads, halved.block.kv_heads), (15, 9, 9));
    assert_eq!((halved.block.ffn_hidden, halved.storage), (1_536, m.storage));
    assert_eq!((twice.depth, &twice.sharing), (15, &Sharing::Immediate(2)));
    assert_eq!((twice.name.as_str(), twice.block), ("twice", halved.block));
}

/// What the base leaves to a default follows the values of the derived model.
#[test]
fn defaults_come_after_inheritance() {
    let base = with(&[("gqa(heads: 9, kv_heads: 3)", "gqa(heads: 9)")]);
    let derived = "model wide = m { width 1_152  block { attention gqa(heads: 12) } }";
    let models = parse(&format!("{base}{derived}"), "m.thin").unwrap();
    assert_eq!((models[0].block.head_dim, models[0].block.kv_heads), (64, 9));
    assert_eq!((models[1].block.head_dim, models[1].block.kv_heads), (96, 12));
}

#[test]
fn the_canonical_form_says_everything() {
    let text = format!("{WHOLE}model n = m {{ sharing order [{}] }}", order_of_60());
    let models = parse(&text, "m.thin").unwrap();
    expect![[r#"
        model n {
            vocab    32_000
            context  2_048
            width    576
            depth    30

            block {
                norm       rms(eps: 1e-5)
                attention  gqa(heads: 9, kv_heads: 3, head_dim: 64)
                position   rope(theta: 10_000)
                ffn        swiglu(hidden: 1_536)
            }

            embeddings  tied
            sharing     order [
                0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
                14, 14, 15, 15, 16, 16, 17, 17, 18, 18, 19, 19, 20, 20, 21, 21, 22, 22, 23, 23, 24, 24, 25,
                25, 26, 26, 27, 27, 28, 28, 29, 29,
            ]

            storage {
                blocks      q4(group: 32)
                embeddings  q8(group: 32)
                kv_cache    f16
            }
        }
    "#]].assert_eq(&print(&models[1]));
}

fn order_of_60() -> String {
    let blocks: Vec<String> = (0..60).map(|at| (at / 2).to_string()).collect();
    blocks.join(", ")
}

#[test]
fn the_syntax_tree_prints_with_its_places() {
    let text = "model a = b {\n\tdepth 4K\n  storage { blocks q4(32) }\n  sharing order [0, 1]\n  block { ffn swiglu(hidden: 8 * 4) }\n  embeddings tied\n}\n";
    expect![[r#"
        model a = b @ 1:1
          depth @ 2:2
            number 4K @ 2:8
          storage @ 3:3
            section @ 3:11
              blocks @ 3:13
                call q4 @ 3:20
                  number 32 @ 3:23
          sharing @ 4:3
            list order @ 4:11
              number 0 @ 4:18
              number 1 @ 4:21
          block @ 5:3
            section @ 5:9
              ffn @ 5:11
                call swiglu @ 5:15
                  hidden: @ 5:22
                    arithmetic @ 5:30
          embeddings @ 6:3
            word tied @ 6:14
    "#]]
    .assert_eq(&parse_ast(text, "m.thin").unwrap().to_string());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_printed_model_reads_back(model in models::model()) {
        let text = print(&model);
        let read = parse(&text, "m.thin");
        prop_assert_eq!(read.as_deref(), Ok(std::slice::from_ref(&model)), "{}", text);
        prop_assert_eq!(print(&read.unwrap()[0]), text);
    }

    /// Any finite positive real is printed to its last bit.
    #[test]
    fn reals_survive_printing(eps in 1_u32..0x7f80_0000, theta in 1_u64..0x7ff0_0000_0000_0000) {
        let mut model = model(SMALLEST);
        model.block.norm_eps = f32::from_bits(eps);
        model.block.rope_theta = f64::from_bits(theta);
        prop_assert_eq!(parse(&print(&model), "m.thin"), Ok(vec![model]));
    }
}
