//! Why a tokenizer cannot be built from a file's metadata, or a text or id not be translated.

use std::borrow::Cow;

use crate::gguf::GgufError;
use crate::shown::Quoted;

/// What is wrong with a vocabulary, a text or an id. Indices count from 0.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A key is missing or of the wrong type.
    #[error(transparent)]
    Metadata(#[from] GgufError),
    /// A kind of tokenizer that is not known.
    #[error(
        "`tokenizer.ggml.model` is {}, expected `gpt2` (byte-level BPE) or `llama` (SentencePiece BPE)",
        Quoted(.0)
    )]
    Model(String),
    /// A way of cutting text into words that is not known.
    #[error("`tokenizer.ggml.pre` is {}, expected `smollm`, `gpt-2` or `gpt2`", Quoted(.0))]
    PreTokenizer(String),
    /// More tokens than ids are kept for.
    #[error("`tokenizer.ggml.tokens` holds {count} tokens, expected 1 to {limit}")]
    VocabularySize {
        /// The tokens there are.
        count: usize,
        /// The most that are read.
        limit: usize,
    },
    /// One list is not as long as the vocabulary.
    #[error(
        "`tokenizer.ggml.token_type` holds {found} types, expected one for each of {tokens} tokens"
    )]
    TypeCount {
        /// The types there are.
        found: usize,
        /// The tokens there are.
        tokens: usize,
    },
    /// A token type that GGUF does not have.
    #[error("`tokenizer.ggml.token_type`[{index}] is {found}, expected 1 to 6")]
    TokenType {
        /// The token.
        index: usize,
        /// Its type.
        found: i32,
    },
    /// A token of no or too many bytes.
    #[error("`tokenizer.ggml.tokens`[{index}] has {length} bytes, expected 1 to {limit}")]
    TokenLength {
        /// The token.
        index: usize,
        /// Its length.
        length: usize,
        /// The most that are read.
        limit: usize,
    },
    /// The same token twice.
    #[error(
        "`tokenizer.ggml.tokens`[{second}] is {} again, expected it once (at {first})",
        Quoted(text)
    )]
    DuplicateToken {
        /// The token's text in the file.
        text: String,
        /// Its first place.
        first: u32,
        /// Its second place.
        second: u32,
    },
    /// A special id without a token.
    #[error("`{key}` is {id}, expected an id below the vocabulary's {count}")]
    SpecialId {
        /// The key that names the id.
        key: &'static str,
        /// The id.
        id: u32,
        /// The tokens there are.
        count: usize,
    },
    /// A text is to begin with a token that the file does not name.
    #[error(
        "`tokenizer.ggml.add_bos_token` is set, expected `tokenizer.ggml.bos_token_id` as well"
    )]
    NoBos,
    /// A merge that is not two tokens.
    #[error(
        "`tokenizer.ggml.merges`[{index}] is {}, expected two tokens and one space",
        Quoted(line)
    )]
    MergeForm {
        /// The merge.
        index: usize,
        /// Its text.
        line: String,
    },
    /// A merge of or into something that is not in the vocabulary.
    #[error(
        "`tokenizer.ggml.merges`[{index}] names {}, expected a token of the vocabulary",
        Quoted(token)
    )]
    MergeToken {
        /// The merge.
        index: usize,
        /// The part or the result that is no token.
        token: String,
    },
    /// A merge by which plain text would become a control token.
    #[error(
        "`tokenizer.ggml.merges`[{index}] makes the control token {}, expected a plain one",
        Quoted(token)
    )]
    MergeControl {
        /// The merge.
        index: usize,
        /// The control token.
        token: String,
    },
    /// A merge of bytes into a token that stands for other ones.
    #[error(
        "`tokenizer.ggml.merges`[{index}] makes the user-defined token {}, which stands for its \
         own text and not for the bytes that are joined; expected a plain one",
        Quoted(token)
    )]
    MergeUserDefined {
        /// The merge.
        index: usize,
        /// The user-defined token.
        token: String,
    },
    /// The same pair twice.
    #[error(
        "`tokenizer.ggml.merges`[{second}] is {} again, expected it once (at {first})",
        Quoted(line)
    )]
    DuplicateMerge {
        /// The pair.
        line: String,
        /// Its first place.
        first: usize,
        /// Its second place.
        second: usize,
    },
    /// A vocabulary of which texts are changed before they are cut.
    #[error("`{0}` is set, expected a vocabulary that takes texts as they are")]
    Normalization(&'static str),
    /// Scores are not as many as tokens.
    #[error(
        "`tokenizer.ggml.scores` holds {found} scores, expected one for each of {tokens} tokens"
    )]
    ScoreCount {
        /// The scores there are.
        found: usize,
        /// The tokens there are.
        tokens: usize,
    },
    /// A score by which nothing can be ordered.
    #[error("`tokenizer.ggml.scores`[{index}] is {found}, expected a finite number")]
    Score {
        /// The token.
        index: usize,
        /// Its score.
        found: f32,
    },
    /// A byte token that names no byte.
    #[error(
        "`tokenizer.ggml.tokens`[{id}] is {}, expected `<0x00>` to `<0xFF>` for a token of type 6",
        Quoted(text)
    )]
    ByteForm {
        /// The token.
        id: u32,
        /// Its text.
        text: String,
    },
    /// Some bytes have a token and some have none.
    #[error(
        "`tokenizer.ggml.tokens` has no byte token for {missing}, expected all of `<0x00>` to \
         `<0xFF>`, or none"
    )]
    MissingBytes {
        /// The bytes, as ranges.
        missing: String,
    },
    /// Nothing stands for what is in no token.
    #[error(
        "`tokenizer.ggml.tokens` has no byte tokens, expected `tokenizer.ggml.unknown_token_id` \
         in their place"
    )]
    NoFallback,
    /// Spaces have no token.
    #[error("`tokenizer.ggml.tokens` has no plain token `▁` (U+2581), expected it for spaces")]
    NoSpace,
    /// A byte of the text that no sequence of tokens stands for.
    #[error("byte 0x{byte:02x} at {offset} of the text has no token in the model's vocabulary")]
    NoToken {
        /// The byte.
        byte: u8,
        /// Its place in the text.
        offset: usize,
    },
    /// An id that no token has.
    #[error("token id {id}, expected one below the vocabulary's {count}")]
    IdRange {
        /// The id.
        id: u32,
        /// The tokens there are.
        count: usize,
    },
}

