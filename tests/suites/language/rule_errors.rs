//! The answers to values that do not fit together, word for word.

use expect_test::expect;

use super::{WHOLE, answers, each_answers, with};

#[test]
fn heads() {
    each_answers(
        [
            ("heads: 9, kv_heads: 3", "heads: 10"),
            ("kv_heads: 3", "kv_heads: 4"),
            ("kv_heads: 3", "kv_heads: 3, head_dim: 63"),
            ("heads: 9, kv_heads: 3", "heads: 192"),
            ("width 576", "width 577"),
            ("heads: 9, kv_heads: 3", "kv_heads: 3"),
        ],
        expect![[r#"
            error[D0013]: m.thin:8:30: 576 is not divisible by 10 heads (57.6)
                      attention gqa(heads: 10)
                                           ^^
            help: 9 and 12 are; or give head_dim itself
            error[D0014]: m.thin:8:43: 9 heads are not divisible by 4 kv_heads
                      attention gqa(heads: 9, kv_heads: 4)
                                                        ^
            help: kv_heads may be 1, 3 or 9
            error[D0016]: m.thin:8:56: head_dim 63 is odd, rope turns pairs and needs it even
                      attention gqa(heads: 9, kv_heads: 3, head_dim: 63)
                                                                     ^^
            help: use 62 or 64
            error[D0016]: m.thin:8:30: head_dim = width / heads = 3 is odd, rope turns pairs and needs it even
                      attention gqa(heads: 192)
                                           ^^^
            help: use 144 or 288 heads, or give head_dim itself
            error[D0013]: m.thin:8:30: 577 is not divisible by 9 heads (64.111)
                      attention gqa(heads: 9, kv_heads: 3)
                                           ^
            help: give head_dim itself: `head_dim: 64`
            error[D0021]: m.thin:13:22: blocks: groups of 32 do not divide rows of 577 (width)
                  storage { blocks q4(group: 32)  embeddings q8(group: 32) }
                                   ^^^^^^^^^^^^^
            help: groups are whole blocks of 32: give it rows that 32 divides, or use `f16`
            error[D0021]: m.thin:13:48: embeddings: groups of 32 do not divide rows of 577 (width)
                  storage { blocks q4(group: 32)  embeddings q8(group: 32) }
                                                             ^^^^^^^^^^^^^
            help: groups are whole blocks of 32: give it rows that 32 divides, or use `f16`
            error[D0010]: m.thin:8:19: `gqa` lacks `heads`
                      attention gqa(kv_heads: 3)
                                ^^^^^^^^^^^^^^^^
            help: add `heads: 9` to it
        "#]],
    );
    let wide = [("width 576", "width 2_304"), ("heads: 9, kv_heads: 3", "heads: 2")];
    answers(
        &with(&wide),
        expect![[r#"
            error[D0015]: m.thin:8:30: head_dim = width / heads = 1_152, the limit is 1_024
                      attention gqa(heads: 2)
                                           ^
            help: use 3 or 4 heads, or give head_dim itself
        "#]],
    );
}

#[test]
fn parameters() {
    let wide = [
        ("width 576", "width 18_432"),
        ("depth 30", "depth 1_000"),
        ("kv_heads: 3", "kv_heads: 3, head_dim: 64"),
    ];
    answers(
        &with(&wide),
        expect![[r#"
            error[D0017]: m.thin:5:11: 113_872_914_432 parameters exceed the limit of 8_000_000_000: depth 1_000 * 113_283_072 a block + 589_842_432 outside of blocks
                  depth 1_000
                        ^^^^^
            help: lower depth, width or hidden
        "#]],
    );
    let many = [
        ("width 576", "width 36_864"),
        ("depth 30", "depth 1"),
        ("vocab 32_000", "vocab 1M"),
        ("heads: 9, kv_heads: 3", "heads: 576"),
    ];
    answers(
        &with(&many),
        expect![[r#"
        error[D0017]: m.thin:2:11: 42_469_797_888 parameters exceed the limit of 8_000_000_000: depth 1 * 5_605_761_024 a block + 36_864_036_864 outside of blocks
              vocab 1M
                    ^^
        help: lower vocab or width
    "#]],
    );
}

#[test]
fn sharing() {
    each_answers(
        [
            ("sharing none", "sharing immediate(0)"),
            ("sharing none", "sharing immediate"),
            ("sharing none", "sharing loop(200)"),
            ("sharing none", "sharing order [0, 30, 1, 99]"),
            ("sharing none", "sharing order []"),
            ("sharing none", "sharing order"),
            ("sharing none", "sharing reverse(2)"),
            ("sharing none", "sharing imediate(2)"),
        ],
        expect![[r#"
            error[D0015]: m.thin:12:23: n `0` is out of range 1 to 4_096
                  sharing immediate(0)
                                    ^
            help: for example `immediate(2)`
            error[D0010]: m.thin:12:13: `immediate` needs to know how many times
                  sharing immediate
                          ^^^^^^^^^
            help: for example `immediate(2)`
            error[D0019]: m.thin:12:13: sharing applies 6_000 blocks, the limit is 4_096
                  sharing loop(200)
                          ^^^^^^^^^
            help: lower the depth, or share less often
            error[D0019]: m.thin:12:13: `order` never applies 28 of 30 blocks
                  sharing order [0, 30, 1, 99]
                          ^^^^^^^^^^^^^^^^^^^^
            help: list every stored block, or lower the depth
            error[D0019]: m.thin:12:23: `order` refers to block 30, the depth is 30
                  sharing order [0, 30, 1, 99]
                                    ^^
            help: blocks are numbered 0 to 29
            error[D0019]: m.thin:12:30: `order` refers to block 99, the depth is 30
                  sharing order [0, 30, 1, 99]
                                           ^^
            help: blocks are numbered 0 to 29
            error[D0019]: m.thin:12:13: `order` never applies 30 of 30 blocks
                  sharing order []
                          ^^^^^^^^
            help: list every stored block, or lower the depth
            error[D0011]: m.thin:12:13: `order` needs a list of blocks, found `order`
                  sharing order
                          ^^^^^
            help: write `order [0, 0, 1]`
            error[D0011]: m.thin:12:13: `reverse` takes no arguments, found `reverse(..)`
                  sharing reverse(2)
                          ^^^^^^^^^^
            help: write `reverse`
            error[D0011]: m.thin:12:13: `sharing` takes `none`, `immediate(2)`, `loop(2)`, `reverse` or `order [0, 0, 1]`, found `imediate(..)`
                  sharing imediate(2)
                          ^^^^^^^^
            help: did you mean `immediate`?
        "#]],
    );
    let few = [("depth 30", "depth 5"), ("sharing none", "sharing order [0, 0, 3]")];
    answers(
        &with(&few),
        expect![[r#"
            error[D0019]: m.thin:12:13: `order` never applies blocks 1, 2 and 4
                  sharing order [0, 0, 3]
                          ^^^^^^^^^^^^^^^
            help: list every stored block, or lower the depth
        "#]],
    );
}

#[test]
fn storage_groups() {
    each_answers(
        [
            ("q4(group: 32)", "q4(group: 40)"),
            ("q8(group: 32)", "q8(128)"),
            ("q8(group: 32)", "q8(group: 48)"),
            ("q4(group: 32)", "q6m(group: 16)"),
            ("hidden: 1_536", "hidden: 1_500"),
            ("q4(group: 32)", "q5(group: 32)"),
            ("q4(group: 32)", "q6(group: rows)"),
            ("q4(group: 32)", "q6(group: 0)"),
            ("q4(group: 32)", "q4(group: 32, minimum: 1)"),
            ("q4(group: 32)", "q6m(symmetric)"),
            ("q4(group: 32)", "q6(group: tied)"),
            ("q4(group: 32)", "q4_0"),
            ("q4(group: 32)", "f32(3)"),
        ],
        expect![[r#"
            error[D0021]: m.thin:13:22: blocks: groups of 40 do not divide rows of 576 (width), rows of 576 (heads * head_dim) and rows of 1_536 (hidden)
                  storage { blocks q4(group: 40)  embeddings q8(group: 32) }
                                   ^^^^^^^^^^^^^
            help: write `group: 32`, `group: 64`, `group: 96`, `group: 192` or `group: row`
            error[D0021]: m.thin:13:48: embeddings: groups of 128 do not divide rows of 576 (width)
                  storage { blocks q4(group: 32)  embeddings q8(128) }
                                                             ^^^^^^^
            help: write `group: 32`, `group: 64`, `group: 96`, `group: 192` or `group: row`
            error[D0018]: m.thin:13:48: embeddings: a group of 48 is not supported yet
                  storage { blocks q4(group: 32)  embeddings q8(group: 48) }
                                                             ^^^^^^^^^^^^^
            help: write `group: 32`, `group: 64`, `group: 96`, `group: 192` or `group: row`
            error[D0018]: m.thin:13:22: blocks: a group of 16 is not supported yet
                  storage { blocks q6m(group: 16)  embeddings q8(group: 32) }
                                   ^^^^^^^^^^^^^^
            help: write `group: 32`, `group: 64`, `group: 96`, `group: 192` or `group: row`
            error[D0021]: m.thin:13:22: blocks: groups of 32 do not divide rows of 1_500 (hidden)
                  storage { blocks q4(group: 32)  embeddings q8(group: 32) }
                                   ^^^^^^^^^^^^^
            help: groups are whole blocks of 32: give it rows that 32 divides, or use `f16`
            error[D0011]: m.thin:13:22: `blocks` takes `f32`, `f16`, `bf16`, `q8(group: 32)`, `q6(group: 64)`, `q4(group: 32)`, `q8m(group: 32)`, `q6m(group: 64)` or `q4m(group: 32)`, found `q5(..)`
                  storage { blocks q5(group: 32)  embeddings q8(group: 32) }
                                   ^^
            help: did you mean `q8`?
            error[D0011]: m.thin:13:32: `group` takes a count or `row`, found `rows`
                  storage { blocks q6(group: rows)  embeddings q8(group: 32) }
                                             ^^^^
            help: did you mean `row`?
            error[D0015]: m.thin:13:32: group `0` is out of range 1 to 4_096
                  storage { blocks q6(group: 0)  embeddings q8(group: 32) }
                                             ^
            help: for example `group: 32`
            error[D0003]: m.thin:13:36: unknown argument `minimum` in `q4`
                  storage { blocks q4(group: 32, minimum: 1)  embeddings q8(group: 32) }
                                                 ^^^^^^^
            help: `q8`, `q6` and `q4` are symmetric; with a minimum for each group: `q8m`, `q6m`, `q4m`
            error[D0011]: m.thin:13:26: `group` takes a count or `row`, found `symmetric`
                  storage { blocks q6m(symmetric)  embeddings q8(group: 32) }
                                       ^^^^^^^^^
            help: `q8`, `q6` and `q4` are symmetric; with a minimum for each group: `q8m`, `q6m`, `q4m`
            error[D0011]: m.thin:13:32: `group` takes a count or `row`, found `tied`
                  storage { blocks q6(group: tied)  embeddings q8(group: 32) }
                                             ^^^^
            help: for example `group: 32`
            error[D0011]: m.thin:13:22: `blocks` takes `f32`, `f16`, `bf16`, `q8(group: 32)`, `q6(group: 64)`, `q4(group: 32)`, `q8m(group: 32)`, `q6m(group: 64)` or `q4m(group: 32)`, found `q4_0`
                  storage { blocks q4_0  embeddings q8(group: 32) }
                                   ^^^^
            help: did you mean `q4`?
            error[D0011]: m.thin:13:22: `f32` takes no arguments, found `f32(..)`
                  storage { blocks f32(3)  embeddings q8(group: 32) }
                                   ^^^^^^
            help: write `f32`
        "#]],
    );
}

/// The groups that would do are named.
#[test]
fn groups_that_divide_are_offered() {
    answers(
        &with(&[("q4(group: 32)", "q6m(group: 96)"), ("hidden: 1_536", "hidden: 1_600")]),
        expect![[r#"
            error[D0021]: m.thin:13:22: blocks: groups of 96 do not divide rows of 1_600 (hidden)
                  storage { blocks q6m(group: 96)  embeddings q8(group: 32) }
                                   ^^^^^^^^^^^^^^
            help: write `group: 32`, `group: 64` or `group: row`
        "#]],
    );
}

/// Groups of activations are as those of weights: they divide every row.
#[test]
fn activation_groups() {
    let storage =
        |text: &str| WHOLE.replace("q8(group: 32) }", &format!("q8(group: 32)  {text} }}"));
    let texts = [
        storage("activations q8(group: 128)"),
        storage("activations q8(group: 48)"),
        storage("activations q8(group: 192)").replace("1_536", "1_600"),
        storage("activations q8(group: row)").replace("1_536", "1_500"),
        storage("activations q8(row, 32)"),
        storage("activations q8m"),
        storage("activations q4(group: 32)"),
        storage("activations f32(group: 32)"),
    ];
    let rendered = texts.map(|text| super::rendered(&super::errors(&text)));
    expect![[r#"
        error[D0021]: m.thin:13:75: activations: groups of 128 do not divide rows of 576 (width) and rows of 576 (heads * head_dim)
              storage { blocks q4(group: 32)  embeddings q8(group: 32)  activations q8(group: 128) }
                                                                                    ^^^^^^^^^^^^^^
        help: write `group: 32`, `group: 64`, `group: 96`, `group: 192` or `group: row`
        error[D0018]: m.thin:13:75: activations: a group of 48 is not supported yet
              storage { blocks q4(group: 32)  embeddings q8(group: 32)  activations q8(group: 48) }
                                                                                    ^^^^^^^^^^^^^
        help: write `group: 32`, `group: 64`, `group: 96`, `group: 192` or `group: row`
        error[D0021]: m.thin:13:75: activations: groups of 192 do not divide rows of 1_600 (hidden)
              storage { blocks q4(group: 32)  embeddings q8(group: 32)  activations q8(group: 192) }
                                                                                    ^^^^^^^^^^^^^^
        help: write `group: 32`, `group: 64` or `group: row`
        error[D0021]: m.thin:13:22: blocks: groups of 32 do not divide rows of 1_500 (hidden)
              storage { blocks q4(group: 32)  embeddings q8(group: 32)  activations q8(group: row) }
                               ^^^^^^^^^^^^^
        help: groups are whole blocks of 32: give it rows that 32 divides, or use `f16`
        error[D0021]: m.thin:13:75: activations: blocks of 32 do not divide rows of 1_500 (hidden)
              storage { blocks q4(group: 32)  embeddings q8(group: 32)  activations q8(group: row) }
                                                                                    ^^^^^^^^^^^^^^
        help: groups are whole blocks of 32: give it rows that 32 divides, or use `f32`
        error[D0004]: m.thin:13:83: duplicate argument `group`, first given at 13:78
              storage { blocks q4(group: 32)  embeddings q8(group: 32)  activations q8(row, 32) }
                                                                                            ^^
        help: keep one of the two
        error[D0011]: m.thin:13:75: `activations` takes `f32` or `q8(group: 64)`, found `q8m`
              storage { blocks q4(group: 32)  embeddings q8(group: 32)  activations q8m }
                                                                                    ^^^
        help: did you mean `q8`?
        error[D0011]: m.thin:13:75: `activations` takes `f32` or `q8(group: 64)`, found `q4(..)`
              storage { blocks q4(group: 32)  embeddings q8(group: 32)  activations q4(group: 32) }
                                                                                    ^^
        help: did you mean `q8`?
        error[D0011]: m.thin:13:75: `f32` takes no arguments, found `f32(..)`
              storage { blocks q4(group: 32)  embeddings q8(group: 32)  activations f32(group: 32) }
                                                                                    ^^^^^^^^^^^^^^
        help: write `f32`
    "#]].assert_eq(&rendered.concat());
}

#[test]
fn bases() {
    answers(
        &format!("{WHOLE}model n = mm {{ depth 0 }}\nmodel o = n {{ }}\n"),
        expect![[r#"
            error[D0012]: m.thin:15:11: unknown base `mm`: no model of this name in the file
              model n = mm { depth 0 }
                        ^^
            help: did you mean `m`?
            error[D0015]: m.thin:15:22: depth `0` is out of range 1 to 4_096
              model n = mm { depth 0 }
                                   ^
            help: for example `depth 30`
        "#]],
    );
    answers(
        "model a = b { }\nmodel b = c { }\nmodel c = a { }\nmodel d = a { }\n",
        expect![[r#"
            error[D0012]: m.thin:1:11: a model is derived from itself: a = b = c = a
              model a = b { }
                        ^
            help: give one of these models all of its keys, and no base
        "#]],
    );
}

/// A derived model answers for what it names; the rest is its base's, and said once.
#[test]
fn a_derived_model_answers_for_itself() {
    let base = with(&[("kv_heads: 3", "kv_heads: 4")]);
    answers(
        &format!("{base}model n = m {{ sharing reverse }}\n"),
        expect![[r#"
        error[D0014]: m.thin:8:43: 9 heads are not divisible by 4 kv_heads
                  attention gqa(heads: 9, kv_heads: 4)
                                                    ^
        help: kv_heads may be 1, 3 or 9
    "#]],
    );
    answers(
        &format!(
            "{WHOLE}model n = m {{ width 600 }}\nmodel o = m {{ depth 4_000 sharing reverse }}\n"
        ),
        expect![[r#"
            error[D0013]: m.thin:15:21: 600 is not divisible by 9 heads (66.667)
              model n = m { width 600 }
                                  ^^^
            help: 10 and 12 are; or give head_dim itself
            error[D0021]: m.thin:15:21: blocks: groups of 32 do not divide rows of 600 (width)
              model n = m { width 600 }
                                  ^^^
            help: groups are whole blocks of 32: give it rows that 32 divides, or use `f16`
            error[D0021]: m.thin:15:21: embeddings: groups of 32 do not divide rows of 600 (width)
              model n = m { width 600 }
                                  ^^^
            help: groups are whole blocks of 32: give it rows that 32 divides, or use `f16`
            error[D0019]: m.thin:16:35: sharing applies 8_000 blocks, the limit is 4_096
              model o = m { depth 4_000 sharing reverse }
                                                ^^^^^^^
            help: lower the depth, or share less often
        "#]],
    );
}

/// Everything that is wrong with the meaning of a file, in one answer.
#[test]
fn errors_of_meaning_are_all_found() {
    answers(
        "model a {\n    vocab 0\n    context tied\n    hiden 576\n    depth 30\n    block {\n        \
         norm rms(eps: 0)\n        attention gqa(heads: 9, kv_heads: 4, head_dim: 63)\n        \
         ffn geglu(hidden: 5)\n    }\n    sharing order [0, 31]\n    storage { blocks q5  blocks f32 }\n\
         }\n\nmodel b = c { }\n",
        expect![[r#"
            error[D0010]: m.thin:1:7: model `a` lacks `width`
              model a {
                    ^
            help: add `width 576` to it
            error[D0015]: m.thin:2:11: vocab `0` is out of range 1 to 1_048_576
                  vocab 0
                        ^
            help: for example `vocab 32_000`
            error[D0011]: m.thin:3:13: `context` takes a count, found `tied`
                  context tied
                          ^^^^
            help: for example `context 2_048`
            error[D0003]: m.thin:4:5: unknown key `hiden` in `model`
                  hiden 576
                  ^^^^^
            help: did you mean `hidden`, of `block { ffn swiglu(..) }`?
            error[D0010]: m.thin:6:5: `block` lacks `position`
                  block {
                  ^^^^^
            help: add `position rope(theta: 10_000)` to it
            error[D0022]: m.thin:7:23: eps `0` is not above zero
                      norm rms(eps: 0)
                                    ^
            help: write a positive number without suffix, such as `eps: 1e-5`
            error[D0014]: m.thin:8:43: 9 heads are not divisible by 4 kv_heads
                      attention gqa(heads: 9, kv_heads: 4, head_dim: 63)
                                                        ^
            help: kv_heads may be 1, 3 or 9
            error[D0016]: m.thin:8:56: head_dim 63 is odd, rope turns pairs and needs it even
                      attention gqa(heads: 9, kv_heads: 4, head_dim: 63)
                                                                     ^^
            help: use 62 or 64
            error[D0018]: m.thin:9:13: geglu is not supported yet
                      ffn geglu(hidden: 5)
                          ^^^^^^^^^^^^^^^^
            help: `ffn` takes `swiglu(hidden: 1_536)`
            error[D0019]: m.thin:11:13: `order` never applies 29 of 30 blocks
                  sharing order [0, 31]
                          ^^^^^^^^^^^^^
            help: list every stored block, or lower the depth
            error[D0019]: m.thin:11:23: `order` refers to block 31, the depth is 30
                  sharing order [0, 31]
                                    ^^
            help: blocks are numbered 0 to 29
            error[D0011]: m.thin:12:22: `blocks` takes `f32`, `f16`, `bf16`, `q8(group: 32)`, `q6(group: 64)`, `q4(group: 32)`, `q8m(group: 32)`, `q6m(group: 64)` or `q4m(group: 32)`, found `q5`
                  storage { blocks q5  blocks f32 }
                                   ^^
            help: did you mean `q8`?
            error[D0004]: m.thin:12:26: duplicate key `blocks`, first given at 12:15
                  storage { blocks q5  blocks f32 }
                                       ^^^^^^
            help: keep one of the two
            error[D0012]: m.thin:15:11: unknown base `c`: no model of this name in the file
              model b = c { }
                        ^
            help: a base is the name of another model of the same file
        "#]],
    );
}

/// What is missing is told where it belongs, so that the advice can be followed as it stands.
#[test]
fn what_a_model_lacks_is_told_where_it_belongs() {
    let outside = "model m {\n    vocab 512  context 64  width 576  depth 2\n";
    let block = |entries: &str| format!("{outside}    block {{ {entries} }}\n}}\n");
    let [attention, position, ffn] =
        ["attention gqa(heads: 9)", "position rope(theta: 10_000)", "ffn swiglu(hidden: 1_536)"];
    answers(
        &format!("{outside}}}\n"),
        expect![[r#"
        error[D0010]: m.thin:1:7: model `m` lacks `block`
          model m {
                ^
        help: add `block { attention gqa(heads: 9)  position rope(theta: 10_000)  ffn swiglu(hidden: 1_536) }` to it
    "#]],
    );
    answers(
        &block(&format!("{attention} {ffn}")),
        expect![[r#"
        error[D0010]: m.thin:3:5: `block` lacks `position`
              block { attention gqa(heads: 9) ffn swiglu(hidden: 1_536) }
              ^^^^^
        help: add `position rope(theta: 10_000)` to it
    "#]],
    );
    answers(
        &block(&format!("{attention} position rope {ffn}")),
        expect![[r#"
        error[D0010]: m.thin:3:46: `rope` lacks `theta`
              block { attention gqa(heads: 9) position rope ffn swiglu(hidden: 1_536) }
                                                       ^^^^
        help: write `position rope(theta: 10_000)`
    "#]],
    );
    answers(
        &block(""),
        expect![[r#"
        error[D0010]: m.thin:3:5: `block` lacks `attention`, `position` and `ffn`
              block {  }
              ^^^^^
        help: for example `attention gqa(heads: 9)`, `position rope(theta: 10_000)` and `ffn swiglu(hidden: 1_536)`
    "#]],
    );
    assert!(deepthin_dsl::parse(&block(&[attention, position, ffn].join(" ")), "m.thin").is_ok());
    answers(
        &block(&[attention, position, "mlp swiglu(hidden: 64)"].join(" ")),
        expect![[r#"
        error[D0003]: m.thin:3:66: unknown key `mlp` in `block`
              block { attention gqa(heads: 9) position rope(theta: 10_000) mlp swiglu(hidden: 64) }
                                                                           ^^^
        help: did you mean `ffn`?
    "#]],
    );
    let storage = format!("{outside}    storage {{ blocks q4g32m  embeddings q8row }}\n}}\n");
    answers(
        &storage,
        expect![[r#"
            error[D0010]: m.thin:1:7: model `m` lacks `block`
              model m {
                    ^
            help: add `block { attention gqa(heads: 9)  position rope(theta: 10_000)  ffn swiglu(hidden: 1_536) }` to it
            error[D0011]: m.thin:3:22: `blocks` takes `f32`, `f16`, `bf16`, `q8(group: 32)`, `q6(group: 64)`, `q4(group: 32)`, `q8m(group: 32)`, `q6m(group: 64)` or `q4m(group: 32)`, found `q4g32m`
                  storage { blocks q4g32m  embeddings q8row }
                                   ^^^^^^
            help: write `q4m(group: 32)`
            error[D0011]: m.thin:3:41: `embeddings` takes `f32`, `f16`, `bf16`, `q8(group: 32)`, `q6(group: 64)`, `q4(group: 32)`, `q8m(group: 32)`, `q6m(group: 64)` or `q4m(group: 32)`, found `q8row`
                  storage { blocks q4g32m  embeddings q8row }
                                                      ^^^^^
            help: write `q8(group: row)`
        "#]],
    );
}
