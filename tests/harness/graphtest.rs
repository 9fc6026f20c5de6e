//! Test files of FIR: a graph as text, and in `;;` lines what must become of it.
//!
//! | first line | what is tested |
//! |---|---|
//! | `;; test roundtrip` | the text is what its graph prints |
//! | `;; test verify error F-07` | the verifier refuses the graph by this rule alone |
//! | `;; test verify-fused error F-10` | the same, where only fused ops may be left |
//! | `;; test pass fuse-norm` | functions that the pass changes become the `;; \|` lines behind |
//! | `;; test pass fuse-norm unchanged` | the pass leaves all functions alone |
//! | `;; test run` | every engine computes what the `;; expect` lines say |
//!
//! A run draws its weights from `;; seed 7` and feeds `;; tokens 5 3 11`; what it expects is the
//! likeliest token at each position and a digest of all logits to the bit. Comments of one `;`
//! say what a file is about. `UPDATE_EXPECT=1` writes what is found into the file.

use std::{env, fs};

use deepthin_compiler::fir::passes::PASSES;
use deepthin_compiler::fir::{Graph, fuse, parse, verify, verify_fused};
use deepthin_compiler::interp::fir::FirInterp;
use deepthin_compiler::interp::kernel_code::interpreted;
use deepthin_compiler::pipeline::{self, Lowered, constants};
use deepthin_compiler::plan::{PlanOptions, plan};
use deepthin_compiler::vir;
use deepthin_compiler::weights::RandomWeights;
use deepthin_runtime::program::Program;
use deepthin_runtime::session::Session;

use crate::engine::{Agreement, Logits, difference, feed};
use crate::jit::clif;
use crate::project::{Source, root};

/// The first words of test lines: a suite asserts that each occurs.
pub const KINDS: [&str; 5] = ["roundtrip", "verify", "verify-fused", "pass", "run"];

/// Positions of the KV cache of a run.
const CONTEXT: u32 = 80;

