//! Every form that a wide back end can emit: encoded with many operands, decoded again, shown to a
//! second disassembler, and emitted by kernels that the interpreter is held against.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use deepthin::verify::Case;
use deepthin::verify::machine::{Bench, KernelEngine as _};
use deepthin_compiler::codegen::target::{Isa, Target};
use deepthin_compiler::codegen::x64wide::forms::{Form, Operand};
use deepthin_compiler::codegen::x64wide::{Wide, Width};
use deepthin_compiler::vir::{
    Access, Affine, BinaryOp, Bound, Builder, CompareOp, Elem, Kernel, Locality, ValueId, Verified,
    verify,
};
use deepthin_tests::c_tools;
use deepthin_tests::filetest;
use deepthin_tests::jit::machines_of;
use deepthin_tests::kernels;
use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, EncodingKind, Formatter, GasFormatter, Instruction,
    MemorySize, OpKind, Register,
};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

use super::super::kernels::planned;
use super::check;

/// Random numbers that are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }
}

/// A form, a width, and what encodes it there.
type Encoding = (Form, Width, Code);

/// Every encoding of the table.
fn encodings() -> Vec<Encoding> {
    let all = [Width::Ymm, Width::Zmm]
        .into_iter()
        .flat_map(|width| Form::ALL.iter().map(move |form| (*form, width, form.code(width))));
    all.filter(|(.., code)| *code != Code::INVALID).collect()
}

/// The first register of an operand's kind, and how many there are.
fn registers(operand: Operand, width: Width, is_evex: bool) -> Option<(Register, u64)> {
    let count = if is_evex { 32 } else { 16 };
    let vector = |width| if width == Width::Zmm { Register::ZMM0 } else { Register::YMM0 };
    Some(match operand {
        Operand::Vector | Operand::VectorOrMemory => (vector(width), count),
        Operand::Half | Operand::HalfOrMemory if width == Width::Zmm => (Register::YMM0, count),
        Operand::Half | Operand::HalfOrMemory | Operand::Xmm | Operand::XmmOrMemory => {
            (Register::XMM0, count)
        }
        Operand::General | Operand::GeneralOrMemory => (Register::RAX, 16),
        Operand::Low | Operand::LowOrMemory => (Register::EAX, 16),
        Operand::Mask | Operand::MaskOrMemory => (Register::K0, 8),
        _ => return None,
    })
}

/// An instruction of a form with random operands, for the place `at`.
fn drawn(random: &mut Random, (form, width, code): Encoding, at: u64) -> Instruction {
    let is_evex = code.op_code().encoding() == EncodingKind::EVEX;
    if form.operands() == [Operand::Target] {
        let distance = if format!("{code:?}").contains("rel8") { 100 } else { 1 << 28 };
        return Instruction::with_branch(code, at + random.below(distance)).unwrap();
    }
    let mut drawn = Instruction::default();
    drawn.set_code(code);
    for (n, operand) in (0..).zip(form.operands()) {
        let takes_memory = operand.takes_memory();
        let is_memory = *operand == Operand::Memory || takes_memory && random.below(2) == 0;
        if is_memory {
            drawn.set_op_kind(n, OpKind::Memory);
            let is_constant = random.below(4) == 0;
            let base = match is_constant {
                true => Register::RIP,
                false => Register::RAX + u32::try_from(random.below(16)).unwrap(),
            };
            let displacement: i64 = match random.below(4) {
                0 => 0,
                1 => i64::try_from(random.below(256)).unwrap() - 128,
                2 => (i64::try_from(random.below(256)).unwrap() - 128) * 64,
                _ => i64::try_from(random.below(1 << 31)).unwrap() - (1 << 30),
            };
            let displacement =
                if is_constant { (1 << 30) + displacement / 2 } else { displacement };
            drawn.set_memory_base(base);
            drawn.set_memory_displacement64(displacement.cast_unsigned());
            drawn.set_memory_displ_size(u32::from(displacement != 0));
            let can = code.op_code().can_broadcast() && *operand == Operand::VectorOrMemory;
            drawn.set_is_broadcast(can && random.below(2) == 0);
        } else if let Some((first, count)) = registers(*operand, width, is_evex) {
            drawn.set_op_kind(n, OpKind::Register);
            drawn.set_op_register(n, first + u32::try_from(random.below(count)).unwrap());
        } else {
            number(&mut drawn, n, *operand, random.next());
        }
    }
    if form == Form::CompareDMask {
        // A name for each but 3 and 7, which one disassembler has and the other has not.
        drawn.set_immediate8([0, 1, 2, 4, 5, 6][usize::try_from(random.below(6)).unwrap()]);
    }
    if form.takes_mask() && is_evex && random.below(2) == 0 {
        drawn.set_op_mask(Register::K1 + u32::try_from(random.below(7)).unwrap());
        let is_store = drawn.op0_kind() == OpKind::Memory;
        drawn.set_zeroing_masking(form != Form::BlendMask && !is_store);
    }
    drawn
}

