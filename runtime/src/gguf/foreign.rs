//! What stands in the place of a GGUF file, told by its first bytes.

use std::fmt;

/// What a file holds that begins with something else than `GGUF`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreign {
    /// A zip archive, which is also what a pickled PyTorch checkpoint is.
    Zip,
    /// A web page, mostly an error page saved in place of the file.
    Html,
    /// The pointer that git-lfs leaves where the file itself was not fetched.
    GitLfs,
    /// A model file of the years before GGUF: GGML, GGMF or GGJT.
    OldGgml,
    /// A safetensors file: a JSON header after its length.
    Safetensors,
    /// The magic with its bytes reversed.
    Reversed,
    /// Any other first four bytes.
    Unknown([u8; 4]),
}

impl Foreign {
    /// Names what begins with other bytes than the magic.
    pub(super) fn recognize(start: &[u8]) -> Foreign {
        const OLD: [&[u8]; 6] = [b"ggml", b"lmgg", b"ggmf", b"fmgg", b"ggjt", b"tjgg"];
        let text = start.trim_ascii_start();
        let is_tag =
            |tag: &[u8]| text.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
        if start.starts_with(b"PK") {
            Foreign::Zip
        } else if is_tag(b"<!doctype") || is_tag(b"<html") || is_tag(b"<?xml") {
            Foreign::Html
        } else if start.starts_with(b"version https://git-lfs") {
            Foreign::GitLfs
        } else if start
            .get(..4)
            .is_some_and(|magic| OLD.iter().any(|old| magic.eq_ignore_ascii_case(old)))
        {
            Foreign::OldGgml
        } else if start.starts_with(b"FUGG") {
            Foreign::Reversed
        } else if start.get(8) == Some(&b'{') {
            Foreign::Safetensors
        } else {
            let mut magic = [0; 4];
            for (to, from) in magic.iter_mut().zip(start) {
                *to = *from;
            }
            Foreign::Unknown(magic)
        }
    }

    /// What the user can do about it.
    pub(super) fn fix(&self) -> &'static str {
        match self {
            Foreign::Zip => {
                "if it is a PyTorch checkpoint, convert it to GGUF; else unpack it and name the \
                 GGUF file in it"
            }
            Foreign::Html => "the download failed: fetch the file again",
            Foreign::GitLfs => "fetch the file itself: git lfs pull",
            Foreign::OldGgml | Foreign::Reversed => "convert the model anew with current tools",
            Foreign::Safetensors => "convert the model to GGUF",
            Foreign::Unknown(_) => "name a GGUF file; the names of descriptions end in .thin",
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::Zip => f.write_str("a zip archive, expected a GGUF file"),
            Foreign::Html => f.write_str("a web page, expected a GGUF file"),
            Foreign::GitLfs => f.write_str("a git-lfs pointer, expected the GGUF file behind it"),
            Foreign::OldGgml => {
                f.write_str("a GGML file of the time before GGUF, expected a GGUF file")
            }
            Foreign::Safetensors => f.write_str("a safetensors file, expected a GGUF file"),
            Foreign::Reversed => {
                f.write_str("the magic `FUGG`, expected `GGUF`: the file's bytes are swapped")
            }
            Foreign::Unknown(magic) => {
                write!(f, "the first bytes `{}`, expected the magic `GGUF`", magic.escape_ascii())
            }
        }
    }
}
