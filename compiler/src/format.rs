//! Storage formats of weight tensors: what a row of weights is made of, in a file and in FIR.

use std::fmt;
use std::str::FromStr;

/// How the elements of a weight row are stored. The names are those of GGUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// IEEE single, 4 bytes an element.
    F32,
    /// IEEE half, 2 bytes an element.
    F16,
    /// bfloat16, 2 bytes an element.
    Bf16,
    /// Groups of 32: an f16 scale d, 32 signed bytes q; weight = d * q.
    Q8_0,
    /// Groups of 32: an f16 scale d, 16 bytes of nibbles q; weight = d * (q - 8).
    Q4_0,
    /// Groups of 32: f16 scale d, f16 minimum m, 16 bytes of nibbles q; weight = d * q + m.
    Q4_1,
}

impl Format {
    /// Every format, for tables and generators.
    pub const ALL: [Format; 6] =
        [Format::F32, Format::F16, Format::Bf16, Format::Q8_0, Format::Q4_0, Format::Q4_1];

    /// Elements of one group: those that share a scale, 1 where nothing is shared.
    pub const fn group(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::Bf16 => 1,
            Format::Q8_0 | Format::Q4_0 | Format::Q4_1 => 32,
        }
    }

    /// Bytes of one group in a file.
    pub const fn group_bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
            Format::Q8_0 => 34,
            Format::Q4_0 => 18,
            Format::Q4_1 => 20,
        }
    }

    /// Bytes of a row of `columns` elements in a file, or `None` where groups don't divide it.
    pub const fn row_bytes(self, columns: usize) -> Option<usize> {
        if columns.is_multiple_of(self.group()) {
            (columns / self.group()).checked_mul(self.group_bytes())
        } else {
            None
        }
    }

    /// The name in texts: `f32`, `q4_1`, ..
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::Bf16 => "bf16",
            Format::Q8_0 => "q8_0",
            Format::Q4_0 => "q4_0",
            Format::Q4_1 => "q4_1",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Format::ALL
            .into_iter()
            .find(|f| f.name() == text)
            .ok_or_else(|| format!("unknown format `{text}`"))
    }
}
