//! What buffers hold: classes of values, each of which has broken kernels of its own kind.

use deepthin_compiler::pack::layout::Layout;
use deepthin_compiler::vir::Elem;
use half::{bf16, f16};

use deepthin_compiler::format::{Format, Scale};

use super::choices::Choices;

/// A class of f32 values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Small integers, whose sums and products are exact.
    Integers,
    /// Close to a normal distribution of deviation 1.
    Normal,
    /// Normal, with one element in 32 three hundred times as large.
    Outliers,
    /// Zeros of both signs.
    Zeros,
    /// Subnormal numbers and the least normal ones.
    Subnormal,
    /// Large numbers of alternating sign that nearly cancel.
    Cancellation,
    /// A single number that is not 0.
    OneHot,
    /// The greatest finite numbers among normal ones.
    MaxFinite,
    /// Infinities among normal numbers.
    Infinite,
    /// NaN among normal numbers.
    Nan,
    /// Any bits, and the numbers where arithmetic goes wrong first.
    Any,
}

/// f32 values where arithmetic goes wrong first.
pub const SPECIAL: [f32; 16] = [
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

impl Class {
    /// All.
    pub const ALL: [Class; 11] = [
        Class::Integers,
        Class::Normal,
        Class::Outliers,
        Class::Zeros,
        Class::Subnormal,
        Class::Cancellation,
        Class::OneHot,
        Class::MaxFinite,
        Class::Infinite,
        Class::Nan,
        Class::Any,
    ];

    /// Those of finite numbers: what weights may be, for loading refuses others.
    pub const FINITE: [Class; 8] = [
        Class::Integers,
        Class::Normal,
        Class::Outliers,
        Class::Zeros,
        Class::Subnormal,
        Class::Cancellation,
        Class::OneHot,
        Class::MaxFinite,
    ];

    /// Those whose sums of products stay far from overflow: what accuracy is asked of.
    pub const TAME: [Class; 7] = [
        Class::Integers,
        Class::Normal,
        Class::Outliers,
        Class::Zeros,
        Class::Subnormal,
        Class::Cancellation,
        Class::OneHot,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Integers => "integers",
            Class::Normal => "normal",
            Class::Outliers => "outliers",
            Class::Zeros => "zeros",
            Class::Subnormal => "subnormal",
            Class::Cancellation => "cancellation",
            Class::OneHot => "one-hot",
            Class::MaxFinite => "max finite",
            Class::Infinite => "infinite",
            Class::Nan => "nan",
            Class::Any => "any",
        }
    }

    /// `count` numbers of the class.
    pub fn floats(self, count: usize, choices: &mut Choices) -> Vec<f32> {
        if self == Class::OneHot {
            let mut floats = vec![0.0; count];
            let place = choices.below(u32::try_from(count).unwrap_or(u32::MAX)) as usize;
            if let Some(one) = floats.get_mut(place) {
                *one = normal(choices);
            }
            return floats;
        }
        (0..count).map(|position| self.float(position, choices)).collect()
    }

    fn float(self, position: usize, choices: &mut Choices) -> f32 {
        match self {
            Class::Integers => choices.within(-16, 16) as f32,
            Class::Normal | Class::OneHot => normal(choices),
            Class::Outliers if choices.once_in(32) => 300.0 * normal(choices),
            Class::Outliers => normal(choices),
            Class::Zeros => choices.pick(&[0.0, -0.0]),
            Class::Subnormal => f32::from_bits(choices.bits() & 0x80ff_ffff),
            Class::Cancellation => {
                let sign = if position.is_multiple_of(2) { 1.0 } else { -1.0 };
                sign * (30_000.0 + normal(choices))
            }
            Class::MaxFinite => rarely(&[f32::MAX, f32::MIN], choices),
            Class::Infinite => rarely(&[f32::INFINITY, f32::NEG_INFINITY], choices),
            Class::Nan => rarely(&[f32::NAN], choices),
            Class::Any => match choices.below(3) {
                0 => choices.pick(&SPECIAL),
                1 => f32::from_bits(choices.bits()),
                _ => 1000.0 * normal(choices),
            },
        }
    }
}

