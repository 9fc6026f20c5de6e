//! Calibration: how large the activations are that a text makes, column by column.
//!
//! The error of a weight matters by the square of what it is multiplied with. So each matrix is
//! given the mean squares of its input's elements, over all tokens of a text: the importance of
//! its columns in the search for scales.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use deepthin_compiler::fir::Role;
use deepthin_compiler::fir::formats::tensor_name;
use deepthin_compiler::numerics;
use deepthin_compiler::quantize::{Importance, TensorKey};
use deepthin_compiler::weights::WeightSource;
use deepthin_dsl::Model;
use deepthin_runtime::session::{RunError, Session};
use thiserror::Error;

/// What the steps of a block application multiply: the gain before the product, and the matrices.
/// The second is attention of several tokens, the third that of one; the fourth multiplies what
/// attention gave of several, the fifth of one.
const STEPS: [(Option<Role>, &[Role]); 7] = [
    (Some(Role::AttentionNorm), &[Role::Query, Role::Key, Role::Value]),
    (None, &[]),
    (None, &[]),
    (None, &[Role::AttentionOutput]),
    (None, &[]),
    (Some(Role::FfnNorm), &[Role::FfnGate, Role::FfnUp]),
    (None, &[Role::FfnDown]),
];

/// Tokens that are run between two looks at whoever watches.
const PIECE: usize = 32;

/// Why there is no importance.
#[derive(Debug, Error)]
pub enum CalibrateError {
    /// The model could not be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Activations, or their squares, that f32 does not hold.
    #[error(
        "the calibration text makes activations before `{}` whose squares are not finite, expected \
         finite ones",
        tensor_name(.0.0, .0.1)
    )]
    NonFinite(TensorKey),
    /// Whoever watched wanted no more.
    #[error("interrupted")]
    Stopped,
}

/// Sums of squares of one matrix's input.
#[derive(Default)]
struct Squares {
    sums: Vec<f64>,
    vectors: u32,
}

impl Squares {
    fn add(&mut self, x: &[f32]) {
        self.sums.resize(x.len(), 0.0);
        for (sum, x) in self.sums.iter_mut().zip(x) {
            *sum += f64::from(*x) * f64::from(*x);
        }
        self.vectors += 1;
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounding to nearest is what is meant")]
    fn means(&self) -> Option<Vec<f32>> {
        let count = f64::from(self.vectors.max(1));
        let means = self.sums.iter().map(|sum| (sum / count) as f32);
        means.map(|mean| Some(mean).filter(|mean| mean.is_finite())).collect()
    }
}

/// What a step multiplies, for the tokens at hand.
struct Site {
    gain: Option<Vec<f32>>,
    matrices: Vec<TensorKey>,
    columns: usize,
}

/// The importance of the columns of all matrices of `model`, from a session that runs it on `ids`,
/// each chunk on its own. `gains` has the gains of its norms. `watch` is asked several times a
/// second and may stop it.
///
/// # Errors
/// Token ids that the vocabulary does not have; activations that are not finite;
/// [`CalibrateError::Stopped`].
pub fn importance(
    session: &mut Session,
    model: &Model,
    gains: &dyn WeightSource,
    ids: &[u32],
    watch: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Importance, CalibrateError> {
    let sites = sites(model, gains);
    let eps = model.block.norm_eps;
    let mut squares = BTreeMap::<TensorKey, Squares>::new();
    let mut observe = |step: usize, x: &[f32]| {
        // Step 0 of the body looks the tokens up.
        let Some(site) = step.checked_sub(1).and_then(|step| sites.get(step)) else { return };
        let x = x.get(..site.columns).unwrap_or(x);
        let normed = site.gain.as_ref().map(|gain| numerics::rms_norm(x, gain, eps));
        for key in &site.matrices {
            squares.entry(*key).or_default().add(normed.as_deref().unwrap_or(x));
        }
    };
    let chunk = session.program().context as usize;
    for ids in ids.chunks(chunk.max(1)) {
        session.truncate(0);
        for piece in ids.chunks(PIECE) {
            if watch().is_break() {
                return Err(CalibrateError::Stopped);
            }
            session.feed_observed(piece, &mut observe)?;
        }
    }
    let means = |(key, squares): (TensorKey, Squares)| {
        let means = squares.means().ok_or(CalibrateError::NonFinite(key))?;
        Ok((key, means))
    };
    squares.into_iter().map(means).collect()
}

/// What each step behind the lookup multiplies; the last is the head.
fn sites(model: &Model, gains: &dyn WeightSource) -> Vec<Site> {
    let columns = |role| match role {
        Role::AttentionOutput => model.block.heads * model.block.head_dim,
        Role::FfnDown => model.block.ffn_hidden,
        _ => model.width,
    };
    let site = |block: Option<u32>, gain: Option<Role>, matrices: &[Role]| Site {
        gain: gain.and_then(|role| {
            let tensor = gains.tensor(block, role)?;
            let words = tensor.bytes.as_chunks::<4>().0;
            Some(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
        }),
        matrices: matrices.iter().map(|role| (block, *role)).collect(),
        columns: matrices.first().map_or(0, |role| columns(*role)) as usize,
    };
    let applications = model.schedule().into_iter();
    let mut sites: Vec<Site> = applications
        .flat_map(|block| STEPS.map(|(gain, matrices)| site(Some(block), gain, matrices)))
        .collect();
    let head = if model.tied { Role::TokenEmbedding } else { Role::Output };
    sites.push(site(None, Some(Role::OutputNorm), &[head]));
    sites
}
