//! The FIR interpreter: what a graph means, token by token, in the normative orders.
//!
//! Complete for plain and fused ops, so that a graph gives the same bits before and after fusion.
//! Weights keep their storage and are dequantized a row at a time; KV slots keep what their format
//! keeps. Every op is a short text over [`numerics`], the definitions themselves.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use thiserror::Error;

use crate::dequant::{RowError, dequantize_row, stored_groups};
use crate::fir::formats::tensor_name;
use crate::fir::{
    Epilogue, Func, Graph, HeadShape, NormSpec, Op, Role, RopeSpec, ValueId, VerifyErrors, Weight,
    WeightId, verify,
};
use crate::format::{Activations, Codes, Group, KvFormat};
use crate::id::Id;
use crate::numerics::{self, kv::Stored};
use crate::weights::{TensorBytes, WeightSource};

/// Why a graph cannot be run, or a step not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InterpError {
    /// The graph breaks a rule of FIR.
    #[error("the graph is not valid:\n{0}")]
    Invalid(#[from] VerifyErrors),
    /// The weight source lacks a tensor.
    #[error("there are no weights for `{tensor}`")]
    Missing {
        /// The tensor in words.
        tensor: String,
    },
    /// A tensor of another shape, format or size.
    #[error("weights of `{tensor}`: expected {expected}, found {found}")]
    Mismatch {
        /// The tensor in words.
        tensor: String,
        /// What the graph declares.
        expected: String,
        /// What the source gives.
        found: String,
    },
    /// Bytes that are no rows.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A token beyond the vocabulary.
    #[error("token {token} is not in the vocabulary of {vocab}")]
    Token {
        /// The token.
        token: u32,
        /// Rows of the table.
        vocab: u32,
    },
    /// More tokens than the context holds.
    #[error("{tokens} tokens at position {position} pass the context of {context}")]
    Context {
        /// Tokens of the step.
        tokens: usize,
        /// Position of the first.
        position: u32,
        /// Positions in all.
        context: u32,
    },
}

/// A graph at some position, with the keys and values so far.
pub struct FirInterp<'a> {
    graph: &'a Graph,
    tensors: BTreeMap<(Option<u32>, Role), TensorBytes<'a>>,
    slots: Vec<KvSlot>,
    position: u32,
    context: u32,
}

/// Keys and values of one block application, by position, head by head.
#[derive(Debug, Clone, Default)]
struct KvSlot {
    keys: Vec<Vec<Stored>>,
    values: Vec<Vec<Stored>>,
}

impl KvSlot {
    /// Appends the keys and values of all tokens, in heads of `head_dim`.
    fn append(&mut self, keys: &Vectors, values: &Vectors, head_dim: u32, kv: KvFormat) {
        let heads = |vector: &Vec<f32>, stored: fn(&[f32], KvFormat) -> Stored| {
            vector.chunks_exact(head_dim as usize).map(|head| stored(head, kv)).collect()
        };
        self.keys.extend(keys.iter().map(|key| heads(key, Stored::key)));
        self.values.extend(values.iter().map(|value| heads(value, Stored::value)));
    }
}

/// One vector for each token at hand.
type Vectors = Vec<Vec<f32>>;

impl<'a> FirInterp<'a> {
    /// Checks the graph, fetches its weights (each stored tensor once) and starts at position 0,
    /// with no limit on positions but that of `u32`.
    ///
    /// # Errors
    /// An invalid graph, and weights that are missing or do not fit it.
    pub fn new(graph: &'a Graph, weights: &'a dyn WeightSource) -> Result<Self, InterpError> {
        verify(graph)?;
        let mut tensors = BTreeMap::new();
        let mut fetch = |func: &Func, block: Option<u32>| {
            for weight in func.weights.values() {
                if let Entry::Vacant(entry) = tensors.entry((block, weight.role)) {
                    entry.insert(fetched(weight, block, weights)?);
                }
            }
            Ok::<(), InterpError>(())
        };
        fetch(&graph.embed, None)?;
        fetch(&graph.head, None)?;
        for application in &graph.schedule {
            fetch(&graph.blocks[application.func as usize], Some(application.block))?;
        }
        let slots = vec![KvSlot::default(); graph.schedule.len()];
        Ok(FirInterp { graph, tensors, slots, position: 0, context: u32::MAX })
    }

