//! A model's shape from the metadata of a GGUF file, and against a description.

use super::SourceError;
use deepthin_dsl::Model;
use deepthin_dsl::model::{Block, KvStorage, Sharing, Storage, TensorStorage};
use deepthin_runtime::gguf::{Gguf, GgufError, Value};
use deepthin_runtime::shown::{Quoted, Shown};
use std::fmt::Write;
use std::path::Path;

/// What a GGUF file says of its model. A count that the file leaves out is `None`; nothing is
/// defaulted that changes results.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufModel {
    name: Option<String>,
    vocab: Option<u32>,
    context: Option<u32>,
    width: Option<u32>,
    depth: Option<u32>,
    heads: Option<u32>,
    kv_heads: Option<u32>,
    head_dim: Option<u32>,
    ffn_hidden: Option<u32>,
    norm_eps: Option<f32>,
    rope_theta: Option<f32>,
    tied: bool,
}

impl GgufModel {
    /// The metadata keys that [`GgufModel::read`] takes into account.
    pub const KEYS: [&'static str; 14] = [
        "general.architecture",
        "general.name",
        "llama.vocab_size",
        "llama.context_length",
        "llama.embedding_length",
        "llama.block_count",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.attention.key_length",
        "llama.attention.value_length",
        "llama.attention.layer_norm_rms_epsilon",
        "llama.rope.freq_base",
        "llama.rope.dimension_count",
    ];

    /// Reads the metadata of a `llama` file.
    ///
    /// # Errors
    /// Another architecture, a key of a wrong type, or a feature that changes results and that
    /// deepthin does not have (experts, scaled rotary angles, partial rotation, windows).
    pub fn read(gguf: &Gguf) -> Result<GgufModel, SourceError> {
        let meta = gguf.metadata();
        let architecture = meta.str("general.architecture")?;
        if architecture != Some("llama") {
            let found = architecture
                .map_or("no architecture".to_owned(), |found| format!("{}", Quoted(found)));
            return Err(unsupported(
                gguf,
                format!("general.architecture: found {found}, expected \"llama\""),
                "take a model of that architecture; MobileLLM and SmolLM2 are stored as such",
            ));
        }
        let count =
            |key: &str| -> Result<Option<u32>, GgufError> { meta.u32(&format!("llama.{key}")) };
        let embedding = gguf.tensor("token_embd.weight");
        let vocab = embedding.and_then(|t| u32::try_from(t.rows()).ok());
        let width = count("embedding_length")?;
        let heads = count("attention.head_count")?;
        let by_width = width.zip(heads).and_then(|(width, heads)| width.checked_div(heads));
        // All of a head is rotated: what says how much of it is compared below.
        let head_dim = count("attention.key_length")?.or(by_width.filter(|dim| *dim > 0));
        let head_dim = head_dim.or(count("rope.dimension_count")?);
        let model = GgufModel {
            name: meta.str("general.name")?.map(ToOwned::to_owned),
            vocab,
            context: count("context_length")?,
            width,
            depth: count("block_count")?,
            heads,
            kv_heads: count("attention.head_count_kv")?.or(heads),
            head_dim,
            ffn_hidden: count("feed_forward_length")?,
            norm_eps: meta.f32("llama.attention.layer_norm_rms_epsilon")?,
            rope_theta: meta.f32("llama.rope.freq_base")?,
            tied: gguf.tensor("output.weight").is_none(),
        };
        model.refuse_features(gguf)?;
        Ok(model)
    }

    /// Refuses what would silently compute something else.
    fn refuse_features(&self, gguf: &Gguf) -> Result<(), SourceError> {
        let meta = gguf.metadata();
        let equal_to_head_dim = ["rope.dimension_count", "attention.value_length"];
        for key in equal_to_head_dim {
            let key = format!("llama.{key}");
            if let Some((found, dim)) = meta.u32(&key)?.zip(self.head_dim)
                && found != dim
            {
                let from = match self.width.zip(self.heads) {
                    Some((width, heads)) if meta.get("llama.attention.key_length").is_none() => {
                        format!(", {width} (embedding_length) by {heads} (head_count)")
                    }
                    _ => String::new(),
                };
                return Err(unsupported(
                    gguf,
                    format!("{key}: found {found}, expected the head dimension {dim}{from}"),
                    "take a model without partial rotation, whose heads are all of one size",
                ));
            }
        }
        if let Some((found, rows)) = meta.u32("llama.vocab_size")?.zip(self.vocab)
            && found != rows
        {
            let problem = format!(
                "llama.vocab_size: found {found}, expected the {rows} rows of `token_embd.weight`"
            );
            return Err(unsupported(gguf, problem, ANEW));
        }
        let context = self.context.unwrap_or(u32::MAX);
        for (key, value) in meta.iter() {
            let neutral = match (key, value) {
                ("llama.expert_count", Value::U32(n)) => *n == 0,
                ("llama.rope.scaling.type", Value::String(kind)) => kind == "none",
                ("llama.rope.scaling.factor" | "llama.rope.scale_linear", Value::F32(x)) => {
                    *x == 1.0
                }
                ("llama.attention.causal", Value::Bool(is_causal)) => *is_causal,
                ("llama.attention.sliding_window", Value::U32(n)) => *n == 0 || *n >= context,
                (
                    "llama.expert_count"
                    | "llama.attention.causal"
                    | "llama.attention.sliding_window",
                    _,
                ) => false,
                (key, _) if key.starts_with("llama.rope.scal") => false,
                _ => true,
            };
            if !neutral {
                return Err(unsupported(
                    gguf,
                    format!("{key} = {value}: found a feature that deepthin does not have"),
                    "take a dense model with unscaled rotary positions and causal attention to all positions",
                ));
            }
        }
        Ok(())
    }