#[allow(clippy::cast_possible_truncation, reason = "numbers are drawn: their low bits will do")]
fn number(drawn: &mut Instruction, n: u32, operand: Operand, bits: u64) {
    match operand {
        Operand::SignedByte => {
            drawn.set_op_kind(n, OpKind::Immediate8to64);
            drawn.set_immediate8to64(i64::from(bits as i8));
        }
        Operand::Signed32 => {
            drawn.set_op_kind(n, OpKind::Immediate32to64);
            drawn.set_immediate32to64(i64::from(bits as i32));
        }
        Operand::Bits32 => {
            drawn.set_op_kind(n, OpKind::Immediate32);
            drawn.set_immediate32(bits as u32);
        }
        Operand::Bits64 => {
            drawn.set_op_kind(n, OpKind::Immediate64);
            drawn.set_immediate64(bits);
        }
        _ => {
            drawn.set_op_kind(n, OpKind::Immediate8);
            drawn.set_immediate8(bits as u8);
        }
    }
}

/// A place where distances to everything that is drawn fit.
const HERE: u64 = 1 << 30;

/// How many of each encoding are drawn: a million in all where tests are optimized.
const DRAWN: u64 = if cfg!(debug_assertions) { 1_500 } else { 8_000 };

#[test]
fn every_form_decodes_to_what_was_encoded() {
    let (mut encoder, mut random) = (Encoder::new(64), Random(0x9e37_79b9_7f4a_7c15));
    for encoding in encodings() {
        let (form, _, code) = encoding;
        for _ in 0..DRAWN {
            let mut drawn = drawn(&mut random, encoding, HERE);
            let length = encoder.encode(&drawn, HERE).unwrap_or_else(|e| panic!("{form:?}: {e}"));
            let bytes = encoder.take_buffer();
            assert_eq!(bytes.len(), length);
            drawn.set_len(length);
            drawn.set_ip(HERE);
            let found = Decoder::with_ip(64, &bytes, HERE, DecoderOptions::NONE).decode();
            assert_eq!(found.code(), code, "{form:?} {bytes:02x?}");
            assert_eq!(found.len(), length, "{form:?}");
            assert_eq!(text(&found), text(&drawn), "{form:?} {bytes:02x?}");
            assert_eq!(found.op_mask(), drawn.op_mask(), "{form:?}");
            assert_eq!(found.memory_base(), drawn.memory_base(), "{form:?}");
            assert_eq!(found.memory_displacement64(), drawn.memory_displacement64(), "{form:?}");
        }
    }
}

fn text(instruction: &Instruction) -> String {
    let (mut formatter, mut text) = (GasFormatter::new(), String::new());
    let options = formatter.options_mut();
    options.set_rip_relative_addresses(true);
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_branch_leading_zeros(false);
    formatter.format(instruction, &mut text);
    text
}

