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

/// SmolLM2-135M in a storage of its blocks, with one kind of activations.
fn smollm2(format: Format, activations: Option<Activations>, kv: KvStorage) -> (Model, Formats) {
    let text = fs::read_to_string(root().join("examples/smollm2-135m.thin")).unwrap();
    let mut model = deepthin_dsl::parse(&text, "smollm2-135m.thin").unwrap().swap_remove(0);
    model.storage.activations = activations;
    model.storage.kv_cache = kv;
    let mut formats = Formats::uniform(model.depth, format, Format::Q8_0);
    for block in 0..model.depth {
        // As in files of mixed types.
        if format.codes().is_some() {
            formats.set(Some(block), Role::Value, Format::Q8_0).unwrap();
        }
    }
    (model, formats)
}

#[test]
fn no_inner_loop_of_smollm2_spills() {
    let storages =
        ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q4g32", "q4g64", "q6g64", "q8g64", "q4row"];
    let mut spilled = Vec::new();
    for storage in storages {
        let format: Format = storage.parse().unwrap();
        for activations in [Some(Activations::F32), None] {
            for kv in [KvStorage::F32, KvStorage::F16, KvStorage::Q8] {
                let (model, formats) = smollm2(format, activations, kv);
                for cpu in ["x86-64-v3", "alderlake", "cascadelake"] {
                    let target = Target::of(Isa::X86_64, Some(cpu)).unwrap();
                    let width = if cpu == "cascadelake" { Width::Zmm } else { Width::Ymm };
                    let backend = Wide::new(&target, width).unwrap();
                    let options = PlanOptions::new(backend.lanes(), 512);
                    let lowered = pipeline::lower(&model, &formats, &options).unwrap();
                    for kernel in &lowered.kernels {
                        let inner = backend.analysis(kernel).unwrap().0.inner;
                        if inner.spills + inner.reloads > 0 {
                            spilled.push(format!("{cpu} {}: {inner}", kernel.name));
                        }
                    }
                }
            }
        }
    }
    spilled.sort();
    spilled.dedup();
    assert!(spilled.is_empty(), "{}", spilled.join("\n"));
}
