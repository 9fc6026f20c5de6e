//! Lines that product kernels ask for: of weights those they read, no other, and of codes once each;
//! of the KV cache those of the chunk at hand.

use std::collections::BTreeMap;

use deepthin_compiler::format::{Activations, Format, Group, KvFormat};
use deepthin_compiler::lower::{
    Asks, EpilogueKernel, LinearKernel, OWN_DISTANCE, Segment, lower_linear,
};
use deepthin_compiler::pack::layout::{LINE, Layout};
use deepthin_compiler::vir::{Affine, Bound, BufferId, Inst, Kernel, Locality};

const PANELS: u32 = 3;
const COLUMNS: u32 = 192;

/// Lines of a buffer that a run loads, and places of another that it asks for, with how often.
#[derive(Default)]
struct Touched {
    loaded: BTreeMap<i64, u32>,
    asked: BTreeMap<i64, u32>,
}

/// Runs the loops of `body`, looking at loads of one buffer and at what is asked for of another.
fn walk(body: &[Inst], of: [BufferId; 2], indices: &mut [i64], touched: &mut Touched) {
    let value = |affine: &Affine, indices: &[i64]| -> i64 {
        let terms = affine.terms.iter();
        affine.base + terms.map(|(index, factor)| indices[index.0 as usize] * factor).sum::<i64>()
    };
    for inst in body {
        match inst {
            Inst::Load { at, .. } if at.buffer == of[0] => {
                let line = value(&at.offset, indices) / i64::from(LINE);
                *touched.loaded.entry(line).or_default() += 1;
            }
            Inst::Prefetch { at, .. } if at.buffer == of[1] => {
                *touched.asked.entry(value(&at.offset, indices)).or_default() += 1;
            }
            Inst::Loop { var, begin, end, body, .. } => {
                let [begin, end] = [begin, end].map(|bound| match bound {
                    Bound::Const(value) => i64::from(*value),
                    Bound::Scalar(index) => indices[index.0 as usize],
                    Bound::Clamp { scalar, minus, lo, hi } => (indices[scalar.0 as usize]
                        - value(minus, indices))
                    .clamp(i64::from(*lo), i64::from(*hi)),
                });
                for i in begin..end {
                    indices[var.0 as usize] = i;
                    walk(body, of, indices, touched);
                }
            }
            _ => {}
        }
    }
}

/// What a call with the scalars loads of one buffer and asks for of another.
fn touched(kernel: &Kernel, scalars: &[i64], names: [&str; 2]) -> Touched {
    let mut indices = vec![0; kernel.indices.len()];
    indices[..scalars.len()].copy_from_slice(scalars);
    let named = |name| kernel.buffers.iter().find(|(_, buffer)| buffer.name == name).unwrap().0;
    let mut all = Touched::default();
    walk(&kernel.body, names.map(named), &mut indices, &mut all);
    all
}

/// Asks of operands, where a block is read again and where it is not.
const AGAIN: Asks = Asks::Operand { is_last: false };
const LAST: Asks = Asks::Operand { is_last: true };

/// What is asked for with the weights: a buffer, the bytes behind them, and with one of so many lines.
const ASKED: [(Asks, &str, u32, usize); 4] = [
    (LAST, "w0", 0, 1),
    (LAST, "ahead_even0", 0, 2),
    (AGAIN, "ahead_odd0", 0, 2),
    (Asks::Own, "w0", OWN_DISTANCE, 1),
];

fn kernel(
    format: Format,
    activations: Activations,
    (lanes, tokens): (u32, u32),
    asks: Asks,
) -> Kernel {
    let kernel = LinearKernel {
        lanes,
        tokens,
        columns: COLUMNS,
        merge: None,
        norm: None,
        segments: vec![Segment { format, activations, panels: PANELS }],
        epilogue: EpilogueKernel::Logits { vocab: PANELS * 32 },
        asks,
    };
    lower_linear("product", &kernel).kernel
}

/// Asserts what the last two of three panels ask for.
fn assert_asked(format: Format, activations: Activations, lanes: u32) {
    let mut halves = Vec::new();
    for (asks, name, distance, every) in ASKED {
        let kernel = kernel(format, activations, (lanes, 1), asks);
        let touched = touched(&kernel, &[1, 3], ["w0", name]);
        let what = format!("{format} by {activations}, {lanes} lanes, {asks:?}, {name}");
        let (line, distance) = (i64::from(LINE), i64::from(distance));
        assert!(touched.asked.keys().all(|at| at % line == 0), "{what}: at a line's start");
        let asked: Vec<i64> = touched.asked.keys().map(|at| (at - distance) / line).collect();
        let panel = i64::try_from(Layout { format, columns: COLUMNS }.panel_bytes()).unwrap();
        let all: Vec<i64> = (panel / line..3 * panel / line).collect();
        let loaded: Vec<i64> = touched.loaded.keys().copied().collect();
        assert_eq!(loaded, all, "{what}: the lines of panels 1 and 2");
        if every == 1 {
            assert_eq!(asked, all, "{what}");
        } else {
            // Of a step with an odd number of lines one more is even. All that loops go through are.
            let is_looped = activations == Activations::F32 || lanes == 4;
            let most = all.len() * 6 / 10;
            assert!(is_looped || asked.len() <= most, "{what}: {}", asked.len());
            halves.extend(asked);
        }
        // A line of codes is read once, one of scales for each piece of columns that has some in it.
        let most = if format.codes().is_some() { COLUMNS / 32 } else { 1 };
        assert!(touched.asked.values().all(|times| *times <= most), "{what}");
        let often = touched.asked.values().filter(|times| **times > 1).count();
        assert!(often * 4 < all.len(), "{what}: {often} of {} lines", all.len());
        if halves.len() >= all.len() {
            halves.sort_unstable();
            assert_eq!(halves, all, "{what}: every line is even or odd");
            halves.clear();
        }
    }
    assert!(halves.is_empty(), "{format} by {activations}: lines are neither even nor odd");
}

