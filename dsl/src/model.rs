//! The checked model: every number resolved, the only type that the compiler sees.

use std::fmt;

/// A language model of the MobileLLM family, checked: all counts are positive, heads divide
/// their groups, storage groups divide the rows they cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Name as written after `model` (an ASCII identifier).
    pub name: String,
    /// Rows of the embedding table.
    pub vocab: u32,
    /// Longest sequence, in tokens, that the model was trained for.
    pub context: u32,
    /// Embedding dimension.
    pub width: u32,
    /// Stored transformer blocks (applications are counted by [`Model::schedule`]).
    pub depth: u32,
    /// The shape that all blocks have.
    pub block: Block,
    /// Whether the output head reads the embedding table (`tied`) or a matrix of its own.
    pub tied: bool,
    /// In which order stored blocks are applied.
    pub sharing: Sharing,
    /// How tensors are kept.
    pub storage: Storage,
}

/// The shape of one transformer block.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Epsilon of the RMS norms: `x / sqrt(mean(x²) + eps) * gain`.
    pub norm_eps: f32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Elements of one head; even.
    pub head_dim: u32,
    /// Base of the rotary position angles: pair i turns by `position * theta^(-2i/head_dim)`.
    pub rope_theta: f64,
    /// Width of the SwiGLU feed-forward network.
    pub ffn_hidden: u32,
}

/// The order in which stored blocks are applied. Sharing saves weights, never KV or FLOPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sharing {
    /// 0, 1, 2, ..: each stored block once.
    None,
    /// 0, 0, 1, 1, ..: each block n times in a row (MobileLLM-LS with n = 2).
    Immediate(u32),
    /// 0, .., N-1, 0, .., N-1: the whole stack n times.
    Loop(u32),
    /// 0, .., N-1, N-1, .., 0.
    Reverse,
    /// As listed; every stored block appears.
    Order(Vec<u32>),
}

/// How the tensors of each class are kept, and what kernels compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// The matrices of the blocks.
    pub blocks: TensorStorage,
    /// The embedding table, and the head where it is untied.
    pub embeddings: TensorStorage,
    /// Keys and values of past positions.
    pub kv_cache: KvStorage,
    /// What a matrix product multiplies weights of codes with; `None` is what their storage asks
    /// for: `q8` where there are codes.
    pub activations: Option<Activations>,
}

/// Storage of a weight matrix. `group` consecutive elements of a row share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorStorage {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
    /// Integer codes, with a scale for each group.
    Codes {
        /// Bits of a code: 4, 6 or 8.
        bits: u32,
        /// Elements that share a scale.
        group: Group,
        /// Whether each group has a minimum beside its scale; else codes are symmetric.
        minimum: bool,
    },
}

/// Elements of a row that share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// So many: 32, 64, 96 or 192.
    Of(u32),
    /// The whole row.
    Row,
}

impl Group {
    /// Sizes that a group may have beside that of a row.
    pub const SIZES: [u32; 4] = [32, 64, 96, 192];

    /// Whether rows of `columns` elements are whole groups, which are whole blocks of 32.
    pub const fn divides(self, columns: u32) -> bool {
        match self {
            Group::Of(size) => size > 0 && columns.is_multiple_of(size),
            Group::Row => columns.is_multiple_of(32),
        }
    }
}

/// Storage of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvStorage {
    /// IEEE single.
    F32,
    /// IEEE half: what nobody names.
    #[default]
    F16,
    /// 8-bit codes with a scale.
    Q8,
}

/// Precision of the activations inside matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// IEEE single.
    F32,
    /// Quantized to 8 bits by group.
    Q8 {
        /// Elements that share a scale; `None` is 64 where that divides the columns of a matrix,
        /// else 32.
        group: Option<Group>,
    },
}

/// Parameter counts of a model, as scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Scalars kept in the file: shared blocks and a tied table count once.
    pub stored: u64,
    /// Scalars that one token's computation passes: stored, with each block counted once for
    /// each application, and a tied table once.
    pub applied: u64,
    /// Scalars of the embedding table (and of the head, where untied).
    pub embedding: u64,
}

impl Sharing {
    /// The stored block of each application, in order, for `depth` stored blocks.
    pub fn schedule(&self, depth: u32) -> Vec<u32> {
        match self {
            Sharing::None => (0..depth).collect(),
            Sharing::Immediate(n) => {
                (0..depth).flat_map(|b| std::iter::repeat_n(b, *n as usize)).collect()
            }
            Sharing::Loop(n) => (0..*n).flat_map(|_| 0..depth).collect(),
            Sharing::Reverse => (0..depth).chain((0..depth).rev()).collect(),
            Sharing::Order(order) => order.clone(),
        }
    }
}

impl Model {
    /// The stored block of each application: its length is the number of blocks computed per
    /// token, and each entry has a KV slot of its own.
    pub fn schedule(&self) -> Vec<u32> {
        self.sharing.schedule(self.depth)
    }

    /// Scalars of one stored block: q, k, v, o, gate, up, down and two norm gains.
    pub fn block_parameters(&self) -> u64 {
        let (d, b) = (u64::from(self.width), &self.block);
        let q = u64::from(b.heads) * u64::from(b.head_dim);
        let kv = u64::from(b.kv_heads) * u64::from(b.head_dim);
        d * q + 2 * d * kv + q * d + 3 * d * u64::from(b.ffn_hidden) + 2 * d
    }

    /// Parameter counts: stored, applied, embedding.
    pub fn parameters(&self) -> Parameters {
        let table = u64::from(self.vocab) * u64::from(self.width);
        let embedding = if self.tied { table } else { 2 * table };
        let outside = embedding + u64::from(self.width);
        let applied = self.schedule().len() as u64;
        Parameters {
            stored: outside + u64::from(self.depth) * self.block_parameters(),
            applied: outside + applied * self.block_parameters(),
            embedding,
        }
    }
}

impl fmt::Display for TensorStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TensorStorage::F32 => f.write_str("f32"),
            TensorStorage::F16 => f.write_str("f16"),
            TensorStorage::Bf16 => f.write_str("bf16"),
            TensorStorage::Codes { bits, group, minimum } => {
                let minimum = if *minimum { "m" } else { "" };
                write!(f, "q{bits}{minimum}(group: {group})")
            }
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Group::Of(size) => write!(f, "{size}"),
            Group::Row => f.write_str("row"),
        }
    }
}

impl fmt::Display for KvStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KvStorage::F32 => "f32",
            KvStorage::F16 => "f16",
            KvStorage::Q8 => "q8",
        })
    }
}

impl fmt::Display for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activations::F32 => f.write_str("f32"),
            Activations::Q8 { group: None } => f.write_str("q8"),
            Activations::Q8 { group: Some(group) } => write!(f, "q8(group: {group})"),
        }
    }
}
