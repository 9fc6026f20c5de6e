//! Graphs for tests: of one tiny model, and of whatever model is generated.

use deepthin_compiler::fir::{Graph, build, fuse};
use deepthin_dsl::Model;
use deepthin_dsl::model::{Activations, Block, Group, KvStorage, Sharing, Storage, TensorStorage};

pub use deepthin::verify::models::described_formats as formats;

/// Two stored blocks, each applied twice: grouped queries, codes of 4 and of 8 bits by activations
/// of f32, tied.
pub fn tiny() -> Model {
    Model {
        name: "tiny".to_owned(),
        vocab: 96,
        context: 128,
        width: 32,
        depth: 2,
        block: Block {
            norm_eps: 1e-5,
            heads: 4,
            kv_heads: 2,
            head_dim: 8,
            rope_theta: 10_000.0,
            ffn_hidden: 64,
        },
        tied: true,
        sharing: Sharing::Immediate(2),
        storage: Storage {
            blocks: TensorStorage::Codes { bits: 4, group: Group::Of(32), minimum: false },
            embeddings: TensorStorage::Codes { bits: 8, group: Group::Of(32), minimum: false },
            kv_cache: KvStorage::F32,
            activations: Some(Activations::F32),
        },
    }
}

/// The same with the activations that its storage asks for: codes are multiplied with codes.
pub fn quantized() -> Model {
    let tiny = tiny();
    Model { storage: Storage { activations: None, ..tiny.storage }, ..tiny }
}

/// The model's graph in plain ops.
///
/// # Panics
/// If there is none.
pub fn built(model: &Model) -> Graph {
    build(model, &formats(model)).unwrap_or_else(|error| panic!("{}: {error}", model.name))
}

/// The model's graph after all passes.
///
/// # Panics
/// If there is none.
pub fn fused(model: &Model) -> Graph {
    let mut graph = built(model);
    fuse(&mut graph);
    graph
}
