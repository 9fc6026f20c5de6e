//! The words of the language: keys, forms, their limits, and what is planned for later.

use crate::model::Group;

/// A key that takes a count.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountKey {
    pub(super) name: &'static str,
    pub(super) min: u32,
    pub(super) max: u32,
    /// A complete use, for hints.
    pub(super) example: &'static str,
}

const fn count(name: &'static str, max: u32, example: &'static str) -> CountKey {
    CountKey { name, min: 1, max, example }
}

pub(super) const VOCAB: CountKey = count("vocab", 1 << 20, "vocab 32_000");
pub(super) const CONTEXT: CountKey = count("context", 1 << 24, "context 2_048");
pub(super) const WIDTH: CountKey = count("width", 1 << 16, "width 576");
pub(super) const DEPTH: CountKey = count("depth", MAX_APPLICATIONS, "depth 30");
pub(super) const HEADS: CountKey = count("heads", 1 << 10, "heads: 9");
pub(super) const KV_HEADS: CountKey = count("kv_heads", 1 << 10, "kv_heads: 3");
pub(super) const HEAD_DIM: CountKey =
    CountKey { name: "head_dim", min: 2, max: 1 << 10, example: "head_dim: 64" };
pub(super) const HIDDEN: CountKey = count("hidden", 1 << 18, "hidden: 1_536");
pub(super) const GROUP: CountKey = count("group", 1 << 12, "group: 32");
pub(super) const TIMES: CountKey = count("n", MAX_APPLICATIONS, "immediate(2)");

/// Most applications of blocks in one pass: depth after sharing.
pub(super) const MAX_APPLICATIONS: u32 = 4_096;

/// Most scalars that a model keeps.
pub const MAX_PARAMETERS: u64 = 8_000_000_000;

/// Most models in one file.
pub(super) const MAX_MODELS: usize = 256;

/// Defaults of the values that a description may leave out.
pub(super) const DEFAULT_EPS: f32 = 1e-5;
pub(super) const DEFAULT_GROUP: Group = Group::Of(32);

/// The keys of a model.
pub(super) const MODEL_KEYS: [&str; 8] =
    ["vocab", "context", "width", "depth", "block", "embeddings", "sharing", "storage"];

/// The keys of `block`.
pub(super) const BLOCK_KEYS: [&str; 4] = ["norm", "attention", "position", "ffn"];

/// The keys of `storage`.
pub(super) const STORAGE_KEYS: [&str; 4] = ["blocks", "embeddings", "kv_cache", "activations"];

/// A value written as a call: its name and its arguments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) parameters: &'static [&'static str],
    /// A complete use, for hints.
    pub(super) example: &'static str,
}

const fn form(
    name: &'static str,
    parameters: &'static [&'static str],
    example: &'static str,
) -> Form {
    Form { name, parameters, example }
}

pub(super) const NORM: [Form; 1] = [form("rms", &["eps"], "rms(eps: 1e-5)")];
pub(super) const ATTENTION: [Form; 1] =
    [form("gqa", &["heads", "kv_heads", "head_dim"], "gqa(heads: 9, kv_heads: 3)")];
pub(super) const POSITION: [Form; 1] = [form("rope", &["theta"], "rope(theta: 10_000)")];
pub(super) const FFN: [Form; 1] = [form("swiglu", &["hidden"], "swiglu(hidden: 1_536)")];
pub(super) const SHARING: [Form; 5] = [
    form("none", &[], "none"),
    form("immediate", &["n"], "immediate(2)"),
    form("loop", &["n"], "loop(2)"),
    form("reverse", &[], "reverse"),
    form("order", &[], "order [0, 0, 1]"),
];
pub(super) const TENSORS: [Form; 9] = [
    form("f32", &[], "f32"),
    form("f16", &[], "f16"),
    form("bf16", &[], "bf16"),
    form("q8", &["group"], "q8(group: 32)"),
    form("q6", &["group"], "q6(group: 64)"),
    form("q4", &["group"], "q4(group: 32)"),
    form("q8m", &["group"], "q8m(group: 32)"),
    form("q6m", &["group"], "q6m(group: 64)"),
    form("q4m", &["group"], "q4m(group: 32)"),
];
pub(super) const KV_CACHE: [Form; 3] =
    [form("f32", &[], "f32"), form("f16", &[], "f16"), form("q8", &[], "q8")];
pub(super) const ACTIVATIONS: [Form; 2] =
    [form("f32", &[], "f32"), form("q8", &["group"], "q8(group: 64)")];
pub(super) const EMBEDDINGS: [Form; 2] = [form("tied", &[], "tied"), form("untied", &[], "untied")];

