//! Why a tokenizer cannot be built from a file's metadata, or a text or id not be translated.

use crate::gguf::GgufError;

/// What is wrong with a vocabulary, a text or an id. Indices count from 0.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A key is missing or of the wrong type.
    #[error(transparent)]
    Metadata(#[from] GgufError),
    /// A kind of tokenizer other than byte-level BPE.
    #[error(
        "`tokenizer.ggml.model` is `{0}`, expected `gpt2` (byte-level BPE): \
         take a model with such a vocabulary"
    )]
    Model(String),
    /// A way of cutting text into words that is not known.
    #[error(
        "`tokenizer.ggml.pre` is `{0}`, expected `smollm`, `gpt-2` or `gpt2`: \
         take a model of such a family"
    )]
    PreTokenizer(String),
    /// More tokens than ids are kept for.
    #[error(
        "`tokenizer.ggml.tokens` holds {count} tokens, expected 1 to {limit}: \
         convert the model anew"
    )]
    VocabularySize {
        /// The tokens there are.
        count: usize,
        /// The most that are read.
        limit: usize,
    },
    /// One list is not as long as the vocabulary.
    #[error(
        "`tokenizer.ggml.token_type` holds {found} types, expected one for each of {tokens} tokens: \
         convert the model anew"
    )]
    TypeCount {
        /// The types there are.
        found: usize,
        /// The tokens there are.
        tokens: usize,
    },
    /// A token type that GGUF does not have.
    #[error(
        "`tokenizer.ggml.token_type`[{index}] is {found}, expected 1 to 6: \
         convert the model anew"
    )]
    TokenType {
        /// The token.
        index: usize,
        /// Its type.
        found: i32,
    },
    /// A token of no or too many bytes.
    #[error(
        "`tokenizer.ggml.tokens`[{index}] has {length} bytes, expected 1 to {limit}: \
         convert the model anew"
    )]
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
        "`tokenizer.ggml.tokens`[{second}] is {text:?} again, expected it once (at {first}): \
         convert the model anew"
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
    #[error(
        "`{key}` is {id}, expected an id below the vocabulary's {count}: \
         convert the model anew"
    )]
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
        "`tokenizer.ggml.add_bos_token` is set, expected `tokenizer.ggml.bos_token_id` as well: \
         convert the model anew"
    )]
    NoBos,
    /// A merge that is not two tokens.
    #[error(
        "`tokenizer.ggml.merges`[{index}] is {line:?}, expected two tokens and one space: \
         convert the model anew"
    )]
    MergeForm {
        /// The merge.
        index: usize,
        /// Its text.
        line: String,
    },
    /// A merge of or into something that is not in the vocabulary.
    #[error(
        "`tokenizer.ggml.merges`[{index}] names {token:?}, expected a token of the vocabulary: \
         convert the model anew"
    )]
    MergeToken {
        /// The merge.
        index: usize,
        /// The part or the result that is no token.
        token: String,
    },
    /// A merge by which plain text would become a control token.
    #[error(
        "`tokenizer.ggml.merges`[{index}] makes the control token {token:?}, expected a plain one: \
         convert the model anew"
    )]
    MergeControl {
        /// The merge.
        index: usize,
        /// The control token.
        token: String,
    },
    /// The same pair twice.
    #[error(
        "`tokenizer.ggml.merges`[{second}] is {line:?} again, expected it once (at {first}): \
         convert the model anew"
    )]
    DuplicateMerge {
        /// The pair.
        line: String,
        /// Its first place.
        first: usize,
        /// Its second place.
        second: usize,
    },
    /// A byte of the text that no sequence of tokens stands for.
    #[error(
        "byte 0x{byte:02x} at {offset} of the text has no token in the model's vocabulary: \
         take it out of the text"
    )]
    NoToken {
        /// The byte.
        byte: u8,
        /// Its place in the text.
        offset: usize,
    },
    /// An id that no token has.
    #[error(
        "token id {id}, expected one below the vocabulary's {count}: \
         the ids are of another model"
    )]
    IdRange {
        /// The id.
        id: u32,
        /// The tokens there are.
        count: usize,
    },
}
