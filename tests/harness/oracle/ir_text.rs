//! Any bytes as FIR and as VIR: what parses prints and parses again; what verifies runs, and gives
//! the same bits on every engine.

use std::sync::{Arc, OnceLock};

use deepthin::verify::guard::Placement;
use deepthin_compiler::codegen::Backend;
use deepthin_compiler::codegen::choice::Vectors;
use deepthin_compiler::codegen::target::{Cpu, Isa, Target};
use deepthin_compiler::fir::{self, Func, Graph};
use deepthin_compiler::interp::fir::FirInterp;
use deepthin_compiler::interp::kernel_code::interpreted;
use deepthin_compiler::interp::vir::run;
use deepthin_compiler::pipeline::{Lowered, constants, program};
use deepthin_compiler::plan::{PlanOptions, plan};
use deepthin_compiler::vir::{self, Bound, Inst, Kernel};
use deepthin_compiler::weights::RandomWeights;
use deepthin_runtime::session::Session;

use super::assert_printable;
use super::definite::definite;
use crate::engine::{assert_same, feed};
use crate::jit::{Compiled, machines_of};
use crate::kernels::{Case, first_difference};

/// Most instructions of a kernel that is compiled.
const MOST_INSTRUCTIONS: usize = 500;

/// Most instructions that a kernel runs, those of every iteration counted.
const MOST_STEPS: u64 = 20_000;

/// Most bytes of a kernel's buffers, taken together.
const MOST_BYTES: u64 = 16 << 10;

/// Most elements of the weights and of the values of a graph that is run.
const MOST_ELEMENTS: u64 = 8 << 10;

/// Most operations and block applications of a graph that is planned.
const MOST_OPS: usize = 100;

/// Checks the answers to bytes as FIR and as VIR.
///
/// # Panics
/// If a promise of the intermediate representations is broken.
pub fn ir_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match vir::parse(&text) {
        Ok(kernel) => check_kernel(kernel, data),
        Err(error) => assert_printable(&error.to_string()),
    }
    match fir::parse(&text) {
        Ok(graph) => check_graph(&graph),
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// A kernel prints, and if it verifies it runs; `data` seeds the contents of its buffers.
fn check_kernel(kernel: Kernel, data: &[u8]) {
    let text = kernel.to_string();
    assert_eq!(vir::parse(&text).as_ref(), Ok(&kernel), "{text}");
    if let Err(errors) = vir::verify(kernel.clone()) {
        assert!(!errors.errors.is_empty(), "refused for no reason: {text}");
        return assert_printable(&errors.to_string());
    }
    let bytes: u64 = kernel.buffers.values().map(|buffer| u64::from(buffer.bytes)).sum();
    if instructions(&kernel.body) > MOST_INSTRUCTIONS || bytes > MOST_BYTES {
        return;
    }
    let seed = data.iter().fold(0, |seed: u32, byte| seed.wrapping_mul(31) ^ u32::from(*byte));
    for kernel in [definite(&kernel), kernel] {
        check_call(Case::new(kernel, vec![seed]));
    }
}

fn instructions(body: &[Inst]) -> usize {
    body.iter().map(|inst| 1 + instructions(inst.body())).sum()
}

/// At most so many instructions run, with these scalars.
fn steps(body: &[Inst], scalars: &[i64]) -> u64 {
    let scalar = |id: vir::IndexId| scalars.get(id.0 as usize).copied().unwrap_or(i64::MAX);
    body.iter().fold(0, |sum: u64, inst| {
        let Inst::Loop { begin, end, body, .. } = inst else { return sum.saturating_add(1) };
        let first = match begin {
            Bound::Const(value) | Bound::Clamp { lo: value, .. } => i64::from(*value),
            Bound::Scalar(id) => scalar(*id),
        };
        let behind = match end {
            Bound::Const(value) | Bound::Clamp { hi: value, .. } => i64::from(*value),
            Bound::Scalar(id) => scalar(*id),
        };
        let trips = behind.saturating_sub(first).max(0).unsigned_abs();
        sum.saturating_add(trips.saturating_mul(1 + steps(body, scalars)))
    })
}

/// The back ends of every named processor; their code is not run.
fn processors() -> &'static [Box<dyn Backend>] {
    static PROCESSORS: OnceLock<Vec<Box<dyn Backend>>> = OnceLock::new();
    PROCESSORS.get_or_init(|| {
        let named = |isa: Isa| {
            isa.cpus().iter().filter(|cpu| cpu.name != "native").map(move |cpu| (isa, cpu))
        };
        let backends = |(isa, cpu): (Isa, &Cpu)| {
            let target = Target::of(isa, Some(cpu.name)).expect("a processor of its list");
            Vectors::ALL.into_iter().filter_map(move |vectors| vectors.backend(&target).ok())
        };
        Isa::ALL.into_iter().flat_map(named).flat_map(backends).collect()
    })
}

