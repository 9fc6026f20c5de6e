//! What a plan lets kernels ask for ahead: their own weights, or those of the next stored block.

use deepthin_compiler::lower::{Asks, Lines, Role};
use deepthin_compiler::pack::PackedTensor;
use deepthin_compiler::plan::{Plan, PlanOptions, Spec, plan};
use deepthin_dsl::Model;
use deepthin_dsl::model::Sharing;
use deepthin_runtime::program::{Base, Passes, Step};
use deepthin_tests::graphs::{self, fused};

/// The plan for wide kernels, and the stored block of each application.
fn planned(model: &Model) -> (Plan, Vec<u32>) {
    let graph = fused(model);
    let blocks = graph.schedule.iter().map(|application| application.block).collect();
    (plan(&graph, &PlanOptions::new(16, 100)).unwrap(), blocks)
}

/// For each packed matrix of a step: where it lies, and where lines are asked for with its even lines
/// and with its odd ones.
fn places(plan: &Plan, step: &Step) -> Vec<(u64, [u64; 2])> {
    let kernel = &plan.kernels[step.variants.last().unwrap().kernel];
    let at = |wanted: Role| {
        let place = kernel.lowered.buffers.iter().position(|role| *role == wanted)?;
        assert_eq!(step.operands[place].base, Base::Image);
        Some(step.operands[place].offset)
    };
    let ahead = |matrix| {
        Some([at(Role::Ahead(matrix, Lines::Even))?, at(Role::Ahead(matrix, Lines::Odd))?])
    };
    (0..).map_while(|matrix| Some((at(Role::Weights(matrix))?, ahead(matrix)?))).collect()
}

/// Whether the kernel of one token, where a step has a product's, lets its lines leave first.
fn lasts(plan: &Plan, step: &Step) -> Vec<bool> {
    let specs = step.variants.iter().map(|variant| &plan.kernels[variant.kernel].spec);
    let of_one = specs.filter_map(|spec| match spec {
        Spec::Linear(linear) if linear.tokens == 1 => Some(linear.asks),
        _ => None,
    });
    of_one.map(|asks| asks == Asks::Operand { is_last: true }).collect()
}

/// The place of the same matrix of another stored block.
fn twin(plan: &Plan, offset: u64, block: u32) -> u64 {
    let own = plan.image.iter().find(|tensor| tensor.offset == offset).unwrap();
    let is_twin = |t: &&PackedTensor| Some(block) == t.block && t.content == own.content;
    plan.image.iter().find(is_twin).unwrap().offset
}

#[test]
fn a_block_that_is_applied_again_asks_for_the_next_one() {
    // Blocks large enough that their matrices lie further apart than the distance.
    let shape = Model { width: 192, depth: 3, ..graphs::tiny() };
    for sharing in [Sharing::None, Sharing::Immediate(2), Sharing::Immediate(3)] {
        let (plan, blocks) = planned(&Model { sharing: sharing.clone(), ..shape.clone() });
        if sharing == Sharing::None {
            let steps = plan.body.iter().chain(&plan.head);
            assert!(steps.map(|step| places(&plan, step)).all(|places| places.is_empty()));
            continue;
        }
        let mut next_blocks = 0;
        let mut start = 1;
        for (i, end) in plan.application_ends.iter().enumerate() {
            let is_repeated = i > 0 && blocks[i - 1] == blocks[i];
            let next = blocks.get(i + 1).filter(|next| **next != blocks[i] && is_repeated);
            next_blocks += usize::from(next.is_some());
            for step in &plan.body[start..*end] {
                for (weights, ahead) in places(&plan, step) {
                    let further = (weights + 8192).min(plan.regions.image - 64);
                    let expected = match (is_repeated, next) {
                        (false, _) => [further; 2],
                        (true, Some(next)) => [twin(&plan, weights, *next), weights],
                        (true, None) => [weights; 2],
                    };
                    assert_eq!(ahead, expected, "{sharing:?}, application {i}");
                }
                if step.passes == Passes::SeveralTokens {
                    assert!(places(&plan, step).is_empty(), "{sharing:?}, application {i}");
                    continue;
                }
                let is_last = blocks.get(i + 1) != Some(&blocks[i]);
                assert_eq!(lasts(&plan, step), vec![is_last; lasts(&plan, step).len()]);
            }
            start = *end;
        }
        assert_eq!(next_blocks, 2, "{sharing:?}: behind each block but the last");
        assert!(plan.head.iter().all(|step| places(&plan, step).is_empty()), "read once a token");
    }
}

