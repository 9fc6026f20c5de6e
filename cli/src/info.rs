//! What a model needs and how it runs: parameters, bytes, operations, kernels.

use std::collections::BTreeMap;
use std::time::Instant;

use deepthin_compiler::codegen::choice::Vectors;
use deepthin_compiler::codegen::{CodegenError, host, jit};
use deepthin_compiler::fir::{Formats, Graph, Role};
use deepthin_compiler::format::KvFormat;
use deepthin_compiler::lower::CacheLayout;
use deepthin_compiler::pack::PackedTensor;
use deepthin_compiler::pipeline::{self, CompileError, Lowered};
use deepthin_compiler::plan::Plan;
use deepthin_dsl::Model;
use deepthin_dsl::model::Sharing;
use deepthin_runtime::tokenizer::Tokenizer;
use serde::Serialize;

use crate::engine::{EngineError, RunOptions, activations, default_threads, lower_source};
use crate::source::{Source, Weights};

/// What a model needs. As JSON it has these keys in this order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Info {
    /// Name.
    pub model: String,
    /// Scalars.
    pub parameters: Parameters,
    /// Blocks.
    pub layers: Layers,
    /// Sizes.
    pub shape: Shape,
    /// Number formats as they run.
    pub storage: Storage,
    /// The vocabulary of the weights' file, if there is one.
    pub tokenizer: Option<Vocabulary>,
    /// Floating-point operations for each token.
    pub flops: Flops,
    /// Memory.
    pub bytes: Bytes,
    /// What runs the kernels.
    pub host: Host,
    /// The kernels, in order of first use.
    pub kernels: Vec<Kernel>,
}

/// Scalars of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// Kept in the file: shared blocks and a tied table once.
    pub stored: u64,
    /// Passed by a token: a block once for each application.
    pub applied: u64,
    /// Of these in the embedding table, and in the head where that is not tied.
    pub embedding: u64,
}

/// Blocks of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layers {
    /// Blocks that are kept.
    pub stored: u32,
    /// Blocks that a token passes.
    pub applications: usize,
    /// How the first become the second, as descriptions say it.
    pub sharing: String,
}

/// Sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Elements of the residual stream.
    pub width: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Hidden elements of the feed-forward network.
    pub ffn_hidden: u32,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Whether the head is the embedding table.
    pub tied: bool,
    /// Positions that the KV cache has room for here.
    pub context: u32,
}

/// Number formats as they run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Matrices of the stored blocks, counted by format.
    pub blocks: BTreeMap<String, usize>,
    /// The embedding table.
    pub embeddings: String,
    /// The head.
    pub head: String,
    /// Keys and values.
    pub kv_cache: &'static str,
    /// What weights are multiplied with.
    pub activations: String,
    /// Whether the weights' file is packed: mapped as it lies.
    pub packed: bool,
}

/// The vocabulary of a file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vocabulary {
    /// How it cuts texts.
    pub kind: Option<String>,
    /// Its tokens.
    pub tokens: Option<usize>,
    /// Whether the file brings a chat template.
    pub chat_template: bool,
    /// Why texts cannot be cut by it, if they cannot.
    pub error: Option<String>,
}

/// Floating-point operations for each token: two for each multiplication and addition of a matrix
/// product. Norms and activation functions are left out, as is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Flops {
    /// Matrices of all applications, and the head.
    pub per_token: u64,
    /// Attention, for each position that the token looks at, itself included.
    pub per_position: u64,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// Weights as kernels read them, each once.
    pub weights: u64,
    /// What they would be if every application had its own.
    pub weights_unshared: u64,
    /// Tables of constants.
    pub tables: u64,
    /// Keys and values of one token, in the format at hand.
    pub kv_per_token: u64,
    /// The same in every format, by its name.
    pub kv_per_token_by_format: BTreeMap<&'static str, u64>,
    /// Keys and values of the whole context.
    pub kv: u64,
    /// Activations of the tokens at hand.
    pub arena: u64,
    /// Working memory of one thread.
    pub scratch_per_thread: u64,
    /// Logits.
    pub logits: u64,
}

/// What runs the kernels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Host {
    /// The back end that makes the code.
    pub backend: &'static str,
    /// The processor's features.
    pub features: String,
    /// Threads.
    pub threads: usize,
    /// Milliseconds from the checked model to machine code.
    pub compile_ms: Option<f64>,
    /// What the processor lacks to run the kernels, if anything.
    pub missing: Option<String>,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Its name: operation, storage, shape and token tile.
    pub name: String,
    /// Steps of one pass over the model that call it.
    pub steps: usize,
    /// Bytes of machine code.
    pub code_bytes: Option<usize>,
}

impl Info {
    /// Looks at a model, which needs no weights for it, and compiles it to see its kernels.
    ///
    /// # Errors
    /// Options, shapes or storage without kernels. A processor that lacks something is none.
    pub fn new(source: &Source, options: &RunOptions) -> Result<Info, EngineError> {
        let model = &options.model(source);
        let start = Instant::now();
        let lowered = lower_source(source, options)?;
        let plan = &lowered.plan;
        let (backend, sizes, missing) = match code_sizes(&lowered, options.isa) {
            Ok((backend, sizes)) => (backend, Some(sizes), None),
            Err(CodegenError::HostFeature { missing }) => ("clif128", None, Some(missing)),
            Err(error) => return Err(CompileError::from(error).into()),
        };
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        let host = Host {
            backend,
            features: host::describe(),
            threads: options.threads.unwrap_or_else(default_threads),
            compile_ms: sizes.as_ref().map(|_| elapsed),
            missing,
        };
        let counted = model.parameters();
        Ok(Info {
            model: model.name.clone(),
            parameters: Parameters {
                stored: counted.stored,
                applied: counted.applied,
                embedding: counted.embedding,
            },
            layers: Layers {
                stored: model.depth,
                applications: model.schedule().len(),
                sharing: sharing(&model.sharing),
            },
            shape: shape(model, plan.options.context),
            storage: storage(source, model, &lowered.fused),
            tokenizer: vocabulary(source),
            flops: flops(model),
            bytes: bytes(plan, model),
            host,
            kernels: kernels(plan, sizes.as_deref()),
        })
    }
}