/// Checks all files, or writes what they find into them.
///
/// # Panics
/// With every file that failed.
pub fn check_all(files: &[Source]) {
    let mut failures = Vec::new();
    for file in files {
        match check(file) {
            Ok(found) if found == file.text => {}
            Ok(found) if env::var_os("UPDATE_EXPECT").is_some() => {
                fs::write(root().join(&file.path), found).expect("a test file can be written");
            }
            Ok(found) => failures.push(format!("{}: found\n{found}", file.path)),
            Err(failure) => failures.push(format!("{}: {failure}", file.path)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Checks one file; what it would be with all expectations as found.
fn check(file: &Source) -> Result<String, String> {
    let (first, rest) = file.text.split_once('\n').ok_or("the file has no second line")?;
    let test = first.strip_prefix(";; test ").ok_or("the first line is no `;; test ..`")?;
    let graph = parse(&file.text).map_err(|error| error.to_string())?;
    match test.split(' ').collect::<Vec<_>>()[..] {
        ["roundtrip"] => {
            let comments = file.text.lines().filter(|line| line.starts_with(';'));
            let comments: String = comments.map(|line| format!("{line}\n")).collect();
            Ok(comments + &graph.to_string())
        }
        [kind @ ("verify" | "verify-fused"), "error", rule] => {
            if !file.path.contains(&format!("/{rule}-")) {
                return Err(format!("the file's name does not start with {rule}"));
            }
            let errors = broken(&graph, kind == "verify-fused", rule)?;
            Ok(format!("{first}\n{errors}{}", without(rest, ";; error: ")))
        }
        ["pass", name] => {
            let changed = after_pass(&graph, name)?;
            Ok(format!("{first}\n{}{changed}", without(rest, ";; | ")))
        }
        ["pass", name, "unchanged"] => match after_pass(&graph, name)? {
            changed if changed.is_empty() => Ok(file.text.clone()),
            changed => Err(format!("became\n{changed}")),
        },
        ["run"] => {
            let found = run(&graph, rest)?;
            let mut lines: Vec<&str> =
                rest.lines().filter(|line| !line.starts_with(";; expect ")).collect();
            let tokens = lines.iter().position(|line| line.starts_with(";; tokens "));
            lines.insert(tokens.map_or(0, |at| at + 1), found.trim_end());
            Ok(format!("{first}\n{}\n", lines.join("\n")))
        }
        _ => Err(format!("unknown test `{test}`")),
    }
}

/// The lines without those that start so.
fn without(text: &str, prefix: &str) -> String {
    let kept = text.lines().filter(|line| !line.starts_with(prefix));
    kept.map(|line| format!("{line}\n")).collect()
}

/// The `;; error:` lines of a graph that breaks this one rule.
fn broken(graph: &Graph, is_fused: bool, rule: &str) -> Result<String, String> {
    let verdict = if is_fused { verify_fused(graph) } else { verify(graph) };
    let errors = verdict.err().ok_or("the graph is valid")?.0;
    if let Some(other) = errors.iter().find(|error| error.rule.to_string() != rule) {
        return Err(format!("another rule is broken too: {other}"));
    }
    Ok(errors.iter().map(|error| format!(";; error: {error}\n")).collect())
}

/// The `;; |` lines of the functions that a pass changes.
fn after_pass(graph: &Graph, name: &str) -> Result<String, String> {
    verify(graph).map_err(|errors| errors.to_string())?;
    let pass = PASSES.iter().find(|pass| pass.name == name).ok_or("there is no such pass")?;
    let mut after = graph.clone();
    pass.apply(&mut after);
    verify(&after).map_err(|errors| format!("the pass made it invalid: {errors}"))?;
    let both = graph.funcs().zip(after.funcs());
    let changed = both.filter(|(before, after)| before != after).map(|(_, after)| after);
    let lines =
        changed.flat_map(|func| func.to_string().lines().map(str::to_owned).collect::<Vec<_>>());
    Ok(lines.map(|line| format!(";; | {line}\n")).collect())
}

/// The number behind the first line that starts so.
fn numbers(text: &str, prefix: &str) -> Result<Vec<u32>, String> {
    let line = text.lines().find_map(|line| line.strip_prefix(prefix));
    let line = line.ok_or_else(|| format!("there is no line `{prefix}..`"))?;
    line.split(' ').map(|n| n.parse().map_err(|_| format!("`{n}` is no number"))).collect()
}

/// Runs a graph on every engine; the `;; expect` lines of what they agree on.
fn run(graph: &Graph, text: &str) -> Result<String, String> {
    verify(graph).map_err(|errors| errors.to_string())?;
    let seed = numbers(text, ";; seed ")?;
    let tokens = numbers(text, ";; tokens ")?;
    let weights = RandomWeights::new(graph, seed.first().copied().unwrap_or_default().into());
    let mut fused = graph.clone();
    fuse(&mut fused);
    let interpreted = |graph: &Graph| -> Result<Logits, String> {
        let mut interp = FirInterp::new(graph, &weights).map_err(|error| error.to_string())?;
        interp.step(&tokens).map_err(|error| error.to_string())
    };
    let expected = interpreted(graph)?;
    let mut engines = vec![("fused FIR".to_owned(), interpreted(&fused)?)];
    for lanes in [4, 8, 16] {
        let lowered = lowered(graph, &fused, lanes)?;
        let program = pipeline::program(&lowered, self::interpreted(&lowered.kernels));
        let logits = session(&lowered, program, &weights, 1, &tokens)?;
        engines.push((format!("VIR of {lanes} lanes"), logits));
        let most_threads = if lanes == 4 { 3 } else { 0 };
        for threads in 1..=most_threads {
            let program = pipeline::jit_program(&lowered, clif()).map_err(|e| e.to_string())?;
            let logits = session(&lowered, program, &weights, threads, &tokens)?;
            engines.push((format!("machine code on {threads} threads"), logits));
        }
    }
    for (name, found) in &engines {
        if let Some(difference) = difference(&expected, found, Agreement::Exact) {
            return Err(format!("FIR as written and {name} differ at {difference}"));
        }
    }
    Ok(expected.iter().enumerate().map(|(at, row)| summary(at, row)).collect())
}

/// The stages below FIR.
fn lowered(plain: &Graph, fused: &Graph, lanes: u32) -> Result<Lowered, String> {
    let plan = plan(fused, &PlanOptions::new(lanes, CONTEXT)).map_err(|e| e.to_string())?;
    let kernels = plan.kernels.iter().map(|kernel| vir::verify(kernel.lowered.kernel.clone()));
    let kernels = kernels.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    Ok(Lowered { plain: plain.clone(), fused: fused.clone(), plan, kernels })
}

/// Logits of a program, fed by two tokens and then one at a time.
fn session(
    lowered: &Lowered,
    program: Program,
    weights: &RandomWeights,
    threads: usize,
    tokens: &[u32],
) -> Result<Logits, String> {
    let constants = constants(&lowered.plan, weights, 1).map_err(|e| e.to_string())?;
    let mut session =
        Session::new(program.into(), constants.into(), threads).map_err(|e| e.to_string())?;
    Ok(feed(&mut session, tokens, &[2, 1]))
}

/// The `;; expect` line of one position.
fn summary(position: usize, logits: &[f32]) -> String {
    let likeliest = (0..).zip(logits).max_by(|a, b| a.1.total_cmp(b.1));
    let (token, most) = likeliest.unwrap_or((0, &f32::NAN));
    // FNV-1a over the bits, a NaN counted as one NaN.
    let bits = logits.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() });
    let digest =
        bits.flat_map(u32::to_le_bytes).fold(0xcbf2_9ce4_8422_2325, |digest: u64, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!(";; expect at {position}: token {token} leads with {most:?}, digest {digest:016x}\n")
}
