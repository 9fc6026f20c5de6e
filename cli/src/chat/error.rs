//! Why a chat cannot be put into a model's format.

use deepthin_runtime::shown::Quoted;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a turn does not become a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChatError {
    /// The model's file brings no template, or there is no file.
    #[error(
        "`{model}` has no chat template: expected `tokenizer.chat_template` in a file of weights"
    )]
    NoTemplate {
        /// The model.
        model: String,
    },
    /// The template leaves a text out, or writes it several times.
    #[error("the model's chat template writes the {role}'s text {times} times, expected once")]
    Times {
        /// Whose text.
        role: &'static str,
        /// How often it is there.
        times: usize,
    },
    /// The template did not render.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Why a template does not render. Places count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum TemplateError {
    /// It is wrong, or does what it must not.
    #[error("the model's chat template, {line}:{column}: {message}")]
    Failed {
        /// The line.
        line: usize,
        /// The character of the line.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// It refuses the chat.
    #[error("the model's chat template refuses: {}", Quoted(.0))]
    Raised(String),
    /// It takes or makes more than it may.
    #[error("the model's chat template {0}")]
    Limit(String),
}
