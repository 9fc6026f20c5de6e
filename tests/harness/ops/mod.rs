//! Single operations, each as the kernel that computes it, on all engines at once.
//!
//! Every function runs its kernel on the VIR interpreter with 4, 8 and 16 lanes and as machine code
//! in one share and in several, holds the results to each other and to the definition in
//! `compiler/src/numerics/`, bit by bit, and gives what they agree on. What a kernel does not
//! read holds garbage.

use std::borrow::Cow;

use deepthin::verify::compare::{elements, first_difference};
use deepthin::verify::guard::{POISON, Placement};
use deepthin_compiler::dequant::{dequantize_row, quantize_row, stored_groups};
use deepthin_compiler::fir::Role as Tensor;
use deepthin_compiler::format::{Activations, Format};
use deepthin_compiler::interp::vir::run;
use deepthin_compiler::lower::{
    Asks, EmbedKernel, EpilogueKernel, LinearKernel, Lowered, Role, Segment, lower_embed,
    lower_linear, vector_bytes,
};
use deepthin_compiler::numerics;
use deepthin_compiler::pack::layout::{Layout, PANEL, TILE};
use deepthin_compiler::pack::{Content, PackedTensor, Rows, pack};
use deepthin_compiler::vir::verify;
use deepthin_compiler::weights::{TensorBytes, WeightSource};

use crate::jit::Compiled;

mod append;
mod attention;
mod logits;

pub use append::{Append, Appended, rope};
pub use attention::Attention;
pub use logits::logits;

/// A matrix of weights as a file stores them.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Storage.
    pub format: Format,
    /// Rows of quantized weights.
    rows: Vec<Vec<u8>>,
}

impl Matrix {
    /// The matrix whose weights are nearest to `values`, row by row.
    ///
    /// # Panics
    /// If the format's groups do not divide a row.
    pub fn new(format: Format, values: &[Vec<f32>]) -> Self {
        let row = |row: &Vec<f32>| quantize_row(format, row).expect("rows of whole groups");
        Matrix { format, rows: values.iter().map(row).collect() }
    }

    /// The matrix of these stored rows.
    pub fn stored(format: Format, rows: Vec<Vec<u8>>) -> Self {
        Matrix { format, rows }
    }

    /// The matrix that leaves a vector as it is, with `rows` rows of `columns`, from column `first`.
    pub fn identity(rows: usize, columns: usize, first: usize) -> Self {
        let row = |row| (0..columns).map(|k| f32::from(k == first + row)).collect();
        Matrix::new(Format::F32, &(0..rows).map(row).collect::<Vec<_>>())
    }

    /// The weights that are stored.
    ///
    /// # Panics
    /// Never: rows are made whole.
    pub fn values(&self) -> Vec<Vec<f32>> {
        let row = |row: &Vec<u8>| dequantize_row(self.format, row).expect("rows of whole groups");
        self.rows.iter().map(row).collect()
    }

    /// The matrix with these of its rows, in this order.
    #[must_use]
    pub fn with_rows(&self, rows: &[usize]) -> Self {
        Matrix { format: self.format, rows: rows.iter().map(|i| self.rows[*i].clone()).collect() }
    }

    fn columns(&self) -> usize {
        self.values().first().map_or(0, Vec::len)
    }

    /// The product with `x`, by its definition.
    fn times(&self, activations: Activations, x: &[f32]) -> Vec<f32> {
        let (Some(codes), Activations::Q8(group)) = (self.format.codes(), activations) else {
            return self.values().iter().map(|row| numerics::dot(row, x)).collect();
        };
        let piece = activations.piece(self.format, x.len());
        let x = numerics::quantize(x, group.elements(x.len()));
        let product = |row: &Vec<u8>| {
            let groups = stored_groups(codes, row).expect("rows of whole groups");
            numerics::dot_codes(codes, &groups, &x, piece)
        };
        self.rows.iter().map(product).collect()
    }
}