#[test]
fn every_line_of_a_share_is_asked_for_and_no_other() {
    for format in Format::ALL {
        for activations in [Activations::F32, Activations::Q8(Group::Of192)] {
            if activations != Activations::F32 && format.codes().is_none() {
                continue;
            }
            for lanes in [4, 8, 16] {
                assert_asked(format, activations, lanes);
            }
        }
    }
}

#[test]
fn own_lines_are_not_to_be_kept_and_others_are() {
    fn localities(body: &[Inst], all: &mut Vec<Locality>) {
        for inst in body {
            if let Inst::Prefetch { locality, .. } = inst {
                all.push(*locality);
            }
            localities(inst.body(), all);
        }
    }
    let format = "q8g32".parse().unwrap();
    for (asks, expected) in [
        (Asks::Nothing, &[][..]),
        (Asks::Own, &[Locality::NonTemporal]),
        (AGAIN, &[Locality::L2]),
        (LAST, &[Locality::L2, Locality::NonTemporal]),
    ] {
        let mut all = Vec::new();
        localities(&kernel(format, Activations::Q8(Group::Of32), (16, 1), asks).body, &mut all);
        all.sort_unstable_by_key(|locality| *locality == Locality::NonTemporal);
        all.dedup();
        assert_eq!(all, expected.to_vec(), "{asks:?}");
    }
}

/// Several tokens read the same lines several times.
#[test]
fn tiles_of_tokens_ask_for_nothing() {
    for (asks, name, ..) in ASKED {
        let kernel = kernel("q4g32m".parse().unwrap(), Activations::F32, (16, 4), asks);
        let has_operand = kernel.buffers.values().any(|buffer| buffer.name == "ahead_even0");
        assert_eq!(has_operand, asks != Asks::Own, "one call for all tiles");
        assert!(touched(&kernel, &[0, 3], ["w0", name]).asked.is_empty());
    }
}

/// Threads that share the panels ask together for the whole chunk, each line about once.
#[test]
fn the_chunk_at_hand_is_asked_for_beside_the_weights() {
    let (heads, kv_heads, head_dim, context) = (6, 3, 64, 256);
    let panels = (heads + 2 * kv_heads) * head_dim / 32;
    for (kv, bytes) in [(KvFormat::F32, 4), (KvFormat::F16, 2), (KvFormat::Q8, 1)] {
        for (format, activations) in
            [("q4g32", Activations::Q8(Group::Of32)), ("q8row", Activations::F32)]
        {
            let segment = Segment { format: format.parse().unwrap(), activations, panels };
            let kernel = LinearKernel {
                lanes: 16,
                tokens: 1,
                columns: COLUMNS,
                merge: None,
                norm: None,
                segments: vec![segment],
                epilogue: EpilogueKernel::RopeAppend { heads, kv_heads, head_dim, context, kv },
                asks: AGAIN,
            };
            let kernel = lower_linear("qkv", &kernel).kernel;
            let chunk_lines = kv_heads * 64 * head_dim * bytes / LINE;
            for buffer in ["keys", "values"] {
                let mut asked = BTreeMap::new();
                for share in [[0, 11], [11, panels.into()]] {
                    let scalars = [share[0], share[1], 2, 5];
                    for (at, times) in touched(&kernel, &scalars, ["w0", buffer]).asked {
                        *asked.entry(at).or_insert(0) += times;
                    }
                }
                let what = format!("{format}, {buffer} in {kv:?}");
                let lines = |count: u32| {
                    (2 * chunk_lines..2 * chunk_lines + count).map(|l| i64::from(l * LINE))
                };
                assert!(
                    lines(chunk_lines).all(|at| asked.contains_key(&at)),
                    "{what}: the whole chunk"
                );
                let near: Vec<i64> = lines(chunk_lines + panels).collect();
                assert!(asked.keys().all(|at| near.contains(at)), "{what}: no line far behind it");
                let times: u32 = asked.values().sum();
                assert!(times <= 2 * chunk_lines, "{what}: {times} times for {chunk_lines} lines");
            }
        }
    }
}
