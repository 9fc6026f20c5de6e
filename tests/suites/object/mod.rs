//! Object files and their C headers: symbols, the same bytes for the same input, C and C++ that
//! compiles without a warning, and an example in C that runs as its page says.

mod header;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::codegen::target::{Isa, Target};
use deepthin_compiler::codegen::{Backend as _, CodegenError, jit};
use deepthin_compiler::fir::Formats;
use deepthin_compiler::format::Format;
use deepthin_compiler::header::Header;
use deepthin_compiler::pipeline::{self, Lowered};
use deepthin_compiler::plan::PlanOptions;
use deepthin_compiler::vir::Index;
use deepthin_dsl::Model;
use deepthin_dsl::model::KvStorage;
use deepthin_tests::c_tools::{self, CC, CXX};
use deepthin_tests::program::deepthin;
use deepthin_tests::project::{root, sources};
use expect_test::expect;
use tempfile::TempDir;

/// The description of a model in the project's folders.
fn described(path: &str) -> Model {
    let file = sources("thin").into_iter().find(|file| file.path == path).unwrap();
    deepthin_dsl::parse(&file.text, path).unwrap().swap_remove(0)
}

/// The model of the example in C.
fn thin() -> (Model, Lowered) {
    let model = described("examples/embed-c/thin.thin");
    let formats = Formats::from_storage(&model).unwrap();
    let lowered = lower(&model, &formats);
    (model, lowered)
}

fn lower(model: &Model, formats: &Formats) -> Lowered {
    pipeline::lower(model, formats, &PlanOptions::new(4, model.context)).unwrap()
}

/// Models whose kernels have every format, also of the cache, one matrix for q, k and v or several.
fn models() -> Vec<(Model, Lowered)> {
    let mut small = Model { vocab: 90, ..described("examples/smollm2-135m.thin") };
    let mut all = vec![thin()];
    let own = |name: &str| name.parse::<Format>().unwrap();
    for (blocks, rest, kv) in [
        (Format::Q4_1, Format::Q8_0, KvStorage::F32),
        (Format::Q4_0, Format::F16, KvStorage::F16),
        (Format::Bf16, Format::F32, KvStorage::Q8),
        (own("q6g96m"), own("q6row"), KvStorage::F16),
        (own("q4g64"), own("q8g192m"), KvStorage::F16),
    ] {
        small.storage.kv_cache = kv;
        let mut formats = Formats::uniform(small.depth, blocks, rest);
        formats.set(Some(0), deepthin_compiler::fir::Role::Value, rest).unwrap();
        all.push((small.clone(), lower(&small, &formats)));
    }
    all
}

/// Every target, with every processor of it that this machine can name.
fn targets() -> Vec<Target> {
    let of =
        |isa: Isa| isa.cpus().iter().filter_map(move |cpu| Target::of(isa, Some(cpu.name)).ok());
    let all: Vec<Target> = Isa::ALL.into_iter().flat_map(of).collect();
    assert_eq!(all.len(), 8, "seven named processors, and this one");
    all
}

fn header(model: &Model, lowered: &Lowered) -> String {
    let target = Target::named(None, None).unwrap();
    Header { model, lowered, target }.to_string()
}

#[test]
fn objects_are_relocatable_and_the_same_each_time() {
    let (model, lowered) = thin();
    for target in targets() {
        let object = || pipeline::object(&lowered, &Clif::new(&target).unwrap()).unwrap();
        let (first, second) = (object(), object());
        assert!(first == second, "two objects for {target}");
        // ELF, 64 bits, little-endian; relocatable; the machine's number.
        let machine = match target.isa() {
            Isa::X86_64 => 62,
            Isa::Aarch64 => 183,
        };
        assert_eq!(first[..6], *b"\x7fELF\x02\x01", "{target}");
        assert_eq!([first[16], first[18]], [1, machine], "{target}");
        let header = || Header { model: &model, lowered: &lowered, target }.to_string();
        assert_eq!(header(), header());
    }
}