/// The length and the operands as another program reads them: each encoding a few hundred times,
/// in one file for each width.
#[test]
fn a_second_disassembler_reads_the_same() {
    if !c_tools::have(&["objdump"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("forms.bin");
    let (mut encoder, mut random) = (Encoder::new(64), Random(0x2545_f491_4f6c_dd1d));
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for encoding in encodings() {
        for _ in 0..DRAWN / 5 {
            let at = HERE + bytes.len() as u64;
            let drawn = drawn(&mut random, encoding, at);
            encoder.encode(&drawn, at).unwrap_or_else(|e| panic!("{drawn:?}: {e}"));
            let own = encoder.take_buffer();
            let again = Decoder::with_ip(64, &own, at, DecoderOptions::NONE).decode();
            expected.push((at, own.len(), again));
            bytes.extend(own);
        }
    }
    fs::write(&path, &bytes).unwrap();
    let arguments = ["-D", "-b", "binary", "-m", "i386:x86-64", "-w", "--no-show-raw-insn"];
    let start = format!("--adjust-vma={HERE:#x}");
    let listed = c_tools::run(Command::new("objdump").args(arguments).arg(start).arg(&path));
    let lines: Vec<(&str, &str)> =
        listed.lines().filter_map(|line| line.trim().split_once(":\t")).collect();
    assert_eq!(lines.len(), expected.len());
    assert!(expected.len() > 20_000, "{}", expected.len());
    for ((at, length, instruction), (place, found)) in expected.into_iter().zip(lines) {
        assert_eq!(
            place,
            format!("{at:x}"),
            "after it: {found}; {length} bytes of {instruction:?}"
        );
        let own = normal(&text(&instruction));
        assert_eq!(normal(found), own, "{place}: {found}");
    }
}

#[test]
fn hints_name_the_cache_that_is_to_keep_the_line() {
    let target = Target::of(Isa::X86_64, Some("cascadelake")).unwrap();
    for (width, lanes) in [(Width::Ymm, 8), (Width::Zmm, 16)] {
        for (locality, expected) in
            [(Locality::L2, "prefetcht1 "), (Locality::NonTemporal, "prefetchnta ")]
        {
            let mut b = Builder::new("hint", lanes);
            let buffer = b.buffer("x", 64, Access::Read);
            b.prefetch(locality, buffer, Affine::constant(0));
            let kernel = verify(b.finish()).unwrap();
            let (_, forms) = Wide::new(&target, width).unwrap().analysis(&kernel).unwrap();
            let mut random = Random(1);
            let texts = forms
                .iter()
                .map(|form| text(&drawn(&mut random, (*form, width, form.code(width)), HERE)));
            let hints: Vec<String> = texts.filter(|text| text.contains("prefetch")).collect();
            assert_eq!(hints.len(), 1, "{hints:?}");
            assert!(hints[0].starts_with(expected), "{hints:?}");
        }
    }
}

/// A line of either disassembler without spaces, comments and suffixes in which they differ.
fn normal(line: &str) -> String {
    let line = line.split('#').next().unwrap_or_default();
    let line =
        line.split('<').next().unwrap_or_default().replace("{vex} ", "").replace("{evex} ", "");
    let mut words = line.split_whitespace();
    let mnemonic = match words.next().unwrap_or_default() {
        "movabs" => "mov",
        other => other,
    };
    let general = ["mov", "add", "sub", "cmp", "imul", "inc", "dec", "push", "pop"];
    let bare = mnemonic.strip_suffix(['q', 'l']).filter(|bare| general.contains(bare));
    let operands: String = words.collect();
    // No displacement and one of zero; the product of a register with itself as the factor.
    let operands = format!(",{operands}").replace(",0x0(", ",(");
    let mut operands: Vec<&str> = operands.split(',').skip(1).collect();
    if bare == Some("imul") || mnemonic == "imul" {
        let [.., factor, product] = operands[..] else { return line };
        if operands.len() == 3 && factor == product {
            operands.pop();
        }
    }
    format!("{} {}", bare.unwrap_or(mnemonic), operands.join(","))
}

/// A kernel with what few have: forty vectors and ten masks that are held at once, numbers of more
/// than 32 bits and below zero.
fn odd(lanes: u32) -> Kernel {
    let vector = i64::from(lanes) * 4;
    let mut b = Builder::new("odd", lanes);
    let bytes = lanes * 4 * 50;
    let [x, y] = ["x", "y"].map(|name| b.buffer(name, bytes, Access::ReadWrite));
    let none = b.scalar("none", 0, 0);
    let one = b.scalar("one", 0, 1);
    let always = b.scalar("always", 1, 1);
    let all = 0..40_i64;
    let at = |i: i64| Affine::constant(i * vector);
    let values: Vec<ValueId> = all.clone().map(|i| b.load(Elem::F32, x, at(i))).collect();
    let masks: Vec<ValueId> =
        (0..10).map(|i| b.compare(CompareOp::FLt, values[i], values[i + 1])).collect();
    for i in all.rev() {
        let index = usize::try_from(i).unwrap();
        let sum = b.fadd(values[index], values[(index + 7) % 40]);
        let chosen = b.select(masks[index % 10], sum, values[(index + 3) % 40]);
        b.store(chosen, Elem::F32, y, at(i));
    }
    let start = b.load(Elem::I32, x, Affine::index(always, 1 << 30).offset(-(1 << 30)));
    b.store(start, Elem::I32, y, at(43));
    // Each is zero, or minus one and one: factors that no instruction takes as they are.
    let far = b.index(Affine::index(none, 1 << 40).plus(one, -300).offset(7));
    b.store(far, Elem::I32, y, at(41));
    let end = Bound::Clamp {
        scalar: one,
        minus: Affine::index(none, -(1 << 41)).offset(-100_000),
        lo: 99_999,
        hi: 200_000,
    };
    let zero = b.i32(0);
    let [rounds] = b.for_range(Bound::Const(99_990), end, [zero], |b, i, [sum]| {
        let number = b.index(Affine::index(i, 1).offset(-99_000));
        let sum = b.binary(BinaryOp::IAdd, sum, number);
        [sum]
    });
    b.store(rounds, Elem::I32, y, at(42));
    b.finish()
}

#[test]
fn a_kernel_with_what_few_have() {
    for lanes in [8, 16] {
        let kernel = Arc::new(verify(odd(lanes)).unwrap());
        let bytes = lanes as usize * 4 * 50;
        let x: Vec<u8> = (0..bytes / 4)
            .flat_map(|i| (f32::from(u8::try_from(i * 37 % 251).unwrap()) - 99.5).to_le_bytes())
            .collect();
        for machine in machines_of(lanes) {
            let code = machine.code(std::slice::from_ref(&*kernel)).unwrap().swap_remove(0);
            let mut bench = Bench::new(Arc::clone(&kernel), code);
            for scalars in [vec![0, 0, 1], vec![0, 1, 1]] {
                let buffers = vec![x.clone().into(), vec![0; bytes].into()];
                let case = Case { kernel: Arc::clone(&kernel), buffers, scalars };
                assert_eq!(bench.check(&case).unwrap(), None, "{}", machine.name());
            }
        }
    }
}

/// The back ends whose code the coverage of forms is counted in: of this machine what it has, and
/// of processors that it may not be.
fn back_ends(lanes: u32) -> Vec<Wide> {
    let named = |cpu, width| Wide::new(&Target::of(Isa::X86_64, Some(cpu)).unwrap(), width);
    let all = match lanes {
        8 => vec![named("alderlake", Width::Ymm), named("x86-64-v3", Width::Ymm)],
        _ => vec![named("cascadelake", Width::Zmm)],
    };
    all.into_iter().map(Result::unwrap).collect()
}

/// Kernels that are held against the interpreter: drawn ones, here; those of test files, those of
/// models and the odd one, in other tests.
fn kernels_of(lanes: u32) -> Vec<Verified> {
    let mut runner = TestRunner::deterministic();
    let strategy = kernels::case(lanes);
    let mut all = Vec::new();
    for _ in 0..300 {
        let case = strategy.new_tree(&mut runner).unwrap().current();
        for machine in machines_of(lanes) {
            check(machine, &case).unwrap();
        }
        all.push(verify(case.kernel).unwrap());
    }
    for (_, text) in filetest::files(&filetest::directory("vir/run")) {
        let kernel = verify(deepthin_compiler::vir::parse(&text).unwrap()).unwrap();
        all.extend((kernel.lanes == lanes).then_some(kernel));
    }
    for subject in planned::models() {
        all.extend(subject.lowered(lanes).kernels.iter().cloned());
    }
    all.push(verify(odd(lanes)).unwrap());
    all
}

/// Each form is in the code of some kernel that other suites hold against the interpreter, and no
/// kernel has another.
#[test]
fn every_form_is_emitted_by_some_kernel() {
    let mut missing = Vec::new();
    for (lanes, width) in [(8, Width::Ymm), (16, Width::Zmm)] {
        let mut emitted: BTreeSet<Form> = BTreeSet::new();
        let kernels = kernels_of(lanes);
        for backend in back_ends(lanes) {
            for kernel in &kernels {
                emitted.extend(backend.analysis(kernel).unwrap().1);
            }
        }
        for form in Form::ALL {
            let is_there = form.code(width) != Code::INVALID;
            assert!(is_there || !emitted.contains(form), "{form:?} has no encoding");
            if is_there && !emitted.contains(form) {
                missing.push(format!("{form:?} of {lanes} lanes"));
            }
        }
    }
    assert!(missing.is_empty(), "emitted by no kernel: {missing:?}");
}

/// An operand in memory of an instruction that has one is what the table says it is: of the size
/// of the vector or of an element.
#[test]
fn memory_operands_are_as_large_as_lanes_are_many() {
    for (form, width, code) in encodings() {
        let Some(n) = form.operands().iter().position(|o| *o == Operand::VectorOrMemory) else {
            continue;
        };
        let mut instruction = Instruction::default();
        instruction.set_code(code);
        for (m, operand) in (0..).zip(form.operands()) {
            if m as usize == n {
                instruction.set_op_kind(m, OpKind::Memory);
                instruction.set_memory_base(Register::RAX);
            } else if let Some((first, _)) = registers(*operand, width, false) {
                instruction.set_op_kind(m, OpKind::Register);
                instruction.set_op_register(m, first);
            }
        }
        let bytes = instruction.memory_size().size();
        assert_eq!(bytes, width.lanes() as usize * 4, "{form:?}: {:?}", instruction.memory_size());
        assert_ne!(instruction.memory_size(), MemorySize::Unknown);
    }
}
