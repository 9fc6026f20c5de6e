//! Writes whole small models as GGUF files: random weights, and a vocabulary of bytes.

use deepthin_compiler::fir::{Formats, Role, build};
use deepthin_compiler::format::Format;
use deepthin_compiler::weights::{RandomWeights, TensorBytes, WeightSource};
use deepthin_dsl::Model;
use deepthin_dsl::model::{Storage, TensorStorage};

use crate::gguf_writer::GgufWriter;
use crate::graphs;

/// The id of the control token `<end>`.
pub const END: u32 = 256;
/// The id of the control token `<begin>`.
pub const BEGIN: u32 = 257;
/// The id of the control token `<user>`.
pub const USER: u32 = 258;

/// A model with room for all bytes and the control tokens.
pub fn model() -> Model {
    Model { name: "bytes".to_owned(), vocab: 300, context: 64, ..graphs::tiny() }
}

/// The same with storage that files and descriptions say alike.
pub fn plain_model() -> Model {
    let (blocks, embeddings) = (TensorStorage::F16, TensorStorage::F32);
    let model = model();
    Model { storage: Storage { blocks, embeddings, ..model.storage }, ..model }
}

/// The storage of a model's file: codes as GGUF has them, groups of 32 with scales in f16.
///
/// # Panics
/// If a description asks for codes that no file has.
pub fn formats(model: &Model) -> Formats {
    let format = |storage| match storage {
        TensorStorage::F32 => Format::F32,
        TensorStorage::F16 => Format::F16,
        TensorStorage::Bf16 => Format::Bf16,
        TensorStorage::Codes { bits: 8, minimum: false, .. } => Format::Q8_0,
        TensorStorage::Codes { bits: 4, minimum: false, .. } => Format::Q4_0,
        TensorStorage::Codes { bits: 4, minimum: true, .. } => Format::Q4_1,
        TensorStorage::Codes { .. } => panic!("no file has {storage}"),
    };
    Formats::uniform(model.depth, format(model.storage.blocks), format(model.storage.embeddings))
}

/// A file with random weights, and a tokenizer by which the bytes of a text are its ids, as they
/// are for random weights. Where the description asks for no codes, they are the weights that
/// `--random SEED` draws, so that both must generate the same tokens.
///
/// # Panics
/// If a tensor of the model is missing.
pub fn writer(model: &Model, seed: u64) -> GgufWriter {
    writer_with(model, seed, vocabulary(model))
}

/// A file with random weights behind the metadata of a vocabulary.
///
/// # Panics
/// If a tensor of the model is missing.
#[expect(clippy::cast_possible_truncation, reason = "files have the rotary base as f32")]
pub fn writer_with(model: &Model, seed: u64, vocabulary: GgufWriter) -> GgufWriter {
    let graph = build(model, &formats(model)).unwrap_or_else(|error| panic!("{error}"));
    let weights = RandomWeights::new(&graph, seed);
    let block = &model.block;
    let mut file = vocabulary
        .str("general.architecture", "llama")
        .str("general.name", &model.name)
        .u32("llama.context_length", model.context)
        .u32("llama.embedding_length", model.width)
        .u32("llama.block_count", model.depth)
        .u32("llama.attention.head_count", block.heads)
        .u32("llama.attention.head_count_kv", block.kv_heads)
        .u32("llama.attention.key_length", block.head_dim)
        .u32("llama.rope.dimension_count", block.head_dim)
        .u32("llama.feed_forward_length", block.ffn_hidden)
        .f32("llama.attention.layer_norm_rms_epsilon", block.norm_eps)
        .f32("llama.rope.freq_base", block.rope_theta as f32);
    for (index, role) in (0..model.depth).flat_map(|b| Role::ALL.map(|role| (Some(b), role))) {
        if role.in_block() {
            file = add(file, &weights, model, index, role);
        }
    }
    let whole = [Role::TokenEmbedding, Role::OutputNorm, Role::Output];
    for role in whole.into_iter().filter(|role| !model.tied || *role != Role::Output) {
        file = add(file, &weights, model, None, role);
    }
    file
}

/// The tokenizer: bytes, three control tokens, and tokens that no text has.
fn vocabulary(model: &Model) -> GgufWriter {
    let control = [(END, "<end>"), (BEGIN, "<begin>"), (USER, "<user>")];
    let token = |id: u32| match (u8::try_from(id), control.iter().find(|(c, _)| *c == id)) {
        (Ok(byte), _) => (written(byte).to_string(), 1),
        (_, Some((_, name))) => ((*name).to_owned(), 3),
        _ => (format!("unused{id}"), 1),
    };
    let (tokens, types): (Vec<String>, Vec<i32>) = (0..model.vocab).map(token).unzip();
    let merges: [&str; 0] = [];
    GgufWriter::new()
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", "gpt-2")
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .strings("tokenizer.ggml.merges", &merges)
        .u32("tokenizer.ggml.eos_token_id", END)
        .u32("tokenizer.ggml.bos_token_id", BEGIN)
}

/// The character that a vocabulary writes for a byte: itself where it is printable, else the next
/// one from U+0100 on.
pub fn written(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(*byte)).count();
    let code = u32::try_from(256 + before).expect("there are few bytes");
    char::from_u32(code).expect("these are letters")
}

fn add(
    file: GgufWriter,
    weights: &RandomWeights,
    model: &Model,
    block: Option<u32>,
    role: Role,
) -> GgufWriter {
    let tensor = weights.tensor(block, role).unwrap_or_else(|| panic!("no {block:?} {role}"));
    let name = match role {
        Role::TokenEmbedding => "token_embd",
        Role::AttentionNorm => "attn_norm",
        Role::Query => "attn_q",
        Role::Key => "attn_k",
        Role::Value => "attn_v",
        Role::AttentionOutput => "attn_output",
        Role::FfnNorm => "ffn_norm",
        Role::FfnGate => "ffn_gate",
        Role::FfnUp => "ffn_up",
        Role::FfnDown => "ffn_down",
        Role::OutputNorm => "output_norm",
        Role::Output => "output",
    };
    let name = match block {
        Some(block) => format!("blk.{block}.{name}.weight"),
        None => format!("{name}.weight"),
    };
    let kind = match tensor.format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q4_1 => 3,
        Format::Q8_0 => 8,
        Format::Bf16 => 30,
        Format::Codes(_) => panic!("{} is no type of GGUF", tensor.format),
    };
    let (columns, rows) = (u64::from(tensor.columns), u64::from(tensor.rows));
    let dims = if role.is_gain() { vec![columns] } else { vec![columns, rows] };
    let bytes = match role {
        Role::Query | Role::Key => interleaved(&tensor, model.block.head_dim as usize),
        _ => tensor.bytes.into_owned(),
    };
    file.tensor(&name, kind, &dims, bytes)
}

/// The rows of each head as files have them: row i of the first half, then row i of the second.
fn interleaved(tensor: &TensorBytes<'_>, head_dim: usize) -> Vec<u8> {
    let rows: Vec<&[u8]> = tensor.bytes.chunks(tensor.bytes.len() / tensor.rows as usize).collect();
    let heads = rows.chunks(head_dim);
    let in_file = |head: &[&[u8]]| -> Vec<u8> {
        let (first, second) = head.split_at(head_dim / 2);
        first.iter().zip(second).flat_map(|(a, b)| [*a, *b].concat()).collect()
    };
    heads.flat_map(in_file).collect()
}
