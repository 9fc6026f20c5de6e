//! `deepthin dump`: every stage of a model, of all its kernels or some.

use deepthin_compiler::codegen::choice::Vectors;
use deepthin_compiler::{fir, vir};
use deepthin_tests::gguf_model;

use super::{Folder, assert_fails, ended, stdout};

fn dump(model: &str, stage: &str) -> String {
    stdout(&["dump", model, "--stage", stage])
}

#[test]
fn stages_are_printed_so_that_they_can_be_read_back() {
    let folder = Folder::new();
    let small = folder.small();
    assert!(dump(&small, "ast").starts_with("model bytes @ 1:1\n  vocab @ "));
    let model = dump(&small, "model");
    assert_eq!(deepthin_dsl::parse(&model, "m").unwrap(), [gguf_model::model()]);
    for stage in ["fir", "fused"] {
        let text = dump(&small, stage);
        assert_eq!(fir::parse(&text).unwrap().to_string(), text, "{stage}");
    }
    let lanes = Vectors::for_host(None).unwrap().lanes();
    let start = format!("plan bytes {{\n  lanes {lanes}  context 64 ");
    assert!(dump(&small, "plan").starts_with(&start));
    let kernels = dump(&small, "vir");
    let count = kernels.matches("kernel ").count();
    for kernel in kernels.split_inclusive("\n}\n") {
        let kernel = kernel.trim_start();
        if !kernel.is_empty() {
            assert_eq!(vir::parse(kernel).unwrap().to_string().trim_end(), kernel.trim_end());
        }
    }
    assert!(count > 5, "{count} kernels");
    // Four lanes ask for nothing, so that no kernel is one for a block's last application.
    let of_four = count - kernels.matches("_t1_last lanes").count();
    assert_eq!(dump(&small, "clif").matches("\nfunction u0:0(i64, i64)").count(), of_four);
    assert_eq!(dump(&small, "asm").matches("\n; ").count() + 1, count);
}

#[test]
fn kernels_are_chosen_by_a_part_of_their_name() {
    let folder = Folder::new();
    let small = folder.small();
    let chosen = stdout(&["dump", &small, "--stage", "vir", "--kernel", "attention"]);
    assert_eq!(chosen.matches("kernel attention").count(), 2, "{chosen}");
    assert_eq!(chosen.matches("kernel ").count(), 2, "{chosen}");
    let none = ended(&["dump", &small, "--stage", "asm", "--kernel", "zzz"]);
    assert_fails(&none, 2, &["`zzz`", "fix: choose among embed_"]);
    let early = ended(&["dump", &small, "--stage", "plan", "--kernel", "attention"]);
    assert_fails(&early, 2, &["--kernel", "vir, clif or asm"]);
}

#[test]
fn code_is_shown_for_the_machine_that_is_named() {
    let folder = Folder::new();
    let small = folder.small();
    let stage = |stage, target| {
        ["dump", &small, "--kernel", "attention", "--stage", stage, "--target", target].to_vec()
    };
    let asm = stdout(&stage("asm", "aarch64-unknown-linux-gnu"));
    assert!(asm.contains("fmla v") && asm.contains("\n  ret\n"), "{asm}");
    let clif = stdout(&stage("clif", "aarch64-unknown-linux-gnu"));
    assert!(clif.contains("function u0:0(i64, i64) system_v"), "{clif}");
    let plan = ["dump", &small, "--stage", "plan", "--cpu", "native"];
    assert_fails(&ended(&plan), 2, &["--target and --cpu", "fix: ask for --stage clif or asm"]);
    let other = stage("asm", "riscv64gc-unknown-linux-gnu");
    assert_fails(&ended(&other), 2, &["riscv64gc", "aarch64-unknown-linux-gnu", "fix: "]);
}

#[test]
fn a_file_is_a_model_but_no_text() {
    let folder = Folder::new();
    let file = folder.file("m.gguf", gguf_model::writer(&gguf_model::model(), 1).build().bytes);
    assert_fails(&ended(&["dump", &file, "--stage", "ast"]), 2, &["m.gguf", "name a .thin file"]);
    let model = dump(&file, "model");
    let read = deepthin_dsl::parse(&model, "m").unwrap();
    assert_eq!((read[0].name.as_str(), read[0].vocab), ("bytes", 300));
    assert_eq!(read[0].block, gguf_model::model().block);
}
