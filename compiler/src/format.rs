//! Storage formats: what a row of weights is made of, in a file and in FIR, and what keys and
//! values are kept as in the KV cache.

use std::fmt;
use std::str::FromStr;

use deepthin_dsl::model::KvStorage;

/// How the elements of a weight row are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// IEEE single, 4 bytes an element.
    F32,
    /// IEEE half, 2 bytes an element.
    F16,
    /// bfloat16, 2 bytes an element.
    Bf16,
    /// Integer codes, with a scale for each group of elements.
    Codes(Codes),
}

/// A format of integer codes q: weight = d * (q - bias), or d * q + m where groups have a minimum.
///
/// A group of a row is its scale d, its minimum m if there is one, and the codes of its elements,
/// 32 at a time ([`codes`](crate::codes)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Codes {
    /// Size of a code.
    pub bits: Bits,
    /// Elements that share a scale.
    pub group: Group,
    /// Whether a group has a minimum; else codes are symmetric around their bias.
    pub minimum: bool,
    /// How scales and minima are stored.
    pub scale: Scale,
}

/// Bits of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bits {
    /// 4 bits, bias 8.
    Four,
    /// 6 bits, bias 32.
    Six,
    /// 8 bits, bias 128.
    Eight,
}

/// Elements of a row that share a scale: whole blocks of 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// 32 elements.
    Of32,
    /// 64 elements.
    Of64,
    /// 96 elements.
    Of96,
    /// 192 elements.
    Of192,
    /// The whole row, a multiple of 32 elements.
    Row,
}

/// How scales and minima are stored, in 2 bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scale {
    /// IEEE half, as GGUF files have it.
    F16,
    /// bfloat16, in formats of our own: every instruction set turns it into f32 in two steps.
    Bf16,
}

/// What the weights of a matrix are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activations {
    /// f32, with each weight dequantized.
    F32,
    /// Codes of 8 bits in groups, in exact integer sums. Weights are codes too.
    Q8(Group),
}

impl Activations {
    /// Elements of the longest run of columns that share a scale on both sides: a product's sums
    /// are exact integers over each. 1 where nothing is quantized.
    pub const fn piece(self, format: Format, columns: usize) -> usize {
        match self {
            Activations::F32 => 1,
            Activations::Q8(group) => {
                let (mut a, mut b) = (format.group(columns), group.elements(columns));
                while b > 0 {
                    (a, b) = (b, a % b);
                }
                a
            }
        }
    }
}

/// The words in texts: `f32`, `q8(64)`, `q8(row)`.
impl fmt::Display for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activations::F32 => f.write_str("f32"),
            Activations::Q8(Group::Row) => f.write_str("q8(row)"),
            Activations::Q8(group) => write!(f, "q8({})", group.elements(0)),
        }
    }
}

/// Most columns of an exact integer sum: 255 * 127 times as many fits 32 bits.
pub const MOST_EXACT: usize = 1 << 16;

/// Elements of a block of codes: every group is a whole number of them.
pub const BLOCK: usize = 32;

impl Bits {
    /// All sizes.
    pub const ALL: [Bits; 3] = [Bits::Four, Bits::Six, Bits::Eight];

    /// The number.
    pub const fn count(self) -> u32 {
        match self {
            Bits::Four => 4,
            Bits::Six => 6,
            Bits::Eight => 8,
        }
    }

    /// Greatest code.
    pub const fn most(self) -> u8 {
        match self {
            Bits::Four => 15,
            Bits::Six => 63,
            Bits::Eight => 255,
        }
    }

    /// Bytes of a block of 32 codes.
    pub const fn block_bytes(self) -> usize {
        self.count() as usize * BLOCK / 8
    }
}

impl Group {
    /// All groups.
    pub const ALL: [Group; 5] = [Group::Of32, Group::Of64, Group::Of96, Group::Of192, Group::Row];

    /// Elements of a group in rows of `columns`.
    pub const fn elements(self, columns: usize) -> usize {
        match self {
            Group::Of32 => 32,
            Group::Of64 => 64,
            Group::Of96 => 96,
            Group::Of192 => 192,
            Group::Row => columns,
        }
    }