/// Matrices by the role that a kernel's panels name them by.
struct Matrices<'m>(&'m [(Tensor, &'m Matrix)]);

impl WeightSource for Matrices<'_> {
    fn tensor(&self, _block: Option<u32>, role: Tensor) -> Option<TensorBytes<'_>> {
        let (_, matrix) = self.0.iter().find(|(of, _)| *of == role)?;
        Some(TensorBytes {
            format: matrix.format,
            rows: count(matrix.rows.len()),
            columns: count(matrix.columns()),
            bytes: Cow::Owned(matrix.rows.concat()),
        })
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("a small number")
}

/// The packed panels of `parts`, all of one format.
fn panels(columns: usize, parts: &[Rows], matrices: &[(Tensor, &Matrix)]) -> Vec<u8> {
    let format = matrices[0].1.format;
    let layout = Layout { format, columns: count(columns) };
    let content = Content::Panels { layout, parts: parts.to_vec() };
    let mut packed = vec![0; usize::try_from(content.bytes()).expect("a small matrix")];
    let tensor = PackedTensor { block: None, content, offset: 0 };
    pack(&[tensor], &Matrices(matrices), &mut packed, 1).expect("weights that pack");
    packed
}

/// A kernel's buffers after its calls.
struct After {
    lowered: Lowered,
    buffers: Vec<Vec<u8>>,
}

impl After {
    fn bytes(&self, is_wanted: impl Fn(&Role, &str) -> bool) -> &[u8] {
        let names = self.lowered.kernel.buffers.values().map(|buffer| buffer.name.as_str());
        let mut buffers = self.lowered.buffers.iter().zip(names).zip(&self.buffers);
        let found = buffers.find(|((role, name), _)| is_wanted(role, name));
        found.expect("a buffer of the kernel").1
    }

    fn floats(&self, is_wanted: impl Fn(&Role, &str) -> bool) -> Vec<f32> {
        let bytes = self.bytes(is_wanted);
        bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
    }

    fn output(&self) -> Vec<f32> {
        self.floats(|role, _| *role == Role::Output)
    }
}

/// Runs a kernel of `units` units on all engines. `contents` are of the buffers that it reads,
/// `scalars` those behind its share.
fn everywhere(
    lower: impl Fn(u32) -> Lowered,
    contents: impl Fn(Role) -> Option<Vec<u8>>,
    units: u32,
    scalars: &[i64],
) -> After {
    let share = |begin: u32, end: u32| [&[begin.into(), end.into()], scalars].concat();
    let prepared = |lanes: u32| {
        let lowered = lower(lanes);
        let kernel = verify(lowered.kernel.clone()).expect("a lowered kernel is valid");
        let sizes = kernel.buffers.values().map(|buffer| buffer.bytes as usize);
        let filled = sizes.zip(&lowered.buffers).map(|(bytes, role)| {
            let mut filled = contents(*role).unwrap_or_default();
            filled.resize(bytes, POISON);
            filled
        });
        let buffers: Vec<Vec<u8>> = filled.collect();
        (kernel, After { lowered, buffers })
    };
    // Shares of one unit, of two, of three, ...
    let cuts: Vec<u32> = (0..).map(|n| n * (n + 1) / 2).take_while(|cut| *cut < units).collect();
    let ends = cuts.iter().copied().skip(1).chain([units]);
    let cut: Vec<(u32, u32)> = cuts.iter().copied().zip(ends).collect();
    let interpreted = |(lanes, shares): (u32, &[(u32, u32)])| {
        let (kernel, mut after) = prepared(lanes);
        for (begin, end) in shares {
            run(&kernel, &mut after.buffers[..], &share(*begin, *end)).expect("a call as declared");
        }
        after
    };
    let whole = [(0, units)];
    let first = interpreted((4, &whole));
    let others = [(8, &whole[..]), (16, &whole), (4, &cut), (8, &cut), (16, &cut)].map(interpreted);
    let (kernel, mut machine) = prepared(4);
    let compiled = Compiled::new(&kernel).expect("machine code");
    let mut shares = machine.buffers.clone();
    compiled.run(&mut machine.buffers, &share(0, units), Placement::Back).expect("a call");
    for (begin, end) in cut {
        compiled.run(&mut shares, &share(begin, end), Placement::Front).expect("a call");
    }
    let others = others.iter().map(|after| &after.buffers).chain([&machine.buffers, &shares]);
    let elems = elements(&kernel);
    for (engine, buffers) in others.enumerate() {
        let all = first.buffers.iter().zip(buffers).zip(first.lowered.buffers.iter().zip(&elems));
        for ((expected, found), (role, elem)) in all {
            let is_scratch = matches!(role, Role::Scratch(_));
            let difference = first_difference(*elem, expected, found).filter(|_| !is_scratch);
            assert_eq!(difference, None, "{role:?} on engine {}", engine + 1);
        }
    }
    first
}

/// Whether f32 buffers hold the same bits, any NaN being any NaN.
fn same_words(left: &[u8], right: &[u8]) -> bool {
    let float = |word: &[u8; 4]| f32::from_le_bytes(*word);
    let mut words = left.as_chunks().0.iter().zip(right.as_chunks().0);
    left.len() == right.len()
        && words.all(|(a, b)| a == b || float(a).is_nan() && float(b).is_nan())
}

/// Checks that an operation gave what its definition gives.
#[track_caller]
fn assert_defined(found: &[f32], defined: &[f32]) {
    let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    assert!(same_words(&bytes(found), &bytes(defined)), "found {found:?}, defined {defined:?}");
}

/// Vectors side by side as kernels take them, garbage behind the elements of each.
fn vectors(x: &[&[f32]]) -> Vec<u8> {
    let padded = x.iter().flat_map(|x| {
        let mut bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes.resize(vector_bytes(count(x.len())) as usize, POISON);
        bytes
    });
    padded.collect()
}

fn linear(columns: usize, tokens: usize, format: Format, panels: u32) -> LinearKernel {
    LinearKernel {
        lanes: 4,
        tokens: count(tokens),
        columns: count(columns),
        merge: None,
        norm: None,
        segments: vec![Segment { format, activations: Activations::F32, panels }],
        epilogue: EpilogueKernel::Logits { vocab: panels * PANEL },
        asks: Asks::Nothing,
    }
}

/// `matrix * x` for a tile of 1 to 4 vectors.
pub fn product(matrix: &Matrix, activations: Activations, x: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let rows = Rows::Plain { role: Tensor::FfnDown, rows: count(matrix.rows.len()) };
    let columns = matrix.columns();
    let packed = panels(columns, &[rows], &[(Tensor::FfnDown, matrix)]);
    let plain = linear(columns, x.len(), matrix.format, rows.panels());
    let segments = vec![Segment { activations, ..plain.segments[0] }];
    let kernel = LinearKernel { segments, ..plain };
    let inputs: Vec<&[f32]> = x.iter().map(Vec::as_slice).collect();
    let after = everywhere(
        |lanes| lower_linear("product", &LinearKernel { lanes, ..kernel.clone() }),
        |role| match role {
            Role::Input => Some(vectors(&inputs)),
            Role::Weights(_) => Some(packed.clone()),
            _ => None,
        },
        rows.panels(),
        &[],
    );
    let output = after.output();
    let stride = (rows.panels() * PANEL) as usize;
    let products = output.chunks(stride).zip(x).map(|(y, x)| {
        let defined = matrix.times(activations, x);
        assert_defined(&y[..defined.len()], &defined);
        defined
    });
    products.collect()
}

/// The RMS norm of `x`: what stands before a product.
pub fn rms_norm(x: &[f32], gain: &[f32], eps: f32) -> Vec<f32> {
    let rows = Rows::Plain { role: Tensor::FfnDown, rows: 1 };
    let matrix = Matrix::new(Format::F32, &[vec![0.0; x.len()]]);
    let packed = panels(x.len(), &[rows], &[(Tensor::FfnDown, &matrix)]);
    let kernel = LinearKernel { norm: Some(eps), ..linear(x.len(), 1, Format::F32, 1) };
    let after = everywhere(
        |lanes| lower_linear("norm", &LinearKernel { lanes, ..kernel.clone() }),
        |role| match role {
            Role::Input => Some(vectors(&[x])),
            Role::Gain => Some(vectors(&[gain])),
            Role::Weights(_) => Some(packed.clone()),
            _ => None,
        },
        1,
        &[],
    );
    let mut normed = after.floats(|_, name| name == "normed");
    normed.truncate(x.len());
    assert_defined(&normed, &numerics::rms_norm(x, gain, eps));
    normed
}

/// `silu(gate) * up`: a product of both with a row for each element.
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let rows = gate.len();
    let (first, second) = (Tensor::FfnGate, Tensor::FfnUp);
    let part = Rows::Pair { first, second, rows: count(rows) };
    let matrices = [Matrix::identity(rows, 2 * rows, 0), Matrix::identity(rows, 2 * rows, rows)];
    let packed = panels(2 * rows, &[part], &[(first, &matrices[0]), (second, &matrices[1])]);
    let plain = linear(2 * rows, 1, Format::F32, part.panels());
    let kernel = LinearKernel { epilogue: EpilogueKernel::Glu, ..plain };
    let x = [gate, up].concat();
    let after = everywhere(
        |lanes| lower_linear("glu", &LinearKernel { lanes, ..kernel.clone() }),
        |role| match role {
            Role::Input => Some(vectors(&[&x])),
            Role::Weights(_) => Some(packed.clone()),
            _ => None,
        },
        part.panels(),
        &[],
    );
    let mut output = after.output();
    output.truncate(rows);
    // A product makes -0 of its input the +0 that sums begin with.
    let products = x.iter().map(|x| x + 0.0).collect::<Vec<_>>();
    let (gate, up) = products.split_at(rows);
    let defined = gate.iter().zip(up).map(|(gate, up)| numerics::silu(*gate) * up);
    assert_defined(&output, &defined.collect::<Vec<_>>());
    output
}

/// The embedding of a token.
pub fn embedding(table: &Matrix, token: usize) -> Vec<f32> {
    let rows = Rows::Plain { role: Tensor::TokenEmbedding, rows: count(table.rows.len()) };
    let width = table.columns();
    let packed = panels(width, &[rows], &[(Tensor::TokenEmbedding, table)]);
    let (vocab, row) = (count(table.rows.len()), count(token));
    let after = everywhere(
        |lanes| {
            let width = count(width);
            lower_embed("embed", &EmbedKernel { lanes, format: table.format, vocab, width })
        },
        |role| matches!(role, Role::Weights(_)).then(|| packed.clone()),
        1,
        &[row / PANEL, row / TILE % (PANEL / TILE), row % TILE].map(i64::from),
    );
    let mut embedding = after.output();
    embedding.truncate(width);
    assert_defined(&embedding, &table.values()[token]);
    embedding
}
