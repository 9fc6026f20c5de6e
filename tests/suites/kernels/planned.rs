//! The kernels of planned models, each on its packed weights: machine code is the interpreter,
//! and nothing depends on what memory held before.

use std::collections::BTreeSet;
use std::fs;

use deepthin_compiler::fir::{Formats, Role as Tensor};
use deepthin_compiler::format::Format;
use deepthin_compiler::lower::{EpilogueKernel, Role, vector_bytes};
use deepthin_compiler::pack::pack;
use deepthin_compiler::pipeline::Lowered;
use deepthin_compiler::plan::Spec;
use deepthin_compiler::vir::{Index, Kernel};
use deepthin_dsl::Model;
use deepthin_dsl::model::{Block, Sharing};
use deepthin_runtime::program::{Base, Operand};
use deepthin_tests::engine::Subject;
use deepthin_tests::graphs;
use deepthin_tests::guard::Placement;
use deepthin_tests::jit::Compiled;
use deepthin_tests::kernels::{Choices, elements};
use deepthin_tests::project::root;

use super::both;

/// What vectors and caches hold.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Numbers like those of a run.
    Tame,
    /// Among them some that are infinite, NaN, huge, subnormal.
    Wild,
}

fn floats(bytes: usize, manner: Manner, choices: &mut Choices) -> Vec<u8> {
    let rare = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1e-40, -0.0, 1e30, 88.8];
    let mut number = || match manner {
        Manner::Wild if choices.once_in(40) => choices.pick(&rare),
        Manner::Tame | Manner::Wild => choices.within(-1_000_000, 1_000_000) as f32 * 2e-6,
    };
    (0..bytes / 4).flat_map(|_| number().to_le_bytes()).collect()
}

/// A kernel of a plan with the operands of the first step that calls it.
struct Call<'p> {
    lowered: &'p Lowered,
    kernel: usize,
    operands: &'p [Operand],
}

/// One call for each kernel.
fn calls(lowered: &Lowered) -> Vec<Call<'_>> {
    let mut seen = BTreeSet::new();
    let mut calls = Vec::new();
    for step in lowered.plan.body.iter().chain(&lowered.plan.head) {
        for variant in &step.variants {
            if seen.insert(variant.kernel) {
                let (kernel, operands) = (variant.kernel, step.operands.as_slice());
                calls.push(Call { lowered, kernel, operands });
            }
        }
    }
    assert_eq!(calls.len(), lowered.kernels.len(), "every kernel is called");
    calls
}

impl Call<'_> {
    /// Whether a buffer comes to the kernel with contents that matter.
    fn is_read(&self, role: Role) -> bool {
        let spec = &self.lowered.plan.kernels[self.kernel].spec;
        match (role, spec) {
            (Role::Scratch(_) | Role::ValueRows, _) | (Role::Keys, Spec::Linear(_)) => false,
            (Role::Output, Spec::Linear(k)) => k.epilogue == EpilogueKernel::Residual,
            (Role::Output, Spec::Embed(_) | Spec::Attention(_)) => false,
            (Role::Input | Role::Weights(_) | Role::Gain | Role::RopeTable, _)
            | (Role::Keys | Role::Values, _) => true,
        }
    }

    /// Input vectors with `garbage` behind the elements of each.
    fn padded(&self, mut vectors: Vec<u8>, garbage: u8) -> Vec<u8> {
        let width = match &self.lowered.plan.kernels[self.kernel].spec {
            Spec::Linear(kernel) => kernel.columns,
            Spec::Attention(kernel) => kernel.shape.heads * kernel.shape.head_dim,
            Spec::Embed(_) => return vectors,
        };
        for vector in vectors.chunks_mut(vector_bytes(width) as usize) {
            vector[width as usize * 4..].fill(garbage);
        }
        vectors
    }

    /// Contents of the buffers: packed weights, numbers, and `garbage` in what is not read.
    fn buffers(&self, image: &[u8], manner: Manner, garbage: u8) -> Vec<Vec<u8>> {
        let planned = &self.lowered.plan.kernels[self.kernel];
        let seed = u32::try_from(self.kernel).unwrap();
        let mut choices = Choices::endless(vec![seed, 17]);
        let declared = planned.lowered.kernel.buffers.values();
        let parameters = declared.zip(&planned.lowered.buffers).zip(self.operands);
        let contents = parameters.map(|((buffer, role), operand)| {
            let bytes = buffer.bytes as usize;
            if operand.base == Base::Image {
                let first = usize::try_from(operand.offset).unwrap();
                image[first..first + bytes].to_vec()
            } else if *role == Role::Input {
                self.padded(floats(bytes, manner, &mut choices), garbage)
            } else if self.is_read(*role) {
                floats(bytes, manner, &mut choices)
            } else {
                vec![garbage; bytes]
            }
        });
        contents.collect()
    }
}