    /// The same in the numbers of FIR and of layouts.
    pub const fn columns(self, row: u32) -> u32 {
        match self {
            Group::Of32 => 32,
            Group::Of64 => 64,
            Group::Of96 => 96,
            Group::Of192 => 192,
            Group::Row => row,
        }
    }

    /// Whether rows of `columns` are whole groups of whole blocks.
    pub const fn divides(self, columns: usize) -> bool {
        let elements = self.elements(columns);
        elements > 0 && columns.is_multiple_of(elements) && elements.is_multiple_of(BLOCK)
    }

    /// The group of so many elements.
    pub fn of(elements: u32) -> Option<Self> {
        match elements {
            32 => Some(Group::Of32),
            64 => Some(Group::Of64),
            96 => Some(Group::Of96),
            192 => Some(Group::Of192),
            _ => None,
        }
    }
}

impl Codes {
    /// A format of our own.
    pub const fn own(bits: Bits, group: Group, minimum: bool) -> Self {
        Codes { bits, group, minimum, scale: Scale::Bf16 }
    }

    /// What is subtracted from a code; 0 where groups have a minimum.
    pub const fn bias(self) -> u8 {
        if self.minimum { 0 } else { self.bits.most() / 2 + 1 }
    }

    /// Least and greatest code that quantizers give, less the bias. Of symmetric codes of 8 bits the
    /// least stays unused, so that they are symmetric.
    pub const fn range(self) -> (i16, i16) {
        let (bias, most) = (self.bias() as i16, self.bits.most() as i16);
        let is_signed = matches!(self.bits, Bits::Eight) && !self.minimum;
        (if is_signed { 1 - bias } else { -bias }, most - bias)
    }

    /// Bytes of scale and minimum.
    pub const fn head_bytes(self) -> usize {
        if self.minimum { 4 } else { 2 }
    }
}

impl Format {
    /// GGUF's Q8_0: groups of 32, an f16 scale d, 32 signed bytes q; weight = d * q.
    pub const Q8_0: Format = Format::gguf(Bits::Eight, false);
    /// GGUF's Q4_0: groups of 32, an f16 scale d, 16 bytes of codes q; weight = d * (q - 8).
    pub const Q4_0: Format = Format::gguf(Bits::Four, false);
    /// GGUF's Q4_1: groups of 32, f16 scale d and minimum m, 16 bytes of codes q;
    /// weight = d * q + m.
    pub const Q4_1: Format = Format::gguf(Bits::Four, true);

    /// Every format: the plain ones, GGUF's, those of our own.
    pub const ALL: [Format; 36] = Format::all();

    const fn gguf(bits: Bits, minimum: bool) -> Self {
        Format::Codes(Codes { bits, group: Group::Of32, minimum, scale: Scale::F16 })
    }

    const fn all() -> [Format; 36] {
        let mut all = [Format::F32; 36];
        let files = [Format::F16, Format::Bf16, Format::Q8_0, Format::Q4_0, Format::Q4_1];
        let mut at = 0;
        while at < files.len() {
            all[at + 1] = files[at];
            at += 1;
        }
        // 3 sizes of codes, 5 groups, symmetric and with a minimum.
        let mut own = 0;
        while own < 30 {
            let codes = Codes::own(Bits::ALL[own / 10], Group::ALL[own / 2 % 5], own % 2 == 1);
            all[own + 6] = Format::Codes(codes);
            own += 1;
        }
        all
    }

    /// The codes, where the format has some.
    pub const fn codes(self) -> Option<Codes> {
        match self {
            Format::Codes(codes) => Some(codes),
            Format::F32 | Format::F16 | Format::Bf16 => None,
        }
    }