/// What the one-token kernels of a plan's blocks ask for, and those of its head.
fn asked(plan: &Plan) -> [Vec<Asks>; 2] {
    [&plan.body, &plan.head].map(|steps| {
        let steps = steps.iter().filter(|step| step.passes != Passes::SeveralTokens);
        let specs = steps.map(|s| &plan.kernels[s.variants.last().unwrap().kernel].spec);
        let linear = specs.filter_map(|spec| match spec {
            Spec::Linear(linear) => Some(linear.asks),
            _ => None,
        });
        let mut all = Vec::new();
        for asks in linear {
            if !all.contains(&asks) {
                all.push(asks);
            }
        }
        all
    })
}

#[test]
fn models_that_no_cache_keeps_ask_for_their_own_lines() {
    let tiny = graphs::tiny();
    // Bytes of one stored block, and of a row of the table, as the head reads it.
    let bytes = |model: &Model| -> u64 {
        let weights = planned(model).0.image;
        weights.iter().map(|tensor| tensor.content.bytes()).sum()
    };
    let row = (bytes(&Model { vocab: 64 + tiny.vocab, ..tiny.clone() }) - bytes(&tiny)) / 64;
    let rows = |bytes: u64| u32::try_from(bytes / row).unwrap();
    let operands = [false, true].map(|is_last| Asks::Operand { is_last });
    for (vocab, sharing, expected, head) in [
        (rows(90_000_000), Sharing::None, &[Asks::Nothing][..], Asks::Nothing),
        (rows(96_000_000), Sharing::None, &[Asks::Own], Asks::Own),
        (rows(96_000_000), Sharing::Loop(2), &[Asks::Own], Asks::Own),
        // Lines of repeated blocks go through the level 3 cache twice.
        (rows(45_000_000), Sharing::Immediate(2), &operands, Asks::Nothing),
        (rows(48_000_000), Sharing::Immediate(2), &operands, Asks::Own),
    ] {
        let model = Model { vocab, sharing: sharing.clone(), depth: 4, ..tiny.clone() };
        let (plan, _) = planned(&model);
        assert_eq!(asked(&plan), [expected, &[head]], "{vocab}, {sharing:?}");
        let said = plan.to_string().contains("asks for its own lines 192 bytes ahead");
        assert_eq!(said, head == Asks::Own, "{plan}");
        let repeats = expected == operands;
        for said in [
            " asks for lines behind `even` and `odd`",
            " asks for lines behind `even` and `odd`, for the KV chunk at hand",
            ", and lets its own lines leave first",
        ] {
            assert_eq!(plan.to_string().contains(said), repeats, "{said}, {plan}");
        }
        // Kernels of several tokens are the same in every application.
        assert!(plan.kernels.iter().all(|kernel| !kernel.name.ends_with("_2")), "{plan}");
        if expected == [Asks::Own] {
            let steps = plan.body.iter().chain(&plan.head);
            assert!(steps.map(|step| places(&plan, step)).all(|places| places.is_empty()));
        }
    }
    // What all applications read counts once: caches keep a block that several of them use.
    let (vocab, sharing) = (rows(90_000_000), Sharing::Loop(1000));
    let block =
        bytes(&Model { depth: 5, ..tiny.clone() }) - bytes(&Model { depth: 4, ..tiny.clone() });
    assert!(90_000_000 + 4 * 1000 * block > 100_000_000, "{block} bytes a block");
    let (plan, _) = planned(&Model { vocab, sharing, depth: 4, ..tiny });
    assert_eq!(asked(&plan), [[Asks::Nothing], [Asks::Nothing]]);
}

#[test]
fn the_text_of_a_plan_tells_which_block_is_asked_for() {
    let shape = Model { width: 192, depth: 3, sharing: Sharing::Immediate(2), ..graphs::tiny() };
    let (plan, _) = planned(&shape);
    let text = plan.to_string();
    let layers: Vec<&str> = text.split("// end of layer").collect();
    let blocks = |layer: &str, lines: &str| -> Vec<u32> {
        let found = layer.split(lines).skip(1);
        found.map(|at| at.split(" of block ").nth(1).unwrap()[..1].parse().unwrap()).collect()
    };
    // Where a block is new, both are its own lines a distance on, which small blocks end before.
    for (layer, even, odd) in [(1, 1, 0), (3, 2, 1), (5, 2, 2)] {
        // The matrices of q, k and v, of the output, of gate and up, and of down.
        assert_eq!(blocks(layers[layer], "even("), [even; 4], "layer {layer}, {text}");
        assert_eq!(blocks(layers[layer], "odd("), [odd; 4], "layer {layer}, {text}");
    }
}

#[test]
fn kernels_without_such_an_instruction_have_no_place_for_it() {
    let plan = plan(&fused(&graphs::tiny()), &PlanOptions::new(4, 100)).unwrap();
    let steps = plan.body.iter().chain(&plan.head);
    assert!(steps.map(|step| places(&plan, step)).all(|places| places.is_empty()));
}