/// Scalars of a few calls: all units with everything else least, those in the middle with
/// everything else greatest, and the last unit.
fn scalars(kernel: &Kernel) -> Vec<Vec<i64>> {
    let call = |share: fn(i64) -> (i64, i64), other: fn(i64, i64) -> i64| {
        let parameters = kernel.indices.values().filter_map(|index| match index {
            Index::Scalar { lo, hi, .. } => Some(other(*lo, *hi)),
            Index::RangeBegin { count, .. } => Some(share(i64::from(*count)).0),
            Index::RangeEnd { count } => Some(share(i64::from(*count)).1),
            Index::Loop => None,
        });
        parameters.collect()
    };
    vec![
        call(|count| (0, count), |lo, _| lo),
        call(|count| (count / 3, count - count / 3), |_, hi| hi),
        call(|count| (count - 1, count), |lo, hi| lo + (hi - lo) / 2),
    ]
}

fn packed(subject: &Subject) -> Vec<u8> {
    let plan = &subject.lowered(4).plan;
    let mut image = vec![0; usize::try_from(plan.regions.image).unwrap()];
    pack(&plan.image, &*subject.weights, &mut image, 2).unwrap();
    image
}

/// Both engines on every kernel.
fn check_kernels(subject: &Subject, manners: &[Manner]) {
    let (lowered, image) = (subject.lowered(4), packed(subject));
    for call in calls(lowered) {
        let kernel = &lowered.kernels[call.kernel];
        let compiled = Compiled::new(kernel).unwrap();
        for manner in manners {
            let buffers = call.buffers(&image, *manner, 0xa5);
            for scalars in scalars(kernel) {
                let ran = both(kernel, &compiled, &buffers, &elements(kernel), &scalars);
                let results = ran.unwrap_or_else(|error| panic!("{}: {error}", kernel.name));
                assert!(results != buffers, "{} wrote nothing", kernel.name);
            }
        }
    }
}

/// Machine code of every kernel in memory that held zeros, and in memory that held garbage (both
/// in what it writes and behind the elements of its input): what differs afterwards was never
/// written.
fn check_memory(subject: &Subject) {
    let (lowered, image) = (subject.lowered(4), packed(subject));
    for call in calls(lowered) {
        let kernel = &lowered.kernels[call.kernel];
        let compiled = Compiled::new(kernel).unwrap();
        for scalars in scalars(kernel) {
            let before = [0, 0xa5].map(|garbage| call.buffers(&image, Manner::Tame, garbage));
            let mut after = before.clone();
            for buffers in &mut after {
                compiled.run(buffers, &scalars, Placement::Front).unwrap();
            }
            for (i, buffer) in kernel.buffers.values().enumerate() {
                let [a, b] = [&after[0][i], &after[1][i]];
                let untouched = |at: usize| a[at] == before[0][i][at] && b[at] == before[1][i][at];
                let depends = (0..a.len()).find(|at| a[*at] != b[*at] && !untouched(*at));
                let (kernel, buffer) = (&kernel.name, &buffer.name);
                assert_eq!(depends, None, "byte of `{buffer}` in {kernel}, scalars {scalars:?}");
            }
        }
    }
}

/// Odd sizes, several head sizes; everything that one format needs.
fn models() -> Vec<Subject> {
    let model = |vocab, width, [heads, kv_heads, head_dim]: [u32; 3], hidden| {
        let block = Block { heads, kv_heads, head_dim, ffn_hidden: hidden, ..graphs::tiny().block };
        Model { vocab, width, block, depth: 1, sharing: Sharing::None, ..graphs::tiny() }
    };
    let ragged = model(37, 27, [3, 1, 6], 21);
    let grained = model(70, 64, [2, 1, 48], 96);
    let subject = |model: &Model, format| {
        Subject::random(model, &Formats::uniform(1, format, format), 70, 11)
    };
    let mut subjects = vec![];
    for format in [Format::F32, Format::F16, Format::Bf16] {
        subjects.push(subject(&ragged, format));
    }
    for format in [Format::Q8_0, Format::Q4_0, Format::Q4_1] {
        let mut grained = grained.clone();
        grained.block.heads = 2; // 2 * 48 columns of the output projection
        subjects.push(subject(&grained, format));
    }
    subjects
}

#[test]
fn planned_kernels_of_every_format() {
    for subject in models() {
        check_kernels(&subject, &[Manner::Tame, Manner::Wild]);
    }
}

#[test]
fn kernels_do_not_depend_on_what_memory_held() {
    models().iter().for_each(check_memory);
}

/// The shapes of SmolLM2-135M in the formats of its file, with a small vocabulary.
#[test]
fn planned_kernels_of_smollm2() {
    let text = fs::read_to_string(root().join("examples/smollm2-135m.thin")).unwrap();
    let model = deepthin_dsl::parse(&text, "smollm2-135m.thin").unwrap().swap_remove(0);
    let model = Model { vocab: 90, depth: 1, ..model };
    let mut formats = Formats::uniform(1, Format::Q4_1, Format::Q8_0);
    formats.set(Some(0), Tensor::Value, Format::Q8_0).unwrap();
    let subject = Subject::random(&model, &formats, 500, 12);
    check_kernels(&subject, &[Manner::Tame]);
}