    /// Elements of one group in rows of `columns`: those that share a scale, 1 where nothing is
    /// shared.
    pub const fn group(self, columns: usize) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::Bf16 => 1,
            Format::Codes(codes) => codes.group.elements(columns),
        }
    }

    /// Bytes of one group in a file, in rows of `columns`.
    pub const fn group_bytes(self, columns: usize) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
            Format::Codes(codes) => {
                let blocks = codes.group.elements(columns) / BLOCK;
                codes.head_bytes().saturating_add(blocks * codes.bits.block_bytes())
            }
        }
    }

    /// Whether rows of `columns` are whole groups.
    pub const fn divides(self, columns: usize) -> bool {
        match self {
            Format::F32 | Format::F16 | Format::Bf16 => true,
            Format::Codes(codes) => codes.group.divides(columns),
        }
    }

    /// Bytes of a row of `columns` elements in a file, or `None` where groups don't divide it.
    pub const fn row_bytes(self, columns: usize) -> Option<usize> {
        if self.divides(columns) {
            (columns / self.group(columns)).checked_mul(self.group_bytes(columns))
        } else {
            None
        }
    }

    /// Elements of a row of so many bytes, or `None` where these are no whole groups.
    pub const fn columns(self, bytes: usize) -> Option<usize> {
        let columns = match self {
            Format::Codes(Codes { bits, group: Group::Row, .. }) => {
                bytes.saturating_sub(self.group_bytes(0)) / bits.block_bytes() * BLOCK
            }
            Format::F32 | Format::F16 | Format::Bf16 | Format::Codes(_) => {
                bytes / self.group_bytes(0) * self.group(0)
            }
        };
        match self.row_bytes(columns) {
            Some(found) if found == bytes => Some(columns),
            Some(_) | None => None,
        }
    }
}

/// The name in texts: `f32`, `q4_1`; of our own `q4g64`, with minima `q4g64m`, by rows `q8row`.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes = match self {
            Format::F32 => return f.pad("f32"),
            Format::F16 => return f.pad("f16"),
            Format::Bf16 => return f.pad("bf16"),
            Format::Codes(codes) => *codes,
        };
        let bits = codes.bits.count();
        let minimum = if codes.minimum { "m" } else { "" };
        f.pad(&match (codes.scale, codes.group) {
            (Scale::F16, _) => format!("q{bits}_{}", u8::from(codes.minimum)),
            (Scale::Bf16, Group::Row) => format!("q{bits}row{minimum}"),
            (Scale::Bf16, group) => format!("q{bits}g{}{minimum}", group.elements(0)),
        })
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Format::ALL
            .into_iter()
            .find(|format| format.to_string() == text)
            .ok_or_else(|| format!("unknown format `{text}`"))
    }
}

/// How keys and values of past positions are kept: one format for all of a model. What each keeps
/// of a number is defined in [`numerics::kv`](crate::numerics::kv).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KvFormat {
    /// IEEE single, 4 bytes an element: what was computed.
    F32,
    /// IEEE half, 2 bytes an element.
    F16,
    /// A signed byte an element, and a bf16 scale for each group of at most 32.
    Q8,
}

impl KvFormat {
    /// Every format, for tables and generators.
    pub const ALL: [KvFormat; 3] = [KvFormat::F32, KvFormat::F16, KvFormat::Q8];

    /// Bytes of an element, the scales of groups not counted.
    pub const fn element_bytes(self) -> u32 {
        match self {
            KvFormat::F32 => 4,
            KvFormat::F16 => 2,
            KvFormat::Q8 => 1,
        }
    }

    /// The name in texts: `f32`, `f16`, `q8`.
    pub const fn name(self) -> &'static str {
        match self {
            KvFormat::F32 => "f32",
            KvFormat::F16 => "f16",
            KvFormat::Q8 => "q8",
        }
    }
}

impl From<KvStorage> for KvFormat {
    fn from(storage: KvStorage) -> Self {
        match storage {
            KvStorage::F32 => KvFormat::F32,
            KvStorage::F16 => KvFormat::F16,
            KvStorage::Q8 => KvFormat::Q8,
        }
    }
}

impl fmt::Display for KvFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KvFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        KvFormat::ALL
            .into_iter()
            .find(|f| f.name() == text)
            .ok_or_else(|| format!("unknown format `{text}` of a KV cache"))
    }
}
