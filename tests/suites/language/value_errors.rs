//! The answers to single wrong names and values, word for word.

use expect_test::expect;

use super::{WHOLE, answers, each_answers};

#[test]
fn unknown_names() {
    each_answers(
        [
            ("width 576", "widht 576"),
            ("width 576", "width 576  layers 5"),
            ("width 576", "width 576  heads 9"),
            ("ffn swiglu", "fnn swiglu"),
            ("(heads: 9", "(head: 9"),
            ("(hidden: 1_536)", "(hiden: 1_536)"),
            ("blocks q4", "block q4"),
        ],
        expect![[r#"
            error[D0003]: m.thin:4:5: unknown key `widht` in `model`
                  widht 576
                  ^^^^^
            help: did you mean `width`?
            error[D0003]: m.thin:4:16: unknown key `layers` in `model`
                  width 576  layers 5
                             ^^^^^^
            help: did you mean `depth`?
            error[D0003]: m.thin:4:16: unknown key `heads` in `model`
                  width 576  heads 9
                             ^^^^^
            help: `heads` belongs in `block { attention gqa(..) }`
            error[D0003]: m.thin:10:9: unknown key `fnn` in `block`
                      fnn swiglu(hidden: 1_536)
                      ^^^
            help: did you mean `ffn`?
            error[D0003]: m.thin:8:23: unknown argument `head` in `gqa`
                      attention gqa(head: 9, kv_heads: 3)
                                    ^^^^
            help: did you mean `heads`?
            error[D0003]: m.thin:10:20: unknown argument `hiden` in `swiglu`
                      ffn swiglu(hiden: 1_536)
                                 ^^^^^
            help: did you mean `hidden`?
            error[D0003]: m.thin:13:15: unknown key `block` in `storage`
                  storage { block q4(group: 32)  embeddings q8(group: 32) }
                            ^^^^^
            help: did you mean `blocks`?
        "#]],
    );
}

#[test]
fn duplicates() {
    each_answers(
        [
            ("depth 30", "depth 30\n    width 577"),
            ("(heads: 9,", "(heads: 9, heads: 8,"),
            ("sharing none", "block { }"),
        ],
        expect![[r#"
            error[D0004]: m.thin:6:5: duplicate key `width`, first given at 4:5
                  width 577
                  ^^^^^
            help: keep one of the two
            error[D0004]: m.thin:8:33: duplicate argument `heads`, first given at 8:30
                      attention gqa(heads: 9, heads: 8, kv_heads: 3)
                                              ^^^^^
            help: keep one of the two
            error[D0004]: m.thin:12:5: duplicate key `block`, first given at 6:5
                  block { }
                  ^^^^^
            help: keep one of the two
        "#]],
    );
    answers(
        &WHOLE.repeat(2),
        expect![[r#"
        error[D0020]: m.thin:15:7: duplicate model `m`, first given at 1:7
          model m {
                ^
        help: rename one of the two
    "#]],
    );
}

#[test]
fn numbers() {
    each_answers(
        [
            ("width 576", "width 0x"),
            ("width 576", "width 1_000_"),
            ("width 576", "width -0"),
            ("width 576", "width 18446744073709551616"),
            ("width 576", "width 1e999"),
            ("width 576", "width 2k"),
            ("(theta: 10_000)", "(theta: 1e999)"),
            ("(theta: 10_000)", "(theta: 10K)"),
            ("(theta: 10_000)", "(theta: 0)"),
            ("(eps: 1e-5)", "(eps: -1e-5)"),
            ("(eps: 1e-5)", "(eps: 1e-60)"),
            ("(eps: 1e-5)", "(eps: 1e39)"),
        ],
        expect![[r#"
            error[D0009]: m.thin:4:11: width `0x` is no count
                  width 0x
                        ^^
            help: write digits, `_` between them, and K, M or G for a thousand, a million or a billion: `32_000`, `32K`
            error[D0009]: m.thin:4:11: width `1_000_` is no count
                  width 1_000_
                        ^^^^^^
            help: write digits, `_` between them, and K, M or G for a thousand, a million or a billion: `32_000`, `32K`
            error[D0015]: m.thin:4:11: width `-0` is out of range 1 to 65_536
                  width -0
                        ^^
            help: for example `width 576`
            error[D0009]: m.thin:4:11: width `18446744073709551616` is out of range 1 to 65_536
                  width 18446744073709551616
                        ^^^^^^^^^^^^^^^^^^^^
            help: for example `width 576`
            error[D0009]: m.thin:4:11: width `1e999` is no count
                  width 1e999
                        ^^^^^
            help: write digits, `_` between them, and K, M or G for a thousand, a million or a billion: `32_000`, `32K`
            error[D0009]: m.thin:4:11: width `2k` is no count
                  width 2k
                        ^^
            help: write digits, `_` between them, and K, M or G for a thousand, a million or a billion: `32_000`, `32K`
            error[D0009]: m.thin:9:30: theta `1e999` is out of range
                      position rope(theta: 1e999)
                                           ^^^^^
            help: write a positive number without suffix, such as `theta: 10_000`
            error[D0009]: m.thin:9:30: theta `10K` is no number
                      position rope(theta: 10K)
                                           ^^^
            help: write a positive number without suffix, such as `theta: 10_000`
            error[D0022]: m.thin:9:30: theta `0` is not above zero
                      position rope(theta: 0)
                                           ^
            help: write a positive number without suffix, such as `theta: 10_000`
            error[D0022]: m.thin:7:23: eps `-1e-5` is not above zero
                      norm rms(eps: -1e-5)
                                    ^^^^^
            help: write a positive number without suffix, such as `eps: 1e-5`
            error[D0022]: m.thin:7:23: eps `1e-60` rounds to zero
                      norm rms(eps: 1e-60)
                                    ^^^^^
            help: write a positive number without suffix, such as `eps: 1e-5`
            error[D0009]: m.thin:7:23: eps `1e39` is out of range
                      norm rms(eps: 1e39)
                                    ^^^^
            help: write a positive number without suffix, such as `eps: 1e-5`
        "#]],
    );
}

#[test]
fn ranges() {
    each_answers(
        [
            ("vocab 32_000", "vocab 0"),
            ("context 2_048", "context 2G"),
            ("depth 30", "depth 1_000_000_000"),
            ("heads: 9", "heads: 0"),
            ("kv_heads: 3", "kv_heads: -3"),
            ("group: 32", "group: 0"),
        ],
        expect![[r#"
            error[D0015]: m.thin:2:11: vocab `0` is out of range 1 to 1_048_576
                  vocab 0
                        ^
            help: for example `vocab 32_000`
            error[D0015]: m.thin:3:13: context `2G` is out of range 1 to 16_777_216
                  context 2G
                          ^^
            help: for example `context 2_048`
            error[D0015]: m.thin:5:11: depth `1_000_000_000` is out of range 1 to 4_096
                  depth 1_000_000_000
                        ^^^^^^^^^^^^^
            help: for example `depth 30`
            error[D0015]: m.thin:8:30: heads `0` is out of range 1 to 1_024
                      attention gqa(heads: 0, kv_heads: 3)
                                           ^
            help: for example `heads: 9`
            error[D0015]: m.thin:8:43: kv_heads `-3` is out of range 1 to 1_024
                      attention gqa(heads: 9, kv_heads: -3)
                                                        ^^
            help: for example `kv_heads: 3`
            error[D0015]: m.thin:13:32: group `0` is out of range 1 to 4_096
                  storage { blocks q4(group: 0)  embeddings q8(group: 32) }
                                             ^
            help: for example `group: 32`
        "#]],
    );
}

#[test]
fn values_of_the_wrong_form() {
    each_answers(
        [
            ("width 576", "width tied"),
            ("width 576", "width { }"),
            ("sharing none", "embeddings 5"),
            ("sharing none", "embeddings tied(2)"),
            ("sharing none", "sharing immediate [2]"),
            ("norm rms(eps: 1e-5)", "norm rmsnorm"),
            ("attention gqa(heads: 9, kv_heads: 3)", "attention gqa(9, 3)"),
            ("attention gqa(heads: 9, kv_heads: 3)", "attention mha(heads: 9)"),
            ("attention gqa(heads: 9, kv_heads: 3)", "attention mqa(heads: 9)"),
            ("storage {", "sharing none storage q4 notes {"),
        ],
        expect![[r#"
            error[D0011]: m.thin:4:11: `width` takes a count, found `tied`
                  width tied
                        ^^^^
            help: for example `width 576`
            error[D0011]: m.thin:4:11: `width` takes a count, found a section `{ .. }`
                  width { }
                        ^^^
            help: for example `width 576`
            error[D0011]: m.thin:12:16: `embeddings` takes `tied` or `untied`, found `5`
                  embeddings 5
                             ^
            help: for example `embeddings tied`
            error[D0011]: m.thin:12:16: `tied` takes no arguments, found `tied(..)`
                  embeddings tied(2)
                             ^^^^^^^
            help: write `tied`
            error[D0011]: m.thin:12:13: `immediate` takes no list, found `immediate [..]`
                  sharing immediate [2]
                          ^^^^^^^^^^^^^
            help: write `immediate(2)`
            error[D0011]: m.thin:7:14: `norm` takes `rms(eps: 1e-5)`, found `rmsnorm`
                      norm rmsnorm
                           ^^^^^^^
            help: for example `norm rms(eps: 1e-5)`
            error[D0011]: m.thin:8:23: `gqa` takes its arguments by name
                      attention gqa(9, 3)
                                    ^
            help: `gqa(heads: 9, kv_heads: 3)`
            error[D0011]: m.thin:8:26: `gqa` takes its arguments by name
                      attention gqa(9, 3)
                                       ^
            help: `gqa(heads: 9, kv_heads: 3)`
            error[D0011]: m.thin:8:19: `attention` takes `gqa(heads: 9, kv_heads: 3)`, found `mha(..)`
                      attention mha(heads: 9)
                                ^^^
            help: multi-head attention is `gqa(heads: 9)`, without `kv_heads`
            error[D0011]: m.thin:8:19: `attention` takes `gqa(heads: 9, kv_heads: 3)`, found `mqa(..)`
                      attention mqa(heads: 9)
                                ^^^
            help: multi-query attention is `gqa(heads: 9, kv_heads: 1)`
            error[D0004]: m.thin:13:5: duplicate key `sharing`, first given at 12:5
                  sharing none storage q4 notes { blocks q4(group: 32)  embeddings q8(group: 32) }
                  ^^^^^^^
            help: keep one of the two
            error[D0011]: m.thin:13:26: `storage` takes a section `{ .. }`
                  sharing none storage q4 notes { blocks q4(group: 32)  embeddings q8(group: 32) }
                                       ^^
            help: for example `storage { blocks q4(group: 32) }`
            error[D0003]: m.thin:13:29: unknown key `notes` in `model`
                  sharing none storage q4 notes { blocks q4(group: 32)  embeddings q8(group: 32) }
                                          ^^^^^
            help: `model` takes `vocab`, `context`, `width`, `depth`, `block`, `embeddings`, `sharing` and `storage`
        "#]],
    );
}

#[test]
fn what_is_not_there_yet_is_named() {
    each_answers(
        [
            ("ffn swiglu(hidden: 1_536)", "ffn geglu(hidden: 1_536)"),
            ("hidden: 1_536", "hidden: round_up(width * 8 / 3, 64)"),
            ("hidden: 1_536", "hidden: width * 3"),
            ("kv_heads: 3", "kv_heads: 3, window: 512"),
            ("norm rms(eps: 1e-5)", "norm rms  qk_norm rms"),
            ("(theta: 10_000)", "(theta: 10_000, scaling: llama3)"),
            ("attention gqa(heads: 9, kv_heads: 3)", "attention none"),
            ("sharing none", "block[28..] { attention none }"),
            ("model m {", "let d = 576\nmodel m {"),
            ("model m {", "space s {\n    vary dim in 384..=960 step 64\n}\nmodel m {"),
        ],
        expect![[r#"
            error[D0018]: m.thin:10:13: geglu is not supported yet
                      ffn geglu(hidden: 1_536)
                          ^^^^^^^^^^^^^^^^^^^^
            help: `ffn` takes `swiglu(hidden: 1_536)`
            error[D0018]: m.thin:10:28: arithmetic is not supported yet
                      ffn swiglu(hidden: round_up(width * 8 / 3, 64))
                                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^
            help: for example `hidden: 1_536`
            error[D0018]: m.thin:10:28: arithmetic is not supported yet
                      ffn swiglu(hidden: width * 3)
                                         ^^^^^^^^^
            help: for example `hidden: 1_536`
            error[D0018]: m.thin:8:46: window (sliding attention) is not supported yet
                      attention gqa(heads: 9, kv_heads: 3, window: 512)
                                                           ^^^^^^
            help: `gqa` takes `heads`, `kv_heads` and `head_dim`
            error[D0018]: m.thin:7:19: qk_norm is not supported yet
                      norm rms  qk_norm rms
                                ^^^^^^^
            help: `block` takes `norm`, `attention`, `position` and `ffn`
            error[D0018]: m.thin:9:38: rope scaling is not supported yet
                      position rope(theta: 10_000, scaling: llama3)
                                                   ^^^^^^^
            help: `rope` takes `theta`
            error[D0018]: m.thin:8:19: skipped attention is not supported yet
                      attention none
                                ^^^^
            help: `attention` takes `gqa(heads: 9, kv_heads: 3)`
            error[D0018]: m.thin:12:5: a block range is not supported yet
                  block[28..] { attention none }
                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
            help: `block { .. }` gives one shape to all blocks
            error[D0018]: m.thin:1:1: `let` is not supported yet
              let d = 576
              ^^^^^^^^^^^
            help: write the number itself where it is used
            error[D0018]: m.thin:1:1: `space` is not supported yet
              space s {
              ^^^^^^^^^
            help: write each model of the space out, derived from one base
        "#]],
    );
}