/// The interpreter runs the call, and machine code does the same on memory between guard pages.
fn check_call(case: Case) {
    let Case { kernel, buffers, elements, scalars } = case;
    let text = kernel.to_string();
    let verified = vir::verify(kernel).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    if steps(&verified.body, &scalars) > MOST_STEPS {
        return;
    }
    let mut expected = buffers.clone();
    let ran = run(&verified, &mut expected[..], &scalars);
    assert_eq!(ran, Ok(()), "scalars {scalars:?} of\n{text}");
    for processor in processors().iter().filter(|p| p.lanes() == verified.lanes) {
        let emitted = processor.emit(&verified);
        let target = processor.target();
        assert!(emitted.is_ok_and(|code| !code.bytes.is_empty()), "{target}: {text}");
    }
    for machine in machines_of(verified.lanes) {
        let compiled = Compiled::on(machine, &verified);
        let compiled = compiled.unwrap_or_else(|error| panic!("{error}\n{text}"));
        for placement in Placement::ALL {
            let mut found = buffers.clone();
            let ran = compiled.run(&mut found, &scalars, placement);
            assert_eq!(ran, Ok(()), "scalars {scalars:?} of\n{text}");
            if definite(&verified) != *verified {
                continue; // Its bits may depend on which NaN a NaN is.
            }
            let both = expected.iter().zip(&found).zip(verified.buffers.iter());
            for ((expected, found), (id, _)) in both {
                let difference = first_difference(elements[id.0 as usize], expected, found);
                assert_eq!(difference, None, "{id}, scalars {scalars:?} of\n{text}");
            }
        }
    }
}

/// A graph prints; if it verifies it fuses and plans, and if it is small all of them agree.
fn check_graph(graph: &Graph) {
    let text = graph.to_string();
    // As text, for an epsilon may be NaN.
    let again = fir::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(format!("{again:?}"), format!("{graph:?}"), "{text}");
    if let Err(errors) = fir::verify(graph) {
        assert!(!errors.0.is_empty(), "refused for no reason: {text}");
        return assert_printable(&errors.to_string());
    }
    let ops: usize = graph.funcs().map(|func| func.ops.len()).sum();
    if ops > MOST_OPS || graph.schedule.len() > MOST_OPS {
        return;
    }
    let mut fused = graph.clone();
    fir::fuse(&mut fused);
    fir::verify(&fused).unwrap_or_else(|errors| panic!("{errors}\nafter fusion of\n{text}"));
    let is_small = elements(graph).is_some_and(|elements| elements <= MOST_ELEMENTS);
    let options = PlanOptions::new(4, 8);
    match plan(&fused, &options) {
        Ok(plan) if is_small => check_runs(Lowered {
            plain: graph.clone(),
            fused,
            kernels: plan
                .kernels
                .iter()
                .map(|kernel| {
                    vir::verify(kernel.lowered.kernel.clone())
                        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
                })
                .collect(),
            plan,
        }),
        Ok(_) => {}
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// Elements of all weights of all applications, and of all values.
fn elements(graph: &Graph) -> Option<u64> {
    let of = |func: &Func| {
        let weights =
            func.weights.values().map(|weight| u64::from(weight.rows) * u64::from(weight.columns));
        let values = func.values.values().map(|value| u64::from(value.width));
        weights.chain(values).try_fold(0, u64::checked_add)
    };
    let blocks = graph.schedule.iter().map(|entry| of(graph.blocks.get(entry.func as usize)?));
    [of(&graph.embed), of(&graph.head)]
        .into_iter()
        .chain(blocks)
        .try_fold(0, |sum: u64, elements| sum.checked_add(elements?))
}

/// Plain graph, fused graph and interpreted kernels give the same logits.
fn check_runs(lowered: Lowered) {
    let weights = RandomWeights::new(&lowered.plain, 1);
    let vocab = lowered.plan.vocab;
    let tokens = [0, vocab - 1, 0];
    let text = lowered.plain.to_string();
    let logits = |graph: &Graph| {
        let mut interp =
            FirInterp::new(graph, &weights).unwrap_or_else(|error| panic!("{error}\n{text}"));
        interp.step(&tokens).expect("tokens of the vocabulary")
    };
    let (plain, fused) = (logits(&lowered.plain), logits(&lowered.fused));
    assert_same(&plain, &fused, &text);
    let constants = constants(&lowered.plan, &weights, 1).expect("weights that pack, and memory");
    let program = program(&lowered, interpreted(&lowered.kernels));
    let session = Session::new(Arc::new(program), Arc::new(constants), 1);
    let mut session = session.unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_same(&plain, &feed(&mut session, &tokens, &[2, 1]), &text);
}
