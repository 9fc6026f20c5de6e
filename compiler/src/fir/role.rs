//! The roles of weight tensors: which tensor of the model a weight is, and its name in texts.

use std::fmt;
use std::str::FromStr;

/// Which tensor of the model a weight is; block tensors are those of the stored block at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Embedding table, `[vocab, width]`.
    TokenEmbedding,
    /// Gain before attention, `[1, width]`.
    AttentionNorm,
    /// Query projection, `[heads * head_dim, width]`, rows of a head in half-split order.
    Query,
    /// Key projection, `[kv_heads * head_dim, width]`, rows of a head in half-split order.
    Key,
    /// Value projection, `[kv_heads * head_dim, width]`.
    Value,
    /// Attention output projection, `[width, heads * head_dim]`.
    AttentionOutput,
    /// Gain before the feed-forward network, `[1, width]`.
    FfnNorm,
    /// Gate projection, `[hidden, width]`.
    FfnGate,
    /// Up projection, `[hidden, width]`.
    FfnUp,
    /// Down projection, `[width, hidden]`.
    FfnDown,
    /// Gain before the head, `[1, width]`.
    OutputNorm,
    /// Head of its own, `[vocab, width]`, where the table is not tied.
    Output,
}

impl Role {
    /// Every role, in the order of a token's way through the model.
    pub const ALL: [Role; 12] = [
        Role::TokenEmbedding,
        Role::AttentionNorm,
        Role::Query,
        Role::Key,
        Role::Value,
        Role::AttentionOutput,
        Role::FfnNorm,
        Role::FfnGate,
        Role::FfnUp,
        Role::FfnDown,
        Role::OutputNorm,
        Role::Output,
    ];

    /// The matrices of a block, whose storage may differ from block to block.
    pub const BLOCK_MATRICES: [Role; 7] = [
        Role::Query,
        Role::Key,
        Role::Value,
        Role::AttentionOutput,
        Role::FfnGate,
        Role::FfnUp,
        Role::FfnDown,
    ];

    /// Whether the tensor belongs to a stored block rather than to the whole model.
    pub const fn in_block(self) -> bool {
        match self {
            Role::TokenEmbedding | Role::OutputNorm | Role::Output => false,
            Role::AttentionNorm
            | Role::Query
            | Role::Key
            | Role::Value
            | Role::AttentionOutput
            | Role::FfnNorm
            | Role::FfnGate
            | Role::FfnUp
            | Role::FfnDown => true,
        }
    }

    /// Whether the tensor is the gain of a norm: one row, always f32.
    pub const fn is_gain(self) -> bool {
        match self {
            Role::AttentionNorm | Role::FfnNorm | Role::OutputNorm => true,
            Role::TokenEmbedding
            | Role::Query
            | Role::Key
            | Role::Value
            | Role::AttentionOutput
            | Role::FfnGate
            | Role::FfnUp
            | Role::FfnDown
            | Role::Output => false,
        }
    }

    /// The name in texts: `ffn_up`, ..
    pub const fn name(self) -> &'static str {
        match self {
            Role::TokenEmbedding => "token_embedding",
            Role::AttentionNorm => "attention_norm",
            Role::Query => "query",
            Role::Key => "key",
            Role::Value => "value",
            Role::AttentionOutput => "attention_output",
            Role::FfnNorm => "ffn_norm",
            Role::FfnGate => "ffn_gate",
            Role::FfnUp => "ffn_up",
            Role::FfnDown => "ffn_down",
            Role::OutputNorm => "output_norm",
            Role::Output => "output",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Role::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("unknown tensor `{text}`"))
    }
}