/// One of `rare` once in 24 times, else a normal number.
fn rarely(rare: &[f32], choices: &mut Choices) -> f32 {
    if choices.once_in(24) { choices.pick(rare) } else { normal(choices) }
}

/// A number close to normally distributed: the sum of four uniform ones, of deviation 1.
pub fn normal(choices: &mut Choices) -> f32 {
    let (a, b) = (choices.bits(), choices.bits());
    let sum: u32 = [a & 0xffff, a >> 16, b & 0xffff, b >> 16].iter().sum();
    (sum as f32 - 131_070.0) / 37_837.23
}

/// Four bytes, each at an end of the signed or the unsigned range or next to it.
pub fn extreme_bytes(choices: &mut Choices) -> u32 {
    u32::from_le_bytes([(); 4].map(|()| choices.pick(&[0, 0xff, 0x7f, 0x80, 0x81, 1])))
}

/// Bytes of a buffer of which nothing is known but its element.
pub fn contents(bytes: usize, elem: Option<Elem>, class: Class, choices: &mut Choices) -> Vec<u8> {
    let words = bytes.div_ceil(4);
    let mut contents: Vec<u8> = match elem {
        Some(Elem::F32) => float_bytes(&class.floats(words, choices)),
        Some(Elem::I32 | Elem::U16 | Elem::S8) | None => {
            let word = |_| match choices.below(5) {
                0 => choices.below(256),
                1 => extreme_bytes(choices),
                _ => choices.bits(),
            };
            (0..words).map(word).flat_map(u32::to_le_bytes).collect()
        }
    };
    contents.truncate(bytes);
    contents
}

/// The bytes of f32 numbers.
pub fn float_bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Packed panels of a layout: any codes, and finite elements, scales and minima of a class.
pub fn packed(layout: Layout, bytes: usize, class: Class, choices: &mut Choices) -> Vec<u8> {
    let class = if Class::FINITE.contains(&class) { class } else { Class::Normal };
    match layout.format {
        Format::F32 => float_bytes(&class.floats(bytes / 4, choices)),
        Format::F16 => {
            let floats = class.floats(bytes / 2, choices);
            floats.into_iter().flat_map(|x| finite_f16(x).to_le_bytes()).collect()
        }
        Format::Bf16 => {
            let floats = class.floats(bytes / 2, choices);
            floats.into_iter().flat_map(|x| finite_bf16(x).to_le_bytes()).collect()
        }
        Format::Codes(codes) => {
            let mut packed = Vec::with_capacity(bytes);
            let (heads, step) = (layout.scale(0) as usize, layout.step_bytes() as usize);
            while packed.len() + step <= bytes {
                packed.extend((0..heads / 4).flat_map(|_| choices.bits().to_le_bytes()));
                let halves = class.floats((step - heads) / 2, choices);
                // Codes go up to 128: scales of weights near 1 are small.
                packed.extend(halves.iter().flat_map(|x| match codes.scale {
                    Scale::F16 => finite_f16(x / 64.0).to_le_bytes(),
                    Scale::Bf16 => finite_bf16(x / 64.0).to_le_bytes(),
                }));
            }
            packed.resize(bytes, 0);
            packed
        }
    }
}

/// The nearest finite f16; numbers below the f32 normal range become subnormal f16 of their
/// mantissa, so that a class of subnormals is one here too.
fn finite_f16(x: f32) -> f16 {
    if x != 0.0 && x.abs() < f32::MIN_POSITIVE {
        let [low, high, ..] = x.to_bits().to_le_bytes();
        return f16::from_bits(u16::from_le_bytes([low, high & 3]));
    }
    f16::from_f32(x.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

fn finite_bf16(x: f32) -> bf16 {
    bf16::from_f32(x.clamp(bf16::MIN.to_f32(), bf16::MAX.to_f32()))
}
