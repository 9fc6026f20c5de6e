//! Plans: what they look like, that they keep every value until it is read, that the runtime's
//! validation accepts them and refuses damaged ones.

mod ahead;
mod judge;
mod validation;

use std::collections::BTreeSet;

use deepthin_compiler::fir::{
    Epilogue, Formats, Graph, Op, Role, build, fuse, parse, verify_fused,
};
use deepthin_compiler::format::Format;
use deepthin_compiler::pipeline::{self, CompileError};
use deepthin_compiler::plan::{PlanOptions, plan};
use deepthin_dsl::Model;
use deepthin_dsl::model::Sharing;
use deepthin_tests::cases::cases;
use deepthin_tests::graphs::{self, fused};
use deepthin_tests::models;
use deepthin_tests::project::{Source, sources};
use expect_test::expect;
use proptest::prelude::*;

/// Chunks of five tokens: a judge that looks at every word of every token need not take long.
fn options(context: u32) -> PlanOptions {
    PlanOptions { chunk: 5.min(context), ..PlanOptions::new(4, context) }
}

#[test]
fn the_plan_of_the_tiny_model() {
    let model = Model { depth: 1, sharing: Sharing::Immediate(2), ..graphs::tiny() };
    let plan = plan(&fused(&model), &PlanOptions::new(4, 100)).unwrap();
    expect![[r#"
        plan tiny {
          lanes 4  context 100  chunk 64  tiles [4, 1]
          bytes  image 12288  tables 3200  arena 25856  scratch 4864 a thread  kv 32768  logits 1584

          kernels {
            k0 = embed_q8g32_96x32
            k1 = norm_linear_rope_append_q4g32_256x32_t4
            k2 = norm_linear_rope_append_q4g32_256x32_t1
            k3 = attention_4q2kv_8
            k4 = attention_chunks_4q2kv_8
            k5 = linear_residual_q4g32_32x32_t4
            k6 = linear_residual_q4g32_32x32_t1
            k7 = merge_linear_residual_q4g32_32x32_t1
            k8 = norm_linear_glu_q4g32_128x32_t4
            k9 = norm_linear_glu_q4g32_128x32_t1
            k10 = linear_residual_q4g32_32x64_t4
            k11 = linear_residual_q4g32_32x64_t1
            k12 = norm_linear_logits_q8g32_96x32_t4
            k13 = norm_linear_logits_q8g32_96x32_t1
          }

          image {
                     0: token_embedding q8g32 k 32 (3264 bytes)
                  3264: block 0 query key value q4g32 k 32 (4608 bytes)
                  7872: block 0 attention_norm f32 [32] (128 bytes)
                  8000: block 0 attention_output q4g32 k 32 (576 bytes)
                  8576: block 0 ffn_gate ffn_up q4g32 k 32 (2304 bytes)
                 10880: block 0 ffn_norm f32 [32] (128 bytes)
                 11008: block 0 ffn_down q4g32 k 64 (1152 bytes)
                 12160: output_norm f32 [32] (128 bytes)
          }

          tables {
                     0: rotary table [100, 8] theta 10000 (3200 bytes)
          }

          body {
               0: k0x1 token-units 1 image+0 arena+0+128t
               1: k1x4 k2x1 units 8 arena+0+128t image+3264 image+7872 scratch+0 scratch+512 arena+8192+128t scratch+768 tables+0+32p kv+0 kv+8192
               2: k3x1 token-units 2 of several tokens arena+8192+128t kv+0 kv+8192 arena+16384+128t scratch+0 scratch+256 scratch+320 scratch+384
               3: k4x1 units 2 each 64 positions of one token arena+8192+128t kv+0 kv+8192 arena+24576 scratch+0
               4: k5x4 k6x1 units 1 of several tokens arena+16384+128t image+8000 scratch+0 arena+0+128t scratch+256
               5: k7x1 units 1 of one token arena+24576 scratch+0 scratch+128 scratch+192 image+8000 scratch+256 arena+0+128t scratch+512
               6: k8x4 k9x1 units 4 arena+0+128t image+8576 image+10880 scratch+0 scratch+512 arena+8192+256t scratch+768
               7: k10x4 k11x1 units 1 arena+8192+256t image+11008 scratch+0 arena+0+128t scratch+256
            // end of layer 0
               8: k1x4 k2x1 units 8 arena+0+128t image+3264 image+7872 scratch+0 scratch+512 arena+8192+128t scratch+768 tables+0+32p kv+16384 kv+24576
               9: k3x1 token-units 2 of several tokens arena+8192+128t kv+16384 kv+24576 arena+16384+128t scratch+0 scratch+256 scratch+320 scratch+384
              10: k4x1 units 2 each 64 positions of one token arena+8192+128t kv+16384 kv+24576 arena+24576 scratch+0
              11: k5x4 k6x1 units 1 of several tokens arena+16384+128t image+8000 scratch+0 arena+0+128t scratch+256
              12: k7x1 units 1 of one token arena+24576 scratch+0 scratch+128 scratch+192 image+8000 scratch+256 arena+0+128t scratch+512
              13: k8x4 k9x1 units 4 arena+0+128t image+8576 image+10880 scratch+0 scratch+512 arena+8192+256t scratch+768
              14: k10x4 k11x1 units 1 arena+8192+256t image+11008 scratch+0 arena+0+128t scratch+256
            // end of layer 1
          }

          head {
               0: k12x4 k13x1 units 3 arena+0+128t image+0 image+12160 scratch+0 scratch+512 logits+0+384t logits+1536+12t
          }
        }
    "#]].assert_eq(&plan.to_string());
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn generated_plans_keep_values_until_they_are_read(model in models::model()) {
        let graph = fused(&model);
        let plan = plan(&graph, &options(model.context)).unwrap();
        prop_assert_eq!(judge::judge(&graph, &plan), Ok(()));
    }
}

#[test]
fn the_plans_of_the_examples_keep_values_until_they_are_read() {
    let mut count = 0;
    let examples = sources("thin").into_iter().filter(|file| file.path.starts_with("examples/"));
    for Source { path, text } in examples {
        for model in deepthin_dsl::parse(&text, &path).unwrap() {
            let graph = fused(&model);
            let plan = plan(&graph, &options(70)).unwrap();
            assert_eq!(judge::judge(&graph, &plan), Ok(()), "{path}");
            count += 1;
        }
    }
    assert!(count >= 9, "only {count} examples");
}

/// A graph of width 32 whose block is applied once.
fn of_block(block: &str) -> Graph {
    let text = "graph of_block\n
        func embed() {
          w0 = token_embedding f32[8, 32]
          v0[32] = embed w0
          return v0
        }
        func block0(v0[32]) {
          BLOCK
        }
        func head(v0[32]) {
          w0 = token_embedding f32[8, 32]
          v1[8] = linear w0 v0
          return v1
        }
        schedule {
          block0(0)
        }\n";
    let graph = parse(&text.replace("BLOCK", block)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(verify_fused(&graph), Ok(()));
    graph
}

/// A residual sum may be added to a value that is not the residual stream; its place is then kept
/// as long as the sum is read, not as long as the summand is.
#[test]
fn a_residual_sum_beside_the_stream_is_kept() {
    let graph = of_block(
        "w0 = ffn_gate f32[32, 32]
          w1 = key f32[32, 32]
          w2 = ffn_up f32[32, 32]
          w3 = attention_output f32[32, 32]
          w4 = ffn_down f32[32, 32]
          v1[32] = linear w0 w2 v0 glu
          v2[32] = linear w1 v0 residual v1
          v3[32] = linear w2 w0 v0 glu
          v4[32] = linear w3 v2 residual v0
          v5[32] = linear w4 v3 residual v4
          return v5",
    );
    let plan = plan(&graph, &options(70)).unwrap();
    assert_eq!(judge::judge(&graph, &plan), Ok(()));
}

/// The judge sees what it is there for: each of these makes one read come from another step.
#[test]
fn the_judge_notices_misplaced_values() {
    let graph = fused(&graphs::tiny());
    let good = plan(&graph, &options(70)).unwrap();
    assert_eq!(judge::judge(&graph, &good), Ok(()));
    // embed; then of the first application: qkv, attention of several tokens, that of one by chunks,
    // output of several tokens, that of one, gate and up, down.
    let attention = [(2, 0), (2, 1), (2, 2), (2, 3), (3, 0), (3, 1), (3, 2), (3, 3)];
    let others = [(0, 1), (1, 0), (4, 0), (5, 0), (6, 0), (7, 0)];
    for (step, operand) in others.into_iter().chain(attention) {
        let mut bad = good.clone();
        bad.body[step].operands[operand].offset += 64;
        assert!(judge::judge(&graph, &bad).is_err(), "step {step}, operand {operand}");
    }
    let mut bad = good.clone();
    bad.body[8].operands[1] = good.body[22].operands[1];
    let error = judge::judge(&graph, &bad).unwrap_err();
    assert!(error.contains("weights"), "{error}");
}

#[test]
fn kernels_are_distinct() {
    let model = Model { depth: 4, sharing: Sharing::Loop(2), ..graphs::tiny() };
    let mut formats = graphs::formats(&model);
    formats.set(Some(1), Role::Value, Format::Q8_0).unwrap();
    formats.set(Some(3), Role::Value, Format::Q8_0).unwrap();
    formats.set(Some(2), Role::FfnDown, Format::F16).unwrap();
    let lowered = pipeline::lower(&model, &formats, &PlanOptions::new(4, 70)).unwrap();
    let kernels = &lowered.plan.kernels;
    let names: BTreeSet<&str> = kernels.iter().map(|kernel| kernel.name.as_str()).collect();
    assert_eq!(names.len(), kernels.len());
    for (i, kernel) in kernels.iter().enumerate() {
        assert_eq!(kernel.name, kernel.lowered.kernel.name);
        let again = kernels[..i].iter().find(|other| other.spec == kernel.spec);
        assert!(again.is_none(), "{} is there twice", kernel.name);
    }
    // Of each product one kernel a tile: qkv in two formats, down in two; the blocks of a kind
    // share them. Attention has two, and the output of one token one of its own.
    assert_eq!(kernels.len(), 1 + 2 + 1 + 2 * (2 + 1 + 1 + 2 + 1));
}

/// Models that differ in an epsilon alone need kernels of their own.
#[test]
fn an_epsilon_makes_another_kernel() {
    let mut graph = fused(&graphs::tiny());
    let count = plan(&graph, &options(70)).unwrap().kernels.len();
    for op in &mut graph.head.ops {
        if let Op::Linear { norm: Some(norm), .. } = op {
            norm.eps = 1e-3;
        }
    }
    graph.blocks.push(graph.blocks[0].clone());
    graph.blocks[1].name = "block1".to_owned();
    for op in &mut graph.blocks[1].ops {
        if let Op::Linear { norm: Some(norm), .. } = op {
            norm.eps = 1e-3;
        }
    }
    graph.schedule[2].func = 1;
    graph.schedule[3].func = 1;
    let plan = plan(&graph, &options(70)).unwrap();
    assert_eq!(plan.kernels.len(), count + 4, "qkv and gate and up, two tiles each");
    let names: BTreeSet<&str> = plan.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
    assert_eq!(names.len(), plan.kernels.len());
}

// Refusals.

fn refused(graph: &Graph, options: &PlanOptions) -> String {
    plan(graph, options).unwrap_err().to_string()
}

#[test]
fn a_graph_in_plain_ops_is_refused() {
    let graph = graphs::built(&graphs::tiny());
    expect!["function `head`: op 0 is not fused; plan takes fused graphs"]
        .assert_eq(&refused(&graph, &options(70)));
}

#[test]
fn a_value_that_is_read_after_its_residual_sum_is_refused() {
    let mut graph = fused(&graphs::tiny());
    let block = &mut graph.blocks[0];
    let stream = block.param.unwrap();
    if let Some(Op::Linear { epilogue: Epilogue::Residual { residual, .. }, .. }) =
        block.ops.last_mut()
    {
        *residual = stream;
    }
    expect!["function `block0`: `v0` is read after its residual sum, which is in place"]
        .assert_eq(&refused(&graph, &options(70)));
}

/// A sum in place of what it is added to would change what the function returns.
#[test]
fn a_result_that_a_residual_sum_overwrites_is_refused() {
    let mut graph = fused(&graphs::tiny());
    let block = &mut graph.blocks[0];
    block.result = block.param.unwrap();
    expect!["function `block0`: `v0` is read after its residual sum, which is in place"]
        .assert_eq(&refused(&graph, &options(70)));
}

#[test]
fn a_result_beside_the_stream_is_refused() {
    let mut graph = fused(&graphs::tiny());
    let block = &mut graph.blocks[0];
    block.result = block.ops[1].outputs()[0];
    expect!["function `block0`: the result does not lie in the residual stream"]
        .assert_eq(&refused(&graph, &options(70)));
}

/// A graph whose block gives `result`, with these ops behind its attention `v2`.
fn attending(reads: &str, result: &str) -> Graph {
    of_block(&format!(
        "w0 = query f32[32, 32]
          w1 = key f32[32, 32]
          w2 = value f32[32, 32]
          w3 = attention_output f32[32, 32]
          w4 = ffn_gate f32[32, 32]
          w5 = ffn_up f32[32, 32]
          w6 = ffn_norm f32[1, 32]
          v1[32] = linear w0 w1 w2 v0 rope(head_dim 8, theta 100.0) \
            append(heads 4, kv_heads 4, head_dim 8, kv f32)
          v2[32] = attention v1 (heads 4, kv_heads 4, head_dim 8, kv f32)
          {reads}
          return {result}"
    ))
}

/// Each product that reads what attention gives merges it, with a norm behind that if it has one.
#[test]
fn several_products_may_read_what_attention_gives() {
    let graph = attending(
        "v3[32] = linear w4 w5 v2 norm(w6, eps 1e-5) glu\nv4[32] = linear w3 v2 residual v0\n\
         v5[32] = linear w4 v3 residual v4",
        "v5",
    );
    let plan = plan(&graph, &options(70)).unwrap();
    assert_eq!(judge::judge(&graph, &plan), Ok(()));
    let merging = plan.kernels.iter().filter(|kernel| kernel.name.contains("merge_"));
    let merging: Vec<&str> = merging.map(|kernel| kernel.name.as_str()).collect();
    expect![[r#"
        [
            "merge_norm_linear_glu_f32_64x32_t1",
            "merge_linear_residual_f32_32x32_t1",
        ]
    "#]]
    .assert_debug_eq(&merging);
}

#[test]
fn attention_that_something_else_than_a_product_reads_is_refused() {
    let summed =
        attending("v3[32] = linear w3 v0 residual v2\nv4[32] = linear w3 v3 residual v0", "v4");
    expect!["function `block0`: `v2` of attention is not only the `x` of linear ops before the next attention, which merge its chunks"]
        .assert_eq(&refused(&summed, &options(70)));
    let attended_again = "v3[32] = attention v1 (heads 4, kv_heads 4, head_dim 8, kv f32)\n\
                          v4[32] = linear w3 v2 residual v0\nv5[32] = linear w3 v3 residual v4";
    expect!["function `block0`: `v2` of attention is not only the `x` of linear ops before the next attention, which merge its chunks"].assert_eq(&refused(&attending(attended_again, "v5"), &options(70)));
}

#[test]
fn gate_and_up_of_two_formats_are_refused() {
    let model = graphs::tiny();
    let mut formats = Formats::uniform(model.depth, Format::Q4_0, Format::F32);
    formats.set(Some(0), Role::FfnUp, Format::Q8_0).unwrap();
    let mut graph = build(&model, &formats).unwrap();
    fuse(&mut graph);
    expect!["function `block0`: gate is q4_0, up is q8_0; paired matrices need one format"]
        .assert_eq(&refused(&graph, &options(70)));
}

/// They are one product, and its input is quantized in one way.
#[test]
fn gate_and_up_of_two_activations_are_refused() {
    let mut text = fused(&graphs::tiny()).to_string();
    for (role, group) in [("ffn_gate", "32"), ("ffn_up", "row")] {
        let weight = format!("{role} q4g32[64, 32]");
        assert!(text.contains(&weight));
        text = text.replace(&weight, &format!("{weight} q8({group})"));
    }
    let graph = parse(&text).unwrap();
    assert_eq!(verify_fused(&graph), Ok(()));
    expect!["function `block0`: gate is q4g32 by q8(32), up is q4g32 by q8(row); paired matrices need one format"].assert_eq(&refused(&graph, &options(70)));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let graph = fused(&graphs::tiny());
    let good = PlanOptions::new(4, 70);
    expect!["tiles [4, 2], chunk 64, context 70: tiles fall from at most 4 to 1, chunk and context are positive, a context in whole chunks of 64 is below 2^32"]
        .assert_eq(&refused(&graph, &PlanOptions { tiles: vec![4, 2], ..good.clone() }));
    let bad = [
        PlanOptions { tiles: vec![], ..good.clone() },
        PlanOptions { tiles: vec![1, 4], ..good.clone() },
        PlanOptions { tiles: vec![8, 1], ..good.clone() },
        PlanOptions { tiles: vec![2, 2, 1], ..good.clone() },
        PlanOptions { chunk: 0, ..good.clone() },
        PlanOptions { context: 0, ..good.clone() },
        PlanOptions { context: u32::MAX, ..good.clone() },
    ];
    for options in bad {
        assert!(plan(&graph, &options).is_err(), "{options:?}");
    }
}

/// A cache past 2 GiB has no kernel: an error that names it, no panic.
#[test]
fn a_context_without_kernels_is_refused() {
    let model = graphs::tiny();
    for context in [100_000_000, u32::MAX - 63] {
        let lowered =
            pipeline::lower(&model, &graphs::formats(&model), &PlanOptions::new(4, context));
        let error = lowered.map(|_| ()).unwrap_err();
        assert!(matches!(error, CompileError::Invalid { .. }), "{error}");
    }
}

#[test]
fn any_tiles_down_to_one_are_planned() {
    let model = graphs::tiny();
    let graph = fused(&model);
    for tiles in [vec![1], vec![2, 1], vec![3, 2, 1], vec![4, 3, 2, 1]] {
        let options = PlanOptions { tiles: tiles.clone(), ..options(70) };
        let plan = plan(&graph, &options).unwrap();
        assert_eq!(judge::judge(&graph, &plan), Ok(()));
        let planned: Vec<u32> = plan.body[1].variants.iter().map(|v| v.tile).collect();
        assert_eq!(planned, tiles);
    }
}