    /// The same with at most `context` positions.
    #[must_use]
    pub fn with_context(mut self, context: u32) -> Self {
        self.context = context;
        self
    }

    /// Tokens seen so far.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Runs all tokens, at the next positions, and returns the logits after each.
    ///
    /// # Errors
    /// A token beyond the vocabulary, or too many for the context; nothing is changed then.
    pub fn step(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, InterpError> {
        let (position, context) = (self.position, self.context);
        let end = u32::try_from(tokens.len()).ok().and_then(|n| position.checked_add(n));
        let end = end.filter(|end| *end <= context);
        let end = end.ok_or(InterpError::Context { tokens: tokens.len(), position, context })?;
        let vocab = self.graph.embed.weights.values().map(|w| w.rows).min().unwrap_or_default();
        if let Some(&token) = tokens.iter().find(|token| **token >= vocab) {
            return Err(InterpError::Token { token, vocab });
        }
        let graph = self.graph;
        let mut x = self.run(&graph.embed, None, tokens, Vec::new())?;
        for (slot, application) in graph.schedule.iter().enumerate() {
            let func = &graph.blocks[application.func as usize];
            x = self.run(func, Some((application.block, slot)), tokens, x)?;
        }
        let logits = self.run(&graph.head, None, tokens, x)?;
        self.position = end;
        Ok(logits)
    }

    /// Runs one function for all tokens; `at` is the stored block and the KV slot.
    fn run(
        &mut self,
        func: &Func,
        at: Option<(u32, usize)>,
        tokens: &[u32],
        x: Vectors,
    ) -> Result<Vectors, InterpError> {
        let mut frame = Frame {
            func,
            block: at.map(|(block, _)| block),
            tensors: &self.tensors,
            position: self.position,
            tokens,
            values: vec![Vec::new(); func.values.len()],
        };
        if let Some(param) = func.param {
            frame.set(param, x);
        }
        let mut none = KvSlot::default();
        let slot = at.and_then(|(_, slot)| self.slots.get_mut(slot)).unwrap_or(&mut none);
        for op in &func.ops {
            frame.op(op, slot)?;
        }
        Ok(frame.values.swap_remove(func.result.index()))
    }
}

/// The tensor of `weight` from the source, checked against the graph.
fn fetched<'a>(
    weight: &Weight,
    block: Option<u32>,
    weights: &'a dyn WeightSource,
) -> Result<TensorBytes<'a>, InterpError> {
    let name = || tensor_name(block, weight.role);
    let tensor = weights
        .tensor(block, weight.role)
        .ok_or_else(|| InterpError::Missing { tensor: name() })?;
    let mismatch = |expected, found| Err(InterpError::Mismatch { tensor: name(), expected, found });
    if (tensor.format, tensor.rows, tensor.columns) != (weight.format, weight.rows, weight.columns)
    {
        return mismatch(
            format!("{}[{}, {}]", weight.format, weight.rows, weight.columns),
            format!("{}[{}, {}]", tensor.format, tensor.rows, tensor.columns),
        );
    }
    match tensor.expected_bytes() {
        Some(bytes) if bytes == tensor.bytes.len() => Ok(tensor),
        Some(bytes) => mismatch(format!("{bytes} bytes"), format!("{} bytes", tensor.bytes.len())),
        None => mismatch("a size in memory".to_owned(), "more than fits".to_owned()),
    }
}

