//! Dot products of bytes at every pair of bytes, in the code of every processor that can be run:
//! as each multiplies them, none may round, saturate or lose a sign.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use deepthin::verify::Case;
use deepthin::verify::guard::Placement;
use deepthin::verify::machine::{Bench, KernelEngine};
use deepthin_compiler::vir::{
    Access, Affine, BinaryOp, Builder, CompareOp, Elem, Kernel, ShiftOp, ValueId, verify,
};
use deepthin_tests::emulated::Machine;
use deepthin_tests::jit::machines;

/// This machine with each of its back ends, with the least that it could have, and three of
/// aarch64, where they can be emulated.
fn engines() -> Vec<&'static dyn KernelEngine> {
    static HOST: OnceLock<Option<Machine>> = OnceLock::new();
    let processes = HOST.get_or_init(Machine::host).iter().chain(Machine::aarch64());
    let processes = processes.map(|machine| machine as &dyn KernelEngine);
    machines().iter().map(|machine| machine as &dyn KernelEngine).chain(processes).collect()
}

/// The definition, in integers that hold every sum.
fn defined(u8s: u32, s8s: u32, acc: u32) -> u32 {
    let byte = |word: u32, k: u32| i64::from(word >> (8 * k) & 0xff);
    let signed = |byte: i64| if byte < 128 { byte } else { byte - 256 };
    let products = (0..4).map(|k| byte(u8s, k) * signed(byte(s8s, k)));
    let sum = i64::from(acc.cast_signed()) + products.sum::<i64>();
    u32::try_from(sum.rem_euclid(1 << 32)).unwrap()
}

/// Runs a kernel of these input buffers and one output buffer everywhere, made for the lanes there;
/// each result must be as `expected` says of its place.
#[track_caller]
fn check(kernel: impl Fn(u32) -> Kernel, inputs: &[&[u32]], expected: &[u32]) {
    let bytes = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let mut buffers: Vec<Cow<'_, [u8]>> = inputs.iter().map(|i| bytes(i).into()).collect();
    buffers.push(vec![0; expected.len() * 4].into());
    for engine in engines() {
        let kernel = Arc::new(verify(kernel(engine.lanes())).unwrap());
        let (shared, buffers) = (Arc::clone(&kernel), buffers.clone());
        let case = Case { kernel: shared, buffers, scalars: Vec::new() };
        let code = engine.code(std::slice::from_ref(&kernel)).unwrap().swap_remove(0);
        let mut bench = Bench::new(Arc::clone(&kernel), code);
        let after = bench.run(&case, Placement::Back).unwrap();
        let found = after[inputs.len()].as_chunks().0.iter().map(|word| u32::from_le_bytes(*word));
        for (place, (found, expected)) in found.zip(expected).enumerate() {
            assert_eq!(found, *expected, "result {place} on {}\n{}", engine.name(), **kernel);
        }
    }
}

/// A word for each pair of bytes: in every position of a word, every pair occurs once.
fn pairs(byte: impl Fn(u32) -> u32) -> Vec<u32> {
    let position = |pair: u32, k: u32| byte((pair + k * 0x4321) % 0x1_0000) << (8 * k);
    (0..0x1_0000).map(|pair| (0..4).map(|k| position(pair, k)).sum()).collect()
}

/// Numbers to be added to: among them both ends, where the sum wraps.
fn addends(count: u32) -> Vec<u32> {
    let ends = [0, i32::MAX.cast_unsigned(), i32::MIN.cast_unsigned(), u32::MAX];
    (0..count).map(|n| ends[n as usize % 4] ^ (n / 4)).collect()
}

#[test]
fn every_pair_of_bytes_in_every_position() {
    let (u8s, s8s, acc) = (pairs(|pair| pair >> 8), pairs(|pair| pair & 0xff), addends(0x1_0000));
    let kernel = |lanes: u32| {
        let mut b = Builder::new("pairs", lanes);
        let [u, s, z] = ["u8s", "s8s", "acc"].map(|name| b.buffer(name, 0x4_0000, Access::Read));
        let out = b.buffer("out", 0x4_0000, Access::Write);
        b.repeat(0x1_0000 / lanes, |b, i| {
            let at = Affine::index(i, i64::from(lanes) * 4);
            let [u, s, z] = [u, s, z].map(|buffer| b.load(Elem::I32, buffer, at.clone()));
            let sum = b.dot4(u, s, z);
            b.store(sum, Elem::I32, out, at);
        });
        b.finish()
    };
    let words = u8s.iter().zip(&s8s).zip(&acc);
    let expected: Vec<u32> = words.map(|((u, s), z)| defined(*u, *s, *z)).collect();
    check(kernel, &[&u8s, &s8s, &acc], &expected);
}

