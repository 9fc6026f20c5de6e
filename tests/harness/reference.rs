//! Whole models in f64, written from the page and not from the compiler: the judge of accuracy.
//! It shares no code with the compiler but the trait through which weights come, and reads their
//! bytes by itself; the formulas are those that `verify` holds single kernels to.

pub use deepthin::verify::exact::bounds::{U, attention as attention_bound, gamma, ulp_error};
pub use deepthin::verify::exact::formulas::{
    attention, decode, dot, half_to_f64, rms_norm, rope, scores, silu, softmax,
};
use deepthin_compiler::fir::Role;
use deepthin_compiler::weights::WeightSource;
use deepthin_dsl::model::Model;

/// Vectors by position.
type Sequence = Vec<Vec<f64>>;

/// Sees a vector that matrices are multiplied with: the stored block of these matrices, and one of
/// them that stands for all.
pub type Observer<'o> = dyn FnMut(Option<u32>, Role, &[f64]) + 'o;

/// A matrix of f64, row by row.
#[derive(Debug, Clone)]
pub struct Matrix {
    rows: Vec<Vec<f64>>,
}

impl Matrix {
    /// The tensor of a source, decoded in f64.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn read(weights: &dyn WeightSource, block: Option<u32>, role: Role) -> Self {
        let tensor = weights.tensor(block, role).unwrap_or_else(|| panic!("no {block:?} {role}"));
        let values = decode(tensor.format, tensor.columns as usize, &tensor.bytes);
        Matrix { rows: values.chunks(tensor.columns as usize).map(<[f64]>::to_vec).collect() }
    }

    fn times(&self, x: &[f64]) -> Vec<f64> {
        self.rows.iter().map(|row| dot(row, x)).collect()
    }
}

/// The weights of one stored block.
struct Block {
    attention_norm: Matrix,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    attention_output: Matrix,
    ffn_norm: Matrix,
    ffn_gate: Matrix,
    ffn_up: Matrix,
    ffn_down: Matrix,
}

/// A whole model in f64.
pub struct Reference<'m> {
    model: &'m Model,
    table: Matrix,
    output_norm: Matrix,
    head: Matrix,
    blocks: Vec<Block>,
}

impl<'m> Reference<'m> {
    /// Reads all weights of `model`.
    ///
    /// # Panics
    /// If a tensor is missing.
    pub fn new(model: &'m Model, weights: &dyn WeightSource) -> Self {
        let whole = |role| Matrix::read(weights, None, role);
        let block = |b: u32| {
            let read = |role| Matrix::read(weights, Some(b), role);
            Block {
                attention_norm: read(Role::AttentionNorm),
                query: read(Role::Query),
                key: read(Role::Key),
                value: read(Role::Value),
                attention_output: read(Role::AttentionOutput),
                ffn_norm: read(Role::FfnNorm),
                ffn_gate: read(Role::FfnGate),
                ffn_up: read(Role::FfnUp),
                ffn_down: read(Role::FfnDown),
            }
        };
        Reference {
            model,
            table: whole(Role::TokenEmbedding),
            output_norm: whole(Role::OutputNorm),
            head: whole(if model.tied { Role::TokenEmbedding } else { Role::Output }),
            blocks: (0..model.depth).map(block).collect(),
        }
    }

    /// Logits after each token, layer by layer over the whole sequence.
    pub fn logits(&self, tokens: &[u32]) -> Sequence {
        self.observed(tokens, &mut |_, _, _| ())
    }

    /// The same, and shows `see` each vector that matrices are multiplied with.
    pub fn observed(&self, tokens: &[u32], see: &mut Observer<'_>) -> Sequence {
        let eps = f64::from(self.model.block.norm_eps);
        let mut x: Sequence = tokens.iter().map(|t| self.table.rows[*t as usize].clone()).collect();
        for index in self.model.schedule() {
            let block = &self.blocks[index as usize];
            self.attend(block, &mut x, eps, &mut |role, x| see(Some(index), role, x));
            for x in &mut x {
                let normed = rms_norm(x, &block.ffn_norm.rows[0], eps);
                see(Some(index), Role::FfnUp, &normed);
                let gate = block.ffn_gate.times(&normed).into_iter().map(silu);
                let up = block.ffn_up.times(&normed);
                let product: Vec<f64> = gate.zip(up).map(|(g, u)| g * u).collect();
                see(Some(index), Role::FfnDown, &product);
                add(x, &block.ffn_down.times(&product));
            }
        }
        let mut output = |x: &Vec<f64>| {
            let normed = rms_norm(x, &self.output_norm.rows[0], eps);
            see(None, Role::Output, &normed);
            self.head.times(&normed)
        };
        x.iter().map(&mut output).collect()
    }

    fn attend(&self, block: &Block, x: &mut Sequence, eps: f64, see: &mut dyn FnMut(Role, &[f64])) {
        let shape = &self.model.block;
        let head_dim = shape.head_dim as usize;
        let sharers = (shape.heads / shape.kv_heads) as usize;
        let normed = x.iter().map(|x| rms_norm(x, &block.attention_norm.rows[0], eps));
        let normed: Sequence = normed.collect();
        normed.iter().for_each(|x| see(Role::Query, x));
        let turned = |matrix: &Matrix| -> Sequence {
            let vectors = normed.iter().map(|x| matrix.times(x)).enumerate();
            vectors.map(|(p, v)| rope(&v, p, head_dim, shape.rope_theta)).collect()
        };
        let (q, k) = (turned(&block.query), turned(&block.key));
        let v: Sequence = normed.iter().map(|x| block.value.times(x)).collect();
        for (position, x) in x.iter_mut().enumerate() {
            let mut heads = Vec::new();
            for (head, query) in q[position].chunks(head_dim).enumerate() {
                let at = head / sharers * head_dim;
                let part = |all: &Sequence| -> Sequence {
                    all[..=position].iter().map(|v| v[at..at + head_dim].to_vec()).collect()
                };
                heads.extend(attention(query, &part(&k), &part(&v)));
            }
            see(Role::AttentionOutput, &heads);
            add(x, &block.attention_output.times(&heads));
        }
    }
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