/// One run of a function. Indexing is safe where the verifier has been: ids lie in their arenas,
/// values are defined before they are read, and widths agree.
struct Frame<'f> {
    func: &'f Func,
    block: Option<u32>,
    tensors: &'f BTreeMap<(Option<u32>, Role), TensorBytes<'f>>,
    /// Position of the first token.
    position: u32,
    tokens: &'f [u32],
    values: Vec<Vectors>,
}

impl Frame<'_> {
    fn set(&mut self, value: ValueId, vectors: Vectors) {
        self.values[value.index()] = vectors;
    }

    fn get(&self, value: ValueId) -> &Vectors {
        &self.values[value.index()]
    }

    fn tensor(&self, id: WeightId) -> &TensorBytes<'_> {
        &self.tensors[&(self.block, self.func.weights[id].role)]
    }

    /// Row `row` of a weight, dequantized.
    fn row(&self, id: WeightId, row: usize) -> Result<Vec<f32>, RowError> {
        dequantize_row(self.tensor(id).format, self.stored_row(id, row))
    }

    fn stored_row(&self, id: WeightId, row: usize) -> &[u8] {
        let tensor = self.tensor(id);
        let bytes = tensor.bytes.len() / tensor.rows as usize;
        &tensor.bytes[row * bytes..][..bytes]
    }

    fn op(&mut self, op: &Op, slot: &mut KvSlot) -> Result<(), InterpError> {
        match op {
            Op::Embed { table, out } => {
                let rows = self.tokens.iter().map(|token| self.row(*table, *token as usize));
                let rows = rows.collect::<Result<_, _>>()?;
                self.set(*out, rows);
            }
            Op::Norm { x, norm, out } => {
                let normed = self.norm(norm, *x)?;
                self.set(*out, normed);
            }
            Op::Linear { x, norm, weights, epilogue } => {
                let x = match norm {
                    Some(norm) => self.norm(norm, *x)?,
                    None => self.get(*x).clone(),
                };
                let products = weights.iter().map(|w| self.product(*w, &x));
                let products = products.collect::<Result<Vec<_>, _>>()?;
                self.epilogue(epilogue, products, slot);
            }
            Op::Rope { x, rope, out, .. } => {
                let turned = self.rope(rope, self.get(*x).clone());
                self.set(*out, turned);
            }
            Op::KvAppend { k, v, head_dim, kv } => {
                slot.append(self.get(*k), self.get(*v), *head_dim, *kv);
            }
            Op::Attention { q, shape, out, .. } => {
                let attended = self.attention(self.get(*q), shape, slot);
                self.set(*out, attended);
            }
            Op::Glu { gate, up, out } => {
                let product = elementwise(self.get(*gate), self.get(*up), glu);
                self.set(*out, product);
            }
            Op::Add { a, b, out } => {
                let sum = elementwise(self.get(*a), self.get(*b), |a, b| a + b);
                self.set(*out, sum);
            }
        }
        Ok(())
    }

    fn norm(&self, norm: &NormSpec, x: ValueId) -> Result<Vectors, RowError> {
        let gain = self.row(norm.gain, 0)?;
        Ok(self.get(x).iter().map(|x| numerics::rms_norm(x, &gain, norm.eps)).collect())
    }

    /// `y = W x` for each token.
    fn product(&self, weight: WeightId, x: &Vectors) -> Result<Vectors, RowError> {
        let Weight { format, activations, .. } = self.func.weights[weight];
        match (format.codes(), activations) {
            (Some(codes), Activations::Q8(group)) => self.quantized(weight, codes, group, x),
            (_, Activations::F32) | (None, Activations::Q8(_)) => self.dequantized(weight, x),
        }
    }

    /// On activations of f32; each row is dequantized once.
    fn dequantized(&self, weight: WeightId, x: &Vectors) -> Result<Vectors, RowError> {
        let rows = self.tensor(weight).rows as usize;
        let mut y: Vectors = x.iter().map(|_| Vec::with_capacity(rows)).collect();
        for row in 0..rows {
            let w = self.row(weight, row)?;
            for (y, x) in y.iter_mut().zip(x) {
                y.push(numerics::dot(&w, x));
            }
        }
        Ok(y)
    }

    /// On quantized activations.
    fn quantized(
        &self,
        weight: WeightId,
        codes: Codes,
        group: Group,
        x: &Vectors,
    ) -> Result<Vectors, RowError> {
        let Weight { rows, columns, format, activations, .. } = self.func.weights[weight];
        let (rows, columns) = (rows as usize, columns as usize);
        let piece = activations.piece(format, columns);
        let x = x.iter().map(|x| numerics::quantize(x, group.elements(columns)));
        let x: Vec<numerics::Quantized> = x.collect();
        let mut y: Vectors = x.iter().map(|_| Vec::with_capacity(rows)).collect();
        for row in 0..rows {
            let w = stored_groups(codes, self.stored_row(weight, row))?;
            for (y, x) in y.iter_mut().zip(&x) {
                y.push(numerics::dot_codes(codes, &w, x, piece));
            }
        }
        Ok(y)
    }

    fn epilogue(&mut self, epilogue: &Epilogue, products: Vec<Vectors>, slot: &mut KvSlot) {
        let mut products = products.into_iter();
        let mut next = || products.next().unwrap_or_default();
        match epilogue {
            Epilogue::Store { out } => {
                for value in out {
                    self.set(*value, next());
                }
            }
            Epilogue::Residual { residual, out } => {
                let sum = elementwise(&next(), self.get(*residual), |y, r| y + r);
                self.set(*out, sum);
            }
            Epilogue::Glu { out } => {
                let product = elementwise(&next(), &next(), glu);
                self.set(*out, product);
            }
            Epilogue::RopeAppend { shape, rope, kv, q } => {
                let (query, key, value) = (next(), next(), next());
                let query = self.rope(rope, query);
                self.set(*q, query);
                slot.append(&self.rope(rope, key), &value, shape.head_dim, *kv);
            }
        }
    }

    /// Turns every head of every token's vector by its position.
    fn rope(&self, rope: &RopeSpec, mut x: Vectors) -> Vectors {
        let (head_dim, half) = (rope.head_dim as usize, rope.head_dim as usize / 2);
        for (position, x) in (self.position..).zip(&mut x) {
            for (pair, i) in (0..rope.head_dim / 2).zip(0..half) {
                let angle = numerics::rope_angle(position, pair, rope.head_dim, rope.theta);
                for head in x.chunks_exact_mut(head_dim) {
                    (head[i], head[i + half]) = numerics::rotate((head[i], head[i + half]), angle);
                }
            }
        }
        x
    }

    fn attention(&self, q: &Vectors, shape: &HeadShape, slot: &KvSlot) -> Vectors {
        let head_dim = shape.head_dim as usize;
        let sharers = (shape.heads / shape.kv_heads) as usize;
        let visible = self.position as usize + 1..;
        let of_token = |(q, visible): (&Vec<f32>, usize)| {
            let heads = q.chunks_exact(head_dim).enumerate().map(|(head, query)| {
                let keys = heads_at(&slot.keys, visible, head / sharers);
                let values = heads_at(&slot.values, visible, head / sharers);
                numerics::attention(query, &keys, &values)
            });
            heads.flatten().collect()
        };
        q.iter().zip(visible).map(of_token).collect()
    }
}

/// One head of the first `visible` positions.
fn heads_at(all: &[Vec<Stored>], visible: usize, head: usize) -> Vec<&Stored> {
    all.iter().take(visible).map(|heads| &heads[head]).collect()
}

fn glu(gate: f32, up: f32) -> f32 {
    numerics::silu(gate) * up
}

fn elementwise(a: &Vectors, b: &Vectors, op: impl Fn(f32, f32) -> f32) -> Vectors {
    let both = |(a, b): (&Vec<f32>, &Vec<f32>)| -> Vec<f32> {
        a.iter().zip(b).map(|(a, b)| op(*a, *b)).collect()
    };
    a.iter().zip(b).map(both).collect()
}
