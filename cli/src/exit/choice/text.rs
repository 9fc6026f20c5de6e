//! Errors of texts: tokens, chats, stop strings, sampling.

use deepthin::chat::ChatError;
use deepthin::codec::CodecError;
use deepthin::generate::GenerateError;
use deepthin_runtime::sampler::{SampleError, SettingsError};
use deepthin_runtime::stop::StopError;
use deepthin_runtime::tokenizer::TokenizerError;

use crate::exit::{Exit, Failure};

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Failure {
        let fix = match &error {
            CodecError::NotUtf8 { .. } => "convert the text to UTF-8".into(),
            CodecError::Byte { .. } => "leave the byte out, or give the model more tokens".into(),
            CodecError::TooLong { tokens, .. } => {
                format!("give a shorter text, or make room for it with -c {tokens}").into()
            }
            CodecError::Memory { .. } => {
                return Failure::new(Exit::Resource, error).fix("give a shorter text");
            }
            CodecError::Empty => "give it at least one character".into(),
            CodecError::Tokenizer(error) => error.fix(),
        };
        Failure::new(Exit::BadData, error).fix(fix)
    }
}

impl From<TokenizerError> for Failure {
    fn from(error: TokenizerError) -> Failure {
        let fix = error.fix();
        Failure::new(Exit::BadData, error).fix(fix)
    }
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Failure {
        let fix = match error {
            ChatError::NoTemplate { .. } => {
                "leave out --chat, or name a model that is tuned for chat"
            }
            ChatError::Times { role: "system", .. } => "leave out --system",
            ChatError::Times { .. } | ChatError::Template(_) => {
                "leave out --chat, and write the prompt in the model's own format with --special"
            }
        };
        Failure::new(Exit::BadData, error).fix(fix)
    }
}

impl From<StopError> for Failure {
    fn from(error: StopError) -> Failure {
        Failure::new(Exit::Usage, error)
    }
}

impl From<GenerateError> for Failure {
    fn from(error: GenerateError) -> Failure {
        match error {
            GenerateError::Run(error) => error.into(),
            GenerateError::Sample(error) => error.into(),
        }
    }
}

impl From<SampleError> for Failure {
    fn from(error: SampleError) -> Failure {
        Failure::new(Exit::BadData, error).fix("take other weights: these compute no numbers")
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        let fix = format!("give {} a value of its range", error.flag);
        Failure::new(Exit::Usage, error).fix(fix)
    }
}
