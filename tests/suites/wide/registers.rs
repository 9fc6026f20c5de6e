//! Registers: no inner loop of a planned kernel moves anything to or from the stack.

use std::fs;

use deepthin_compiler::codegen::Backend as _;
use deepthin_compiler::codegen::target::{Isa, Target};
use deepthin_compiler::codegen::x64wide::{Wide, Width};
use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::format::Format;
use deepthin_compiler::pipeline;
use deepthin_compiler::plan::PlanOptions;
use deepthin_dsl::Model;
use deepthin_dsl::model::{Activations, KvStorage};
use deepthin_tests::project::root;

/// An example's model, with one kind of activations.
fn example(name: &str, activations: Option<Activations>, kv: KvStorage) -> Model {
    let text = fs::read_to_string(root().join(format!("examples/{name}.thin"))).unwrap();
    let mut model = deepthin_dsl::parse(&text, name).unwrap().swap_remove(0);
    model.storage.activations = activations;
    model.storage.kv_cache = kv;
    model
}

/// Formats of a model whose blocks and table have two, with values in a third where the blocks have
/// codes, as in files of mixed types.
fn mixed(model: &Model, blocks: Format, table: Format) -> Formats {
    let mut formats = Formats::uniform(model.depth, blocks, table);
    for block in 0..model.depth {
        if blocks.codes().is_some() {
            formats.set(Some(block), Role::Value, Format::Q8_0).unwrap();
        }
    }
    formats
}

/// Inner loops of a model's kernels that move something to or from the stack.
fn spilled(model: &Model, formats: &Formats) -> Vec<String> {
    let mut spilled = Vec::new();
    for cpu in ["x86-64-v3", "alderlake", "cascadelake"] {
        let target = Target::of(Isa::X86_64, Some(cpu)).unwrap();
        let width = if cpu == "cascadelake" { Width::Zmm } else { Width::Ymm };
        let backend = Wide::new(&target, width).unwrap();
        let options = PlanOptions::new(backend.lanes(), 512);
        let lowered = pipeline::lower(model, formats, &options).unwrap();
        for kernel in &lowered.kernels {
            let inner = backend.analysis(kernel).unwrap().0.inner;
            if inner.spills + inner.reloads > 0 {
                spilled.push(format!("{cpu} {}: {inner}", kernel.name));
            }
        }
    }
    spilled
}

/// Nothing of `all` but each once.
fn none(mut all: Vec<String>) {
    all.sort();
    all.dedup();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

const ACTIVATIONS: [Option<Activations>; 2] = [Some(Activations::F32), None];

#[test]
fn no_inner_loop_of_any_format_spills() {
    let mut all = Vec::new();
    for format in Format::ALL {
        for activations in ACTIVATIONS {
            let model = example("smollm2-135m", activations, KvStorage::F16);
            all.extend(spilled(&model, &mixed(&model, format, format)));
        }
    }
    none(all);
}

#[test]
fn no_inner_loop_of_any_kv_cache_spills() {
    let mut all = Vec::new();
    let q6g64: Format = "q6g64".parse().unwrap();
    for format in [Format::F32, Format::Q4_1, "q4g32m".parse().unwrap()] {
        for activations in ACTIVATIONS {
            for kv in [KvStorage::F32, KvStorage::F16, KvStorage::Q8] {
                let model = example("smollm2-135m", activations, kv);
                all.extend(spilled(&model, &mixed(&model, format, q6g64)));
            }
        }
    }
    none(all);
}

/// Their kernels have the most operands: those behind which they ask for lines.
#[test]
fn no_inner_loop_of_repeated_blocks_spills() {
    let mut all = Vec::new();
    for format in ["q4g32", "q4g64", "q4g32m", "q6g64", "q8g32", "bf16"] {
        for activations in ACTIVATIONS {
            for kv in [KvStorage::F32, KvStorage::F16, KvStorage::Q8] {
                let model = example("mobilellm-ls-125m", activations, kv);
                let formats = Formats::uniform(model.depth, format.parse().unwrap(), Format::Q8_0);
                all.extend(spilled(&model, &formats));
            }
        }
    }
    none(all);
}
