//! Calls of kernels as text: a kernel with its inputs and what is expected of it, in one file.
//!
//! ```text
//! ;; test run
//! ;; input b0 = f32 [1, -0, nan, 0x7f800001]
//! ;; input b1[64] = u16 splat(0x3c00, 32)
//! ;; scalar 3
//! ;; expect b2[16] = f32 [0.5, 2]
//! kernel k lanes 4 { .. }
//! ```
//!
//! Values are numbers of the element or `0x` bits, as a list, `iota(count)` or
//! `splat(value, count)`. Without an offset a line covers the whole buffer, with one the bytes from
//! there on; what no input covers holds zeros. Scalars stand in the order of the parameters. A NaN
//! is expected as any NaN.

use std::fmt::Write as _;
use std::sync::Arc;

use deepthin_compiler::id::Id;
use deepthin_compiler::vir::{
    BufferId, Elem, Kernel, ParseError, ScalarError, Verified, VerifyErrors, check_scalars, parse,
    verify,
};
use thiserror::Error;

use super::case::Case;
use super::compare::{first_difference, shown_elements};

/// Why a text is no call of a kernel.
#[derive(Debug, Error)]
pub enum FiletestError {
    /// No kernel.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A kernel that breaks rules.
    #[error("{0}")]
    Verify(#[from] VerifyErrors),
    /// A line that does not read as an assignment.
    #[error("`{line}` does not read like `{example}`")]
    Line {
        /// The line without `;; ..`.
        line: String,
        /// One that does.
        example: &'static str,
    },
    /// Values that do not cover what they are for.
    #[error("`{line}` has {found} bytes, expected {expected}")]
    Size {
        /// The line without `;; ..`.
        line: String,
        /// Bytes of its values.
        found: usize,
        /// Bytes of the buffer, or from the offset to its end.
        expected: String,
    },
    /// Buffers that are more than a test needs.
    #[error("the buffers of kernel `{kernel}` have {bytes} bytes, at most {MOST_BYTES} are run")]
    TooLarge {
        /// The kernel.
        kernel: String,
        /// Bytes of all buffers.
        bytes: u64,
    },
    /// Scalars that are missing or out of bounds.
    #[error(transparent)]
    Scalars(#[from] ScalarError),
}

/// Most bytes of all buffers of a kernel in a file.
const MOST_BYTES: u64 = 1 << 28;

/// What a part of a buffer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The buffer.
    pub buffer: BufferId,
    /// Its first byte, where it is not the whole buffer.
    pub offset: Option<usize>,
    /// The element that it is written in.
    pub elem: Elem,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// An `expect` line: the line as it stands, and what it says.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The whole line.
    pub line: String,
    /// What it says.
    pub part: Part,
}

/// A file: a kernel, alone or with a call.
#[derive(Debug)]
pub struct Filetest {
    /// The kernel.
    pub kernel: Arc<Verified>,
    /// The call, where there are scalars for it.
    pub case: Option<Case<'static>>,
    /// What is expected of it.
    pub expected: Vec<Expectation>,
}

impl Filetest {
    /// Reads a text. A kernel with parameters but without any line of a call is a kernel alone.
    ///
    /// # Errors
    /// A kernel that does not parse or verify, a line that does not fit it.
    pub fn read(text: &str) -> Result<Self, FiletestError> {
        let kernel = Arc::new(verify(parse(text)?)?);
        let bytes: u64 = kernel.buffers.values().map(|buffer| u64::from(buffer.bytes)).sum();
        if bytes > MOST_BYTES {
            return Err(FiletestError::TooLarge { kernel: kernel.name.clone(), bytes });
        }
        let mut buffers: Vec<Vec<u8>> =
            kernel.buffers.values().map(|buffer| vec![0; buffer.bytes as usize]).collect();
        let (mut scalars, mut expected, mut is_call) = (Vec::new(), Vec::new(), false);
        for line in text.lines() {
            if let Some(assignment) = line.strip_prefix(";; input ") {
                let part = Part::read(&kernel, assignment)?;
                if let Some(bytes) = buffers.get_mut(part.buffer.index()) {
                    let offset = part.offset.unwrap_or(0);
                    bytes[offset..offset + part.bytes.len()].copy_from_slice(&part.bytes);
                }
            } else if let Some(value) = line.strip_prefix(";; scalar ") {
                scalars.push(
                    value.trim().parse().map_err(|_| FiletestError::Line {
                        line: value.to_owned(),
                        example: "3",
                    })?,
                );
            } else if let Some(assignment) = line.strip_prefix(";; expect ") {
                let part = Part::read(&kernel, assignment)?;
                expected.push(Expectation { line: line.to_owned(), part });
            } else {
                is_call |= line.starts_with(";; test run");
                continue;
            }
            is_call = true;
        }
        let case = match is_call {
            true => {
                check_scalars(&kernel, &scalars)?;
                let buffers = buffers.into_iter().map(Into::into).collect();
                Some(Case { kernel: Arc::clone(&kernel), buffers, scalars })
            }
            false => None,
        };
        Ok(Filetest { kernel, case, expected })
    }
}

impl Part {
    /// Reads `b0 = f32 [..]` or `b0[64] = f32 [..]`.
    fn read(kernel: &Kernel, line: &str) -> Result<Part, FiletestError> {
        let wrong =
            || FiletestError::Line { line: line.to_owned(), example: "b0[64] = f32 [1, 2]" };
        let (place, values) = line.split_once(" = ").ok_or_else(wrong)?;
        let (name, offset) = match place.split_once('[') {
            Some((name, rest)) => {
                let offset = rest.strip_suffix(']').and_then(|text| text.parse().ok());
                (name, Some(offset.ok_or_else(wrong)?))
            }
            None => (place, None),
        };
        let id = kernel.buffers.ids().find(|id| id.to_string() == name).ok_or_else(wrong)?;
        let size = kernel.buffers[id].bytes as usize;
        let (elem, values) = values.split_once(' ').ok_or_else(wrong)?;
        let elem = Elem::from_name(elem).ok_or_else(wrong)?;
        let most = size / elem.bytes() as usize + 1; // one too many is told below
        let words = words(elem, values, most).ok_or_else(wrong)?;
        let width = elem.bytes() as usize;
        let bytes: Vec<u8> =
            words.iter().flat_map(|w| w.to_le_bytes().into_iter().take(width)).collect();
        let fits = match offset {
            Some(offset) => bytes.len().checked_add(offset).is_some_and(|end| end <= size),
            None => bytes.len() == size,
        };
        if !fits {
            let expected = match offset {
                Some(offset) => format!("at most {}", size.saturating_sub(offset)),
                None => size.to_string(),
            };
            return Err(FiletestError::Size {
                line: line.to_owned(),
                found: bytes.len(),
                expected,
            });
        }
        Ok(Part { buffer: id, offset, elem, bytes })
    }

