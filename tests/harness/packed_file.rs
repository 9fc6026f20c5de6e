//! Packed files by the definition in `specs/packed.md` and not by the product, so that tests can
//! make them wrong in any way.

use deepthin_compiler::fir::Role;
use deepthin_compiler::pack::layout_digest;
use deepthin_compiler::pipeline::{constants, lower};
use deepthin_compiler::plan::PlanOptions;
use deepthin_compiler::weights::RandomWeights;
use deepthin_dsl::Model;
use deepthin_runtime::digest::Digest;

use crate::gguf_model;
use crate::gguf_writer::{GgufWriter, Image};

/// The one tensor.
pub const IMAGE: &str = "deepthin.image";
/// The number of its type.
pub const I8: u32 = 24;

/// The first byte of the type of texts.
const STRING: u8 = 8;

/// Names of the matrices of a block, in the order of the keys.
const BLOCK: [(Role, &str); 7] = [
    (Role::Query, "attn_q"),
    (Role::Key, "attn_k"),
    (Role::Value, "attn_v"),
    (Role::AttentionOutput, "attn_output"),
    (Role::FfnGate, "ffn_gate"),
    (Role::FfnUp, "ffn_up"),
    (Role::FfnDown, "ffn_down"),
];

/// The name of a key of packed files.
pub fn key(name: &str) -> String {
    format!("deepthin.packed.{name}")
}

/// A packed file of the weights and with the keys of [`gguf_model::writer`]. Its header has no digest before it is [`sealed`].
///
/// # Panics
/// If the model does not compile.
pub fn writer(model: &Model, seed: u64) -> GgufWriter {
    let formats = gguf_model::formats(model);
    let lowered = lower(model, &formats, &PlanOptions::new(4, 64)).expect("a model");
    let weights = RandomWeights::new(&lowered.plain, seed);
    let mut constants = constants(&lowered.plan, &weights, 1).expect("weights that pack");
    let image = constants.image.bytes().to_vec();
    let outside = [(None, Role::TokenEmbedding, "token_embd"), (None, Role::Output, "output")];
    let blocks =
        (0..model.depth).flat_map(|block| BLOCK.map(|(role, name)| (Some(block), role, name)));
    let (names, words): (Vec<String>, Vec<String>) = outside
        .into_iter()
        .filter(|(_, role, _)| !model.tied || *role != Role::Output)
        .chain(blocks)
        .map(|(block, role, name)| {
            let name = match block {
                Some(block) => format!("blk.{block}.{name}.weight"),
                None => format!("{name}.weight"),
            };
            (name, formats.get(block, role).expect("a tensor of the model").to_string())
        })
        .unzip();
    gguf_model::writer(model, seed)
        .without_tensors()
        .u32("general.alignment", 4096)
        .u32(&key("version"), 1)
        .str(&key("model"), &deepthin_dsl::print(model))
        .strings(&key("tensors"), &names)
        .strings(&key("formats"), &words)
        .str(&key("layout"), &layout_digest(&lowered.plan.image).to_string())
        .str(&key("image_digest"), &Digest::of(&image).to_string())
        .str(&key("header_digest"), &"0".repeat(32))
        .tensor(IMAGE, I8, &[image.len() as u64], image)
}

/// The file with the digest of its header, where it has a key for it.
pub fn sealed(writer: &GgufWriter) -> Image {
    let file = writer.build();
    let value = file.values.get(&key("header_digest")).copied();
    let Some(value) = value.filter(|value| file.bytes[*value] == STRING) else { return file };
    let digest = Digest::of(&file.bytes[..file.data]).to_string();
    file.put(value + 12, digest.as_bytes())
}