/// All four products at the same end: the largest magnitudes there are, and those where sums of
/// two products leave 16 bits.
#[test]
fn four_equal_products_at_the_ends() {
    let ends = [0_u8, 1, 127, 128, 129, 254, 255].map(|byte| u32::from_le_bytes([byte; 4]));
    let both = || ends.into_iter().flat_map(|u| ends.into_iter().map(move |s| (u, s)));
    let (mut u8s, mut s8s): (Vec<u32>, Vec<u32>) = both().unzip();
    u8s.resize(64, 0);
    s8s.resize(64, 0);
    let kernel = |lanes: u32| {
        let mut b = Builder::new("ends", lanes);
        let [u, s] = ["u8s", "s8s"].map(|name| b.buffer(name, 256, Access::Read));
        let out = b.buffer("out", 256, Access::Write);
        let zero = b.i32(0);
        b.repeat(64 / lanes, |b, i| {
            let at = Affine::index(i, i64::from(lanes) * 4);
            let [u, s] = [u, s].map(|buffer| b.load(Elem::I32, buffer, at.clone()));
            let sum = b.dot4(u, s, zero);
            b.store(sum, Elem::I32, out, at);
        });
        b.finish()
    };
    let expected: Vec<u32> = u8s.iter().zip(&s8s).map(|(u, s)| defined(*u, *s, 0)).collect();
    assert!(expected.contains(&(-130_560_i32).cast_unsigned()));
    check(kernel, &[&u8s, &s8s], &expected);
}

/// One signed factor for many unsigned ones, from outside of two loops and from between them,
/// used in each: what is made of it once must be there wherever it is used.
#[test]
fn factors_are_shared_by_loops() {
    let u8s: Vec<u32> = (0..64_u32).map(|n| 0x0b4e_91d4 ^ (n * 0x0404_0404)).collect();
    let s8s: Vec<u32> = (0..256_u32).map(|n| (n * 0x0101_0101) ^ 0x8001_7f00).collect();
    let kernel = |lanes: u32| {
        let vector = i64::from(lanes) * 4;
        let mut b = Builder::new("shared", lanes);
        let u = b.buffer("u8s", 256, Access::Read);
        let s = b.buffer("s8s", 1024, Access::Read);
        let out = b.buffer("out", 2 * 256 * 64 * 4, Access::Write);
        let first = b.splat(Elem::I32, s, Affine::constant(4));
        let zero = b.i32(0);
        b.repeat(256, |b, i| {
            let other = b.splat(Elem::I32, s, Affine::index(i, 4));
            let start = b.dot4(other, first, zero);
            b.repeat(64 / lanes, |b, j| {
                let codes = b.load(Elem::I32, u, Affine::index(j, vector));
                let at = Affine::index(i, 512).plus(j, vector);
                let sum = b.dot4(codes, other, start);
                b.store(sum, Elem::I32, out, at.clone());
                let sum = b.dot4(codes, first, sum);
                b.store(sum, Elem::I32, out, at.offset(256));
            });
        });
        b.finish()
    };
    let mut expected = Vec::new();
    for other in &s8s {
        let start = defined(*other, s8s[1], 0);
        let sums: Vec<u32> = u8s.iter().map(|codes| defined(*codes, *other, start)).collect();
        expected.extend(&sums);
        let again = u8s.iter().zip(&sums).map(|(codes, sum)| defined(*codes, s8s[1], *sum));
        expected.extend(again);
    }
    check(kernel, &[&u8s, &s8s], &expected);
}

/// A way to cut codes out of words.
type Cut = fn(&mut Builder, ValueId, ValueId) -> ValueId;