    /// The bytes of the part in a buffer's contents.
    fn range(&self) -> std::ops::Range<usize> {
        let offset = self.offset.unwrap_or(0);
        offset..offset + self.bytes.len()
    }

    /// How the part differs from what a buffer holds.
    pub fn difference(&self, buffers: &[impl AsRef<[u8]>]) -> Option<String> {
        let found = buffers.get(self.buffer.index()).map(AsRef::as_ref).unwrap_or_default();
        let found = found.get(self.range()).unwrap_or_default();
        first_difference(Some(self.elem), &self.bytes, found)
    }

    /// The part as these buffers hold it.
    #[must_use]
    pub fn found_in(&self, buffers: &[impl AsRef<[u8]>]) -> Part {
        let found = buffers.get(self.buffer.index()).map(AsRef::as_ref).unwrap_or_default();
        let bytes = found.get(self.range()).unwrap_or_default().to_vec();
        Part { bytes, ..self.clone() }
    }
}

/// At most `most` words: a list, `iota(n)` or `splat(x, n)`.
fn words(elem: Elem, values: &str, most: usize) -> Option<Vec<u32>> {
    let counted = |text: &str| text.trim().parse::<usize>().ok().map(|count| count.min(most));
    if let Some(list) = inside(values, "[", "]") {
        return list.split(',').map(|value| word(elem, value.trim())).collect();
    }
    if let Some(count) = inside(values, "iota(", ")") {
        return (0..counted(count)?).map(|number| word(elem, &number.to_string())).collect();
    }
    let (value, count) = inside(values, "splat(", ")")?.split_once(',')?;
    Some(vec![word(elem, value.trim())?; counted(count)?])
}

fn inside<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.trim_end().strip_prefix(before)?.strip_suffix(after)
}