impl TokenizerError {
    /// What the user can do about it.
    pub fn fix(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            TokenizerError::Metadata(error) => return error.fix(),
            TokenizerError::Model(_)
            | TokenizerError::PreTokenizer(_)
            | TokenizerError::Normalization(_) => "take a model whose vocabulary is of such a kind",
            TokenizerError::NoToken { .. } => "take the byte out of the text",
            TokenizerError::IdRange { .. } => "use the ids with the model that they are of",
            TokenizerError::VocabularySize { .. }
            | TokenizerError::TypeCount { .. }
            | TokenizerError::TokenType { .. }
            | TokenizerError::TokenLength { .. }
            | TokenizerError::DuplicateToken { .. }
            | TokenizerError::SpecialId { .. }
            | TokenizerError::NoBos
            | TokenizerError::MergeForm { .. }
            | TokenizerError::MergeToken { .. }
            | TokenizerError::MergeControl { .. }
            | TokenizerError::MergeUserDefined { .. }
            | TokenizerError::DuplicateMerge { .. }
            | TokenizerError::ScoreCount { .. }
            | TokenizerError::Score { .. }
            | TokenizerError::ByteForm { .. }
            | TokenizerError::MissingBytes { .. }
            | TokenizerError::NoFallback
            | TokenizerError::NoSpace => "convert the model anew with current tools",
        })
    }
}