/// A value that a model must give.
#[derive(Debug, Clone, Copy)]
pub(super) struct Required {
    pub(super) name: &'static str,
    /// The key of `block` whose form has it for an argument, if it is none of the model's own keys.
    pub(super) home: Option<&'static str>,
    /// A complete use of the key.
    pub(super) example: &'static str,
}

const fn own(name: &'static str, example: &'static str) -> Required {
    Required { name, home: None, example }
}

const fn of_block(name: &'static str, home: &'static str, example: &'static str) -> Required {
    Required { name, home: Some(home), example }
}

/// What a model must give.
pub(super) const REQUIRED: [Required; 7] = [
    own("vocab", "vocab 32_000"),
    own("context", "context 2_048"),
    own("width", "width 576"),
    own("depth", "depth 30"),
    of_block("heads", "attention", "attention gqa(heads: 9)"),
    of_block("theta", "position", "position rope(theta: 10_000)"),
    of_block("hidden", "ffn", "ffn swiglu(hidden: 1_536)"),
];

/// A complete block.
pub(super) const BLOCK_EXAMPLE: &str = "block { attention gqa(heads: 9)  \
     position rope(theta: 10_000)  ffn swiglu(hidden: 1_536) }";

/// Where each key and argument belongs.
pub(super) const HOMES: [(&str, &str); 18] = [
    ("vocab", "model { .. }"),
    ("context", "model { .. }"),
    ("width", "model { .. }"),
    ("depth", "model { .. }"),
    ("block", "model { .. }"),
    ("sharing", "model { .. }"),
    ("storage", "model { .. }"),
    ("norm", "block { .. }"),
    ("attention", "block { .. }"),
    ("position", "block { .. }"),
    ("ffn", "block { .. }"),
    ("blocks", "storage { .. }"),
    ("kv_cache", "storage { .. }"),
    ("activations", "storage { .. }"),
    ("heads", ATTENTION_HOME),
    ("kv_heads", ATTENTION_HOME),
    ("head_dim", ATTENTION_HOME),
    ("hidden", "block { ffn swiglu(..) }"),
];

const ATTENTION_HOME: &str = "block { attention gqa(..) }";

/// What other descriptions of models call a key.
pub(super) fn synonym(word: &str) -> Option<&'static str> {
    Some(match word {
        "vocab_size" | "n_vocab" | "vocabulary" | "voc" => "vocab",
        "context_length" | "max_seq_len" | "max_position_embeddings" | "n_ctx" => "context",
        "dim" | "hidden_size" | "d_model" | "n_embd" => "width",
        "layers" | "n_layers" | "num_layers" | "num_hidden_layers" => "depth",
        "share" | "shared" => "sharing",
        "attn" | "self_attn" => "attention",
        "pos" | "rotary" => "position",
        "mlp" | "feed_forward" => "ffn",
        "n_heads" | "num_heads" | "num_attention_heads" => "heads",
        "n_kv_heads" | "num_kv_heads" | "num_key_value_heads" => "kv_heads",
        "intermediate_size" | "hidden_dim" | "d_ff" => "hidden",
        _ => return None,
    })
}

/// How to say what other descriptions of models call the value `word` of a key, or an argument.
pub(super) fn said_otherwise(key: &str, word: &str) -> Option<&'static str> {
    Some(match (key, word) {
        ("attention", "mha") => "multi-head attention is `gqa(heads: 9)`, without `kv_heads`",
        ("attention", "mqa") => "multi-query attention is `gqa(heads: 9, kv_heads: 1)`",
        ("q8" | "q6" | "q4" | "q8m" | "q6m" | "q4m", "min" | "minimum" | "symmetric") => {
            "`q8`, `q6` and `q4` are symmetric; with a minimum for each group: `q8m`, `q6m`, `q4m`"
        }
        _ => return None,
    })
}

/// What a designed but unbuilt word stands for: a key or an argument (`place` is the section or
/// the form that holds it), or a value (`place` is its key).
pub(super) fn later(place: &str, word: &str) -> Option<&'static str> {
    Some(match (place, word) {
        ("attention", "none") => "skipped attention",
        ("position", "none") => "a block without rope",
        ("norm", "layer" | "layernorm" | "none") => "a norm other than rms",
        ("ffn", "geglu") => "geglu",
        ("ffn", "plain" | "mlp" | "silu" | "gelu" | "relu" | "relu2") => "an ungated ffn",
        ("gqa", "window") => "window (sliding attention)",
        ("gqa" | "block", "qk_norm") => "qk_norm",
        ("gqa" | "block", "bias" | "biases") => "biases on projections",
        ("rope", "scaling" | "factor" | "linear" | "llama3") => "rope scaling",
        ("rope", "dim" | "dims" | "partial") => "rope on part of a head",
        _ => return None,
    })
}