/// The bits of one element: a number of its type or `0x` bits.
fn word(elem: Elem, text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    match elem {
        Elem::F32 => text.parse().ok().map(f32::to_bits),
        Elem::I32 => text.parse().ok().map(i32::cast_unsigned),
        Elem::U16 => text.parse().ok().map(|x: u16| x.into()),
        Elem::S8 => text.parse().ok().map(|x: i8| x.cast_unsigned().into()),
    }
}

impl Part {
    /// The part as a line has it. `is_input` spells a NaN by its bits, for all of them are an
    /// input of their own, while any is as good as any in what is expected.
    pub fn text(&self, is_input: bool) -> String {
        let Part { buffer, offset, elem, bytes } = self;
        let word = |bytes: &[u8]| {
            let bits = bytes.iter().rev().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
            match elem {
                Elem::F32 if f32::from_bits(bits).is_nan() && is_input => format!("{bits:#010x}"),
                Elem::F32 if f32::from_bits(bits).is_nan() => "nan".to_owned(),
                Elem::F32 => shortest(f32::from_bits(bits)),
                Elem::I32 => format!("{}", bits.cast_signed()),
                Elem::U16 => format!("{bits:#06x}"),
                Elem::S8 => format!("{}", bytes.first().map_or(0, |byte| byte.cast_signed())),
            }
        };
        let words: Vec<String> = bytes.chunks_exact(elem.bytes() as usize).map(word).collect();
        let offset = offset.map(|offset| format!("[{offset}]")).unwrap_or_default();
        let values = match words.as_slice() {
            [first, rest @ ..] if rest.len() >= SPLAT && rest.iter().all(|word| word == first) => {
                format!("splat({first}, {})", words.len())
            }
            _ => format!("[{}]", words.join(", ")),
        };
        format!("{buffer}{offset} = {elem} {values}")
    }
}

/// Values more than one that are written once where they are all alike.
const SPLAT: usize = 16;

/// Bytes of a line that is written for contents which are mostly zero.
const LINE: usize = 64;

/// The text of a call: all of its inputs that are not zero, and of what is `expected` the lines
/// that hold the bytes at `shown`.
pub fn write(case: &Case<'_>, expected: &[impl AsRef<[u8]>], shown: &[Part]) -> String {
    // Writing to a string cannot fail.
    let mut text = ";; test run\n".to_owned();
    let elements = shown_elements(&case.kernel);
    for ((buffer, bytes), elem) in case.kernel.buffers.ids().zip(&case.buffers).zip(elements) {
        let whole = bytes.len() / elem.bytes() as usize * elem.bytes() as usize;
        for (number, line) in bytes[..whole].chunks(LINE).enumerate() {
            if line.iter().any(|byte| *byte != 0) {
                let offset = Some(number * LINE);
                let part = Part { buffer, offset, elem, bytes: line.to_vec() };
                let _ = writeln!(text, ";; input {}", part.text(true));
            }
        }
    }
    for scalar in &case.scalars {
        let _ = writeln!(text, ";; scalar {scalar}");
    }
    for part in shown {
        let _ = writeln!(text, ";; expect {}", part.found_in(expected).text(false));
    }
    let _ = writeln!(text, "\n{}", **case.kernel);
    text
}

/// An f32 as the shortest decimal that reads back, without `.0`.
fn shortest(x: f32) -> String {
    let text = format!("{x:?}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}
