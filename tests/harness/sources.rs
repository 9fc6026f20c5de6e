//! Weight sources made of others: some tensors answered by others, some values changed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use deepthin_compiler::dequant::{dequantize_row, quantize_row};
use deepthin_compiler::fir::Role;
use deepthin_compiler::weights::{TensorBytes, WeightSource};

/// A tensor's stored block, if any, and role.
pub type Tensor = (Option<u32>, Role);

/// Answers for some tensors with others of the source.
pub struct Redirected<S> {
    /// The source.
    pub weights: S,
    /// The tensor that is given for one asked for.
    pub to: fn(Tensor) -> Tensor,
}

impl<S: WeightSource> WeightSource for Redirected<S> {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let (block, role) = (self.to)((block, role));
        self.weights.tensor(block, role)
    }
}

/// An element of a tensor: the tensor, row and column.
pub type Element = (Tensor, u32, usize);

/// Changes values element by element; the result is rounded to the tensor's format.
pub struct Edited<S> {
    /// The source.
    pub weights: S,
    /// The new value of an element.
    pub edit: fn(Element, f32) -> f32,
}

impl<S: WeightSource> WeightSource for Edited<S> {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let mut tensor = self.weights.tensor(block, role)?;
        let row_bytes = tensor.format.row_bytes(tensor.columns as usize)?;
        let mut bytes = Vec::new();
        for (row, stored) in (0..).zip(tensor.bytes.chunks(row_bytes)) {
            let values = dequantize_row(tensor.format, stored).ok()?.into_iter().enumerate();
            let edited: Vec<f32> =
                values.map(|(column, x)| (self.edit)(((block, role), row, column), x)).collect();
            bytes.extend(quantize_row(tensor.format, &edited).ok()?);
        }
        tensor.bytes = Cow::Owned(bytes);
        Some(tensor)
    }
}

/// Changes the stored bytes of every tensor.
pub struct Damaged<S, F> {
    /// The source.
    pub weights: S,
    /// What happens to a tensor.
    pub damage: F,
}

impl<S: WeightSource, F: Fn(&mut TensorBytes<'_>)> WeightSource for Damaged<S, F> {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let mut tensor = self.weights.tensor(block, role)?;
        (self.damage)(&mut tensor);
        Some(tensor)
    }
}

/// Keeps each tensor that was asked for: random weights are drawn once.
pub struct Kept<S> {
    weights: S,
    tensors: BTreeMap<Tensor, OnceLock<Option<TensorBytes<'static>>>>,
}

impl<S: WeightSource> Kept<S> {
    /// Keeps tensors of `blocks` stored blocks and of the whole model.
    pub fn new(weights: S, blocks: u32) -> Self {
        let places = std::iter::once(None).chain((0..blocks).map(Some));
        let tensors =
            places.flat_map(|block| Role::ALL.map(|role| ((block, role), OnceLock::new())));
        Kept { weights, tensors: tensors.collect() }
    }
}

impl<S: WeightSource> WeightSource for Kept<S> {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let kept = self.tensors.get(&(block, role))?.get_or_init(|| {
            let TensorBytes { format, rows, columns, bytes } = self.weights.tensor(block, role)?;
            Some(TensorBytes { format, rows, columns, bytes: Cow::Owned(bytes.into_owned()) })
        });
        let TensorBytes { format, rows, columns, bytes } = kept.as_ref()?;
        let bytes = Cow::Borrowed(bytes.as_ref());
        Some(TensorBytes { format: *format, rows: *rows, columns: *columns, bytes })
    }
}
