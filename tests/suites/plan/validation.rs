//! `Program::validate`: planned programs pass, damaged ones are refused before anything runs.

use deepthin_compiler::interp::kernel_code::interpreted;
use deepthin_compiler::pipeline::{self, Lowered};
use deepthin_compiler::plan::PlanOptions;
use deepthin_runtime::program::{
    Base, InvalidProgram, Operand, Program, Quotient, ScalarSource, Split,
};
use deepthin_tests::cases::cases;
use deepthin_tests::{graphs, models};
use proptest::prelude::*;

fn lowered(options: &PlanOptions) -> Lowered {
    let model = graphs::tiny();
    pipeline::lower(&model, &graphs::formats(&model), options).unwrap()
}

fn program(lowered: &Lowered) -> Program {
    pipeline::program(lowered, interpreted(&lowered.kernels))
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn planned_programs_are_valid(
        model in models::model(),
        context in 1..200_u32,
        chunk in 1..80_u32,
        lanes in prop::sample::select(vec![4_u32, 8, 16]),
    ) {
        // A table has rows for the context alone: no pass is longer.
        let options = PlanOptions { chunk: chunk.min(context), ..PlanOptions::new(lanes, context) };
        let lowered = pipeline::lower(&model, &graphs::formats(&model), &options).unwrap();
        prop_assert_eq!(program(&lowered).validate(), Ok(()));
    }
}

/// Steps of the body: embed, then seven of each application.
const QKV: usize = 1;
const ATTENTION: usize = 2;
const CHUNKS: usize = 3;
const OUTPUT: usize = 4;

/// The operand of a step in a region; `nth` counts those in it.
fn operand(program: &mut Program, step: usize, base: Base, nth: usize) -> &mut Operand {
    program.body[step].operands.iter_mut().filter(|o| o.base == base).nth(nth).unwrap()
}

/// A way to damage a program, and what the refusal must say.
type Damage = (fn(&mut Program), &'static str);

const DAMAGES: &[Damage] = &[
    (|p| operand(p, QKV, Base::Arena, 0).offset += p.regions.arena, "of Arena"),
    (|p| operand(p, QKV, Base::Image, 0).offset = p.regions.image - 4, "of Image"),
    (|p| operand(p, QKV, Base::Tables, 0).offset += 4, "of Tables"),
    (|p| operand(p, QKV, Base::Kv, 0).offset = p.regions.kv, "of Kv"),
    (|p| operand(p, QKV, Base::Scratch, 0).offset += p.regions.scratch, "of Scratch"),
    (|p| operand(p, QKV, Base::Arena, 0).token_stride *= 1000, "of Arena"),
    (|p| operand(p, QKV, Base::Tables, 0).position_stride *= 1000, "of Tables"),
    (|p| operand(p, QKV, Base::Kv, 0).offset = u64::MAX - 3, "address overflows"),
    (|p| operand(p, QKV, Base::Arena, 0).token_stride = u64::MAX / 2, "address overflows"),
    (|p| operand(p, QKV, Base::Arena, 0).offset += 2, "not aligned to 4 bytes"),
    (|p| operand(p, QKV, Base::Arena, 0).token_stride -= 1, "not aligned to 4 bytes"),
    (|p| operand(p, QKV, Base::Arena, 1).base = Base::Image, "the image is never written"),
    (|p| operand(p, QKV, Base::Arena, 1).base = Base::Tables, "tables are never written"),
    (|p| operand(p, ATTENTION, Base::Kv, 1).offset += 64 * 1024, "of Kv"),
    (|p| p.body[OUTPUT].operands.truncate(2), "wrong number of operands"),
    (|p| p.body[OUTPUT].variants[0].scalars.truncate(1), "wrong number of operands"),
    (|p| p.body[OUTPUT].variants.reverse(), "variants are not by falling tile down to 1"),
    (|p| p.body[OUTPUT].variants.clear(), "variants are not by falling tile down to 1"),
    (|p| p.body[OUTPUT].variants.truncate(1), "variants are not by falling tile down to 1"),
    (|p| p.body[OUTPUT].variants[0].kernel = 1000, "no kernel 1000"),
    (|p| p.body[OUTPUT].variants[0].kernel = p.body[QKV].variants[0].kernel, "wrong number"),
    (
        |p| p.body[ATTENTION].variants[0].scalars[3] = ScalarSource::Position(Quotient::identity()),
        "scalar `chunks`: 0..=69 passes 1..=2",
    ),
    (|p| p.body[CHUNKS].split = Split::ChunkUnits { count: 2, positions: 32 }, "`chunk_heads`"),
    (|p| p.body[CHUNKS].split = Split::ChunkUnits { count: 2, positions: 0 }, "are positive"),
    (|p| operand(p, CHUNKS, Base::Arena, 1).offset += 64, "of Arena"),
    (
        |p| p.body[0].variants[0].scalars[2] = ScalarSource::TokenId(Quotient::identity()),
        "scalar `panel`: 0..=95 passes 0..=2",
    ),
    (
        |p| p.body[QKV].variants[0].scalars[2] = ScalarSource::Position(Quotient::identity()),
        "scalar `chunk0`: 0..=66 passes 0..=1",
    ),
    (|p| p.body[0].variants[0].scalars[4] = ScalarSource::TokenId(Quotient::identity()), "`lane`"),
    (|p| p.vocab += 1, "scalar `panel`: 0..=3 passes 0..=2"),
    (|p| p.context = 129, "of Tables"),
    (|p| p.chunk = 1000, "of Arena"),
    (|p| p.head_tile = 5, "of Logits"),
    (|p| p.regions.scratch -= 1, "of Scratch"),
    (|p| p.regions.logits -= 1, "of Logits"),
    // In the body a token's logits would be as far on as its place in the chunk.
    (|p| p.body.append(&mut p.head), "of Logits"),
    (|p| p.chunk = 0, "are positive"),
    (|p| p.head_tile = 0, "are positive"),
    (|p| p.context = 0, "are positive"),
    (|p| p.vocab = 0, "are positive"),
];

#[test]
fn damaged_programs_are_refused() {
    let lowered = lowered(&PlanOptions::new(4, 70));
    assert_eq!(program(&lowered).validate(), Ok(()));
    for (number, (damage, expected)) in DAMAGES.iter().enumerate() {
        let mut program = program(&lowered);
        damage(&mut program);
        let error: InvalidProgram = match program.validate() {
            Ok(()) => panic!("damage {number} ({expected}) was not noticed"),
            Err(error) => error,
        };
        let message = error.to_string();
        assert!(message.contains(expected), "damage {number}: {message}");
        assert!(message.starts_with("program `tiny`, "), "{message}");
    }
}

/// A variant whose tile no chunk can fill is never called and need not fit.
#[test]
fn tiles_longer_than_a_chunk_are_left_alone() {
    for chunk in 1..5 {
        let options = PlanOptions { chunk, ..PlanOptions::new(4, chunk) };
        assert_eq!(program(&lowered(&options)).validate(), Ok(()));
    }
}