/// The vocabulary of the weights' file. A wrong one is told and no error: kernels need none.
fn vocabulary(source: &Source) -> Option<Vocabulary> {
    let template = matches!(source.chat_template(), Ok(Some(_)));
    let (tokenizer, error) = match source.tokenizer() {
        Ok(tokenizer) => (Some(tokenizer?), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Some(Vocabulary {
        kind: tokenizer.as_ref().map(|tokenizer| tokenizer.kind().to_string()),
        tokens: tokenizer.as_ref().map(Tokenizer::vocab_len),
        chat_template: template,
        error,
    })
}

/// Bytes of machine code of each kernel, which is also put in place: that is part of the time.
fn code_sizes(
    lowered: &Lowered,
    isa: Option<Vectors>,
) -> Result<(&'static str, Vec<usize>), CodegenError> {
    let backend = Vectors::for_host(isa)?;
    let codes = pipeline::emit(&*backend, &lowered.kernels)?;
    jit::link(&*backend, &codes)?;
    Ok((backend.name(), codes.iter().map(|code| code.bytes.len()).collect()))
}

/// A sharing scheme as descriptions say it.
fn sharing(sharing: &Sharing) -> String {
    match sharing {
        Sharing::None => "none".to_owned(),
        Sharing::Immediate(n) => format!("immediate({n})"),
        Sharing::Loop(n) => format!("loop({n})"),
        Sharing::Reverse => "reverse".to_owned(),
        Sharing::Order(order) => {
            let blocks: Vec<String> = order.iter().map(ToString::to_string).collect();
            format!("order [{}]", blocks.join(", "))
        }
    }
}

fn shape(model: &Model, context: u32) -> Shape {
    let Model { width, vocab, tied, block, .. } = model;
    Shape {
        width: *width,
        heads: block.heads,
        kv_heads: block.kv_heads,
        head_dim: block.head_dim,
        ffn_hidden: block.ffn_hidden,
        vocab: *vocab,
        tied: *tied,
        context,
    }
}

fn storage(source: &Source, model: &Model, graph: &Graph) -> Storage {
    let (tied, formats): (bool, &Formats) = (model.tied, &source.formats);
    let mut blocks = BTreeMap::new();
    for block in (0..).map_while(|block| formats.block(block)) {
        for format in Role::BLOCK_MATRICES.into_iter().filter_map(|role| block.get(role)) {
            *blocks.entry(format.to_string()).or_insert(0) += 1;
        }
    }
    let whole =
        |role| formats.get(None, role).map_or("f32".to_owned(), |format| format.to_string());
    Storage {
        blocks,
        embeddings: whole(Role::TokenEmbedding),
        head: whole(if tied { Role::TokenEmbedding } else { Role::Output }),
        kv_cache: KvFormat::from(model.storage.kv_cache).name(),
        activations: activations(graph),
        packed: matches!(source.weights, Weights::Packed(_)),
    }
}

fn flops(model: &Model) -> Flops {
    let width = u64::from(model.width);
    let applications = model.schedule().len() as u64;
    let gains = 2 * width;
    let block = model.block_parameters().saturating_sub(gains);
    let head = u64::from(model.vocab) * width;
    // Scores and the sum of values: a product and a sum for each element of each query head.
    let attention = 4 * u64::from(model.block.heads) * u64::from(model.block.head_dim);
    Flops { per_token: 2 * (applications * block + head), per_position: applications * attention }
}

fn bytes(plan: &Plan, model: &Model) -> Bytes {
    let sum = |tensors: &mut dyn Iterator<Item = &PackedTensor>| -> u64 {
        tensors.map(|tensor| tensor.content.bytes()).sum()
    };
    let of = |block: Option<u32>| sum(&mut plan.image.iter().filter(|t| t.block == block));
    let schedule = model.schedule();
    let applied: u64 = schedule.iter().map(|block| of(Some(*block))).sum();
    let kv_per_token = |kv: KvFormat| {
        let (kv_heads, head_dim) = (model.block.kv_heads, model.block.head_dim);
        let cache = CacheLayout { kv, kv_heads, head_dim, context: plan.options.context };
        schedule.len() as u64 * cache.position_bytes()
    };
    Bytes {
        weights: plan.weight_bytes(),
        weights_unshared: of(None) + applied,
        tables: plan.table_bytes(),
        kv_per_token: kv_per_token(model.storage.kv_cache.into()),
        kv_per_token_by_format: KvFormat::ALL.map(|kv| (kv.name(), kv_per_token(kv))).into(),
        kv: plan.regions.kv,
        arena: plan.regions.arena,
        scratch_per_thread: plan.regions.scratch,
        logits: plan.regions.logits,
    }
}

fn kernels(plan: &Plan, sizes: Option<&[usize]>) -> Vec<Kernel> {
    let steps = || plan.body.iter().chain(&plan.head);
    let calls =
        |kernel| steps().filter(|step| step.variants.iter().any(|v| v.kernel == kernel)).count();
    let kernel = |(index, planned): (usize, &deepthin_compiler::plan::PlannedKernel)| Kernel {
        name: planned.name.clone(),
        steps: calls(index),
        code_bytes: sizes.and_then(|sizes| sizes.get(index)).copied(),
    };
    plan.kernels.iter().enumerate().map(kernel).collect()
}
