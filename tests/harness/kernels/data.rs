//! What generated calls pass: buffer contents and scalars; and how results are compared.

use deepthin_compiler::vir::{BufferId, Elem, Index, Inst, Kernel};

use super::Choices;

/// f32 values where arithmetic goes wrong first.
pub(super) const SPECIAL: [f32; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    1.0e-45,      // least subnormal
    -1.1e-39,     // a subnormal
    65504.0,      // greatest f16
    65519.99,     // rounds to it
    5.9604645e-8, // least subnormal f16
    2049.0,       // a tie between two f16
];

/// The element of each buffer, where all accesses of the kernel agree on one.
pub fn elements(kernel: &Kernel) -> Vec<Option<Elem>> {
    let mut found: Vec<Vec<Elem>> = vec![Vec::new(); kernel.buffers.len()];
    collect(&kernel.body, &mut |buffer: BufferId, elem| {
        if let Some(elems) = found.get_mut(buffer.0 as usize)
            && !elems.contains(&elem)
        {
            elems.push(elem);
        }
    });
    let only = |elems: Vec<Elem>| if let [elem] = elems[..] { Some(elem) } else { None };
    found.into_iter().map(only).collect()
}

fn collect(body: &[Inst], see: &mut impl FnMut(BufferId, Elem)) {
    for inst in body {
        if let Some((elem, at)) = inst.access() {
            see(at.buffer, elem);
        }
        collect(inst.body(), see);
    }
}

/// Random contents; f32 in one of several manners, or all of them mixed.
pub(super) fn contents(bytes: u32, elem: Option<Elem>, choices: &mut Choices) -> Vec<u8> {
    let manner = choices.below(4);
    let mut contents = Vec::new();
    while contents.len() < bytes as usize {
        let word = match elem {
            Some(Elem::F32) => float(manner, choices).to_bits(),
            Some(Elem::I32 | Elem::U16) | None => match choices.below(4) {
                0 => choices.below(256),
                _ => choices.bits(),
            },
        };
        contents.extend(word.to_le_bytes());
    }
    contents.truncate(bytes as usize);
    contents
}

fn float(manner: u32, choices: &mut Choices) -> f32 {
    match manner {
        // Small integers, whose sums and products are exact.
        0 => choices.within(-16, 16) as f32,
        1 => (choices.within(-1_000_000, 1_000_000) as f32) * 1e-6,
        2 => choices.pick(&SPECIAL),
        _ => match choices.below(3) {
            0 => choices.pick(&SPECIAL),
            1 => f32::from_bits(choices.bits()),
            _ => (choices.within(-1_000_000, 1_000_000) as f32) * 1e-3,
        },
    }
}

/// Scalars within the declared bounds, often at their ends.
pub(super) fn scalars(kernel: &Kernel, choices: &mut Choices) -> Vec<i64> {
    let mut scalars = Vec::new();
    for index in kernel.indices.values() {
        let (lo, hi) = match index {
            Index::Scalar { lo, hi, .. } => (*lo, *hi),
            Index::RangeBegin { count, .. } => (0, i64::from(*count)),
            Index::RangeEnd { count } => (scalars.last().copied().unwrap_or(0), i64::from(*count)),
            Index::Loop => break,
        };
        let inside = choices.within(lo, hi);
        scalars.push(choices.pick(&[lo, hi, inside, inside]));
    }
    scalars
}

/// Every combination of least and greatest scalars, and of whole, empty and partial ranges, up
/// to `limit` of them.
pub fn corner_scalars(kernel: &Kernel, limit: usize) -> Vec<Vec<i64>> {
    let mut corners: Vec<Vec<i64>> = vec![Vec::new()];
    for index in kernel.indices.values() {
        let mut longer = Vec::new();
        for corner in &corners {
            let mut ends = match index {
                Index::Scalar { lo, hi, .. } => vec![*lo, *hi],
                Index::RangeBegin { count, .. } => {
                    vec![0, i64::from(*count) / 2, i64::from(*count)]
                }
                Index::RangeEnd { count } => {
                    vec![corner.last().copied().unwrap_or(0), i64::from(*count)]
                }
                Index::Loop => return corners,
            };
            ends.dedup();
            longer.extend(ends.into_iter().map(|end| [corner.as_slice(), &[end]].concat()));
        }
        // An even sample keeps both ends of the later parameters.
        let step = longer.len().div_ceil(limit.max(1));
        corners = longer.into_iter().step_by(step).collect();
    }
    corners
}

/// The first byte offset at which two results differ, with both elements as text. In an f32
/// buffer any NaN equals any NaN; all else is compared by bits.
pub fn first_difference(elem: Option<Elem>, left: &[u8], right: &[u8]) -> Option<String> {
    if left.len() != right.len() {
        return Some(format!("{} bytes and {} bytes", left.len(), right.len()));
    }
    let (left, right) = (left.chunks(4), right.chunks(4));
    let mut words = left.zip(right).enumerate();
    words.find_map(|(position, (a, b))| {
        if a == b {
            return None;
        }
        let offset = 4 * position;
        let (Ok(x), Ok(y)) = (a.try_into(), b.try_into()) else {
            return Some(format!("at byte {offset}: {a:02x?} and {b:02x?}"));
        };
        let (x, y) = (u32::from_le_bytes(x), u32::from_le_bytes(y));
        let (p, q) = (f32::from_bits(x), f32::from_bits(y));
        let same = elem == Some(Elem::F32) && p.is_nan() && q.is_nan();
        (!same).then(|| format!("at byte {offset}: {x:#010x} ({p:?}) and {y:#010x} ({q:?})"))
    })
}
