//! The weights of a packed file, matrix by matrix in f64, as the tables of specs/abi.md say where
//! each lies.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use deepthin::packed::PackedFile;
use deepthin::verify::exact::packed::row;
use deepthin_compiler::fir::{Formats, Role};
use deepthin_compiler::pack::{Content, Rows};
use deepthin_compiler::pipeline::lower;
use deepthin_compiler::plan::PlanOptions;
use deepthin_dsl::Model;
use deepthin_runtime::gguf::Gguf;

/// Rows of f64 by stored block and role.
pub type Matrices = BTreeMap<(Option<u32>, Role), Vec<Vec<f64>>>;

/// The model of a packed file, its storage, and its matrices; gains are left out.
///
/// # Panics
/// If it is none, or damaged.
pub fn read(path: &str) -> (Model, Formats, Matrices) {
    let gguf = Gguf::open(Path::new(path)).expect("a GGUF file");
    let (file, model, formats) = PackedFile::read(gguf).expect("a packed file");
    let lowered = lower(&model, &formats, &PlanOptions::new(4, 64)).expect("a model");
    let mapped = file.map(&lowered.plan, 1, &mut |_| ControlFlow::Continue(()));
    let mut image = mapped.expect("an image of this layout");
    let image = image.bytes();
    let mut matrices = Matrices::new();
    for tensor in &lowered.plan.image {
        let Content::Panels { layout, parts } = &tensor.content else { continue };
        let mut at = usize::try_from(tensor.offset).expect("an offset of memory");
        for rows in parts {
            for (number, role) in rows.roles().enumerate() {
                let places = (0..count(*rows)).map(|i| place(*rows, number, i));
                let read = |(panel, lane): (usize, usize)| {
                    let lane = u32::try_from(lane).expect("one of 32");
                    let weights = row(*layout, &image[at..], panel, lane);
                    weights.into_iter().map(|w| w.scaled + w.minimum).collect()
                };
                matrices.insert((tensor.block, role), places.map(read).collect());
            }
            let bytes = u64::from(rows.panels()) * layout.panel_bytes();
            at += usize::try_from(bytes).expect("a length of memory");
        }
    }
    (model, formats, matrices)
}

/// Rows of a matrix.
fn count(rows: Rows) -> usize {
    let rows = match rows {
        Rows::Plain { rows, .. } | Rows::Pair { rows, .. } => rows,
        Rows::Rope { heads, head_dim, .. } | Rows::Heads { heads, head_dim, .. } => {
            heads * head_dim
        }
    };
    rows as usize
}

/// Panel and lane of a row: of the first matrix, or of the second of a pair.
fn place(rows: Rows, matrix: usize, row: usize) -> (usize, usize) {
    match rows {
        Rows::Plain { .. } => (row / 32, row % 32),
        Rows::Pair { .. } => (row / 16, 16 * matrix + row % 16),
        Rows::Heads { head_dim, .. } => {
            let (head, element) = (row / head_dim as usize, row % head_dim as usize);
            let panels = (head_dim as usize).div_ceil(32);
            (head * panels + element / 32, element % 32)
        }
        Rows::Rope { head_dim, .. } => {
            let half = head_dim as usize / 2;
            let (head, element) = (row / (2 * half), row % (2 * half));
            let (tile, pair) = (element / half, element % half);
            (head * half.div_ceil(16) + pair / 16, 16 * tile + pair % 16)
        }
    }
}
