//! Logits, and what the kernel that computes them leaves beside them.

use deepthin_compiler::format::Format;
use deepthin_compiler::lower::{EpilogueKernel, LinearKernel, Role, lower_linear};
use deepthin_compiler::pack::Rows;
use deepthin_compiler::pack::layout::PANEL;

use super::{Matrix, Tensor, count, everywhere, linear, panels, vectors};

/// The logits of a vocabulary, two weights for each of its tokens, for a tile of 1 to 4 vectors, each
/// with the maxima of its panels.
pub fn logits(weights: &[[f32; 2]], x: &[[f32; 2]]) -> Vec<(Vec<f32>, Vec<i32>)> {
    let vocab = count(weights.len());
    let rows = Rows::Plain { role: Tensor::TokenEmbedding, rows: vocab };
    let matrix: Vec<Vec<f32>> = weights.iter().map(|row| row.to_vec()).collect();
    let matrix = Matrix::new(Format::F32, &matrix);
    let packed = panels(2, &[rows], &[(Tensor::TokenEmbedding, &matrix)]);
    let plain = linear(2, x.len(), Format::F32, rows.panels());
    let kernel = LinearKernel { epilogue: EpilogueKernel::Logits { vocab }, ..plain };
    let inputs: Vec<&[f32]> = x.iter().map(<[f32; 2]>::as_slice).collect();
    let after = everywhere(
        |lanes| lower_linear("logits", &LinearKernel { lanes, ..kernel.clone() }),
        |role| match role {
            Role::Input => Some(vectors(&inputs)),
            Role::Weights(_) => Some(packed.clone()),
            _ => None,
        },
        rows.panels(),
        &[],
    );
    let maxima = after.bytes(|role, _| *role == Role::Maxima).as_chunks().0;
    let maxima: Vec<i32> = maxima.iter().map(|word| i32::from_le_bytes(*word)).collect();
    let output = after.output();
    let logits = output.chunks((rows.panels() * PANEL) as usize);
    let of_token = logits.map(|logits| logits[..weights.len()].to_vec());
    of_token.zip(maxima.chunks(rows.panels() as usize).map(<[i32]>::to_vec)).collect()
}