/// Codes of fewer bits, some of which are known to be below 128 and some of which only look so:
/// the ways to cut them out of a word with this mask.
const CUTS: [(u32, Cut); 9] = [
    (0x7f7f_7f7f, |b, x, mask| b.binary(BinaryOp::IAnd, x, mask)),
    (0x807f_7f7f, |b, x, mask| b.binary(BinaryOp::IAnd, mask, x)),
    (0xf0f0_f0f0, |b, x, mask| {
        let high = b.binary(BinaryOp::IAnd, x, mask);
        b.shift(ShiftOp::Shr, high, 4)
    }),
    (0xf0f0_f0f0, |b, x, mask| {
        let high = b.binary(BinaryOp::IAnd, x, mask);
        b.shift(ShiftOp::Sar, high, 4) // the sign comes in
    }),
    (0x0f0f_0f0f, |b, x, mask| {
        let low = b.binary(BinaryOp::IAnd, x, mask);
        b.shift(ShiftOp::Shl, low, 4)
    }),
    (0x7f7f_7f7f, |b, x, mask| {
        let low = b.binary(BinaryOp::IAnd, x, mask);
        b.binary(BinaryOp::IAdd, low, low)
    }),
    (0x3f3f_3f3f, |b, x, mask| {
        let low = b.binary(BinaryOp::IAnd, x, mask);
        b.binary(BinaryOp::IXor, low, x)
    }),
    (0x3f3f_3f3f, |b, x, mask| {
        let low = b.binary(BinaryOp::IAnd, x, mask);
        let one = b.shift(ShiftOp::Shl, low, 1);
        b.binary(BinaryOp::IOr, low, one)
    }),
    (0x7f7f_7f7f, |b, x, mask| {
        let (zero, low) = (b.i32(0), b.binary(BinaryOp::IAnd, x, mask));
        let negative = b.compare(CompareOp::ILt, x, zero);
        b.select(negative, x, low)
    }),
];

/// What each of the ways makes of a word.
fn cut(x: u32) -> [u32; 9] {
    let low = |mask: u32| x & mask;
    [
        low(0x7f7f_7f7f),
        low(0x807f_7f7f),
        low(0xf0f0_f0f0) >> 4,
        (low(0xf0f0_f0f0).cast_signed() >> 4).cast_unsigned(),
        low(0x0f0f_0f0f) << 4,
        low(0x7f7f_7f7f).wrapping_mul(2),
        low(0x3f3f_3f3f) ^ x,
        low(0x3f3f_3f3f) | low(0x3f3f_3f3f) << 1,
        if x.cast_signed() < 0 { x } else { low(0x7f7f_7f7f) },
    ]
}

#[test]
fn codes_cut_out_of_words_are_taken_for_what_they_can_be() {
    let words: Vec<u32> = (0..256_u32).map(|n| (n * 0x0101_0101) ^ 0x00ff_5aa5).collect();
    let s8s: Vec<u32> = words.iter().map(|word| word.rotate_left(9) ^ 0x8000_7f80).collect();
    let kernel = |lanes: u32| {
        let vector = i64::from(lanes) * 4;
        let mut b = Builder::new("codes", lanes);
        let [x, s] = ["words", "s8s"].map(|name| b.buffer(name, 1024, Access::Read));
        let out = b.buffer("out", 1024 * 9, Access::Write);
        let zero = b.i32(0);
        b.repeat(256 / lanes, |b, i| {
            let [x, s] = [x, s].map(|buffer| b.load(Elem::I32, buffer, Affine::index(i, vector)));
            for ((mask, cut), place) in CUTS.into_iter().zip(0..) {
                let mask = b.i32(mask);
                let codes = cut(b, x, mask);
                let sum = b.dot4(codes, s, zero);
                b.store(sum, Elem::I32, out, Affine::index(i, vector).offset(1024 * place));
            }
        });
        b.finish()
    };
    let mut expected = Vec::new();
    for way in 0..CUTS.len() {
        let sums = words.iter().zip(&s8s).map(|(x, s)| defined(cut(*x)[way], *s, 0));
        expected.extend(sums);
    }
    check(kernel, &[&words, &s8s], &expected);
}