/// An object and the JIT share every byte of code: what is proved of one holds for the other.
#[test]
fn an_object_holds_the_bytes_of_the_jit() {
    let (_, lowered) = thin();
    let clif = Clif::host().unwrap();
    let object = pipeline::object(&lowered, &clif).unwrap();
    for kernel in &lowered.kernels {
        let code = clif.emit(kernel).unwrap().bytes;
        let holds = object.windows(code.len()).any(|window| window == code);
        assert!(holds, "the code of {}", kernel.name);
    }
}

#[test]
fn every_kernel_is_a_global_function_and_nothing_else_is_there() {
    if !c_tools::have(&["nm", "readelf"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("thin.o");
    let (model, lowered) = thin();
    for target in targets() {
        fs::write(&path, pipeline::object(&lowered, &Clif::new(&target).unwrap()).unwrap())
            .unwrap();
        let listed = c_tools::run(Command::new("nm").args(["-f", "posix"]).arg(&path));
        let mut found: Vec<&str> = listed.lines().collect();
        found.retain(|line| line.split(' ').nth(1) == Some("T"));
        assert_eq!(found.len(), listed.lines().count(), "{target}: {listed}");
        let mut found: Vec<&str> = found.iter().filter_map(|line| line.split(' ').next()).collect();
        let mut symbols = Header { model: &model, lowered: &lowered, target }.symbols();
        found.sort_unstable();
        symbols.sort_unstable();
        assert_eq!(found, symbols, "{target}");
        let told = c_tools::run(Command::new("readelf").args(["-rS", "-W"]).arg(&path));
        assert!(told.contains("There are no relocations in this file."), "{target}: {told}");
        let sections = told.lines().filter(|line| line.contains(" AX "));
        let aligned = sections.clone().filter(|line| line.ends_with(" 64")).count();
        assert_eq!((aligned, sections.count()), (symbols.len(), symbols.len()), "{told}");
    }
}

/// Compiles a source of C or C++ with every warning as an error.
fn assert_compiles(compiler: &str, words: &[&str], source: &Path, include: &Path) {
    let warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"];
    c_tools::run(Command::new(compiler).args(words).args(warnings).arg(include).arg(source));
}

/// C that compiles only where the header says of every parameter what the kernel declares.
fn checks(model: &Model, lowered: &Lowered) -> String {
    let name = &model.name;
    // Included twice, as happens.
    let mut text = format!("#include \"{name}.h\"\n#include \"{name}.h\"\n");
    let mut check = |constant: String, value: i64| {
        let line = text.lines().count();
        let _ = writeln!(text, "typedef char check_{line}[({constant}) == {value} ? 1 : -1];");
    };
    for (kernel, symbol) in lowered.kernels.iter().zip(symbols(model, lowered)) {
        let symbol = symbol.to_uppercase();
        let indices = kernel.indices.values().filter(|index| **index != Index::Loop);
        check(format!("{symbol}_BUFFERS"), i64::try_from(kernel.buffers.len()).unwrap());
        check(format!("{symbol}_SCALARS"), i64::try_from(kernel.scalar_count()).unwrap());
        for (i, buffer) in (0..).zip(kernel.buffers.values()) {
            let name = buffer.name.to_uppercase();
            check(format!("{symbol}_BUFFER_{name}"), i);
            check(format!("{symbol}_BYTES_{name}"), buffer.bytes.into());
        }
        for (i, index) in (0..).zip(indices) {
            let name = match index {
                Index::Scalar { name, .. } => name.to_uppercase(),
                Index::RangeBegin { .. } => "BEGIN".to_owned(),
                Index::RangeEnd { .. } | Index::Loop => "END".to_owned(),
            };
            check(format!("{symbol}_SCALAR_{name}"), i);
        }
    }
    text
}

fn symbols(model: &Model, lowered: &Lowered) -> Vec<String> {
    Header { model, lowered, target: Target::named(None, None).unwrap() }.symbols()
}

#[test]
fn headers_are_c_and_cpp_and_tell_the_declared_sizes() {
    if !c_tools::have(&[CC, CXX]) {
        return;
    }
    for (model, lowered) in models() {
        let folder = TempDir::new().unwrap();
        let file = |name: String| folder.path().join(name);
        let header = header(&model, &lowered);
        for symbol in symbols(&model, &lowered) {
            assert!(header.contains(&format!("\nvoid {symbol}(\n")), "{symbol}");
        }
        fs::write(file(format!("{}.h", model.name)), header).unwrap();
        let [c, cpp] = ["check.c", "check.cpp"].map(|name| file(name.to_owned()));
        fs::write(&c, checks(&model, &lowered)).unwrap();
        fs::write(&cpp, checks(&model, &lowered)).unwrap();
        assert_compiles(CC, &["-std=c99"], &c, folder.path());
        assert_compiles(CXX, &["-std=c++98", "-Wno-long-long"], &cpp, folder.path());
    }
}

/// The part of a text from `from` to before `to`.
fn excerpt<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let start = text.find(from).unwrap();
    &text[start..start + text[start..].find(to).unwrap()]
}

#[test]
fn names_of_targets_are_known_or_refused() {
    let named = |triple, cpu| Target::named(triple, cpu).map_err(|error| error.to_string());
    let arm = Some("aarch64-unknown-linux-gnu");
    assert_eq!(named(arm, None).unwrap().to_string(), "aarch64-unknown-linux-gnu (armv8-a)");
    let i8mm = named(arm, Some("armv8.6-a+i8mm")).unwrap();
    assert_eq!((i8mm.isa(), i8mm.cpu().name), (Isa::Aarch64, "armv8.6-a+i8mm"));
    expect![
        "unknown target `riscv64`, expected x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu"
    ]
    .assert_eq(&named(Some("riscv64"), None).unwrap_err());
    expect!["unknown processor `x86-64-v3` of aarch64-unknown-linux-gnu, expected armv8-a, armv8.2-a+dotprod, armv8.6-a+i8mm or native"]
        .assert_eq(&named(arm, Some("x86-64-v3")).unwrap_err());
    let meant = Target::named(arm, Some("armv8.2+dotprod")).unwrap_err().meant();
    assert_eq!(meant, Some("armv8.2-a+dotprod"));
    let meant = |triple| Target::named(Some(triple), None).unwrap_err().meant();
    assert_eq!(meant("aarch64"), arm);
    assert_eq!(meant("aarch64-unknown-linux"), arm);
    assert_eq!(meant("x86_64-linux-gnu"), None);
    assert_eq!(meant("riscv64-unknown-linux-gnu"), None);
}

#[test]
fn code_for_other_machines_is_not_run_here() {
    let (_, lowered) = thin();
    let host = Target::host().unwrap();
    for target in targets().into_iter().filter(|target| *target != host) {
        let clif = Clif::new(&target).unwrap();
        let codes = pipeline::emit(&clif, &lowered.kernels).unwrap();
        let Err(error) = jit::link(&clif, &codes) else { panic!("{target} is run") };
        assert!(matches!(error, CodegenError::Foreign { target: t } if t == target), "{error}");
    }
}

/// What the page of the example says that it prints.
fn promised() -> String {
    let page = fs::read_to_string(root().join("examples/embed-c/README.md")).unwrap();
    excerpt(&page, "out = W x + out:", "```").to_owned()
}

/// Builds and runs the example as its page says, with these variables.
fn example(variables: &[(&str, &str)]) -> String {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(root().join("examples/embed-c/build.sh"));
    command.env("DEEPTHIN", deepthin().get_program()).env("OUT", folder.path());
    c_tools::run(command.envs(variables.iter().copied()))
}

#[test]
fn the_example_in_c_prints_what_its_page_says() {
    if c_tools::have(&[CC]) {
        assert_eq!(example(&[]), promised());
    }
}

#[test]
fn the_example_in_c_prints_the_same_on_aarch64() {
    let (cc, run) = ("aarch64-linux-gnu-gcc", "qemu-aarch64-static");
    if c_tools::have(&[cc, run]) {
        let target = ("TARGET", "aarch64-unknown-linux-gnu");
        let found = example(&[target, ("CC", cc), ("LDFLAGS", "-static"), ("RUN", run)]);
        assert_eq!(found, promised());
    }
}
