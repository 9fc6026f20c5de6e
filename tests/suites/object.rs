//! Object files and their C headers: symbols, the same bytes for the same input, C and C++ that
//! compiles without a warning, and an example in C that runs as its page says.

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
    for (blocks, rest, kv) in [
        (Format::Q4_1, Format::Q8_0, KvStorage::F32),
        (Format::Q4_0, Format::F16, KvStorage::F16),
        (Format::Bf16, Format::F32, KvStorage::Q8),
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

/// A comment's text, of which `from` and `to` are lines.
fn comment(header: &str, from: &str, to: &str) -> String {
    let lines = excerpt(header, &format!("\n * {from}"), to).lines().skip(1);
    lines.map(|line| line.trim_start_matches(" *").replacen(' ', "", 1) + "\n").collect()
}

#[test]
fn a_comment_tells_what_a_kernel_computes_and_takes() {
    let (model, lowered) = thin();
    let header = header(&model, &lowered);
    let name = "deepthin_thin_norm_linear_rope_append_kv16_f32_160x48_t1";
    expect![[r#"
        deepthin_thin_norm_linear_rope_append_kv16_f32_160x48_t1

            n = x / sqrt(mean of x[i]^2 + 1e-5) * gain
            q, k, v = Q n, K n, V n
            out = q, each head rotated by its token's position; k, rotated too, and v go to the caches

        For one token. Q has 48 rows, K and V have 16, and 48 columns, in 5 panels of 32 rows. Sums run
        over ascending columns from +0, a fused multiply-add for each.

        buffer                 bytes  use      contents
             0  x                256  in       vector of 48
             1  w0             30720  in       packed matrix, f32, 48 columns: 5 panels of 6144 bytes,
                                               q in panels 0 to 2, k in panel 3, v in panel 4
             2  gain             256  in       gain: vector of 48
             3  normed           256  scratch  working memory
             4  scales           256  scratch  working memory
             5  out              256  out      rotated q: vector of 48
             6  products         640  scratch  working memory
             7  rope              64  in       1 rotary row from the first token's position on
             8  keys            2048  out      key cache of the layer
             9  values            32  out      1 row of the layer's value cache from the first token's
                                               position on, 32 bytes each

        scalar              values  meaning
             0  begin       0 to 5  first of the share of panels
             1  end         0 to 5  one past the last of the share of panels
             2  block0      0 to 3  position / 16
             3  lane0      0 to 15  position % 16
    "#]].assert_eq(&comment(&header, name, " */"));
    expect![[r#"
        deepthin_thin_attention_kv16_3q1kv_16

            weight[j] = softmax over positions j = 0 .. position of q . key[j] / sqrt(16)
            out = sum over j of weight[j] * value[j]

        For one token and each head of a share: 3 query heads of 16 elements; query head h reads key and
        value head h / 3.

        buffer                bytes  use      contents
             0  q               256  in       rotated q: vector of 48
             1  keys           2048  in       key cache of the layer
             2  values         2048  in       value cache of the layer
             3  out             256  out      heads side by side: vector of 48
             4  weights         768  scratch  working memory
             5  sums            384  scratch  working memory
             6  state            48  scratch  working memory
             7  staged         4096  scratch  working memory

        scalar                values  meaning
             0  begin         0 to 3  first of the share of heads
             1  end           0 to 3  one past the last of the share of heads
             2  position     0 to 63  position
             3  chunks        1 to 1  position / 64 + 1
    "#]].assert_eq(&comment(&header, "deepthin_thin_attention_kv16_3q1kv_16", " */"));
}

#[test]
fn caches_are_told_as_they_are_kept() {
    let (model, lowered) = models().swap_remove(2);
    let halves = header(&model, &lowered);
    expect![[r#"
        key cache of a layer: f16 [KV_HEADS][POSITIONS / 16][HEAD_DIM][16]; element d of a head's
            key at a position lies in block position / 16, in row d, at place position % 16.

        value cache of a layer: f16 [POSITIONS][VALUE_ROW_BYTES / 2]; a row has the value heads of
            its position side by side, then room.

    "#]]
    .assert_eq(&comment(&halves, "key cache of a layer", " * ORDER"));
    let (model, lowered) = models().swap_remove(3);
    let codes = header(&model, &lowered);
    expect![[r#"
        key cache of a layer: signed bytes [KV_HEADS][POSITIONS / 16][HEAD_DIM][16]; element d of a
            head's key at a position lies in block position / 16, in row d, at place position % 16.

        value cache of a layer: signed bytes [POSITIONS][VALUE_ROW_BYTES]; a row has the value heads
            of its position side by side, then room.

        scales of a layer's key cache: bf16 [KV_HEADS][KEY_GROUPS][POSITIONS], one for each group of a head
            and position. The elements i and i + HEAD_DIM/2 of a head are in group i / 16. With the greatest
            magnitude m of a group, s is the bf16 nearest to m / 127; where m is at least 2^-100, x has the
            code x * (1 / s), rounded to the nearest, the even of two, else 0. A group with an infinity or a
            NaN has the scale NaN and codes 0. An element is its code times s.

        scales of a layer's value cache: bf16 [KV_HEADS][VALUE_GROUPS][POSITIONS], likewise; element i of a
            head is in group i / 32.

    "#]].assert_eq(&comment(&codes, "key cache of a layer", " * ORDER"));
    let constants = excerpt(&codes, "#define DEEPTHIN_SMOLLM2_135M_KEY_CACHE_BYTES", "\n\n");
    expect![[r#"
        #define DEEPTHIN_SMOLLM2_135M_KEY_CACHE_BYTES   1572864  /* of one layer */
        #define DEEPTHIN_SMOLLM2_135M_VALUE_ROW_BYTES   192      /* values of one position and layer */
        #define DEEPTHIN_SMOLLM2_135M_VALUE_CACHE_BYTES 1572864  /* of one layer */
        #define DEEPTHIN_SMOLLM2_135M_ROPE_ROW_BYTES    256      /* rotary row of one position */
        #define DEEPTHIN_SMOLLM2_135M_KEY_GROUPS        2        /* groups of a key head, with a scale each */
        #define DEEPTHIN_SMOLLM2_135M_KEY_SCALE_BYTES   98304    /* of one layer */
        #define DEEPTHIN_SMOLLM2_135M_VALUE_GROUPS      2        /* groups of a value head, with a scale each */
        #define DEEPTHIN_SMOLLM2_135M_VALUE_SCALE_BYTES 98304    /* of one layer */"#]].assert_eq(constants);
    let name = "deepthin_smollm2_135m_attention_kv8_9q3kv_64";
    expect![[r#"
        deepthin_smollm2_135m_attention_kv8_9q3kv_64

            weight[j] = softmax over positions j = 0 .. position of q . key[j] / sqrt(64)
            out = sum over j of weight[j] * value[j]

        For one token and each head of a share: 9 query heads of 64 elements; query head h reads key and
        value head h / 3.

        buffer                       bytes  use      contents
             0  q                     2304  in       rotated q: vector of 576
             1  keys               1572864  in       key cache of the layer
             2  values             1572864  in       value cache of the layer
             3  key_scales           98304  in       scales of the layer's key cache
             4  value_scales         98304  in       scales of the layer's value cache
             5  out                   2304  out      heads side by side: vector of 576
             6  weights                768  scratch  working memory
             7  sums                   768  scratch  working memory
             8  state                   48  scratch  working memory
             9  staged               16384  scratch  working memory
            10  scaled_weights         512  scratch  working memory

        scalar                values  meaning
             0  begin         0 to 9  first of the share of heads
             1  end           0 to 9  one past the last of the share of heads
             2  position   0 to 8191  position
             3  chunks      1 to 128  position / 64 + 1
    "#]].assert_eq(&comment(&codes, name, " */"));
}

#[test]
fn constants_name_what_a_kernel_takes() {
    let (model, lowered) = thin();
    let header = header(&model, &lowered);
    let name = " * deepthin_thin_linear_residual_f32_64x80_t1\n";
    let entry = excerpt(&header, name, "/*\n * deepthin_thin_norm_linear_f32_128x48_t4");
    expect![[r#"
        enum {
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFERS         = 5,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFER_X        = 0,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFER_W0       = 1,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFER_SCALES   = 2,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFER_OUT      = 3,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFER_PRODUCTS = 4,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BYTES_X         = 384,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BYTES_W0        = 20480,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BYTES_SCALES    = 256,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BYTES_OUT       = 256,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BYTES_PRODUCTS  = 256,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_SCALARS         = 2,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_SCALAR_BEGIN    = 0,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_SCALAR_END      = 1
        };

        void deepthin_thin_linear_residual_f32_64x80_t1(
            uint8_t *const *buffers, const int64_t *scalars);

    "#]]
    .assert_eq(&entry[entry.find("enum {").unwrap()..]);
}

#[test]
fn the_opening_tells_the_layouts_that_occur() {
    let (model, lowered) = models().swap_remove(1);
    let header = header(&model, &lowered);
    expect![[r#"
        packed matrix: panels of 32 rows, one behind the other; rows past the last are zeros. A panel is
            two tiles, A and B, of 16 rows each, and is stored in steps along the columns:

              q4_1   32 columns: a block of 512 bytes, 32 f16 scales d, 32 f16 minima m. A block has 32
                     columns: 4 lines of 64 bytes of tile A, as many of tile B. Line j of a tile has a
                     dword for each of its rows: the codes c of columns 8j .. 8j+3 in the low halves of
                     its bytes, 8j+4 .. 8j+7 in the high halves. The weight is fma(c, d, m).
              q8_0   32 columns: a block of 1024 bytes, 32 f16 scales d. A block has 32 columns: 8 lines
                     of 64 bytes of tile A, as many of tile B. Line j of a tile has a dword for each of
                     its rows: the codes c of columns 4j .. 4j+3, a byte each. The weight is d * (c -
                     128).

            Panel p of a matrix holds its rows 32p .. 32p+15 in tile A, 32p+16 .. 32p+31 in tile B, but

              of q and k: a head begins a new panel; tile A holds its elements i .. i+15, tile B its
              elements i + HEAD_DIM/2 .. i+15 + HEAD_DIM/2, for i = 0, 16, .. below HEAD_DIM/2; where
              HEAD_DIM/2 ends inside a tile, the rows past it are zeros;
              of v: rows in order, but a head begins a new panel; where HEAD_DIM ends inside a panel,
              the rows past it are zeros (where q, k and v are of one format, they are one matrix: the
              panels of q, of k, of v);
              of gate and up: rows 16p .. 16p+15 of gate in tile A, of up in tile B.

        rotary row of a position: HEAD_DIM/2 cosines, then HEAD_DIM/2 sines, f32, of the angles
            position * ROPE_THETA^(-2i / HEAD_DIM) for i = 0, 1, .. HEAD_DIM/2 - 1. A head h is rotated in
            pairs a = h[i], b = h[i + HEAD_DIM/2]: with the cosine c and the sine s of i they become
            a * c - b * s and b * c + a * s.

        key cache of a layer: f32 [KV_HEADS][POSITIONS / 16][HEAD_DIM][16]; element d of a head's
            key at a position lies in block position / 16, in row d, at place position % 16.

        value cache of a layer: f32 [POSITIONS][VALUE_ROW_BYTES / 4]; a row has the value heads of
            its position side by side, then room.

        ORDER

        A token goes through these kernels, from its id to its logits:

            embed_q8_0_90x576
            layer 0:
                norm_linear_rope_append_q4_1_by_q8_q8_0_by_q8_960x576_t1
                attention_9q3kv_64
                linear_residual_q4_1_by_q8_576x576_t1
                norm_linear_glu_q4_1_by_q8_3072x576_t1
                linear_residual_q4_1_by_q8_576x1536_t1
            each of the layers 1 to 29:
                norm_linear_rope_append_q4_1_by_q8_960x576_t1
                attention_9q3kv_64
                linear_residual_q4_1_by_q8_576x576_t1
                norm_linear_glu_q4_1_by_q8_3072x576_t1
                linear_residual_q4_1_by_q8_576x1536_t1
            norm_linear_q8_0_by_q8_96x576_t1

    "#]].assert_eq(&comment(&header, "packed matrix:", "\n * The number behind"));
    for line in header.lines().filter(|line| line.starts_with(" *")) {
        assert!(line.len() <= 110, "{line}");
    }
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
