//! FIR as a structure: building, fusing, the text form, and the verifier's rules.

use deepthin_compiler::fir::passes::PASSES;
use deepthin_compiler::fir::verify::Rule;
use deepthin_compiler::fir::{
    BuildError, Formats, Op, Role, build, fuse, parse, verify, verify_fused,
};
use deepthin_compiler::format::Format;
use deepthin_dsl::Model;
use deepthin_dsl::model::{Activations, Group, Sharing, TensorStorage};
use deepthin_tests::graphs::{self, built, fused};
use deepthin_tests::project::{Source, sources};
use deepthin_tests::{graphtest, models};
use expect_test::{Expect, expect};
use proptest::prelude::*;

#[test]
fn the_tiny_model_in_plain_ops() {
    let expected = expect![[r#"
        graph tiny

        func embed() {
          w0 = token_embedding q8g32[96, 32]
          v0[32] = embed w0
          return v0
        }

        func block0(v0[32]) {
          w0 = attention_norm f32[1, 32]
          w1 = query q4g32[32, 32]
          w2 = key q4g32[16, 32]
          w3 = value q4g32[16, 32]
          w4 = attention_output q4g32[32, 32]
          w5 = ffn_norm f32[1, 32]
          w6 = ffn_gate q4g32[64, 32]
          w7 = ffn_up q4g32[64, 32]
          w8 = ffn_down q4g32[32, 64]
          v1[32] = norm v0 (w0, eps 1e-5)
          v2[32] = linear w1 v1
          v3[16] = linear w2 v1
          v4[16] = linear w3 v1
          v5[32] = rope v2 (heads 4, head_dim 8, theta 10000.0)
          v6[16] = rope v3 (heads 2, head_dim 8, theta 10000.0)
          kv_append v6 v4 (head_dim 8)
          v7[32] = attention v5 (heads 4, kv_heads 2, head_dim 8)
          v8[32] = linear w4 v7
          v9[32] = add v8 v0
          v10[32] = norm v9 (w5, eps 1e-5)
          v11[64] = linear w6 v10
          v12[64] = linear w7 v10
          v13[64] = glu v11 v12
          v14[32] = linear w8 v13
          v15[32] = add v14 v9
          return v15
        }

        func head(v0[32]) {
          w0 = output_norm f32[1, 32]
          w1 = token_embedding q8g32[96, 32]
          v1[32] = norm v0 (w0, eps 1e-5)
          v2[96] = linear w1 v1
          return v2
        }

        schedule {
          block0(0) block0(0) block0(1) block0(1)
        }
    "#]];
    expected.assert_eq(&built(&graphs::tiny()).to_string());
}

#[test]
fn the_tiny_model_after_fusion() {
    let expected = expect![[r#"
        graph tiny

        func embed() {
          w0 = token_embedding q8g32[96, 32]
          v0[32] = embed w0
          return v0
        }

        func block0(v0[32]) {
          w0 = attention_norm f32[1, 32]
          w1 = query q4g32[32, 32]
          w2 = key q4g32[16, 32]
          w3 = value q4g32[16, 32]
          w4 = attention_output q4g32[32, 32]
          w5 = ffn_norm f32[1, 32]
          w6 = ffn_gate q4g32[64, 32]
          w7 = ffn_up q4g32[64, 32]
          w8 = ffn_down q4g32[32, 64]
          v1[32] = linear w1 w2 w3 v0 norm(w0, eps 1e-5) rope(head_dim 8, theta 10000.0) append(heads 4, kv_heads 2, head_dim 8)
          v2[32] = attention v1 (heads 4, kv_heads 2, head_dim 8)
          v3[32] = linear w4 v2 residual v0
          v4[64] = linear w6 w7 v3 norm(w5, eps 1e-5) glu
          v5[32] = linear w8 v4 residual v3
          return v5
        }

        func head(v0[32]) {
          w0 = output_norm f32[1, 32]
          w1 = token_embedding q8g32[96, 32]
          v1[96] = linear w1 v0 norm(w0, eps 1e-5)
          return v1
        }

        schedule {
          block0(0) block0(0) block0(1) block0(1)
        }
    "#]];
    expected.assert_eq(&fused(&graphs::tiny()).to_string());
}

#[test]
fn every_example_fuses_to_five_ops_a_block() {
    let examples = sources("thin").into_iter().filter(|file| file.path.starts_with("examples/"));
    let mut count = 0;
    for Source { path, text } in examples {
        for model in deepthin_dsl::parse(&text, &path).unwrap() {
            let graph = fused(&model);
            assert_eq!(verify_fused(&graph), Ok(()), "{path}");
            let lengths: Vec<usize> = graph.funcs().map(|func| func.ops.len()).collect();
            assert_eq!(lengths, [1, 5, 1], "{path}");
            let scheduled: Vec<u32> = graph.schedule.iter().map(|a| a.block).collect();
            assert_eq!(scheduled, model.schedule(), "{path}");
            count += 1;
        }
    }
    assert!(count >= 9, "only {count} models found");
}

#[test]
fn blocks_share_a_function_exactly_where_their_formats_agree() {
    let model = Model { depth: 3, sharing: Sharing::Reverse, ..graphs::tiny() };
    let mut formats = graphs::formats(&model);
    formats.set(Some(1), Role::FfnDown, Format::Q8_0).unwrap();
    let graph = build(&model, &formats).unwrap();
    let schedule: Vec<(u32, u32)> = graph.schedule.iter().map(|a| (a.func, a.block)).collect();
    assert_eq!(schedule, [(0, 0), (1, 1), (0, 2), (0, 2), (1, 1), (0, 0)]);
    let down = |func: usize| {
        let weights = graph.blocks[func].weights.values();
        weights.filter(|w| w.role == Role::FfnDown).map(|w| w.format).collect::<Vec<_>>()
    };
    assert_eq!((down(0), down(1)), (vec![own(4)], vec![Format::Q8_0]));
}

/// What a description calls `q4` or `q8`.
fn own(bits: u32) -> Format {
    format!("q{bits}g32").parse().unwrap()
}

#[test]
fn formats_are_told_by_tensor() {
    let mut formats = graphs::formats(&graphs::tiny());
    formats.set(None, Role::Output, Format::F16).unwrap();
    assert_eq!(formats.get(None, Role::TokenEmbedding), Some(own(8)));
    assert_eq!(formats.get(None, Role::Output), Some(Format::F16));
    assert_eq!(formats.get(Some(1), Role::AttentionNorm), Some(Format::F32));
    assert_eq!(formats.get(Some(2), Role::Query), None);
    assert_eq!(formats.get(Some(0), Role::Output), None);
    assert_eq!(formats.get(None, Role::Query), None);
    let said = |result: Result<(), _>| result.map_err(|error| format!("{error}")).unwrap_err();
    expect!["there is no tensor `block 2 query`: the model has stored blocks 0 to 1"]
        .assert_eq(&said(formats.set(Some(2), Role::Query, Format::F32)));
    expect!["the norm gain `block 0 ffn_norm` is f16: gains are f32, convert it when it is loaded"]
        .assert_eq(&said(formats.set(Some(0), Role::FfnNorm, Format::F16)));
}

/// Codes are multiplied with codes where nothing is said: in groups of 64, or of 32 where these
/// do not divide the columns; what is said holds for matrices of codes, and no others.
#[test]
fn activations_follow_the_storage() {
    let (of, row) = (|size| Some(Group::Of(size)), Some(Group::Row));
    let q8 = |group| Some(Activations::Q8 { group });
    for (said, columns, expected) in [
        (None, 192, "q8(64)"),
        (None, 96, "q8(32)"),
        (q8(None), 128, "q8(64)"),
        (q8(None), 32, "q8(32)"),
        (q8(of(96)), 192, "q8(96)"),
        (q8(row), 96, "q8(row)"),
        (Some(Activations::F32), 192, "f32"),
    ] {
        let mut model = Model { width: columns, ..graphs::tiny() };
        model.block.head_dim = columns / 4;
        model.block.ffn_hidden = columns;
        model.storage.activations = said;
        let mut formats = graphs::formats(&model);
        formats.set(Some(1), Role::FfnDown, Format::Bf16).unwrap();
        let graph = build(&model, &formats).unwrap();
        for func in graph.funcs() {
            for weight in func.weights.values() {
                let has_codes = weight.format.codes().is_some();
                let expected = if has_codes { expected } else { "f32" };
                assert_eq!(
                    weight.activations.to_string(),
                    expected,
                    "{} {}",
                    func.name,
                    weight.role
                );
            }
        }
    }
}

#[track_caller]
fn check_refused(change: impl Fn(&mut Model, &mut Formats), expected: &Expect) {
    let mut model = graphs::tiny();
    let mut formats = graphs::formats(&model);
    change(&mut model, &mut formats);
    let error: BuildError = build(&model, &formats).unwrap_err();
    expected.assert_eq(&error.to_string());
}

#[test]
fn models_that_make_no_graph_are_refused() {
    check_refused(
        |model, _| model.depth = 3,
        &expect!["formats are given for 2 stored blocks, the model has 3"],
    );
    check_refused(
        |model, _| model.block.ffn_hidden = 48,
        &expect![
            "`block 0 ffn_down` has rows of 48 elements, which q4g32 cannot cut into groups of 32: choose f16, bf16 or f32 for it"
        ],
    );
    check_refused(
        |model, _| model.storage.activations = Some(Activations::Q8 { group: Some(Group::Of(64)) }),
        &expect![
            "`block 0 query` has rows of 32 elements, which cannot be multiplied with q8(group: 64) activations: choose groups that divide them, or f32"
        ],
    );
    check_refused(
        |model, _| {
            model.storage.activations = Some(Activations::Q8 { group: Some(Group::Of(48)) });
        },
        &expect![
            "`block 0 query` has rows of 32 elements, which cannot be multiplied with q8(group: 48) activations: choose groups that divide them, or f32"
        ],
    );
    // A sum over a whole row of more than 65,536 columns may pass 32 bits.
    check_refused(
        |model, formats| {
            model.block.ffn_hidden = 65_568;
            formats.set(Some(0), Role::FfnDown, "q8row".parse().unwrap()).unwrap();
            model.storage.activations = Some(Activations::Q8 { group: Some(Group::Row) });
        },
        &expect![
            "`block 0 ffn_down` has rows of 65568 elements, which cannot be multiplied with q8(group: row) activations: choose groups that divide them, or f32"
        ],
    );
    check_refused(
        |model, _| model.sharing = Sharing::Order(vec![0, 1, 7]),
        &expect!["the sharing order names block 7, the model stores blocks 0 to 1"],
    );
    check_refused(
        |model, _| model.block.heads = 1 << 30,
        &expect!["1073741824 heads of 8 elements are more than a u32 counts"],
    );
    check_refused(
        |model, _| model.block.kv_heads = 3,
        &expect![[r#"
        the model makes no valid graph:
        F-09 in block0 at op 7 (v7[32] = attention v5 (heads 4, kv_heads 3, head_dim 8)): 3 key heads do not divide 4 query heads"#]],
    );
}

#[test]
fn groups_without_kernels_are_refused_plainly() {
    let mut model = graphs::tiny();
    let codes = |group| TensorStorage::Codes { bits: 8, group: Group::Of(group), minimum: true };
    model.storage.blocks = codes(128);
    let error = Formats::from_storage(&model).unwrap_err();
    expect!["`storage.blocks` is q8m(group: 128): there are groups of 32, 64, 96, 192 and row"]
        .assert_eq(&error.to_string());
    model.storage.blocks = codes(32);
    model.storage.embeddings = codes(16);
    let error = Formats::from_storage(&model).unwrap_err();
    expect!["`storage.embeddings` is q8m(group: 16): there are groups of 32, 64, 96, 192 and row"]
        .assert_eq(&error.to_string());
}

#[track_caller]
fn check_parse_error(text: &str, expected: &Expect) {
    expected.assert_eq(&parse(text).unwrap_err().to_string());
}

#[test]
fn parse_errors_name_their_place() {
    let text = built(&graphs::tiny()).to_string();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    check_parse_error("", &expect!["1:1: found the end of the text, expected `graph`"]);
    check_parse_error("graph g schedule { }", &expect!["1:21: function `embed` is missing"]);
    check_parse_error(
        &with("rope v2", "roped v2"),
        &expect!["23:3: there is no op `roped` with a result"],
    );
    check_parse_error(&with("[64, 32]", "[64 32]"), &expect!["16:26: found `32`, expected `,`"]);
    check_parse_error(
        &with("v1[32]", "v1[4294967296]"),
        &expect!["19:6: found 4294967296, expected a number that 32 bits hold"],
    );
    check_parse_error(
        &with("v9[32]", "v99[32]"),
        &expect!["9:1: `block0` defines v10 but not v9: number without gaps"],
    );
    check_parse_error(
        &with("w1 = query", "w2 = query"),
        &expect!["11:3: weight w2 stands in w1's place"],
    );
    check_parse_error(
        &with("query", "quarry"),
        &expect!["11:8: found `quarry`, expected a tensor such as `ffn_up`"],
    );
    check_parse_error(
        &with("eps 1e-5", "eps small"),
        &expect!["19:29: found `small`, expected a float"],
    );
    check_parse_error(
        &with("func head", "func embed"),
        &expect!["38:1: function `embed` is there twice"],
    );
    check_parse_error(
        &with("return v15", "v15[16] = add v9 v9 return v15"),
        &expect!["35:3: v15 is defined with width 32 and 16"],
    );
    check_parse_error(
        &with("schedule", "sch\u{e9}dule"),
        &expect!["46:1: found `sch`, expected `schedule`"],
    );
    let multiplied = |by: &str| with("query q4g32[32, 32]", &format!("query q4g32[32, 32] {by}"));
    check_parse_error(
        &multiplied("q8(48)"),
        &expect!["11:31: found a group of 48, expected 32, 64, 96, 192 or `row`"],
    );
    check_parse_error(
        &multiplied("q8(rows)"),
        &expect!["11:31: found `rows`, expected a whole number"],
    );
    check_parse_error(&multiplied("q8"), &expect!["12:3: found `w2`, expected `(`"]);
    check_parse_error(
        &multiplied("q4(32)"),
        &expect!["11:28: found an op of one result, expected one of 0"],
    );
    check_parse_error(
        &with("q4g32[32, 32]", "q4g48[32, 32]"),
        &expect!["11:14: found `q4g48`, expected a format such as `q8_0`"],
    );
    check_parse_error(
        &format!("{text} graph"),
        &expect!["49:2: found `graph`, expected the end of the text"],
    );
}

#[test]
fn filetests_of_rules_passes_and_runs() {
    graphtest::check_all(&sources("fir"));
}

#[test]
fn each_rule_pass_and_kind_has_a_file() {
    let files = sources("fir");
    let first_lines: Vec<&str> = files.iter().filter_map(|f| f.text.lines().next()).collect();
    let is_there = |test: &str| first_lines.iter().any(|line| line.starts_with(test));
    for rule in Rule::all() {
        let tests = ["verify", "verify-fused"].map(|kind| format!(";; test {kind} error {rule}"));
        assert!(tests.iter().any(|test| is_there(test)), "no file breaks {rule}");
    }
    for pass in PASSES {
        for manner in ["", " unchanged"] {
            let test = format!(";; test pass {}{manner}", pass.name);
            assert!(first_lines.contains(&test.as_str()), "no file says `{test}`");
        }
    }
    for kind in graphtest::KINDS {
        assert!(is_there(&format!(";; test {kind}")), "no file of the kind {kind}");
    }
}

#[test]
fn a_residual_on_either_side_is_fused() {
    let mut graph = built(&graphs::tiny());
    for op in &mut graph.blocks[0].ops {
        if let Op::Add { a, b, .. } = op {
            std::mem::swap(a, b);
        }
    }
    fuse(&mut graph);
    assert_eq!(graph, fused(&graphs::tiny()));
}

proptest! {
    #[test]
    fn texts_parse_back_before_and_after_every_pass(model in models::model()) {
        let mut graph = built(&model);
        prop_assert_eq!(verify(&graph), Ok(()));
        prop_assert_eq!(parse(&graph.to_string()), Ok(graph.clone()));
        for pass in PASSES {
            pass.apply(&mut graph);
            prop_assert_eq!(verify(&graph), Ok(()), "after {}", pass.name);
            prop_assert_eq!(parse(&graph.to_string()), Ok(graph.clone()));
        }
        prop_assert_eq!(verify_fused(&graph), Ok(()));
        prop_assert!(graph.blocks.iter().all(|func| func.ops.len() == 5));
    }

    /// Texts with words moved about: they parse or not, verify or not, but nothing panics.
    #[test]
    fn no_text_makes_anything_panic(
        model in models::model(),
        is_fused in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let graph = if is_fused { fused(&model) } else { built(&model) };
        let text = graph.to_string();
        let mut words: Vec<&str> = text.split_inclusive([' ', '\n', '[', ']', '(', ')']).collect();
        for (to, from) in edits {
            let word = words[from.index(words.len())];
            let to = to.index(words.len());
            words[to] = word;
        }
        if let Ok(mut graph) = parse(&words.concat()) {
            let valid = verify(&graph).is_ok();
            let _ = verify_fused(&graph).map_err(|errors| errors.to_string());
            fuse(&mut graph);
            prop_assert_eq!(verify(&graph).is_ok() || !valid, true);
            prop_assert_eq!(parse(&graph.to_string()).is_ok() || !valid, true);
        }
    }

    #[test]
    fn no_characters_make_the_parser_panic(text in "(graph|func|v0|w1|=|\\[|\\]|\\{|\\(|;|\\PC|\n| ){0,40}") {
        let _ = parse(&text);
    }
}
