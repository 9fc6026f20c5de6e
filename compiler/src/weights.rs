//! Where weights come from: the trait that interpreter and packing read, and random weights.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::dequant::{RowError, quantize_row};
use crate::fir::{Func, Graph, Role, Weight};
use crate::format::Format;
use crate::parts;

/// One tensor's shape and bytes, row by row in the layout of GGUF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorBytes<'a> {
    /// Storage of its elements.
    pub format: Format,
    /// Output rows.
    pub rows: u32,
    /// Elements of a row.
    pub columns: u32,
    /// `rows` times [`Format::row_bytes`] bytes. Not checked here: readers check.
    pub bytes: Cow<'a, [u8]>,
}

impl TensorBytes<'_> {
    /// Bytes that the shape asks for, or `None` where groups do not divide a row or the size
    /// passes the address space.
    pub fn expected_bytes(&self) -> Option<usize> {
        self.format.row_bytes(self.columns as usize)?.checked_mul(self.rows as usize)
    }
}

/// The weights of a model, by stored block and role.
///
/// Query and key rows come in *half-split* order: element pairs that turn together are
/// `i` and `i + head_dim / 2` of a head. A source over files that interleave them puts them right.
pub trait WeightSource {
    /// The tensor of `role`: of stored block `block`, or of the whole model where it is `None`.
    /// `None` comes back where there is no such tensor, or where it could not be read: a source
    /// that reads files keeps the reason.
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>>;
}

/// Weights drawn at random for a graph's tensors: the same on every machine, whatever the number of
/// threads.
///
/// Each row of each tensor has a stream of its own, SplitMix64 started at a mix of (seed, stored
/// block, role, row); so models that differ in sharing, depth or storage draw the same values for
/// the tensors that they have in common. An element is the sum of four uniform 16-bit numbers (close
/// to a normal distribution, exact in integers), scaled to variance 1/K in a matrix of K columns, or
/// to 1 +- 0.1 in a gain; then it is rounded to the tensor's format.
#[derive(Debug, Clone)]
pub struct RandomWeights {
    seed: u64,
    threads: usize,
    tensors: BTreeMap<(Option<u32>, Role), Weight>,
}

/// Mean of the sum of four uniform 16-bit numbers.
const MEAN: f32 = 131_070.0;
/// Standard deviation of that sum: 2^16 * sqrt(4 / 12).
const DEVIATION: f32 = 37_837.23;

/// Elements that a thread draws at a time: a fraction of a millisecond's work.
const PART_ELEMENTS: usize = 1 << 15;

impl RandomWeights {
    /// Weights for all tensors of `graph`, drawn on one thread when they are asked for.
    pub fn new(graph: &Graph, seed: u64) -> Self {
        let mut tensors = BTreeMap::new();
        let mut declare = |func: &Func, block: Option<u32>| {
            for weight in func.weights.values() {
                tensors.entry((block, weight.role)).or_insert(*weight);
            }
        };
        declare(&graph.embed, None);
        declare(&graph.head, None);
        for application in &graph.schedule {
            if let Some(func) = graph.blocks.get(application.func as usize) {
                declare(func, Some(application.block));
            }
        }
        RandomWeights { seed, threads: 1, tensors }
    }

    /// The same weights, drawn on at most `threads` threads.
    pub fn on_threads(self, threads: usize) -> Self {
        RandomWeights { threads, ..self }
    }
}

impl WeightSource for RandomWeights {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let Weight { rows, columns, format, .. } = *self.tensors.get(&(block, role))?;
        let mut tensor = TensorBytes { format, rows, columns, bytes: Cow::default() };
        let expected = tensor.expected_bytes()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(expected).ok()?;
        bytes.resize(expected, 0);
        let part_rows = (PART_ELEMENTS / (columns as usize).max(1)).max(1);
        let row_bytes = format.row_bytes(columns as usize)?.max(1);
        let parts = bytes.chunks_mut(part_rows * row_bytes);
        let threads = self.threads.min(parts.len());
        let parts = (0..).step_by(part_rows).zip(parts);
        let stream = SplitMix64::of_tensor(self.seed, block, role);
        let draw = |(first, part): (u32, &mut [u8])| -> Result<(), RowError> {
            let mut row = Vec::with_capacity(columns as usize);
            for (number, out) in (first..).zip(part.chunks_exact_mut(row_bytes)) {
                row.clear();
                draw_row(stream.of_row(number), role, columns, &mut row);
                out.copy_from_slice(&quantize_row(format, &row)?);
            }
            Ok(())
        };
        parts::on_threads(threads, parts, draw).into_iter().collect::<Result<(), _>>().ok()?;
        tensor.bytes = bytes.into();
        Some(tensor)
    }
}

/// Draws the `columns` elements of a row.
fn draw_row(mut stream: SplitMix64, role: Role, columns: u32, row: &mut Vec<f32>) {
    let (mean, deviation) =
        if role.is_gain() { (1.0, 0.1) } else { (0.0, 1.0 / (columns as f32).sqrt()) };
    let scale = deviation / DEVIATION;
    row.extend((0..columns).map(|_| mean + (stream.normal() - MEAN) * scale));
}

/// The generator of Steele, Lea and Flood (2014): a counter with a mixing function.
#[derive(Debug, Clone, Copy)]
struct SplitMix64(u64);

impl SplitMix64 {
    /// The stream of one tensor; `None` and block 0 have different streams.
    fn of_tensor(seed: u64, block: Option<u32>, role: Role) -> Self {
        let block = block.map_or(0, |b| u64::from(b) + 1);
        let mut stream = SplitMix64(seed);
        for part in [block, role as u64] {
            stream = SplitMix64(stream.next() ^ part);
        }
        stream
    }

    /// The stream of one of the tensor's rows.
    fn of_row(self, row: u32) -> Self {
        let mut tensor = self;
        let mut stream = SplitMix64(tensor.next() ^ u64::from(row));
        SplitMix64(stream.next())
    }

    /// The sum of four uniform 16-bit numbers.
    fn normal(&mut self) -> f32 {
        const LOW_HALVES: u64 = 0x0000_ffff_0000_ffff;
        let bits = self.next();
        // Two sums of two, each in 32 bits; neither carries into the other.
        let pairs = (bits & LOW_HALVES) + ((bits >> 16) & LOW_HALVES);
        let sum = (pairs & 0xffff_ffff) + (pairs >> 32);
        sum as f32
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
