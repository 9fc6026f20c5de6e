//! Where weights come from: the trait that interpreter and packing read, and random weights.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::dequant::quantize_row;
use crate::fir::{Func, Graph, Role, Weight};
use crate::format::Format;

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

/// Weights drawn at random for a graph's tensors: the same on every machine.
///
/// Each tensor has a stream of its own, SplitMix64 started at a mix of (seed, stored block, role);
/// so models that differ in sharing, depth or storage draw the same values for the tensors that
/// they have in common. An element is the sum of four uniform 16-bit numbers (close to a normal
/// distribution, exact in integers), scaled to variance 1/K in a matrix of K columns, or to
/// 1 +- 0.1 in a gain; then it is rounded to the tensor's format.
#[derive(Debug, Clone)]
pub struct RandomWeights {
    seed: u64,
    tensors: BTreeMap<(Option<u32>, Role), Weight>,
}

/// Mean of the sum of four uniform 16-bit numbers.
const MEAN: f32 = 131_070.0;
/// Standard deviation of that sum: 2^16 * sqrt(4 / 12).
const DEVIATION: f32 = 37_837.23;

impl RandomWeights {
    /// Weights for all tensors of `graph`, drawn when they are asked for.
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
        RandomWeights { seed, tensors }
    }
}

impl WeightSource for RandomWeights {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let Weight { rows, columns, format, .. } = *self.tensors.get(&(block, role))?;
        let mut tensor = TensorBytes { format, rows, columns, bytes: Cow::default() };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(tensor.expected_bytes()?).ok()?;
        let mut stream = SplitMix64::of_tensor(self.seed, block, role);
        for _ in 0..rows {
            let row: Vec<f32> = (0..columns).map(|_| element(&mut stream, role, columns)).collect();
            bytes.extend(quantize_row(format, &row).ok()?);
        }
        tensor.bytes = bytes.into();
        Some(tensor)
    }
}

fn element(stream: &mut SplitMix64, role: Role, columns: u32) -> f32 {
    let bytes = stream.next().to_le_bytes();
    let sum: u32 = bytes.as_chunks().0.iter().map(|b| u32::from(u16::from_le_bytes(*b))).sum();
    let normal = (sum as f32 - MEAN) / DEVIATION;
    if role.is_gain() { normal.mul_add(0.1, 1.0) } else { normal / (columns as f32).sqrt() }
}

/// The generator of Steele, Lea and Flood (2014): a counter with a mixing function.
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

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