    /// The model, with the name of the file where it has none.
    ///
    /// # Errors
    /// A count that is missing or that makes no model.
    pub fn into_model(self, path: &Path) -> Result<Model, SourceError> {
        let need = |value: Option<u32>, key: &str| match value {
            Some(0) => Err(SourceError::Unsupported {
                path: path.to_path_buf(),
                problem: format!("{key}: found 0, expected at least 1"),
                fix: ANEW.to_owned(),
            }),
            value => value.ok_or_else(|| missing(path, key)),
        };
        let theta = self.rope_theta.ok_or_else(|| missing(path, "llama.rope.freq_base"))?;
        let eps =
            self.norm_eps.ok_or_else(|| missing(path, "llama.attention.layer_norm_rms_epsilon"))?;
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        let model = Model {
            name: identifier(&self.name.or(stem).unwrap_or_default()),
            vocab: need(self.vocab, "token_embd.weight")?,
            context: need(self.context, "llama.context_length")?,
            width: need(self.width, "llama.embedding_length")?,
            depth: need(self.depth, "llama.block_count")?,
            block: Block {
                norm_eps: eps,
                heads: need(self.heads, "llama.attention.head_count")?,
                kv_heads: need(self.kv_heads, "llama.attention.head_count_kv")?,
                head_dim: need(self.head_dim, "llama.attention.key_length")?,
                rope_theta: f64::from(theta),
                ffn_hidden: need(self.ffn_hidden, "llama.feed_forward_length")?,
            },
            tied: self.tied,
            sharing: Sharing::None,
            storage: Storage {
                blocks: TensorStorage::F32,
                embeddings: TensorStorage::F32,
                kv_cache: KvStorage::default(),
                activations: None,
            },
        };
        // The description's checks are the one place that knows what a model may be.
        let text = deepthin_dsl::print(&model);
        match deepthin_dsl::parse(&text, "(metadata)") {
            Ok(_) => Ok(model),
            Err(errors) => {
                let list: Vec<String> = errors.iter().map(|e| e.message.clone()).collect();
                Err(SourceError::Unsupported {
                    path: path.to_path_buf(),
                    problem: format!("the metadata makes no model: {}", list.join("; ")),
                    fix: ANEW.to_owned(),
                })
            }
        }
    }

    /// Checks a file against a description that is to run on its weights.
    ///
    /// # Errors
    /// A table of every difference.
    pub fn agrees_with(&self, model: &Model, path: &Path) -> Result<(), SourceError> {
        let b = &model.block;
        let counts = [
            ("vocab", model.vocab, self.vocab),
            ("width", model.width, self.width),
            ("depth (stored blocks)", model.depth, self.depth),
            ("heads", b.heads, self.heads),
            ("kv_heads", b.kv_heads, self.kv_heads),
            ("head_dim", b.head_dim, self.head_dim),
            ("ffn hidden", b.ffn_hidden, self.ffn_hidden),
        ];
        let mut table = String::new();
        let mut line = |name: &str, ours: String, theirs: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "  {name}: the description says {ours}, the file {theirs}");
        };
        for (name, ours, theirs) in counts {
            if let Some(theirs) = theirs.filter(|t| *t != ours) {
                line(name, ours.to_string(), theirs.to_string());
            }
        }
        if let Some(theirs) = self.norm_eps.filter(|t| *t != b.norm_eps) {
            line("norm eps", b.norm_eps.to_string(), theirs.to_string());
        }
        if let Some(theirs) = self.rope_theta.filter(|t| f64::from(*t) != b.rope_theta) {
            line("rope theta", b.rope_theta.to_string(), theirs.to_string());
        }
        if table.is_empty() {
            return Ok(());
        }
        Err(SourceError::Differs {
            path: path.to_path_buf(),
            model: model.name.clone(),
            table: table.trim_end().to_owned(),
        })
    }
}

/// A name as an identifier of the description language.
pub(super) fn identifier(name: &str) -> String {
    /// A file's name may be a long text.
    const MOST_CHARACTERS: usize = 64;
    let mut text: String = name
        .chars()
        .take(MOST_CHARACTERS)
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        text.insert_str(0, "model_");
    }
    text
}

/// The advice where a file is at odds with itself.
pub(super) const ANEW: &str = "convert the model anew with current tools";

fn missing(path: &Path, key: &str) -> SourceError {
    SourceError::Unsupported {
        path: path.to_path_buf(),
        problem: format!("{key}: found nothing, expected the model's own value"),
        fix: format!(
            "describe the model in a .thin file and run that with --weights {}",
            Shown(path)
        ),
    }
}

fn unsupported(gguf: &Gguf, problem: String, fix: &str) -> SourceError {
    SourceError::Unsupported { path: gguf.path().to_path_buf(), problem, fix: fix.to_owned() }
}
