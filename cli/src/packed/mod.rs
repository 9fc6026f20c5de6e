//! Packed files: a model's weights in the layout that its kernels read, mapped as they lie at the
//! next start.
//!
//! A packed file is a GGUF file of version 3 with one tensor, [`IMAGE`], of bytes. It keeps all keys
//! of the file that the weights came from (tokenizer, chat template, sizes), and has these beside
//! them, which say all that is needed to run it:
//!
//! | key, after `deepthin.packed.` | value |
//! |---|---|
//! | `version` | [`VERSION`] |
//! | `model` | the model's description |
//! | `tensors`, `formats` | names of the model's matrices, and how each is stored |
//! | `layout` | digest of what lies where in the image |
//! | `image_digest` | digest of the image |
//! | `header_digest` | digest of everything before the image, with zeros in its own place |
//!
//! `specs/packed.md` is the definition. [`PackedFile`] reads one, [`Draft`] writes one.

mod error;
mod read;
mod write;

pub use error::{PackedError, PackedFault};
pub use read::PackedFile;
pub use write::{Draft, WriteError};

use deepthin_compiler::fir::Role;
use deepthin_dsl::Model;
use deepthin_runtime::gguf::Gguf;

use crate::source::tensor_names;

/// The version of these keys and of the digests.
pub const VERSION: u32 = 1;

/// The tensor that holds the image.
pub const IMAGE: &str = "deepthin.image";

/// What the image begins at a multiple of: pages of most machines.
pub const ALIGNMENT: u32 = 4096;

/// What the names of written files end in: they are GGUF files, which every reader takes by that
/// name, and beside its source of the same name none overwrites it.
pub const EXTENSION: &str = "packed.gguf";

/// The key of the alignment.
const ALIGNMENT_KEY: &str = "general.alignment";
/// What all keys of packed files begin with.
const PREFIX: &str = "deepthin.packed.";
const VERSION_KEY: &str = "deepthin.packed.version";
const MODEL_KEY: &str = "deepthin.packed.model";
const TENSORS_KEY: &str = "deepthin.packed.tensors";
const FORMATS_KEY: &str = "deepthin.packed.formats";
const LAYOUT_KEY: &str = "deepthin.packed.layout";
const IMAGE_DIGEST_KEY: &str = "deepthin.packed.image_digest";
const HEADER_DIGEST_KEY: &str = "deepthin.packed.header_digest";

/// Whether a GGUF file says that it is packed.
pub fn is_packed(gguf: &Gguf) -> bool {
    gguf.metadata().get(VERSION_KEY).is_some()
}

/// Whether a key of a packed file is not its source's: the alignment is its own, too.
pub fn is_own_key(key: &str) -> bool {
    key == ALIGNMENT_KEY || key.starts_with(PREFIX)
}

/// The matrices of a model in the order of the keys, each with its name in GGUF files.
fn matrices(model: &Model) -> impl Iterator<Item = (Option<u32>, Role, String)> {
    tensor_names(model).filter(|(_, role, _)| !role.is_gain())
}
