//! Reads a packed file: its header at once, its image where it is to run.

use std::ops::{ControlFlow, Range};

use deepthin_compiler::fir::Formats;
use deepthin_compiler::format::Format;
use deepthin_compiler::pack::layout_digest;
use deepthin_compiler::plan::Plan;
use deepthin_dsl::Model;
use deepthin_runtime::digest::{Digest, Ended};
use deepthin_runtime::gguf::{GgmlType, Gguf, GgufError, Strings, TensorInfo};
use deepthin_runtime::memory::Region;
use deepthin_runtime::shown::Shown;

use super::error::{PackedError, PackedFault};
use super::{
    ALIGNMENT, FORMATS_KEY, HEADER_DIGEST_KEY, IMAGE, IMAGE_DIGEST_KEY, LAYOUT_KEY, MODEL_KEY,
    TENSORS_KEY, VERSION, VERSION_KEY, matrices,
};
use crate::source::shape;

/// Bytes of a value before its text: the number of its type, and its length.
const TEXT_OFFSET: u64 = 12;

/// An open packed file: a sound header, and an image that nobody has looked at yet.
#[derive(Debug)]
pub struct PackedFile {
    gguf: Gguf,
    /// Where the image lies.
    image: Range<u64>,
    layout: String,
    image_digest: String,
}

impl PackedFile {
    /// Reads what a packed file says before its image: with the model and its formats.
    ///
    /// # Errors
    /// Keys that are missing, of another version or at odds with each other; a header of another
    /// digest than it says; something else than one image.
    pub fn read(gguf: Gguf) -> Result<(PackedFile, Model, Formats), PackedError> {
        let fail =
            |key: &str, fault| PackedError::new(gguf.path(), gguf.metadata().offset(key), fault);
        let version = gguf.metadata().u32(VERSION_KEY)?;
        let version = version.ok_or_else(|| gguf.metadata().missing(VERSION_KEY))?;
        if version != VERSION {
            return Err(fail(VERSION_KEY, PackedFault::Version(version)));
        }
        let image = image(&gguf)?;
        check_header(&gguf, image.start)?;
        let model = model(&gguf).map_err(|problems| match problems {
            Ok(problems) => fail(MODEL_KEY, PackedFault::Description { key: MODEL_KEY, problems }),
            Err(error) => error.into(),
        })?;
        let formats = formats(&gguf, &model)?;
        let layout = digest_text(&gguf, LAYOUT_KEY)?.to_owned();
        let image_digest = digest_text(&gguf, IMAGE_DIGEST_KEY)?.to_owned();
        Ok((PackedFile { gguf, image, layout, image_digest }, model, formats))
    }

    /// The file.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// Maps the image for a plan, after every byte of it was read on `threads` threads and found to
    /// be what was written. `watch` is told now and then how many bytes are read, and may stop it.
    ///
    /// # Errors
    /// An image of another layout or size than the plan's, or of another digest than the file
    /// says; a file that cannot be read or mapped, or was written to meanwhile;
    /// [`PackedError::Stopped`].
    pub fn map(
        &self,
        plan: &Plan,
        threads: usize,
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Region, PackedError> {
        let fail = |offset, fault| PackedError::new(self.gguf.path(), offset, fault);
        let expected = layout_digest(&plan.image).to_string();
        if self.layout != expected {
            let found = self.layout.clone();
            let at = self.gguf.metadata().offset(LAYOUT_KEY);
            return Err(fail(at, PackedFault::Layout { found, expected }));
        }
        let Range { start, end } = self.image;
        let (found, expected) = (end - start, plan.regions.image);
        if found != expected {
            return Err(fail(Some(start), PackedFault::Size { found, expected }));
        }
        let read = |offset: u64, piece: &mut [u8]| self.gguf.read_at(start + offset, piece);
        let digest = match Digest::of_read(expected, threads, &read, watch) {
            Ok(digest) => digest.to_string(),
            Err(Ended::Failed(error)) => return Err(error.into()),
            Err(Ended::Stopped) => return Err(PackedError::Stopped),
        };
        let mapping = self.gguf.map(self.told())?;
        // Asked before what was found: what is wrong with half a file is no news.
        self.gguf.check_unchanged()?;
        if digest != self.image_digest {
            let expected = self.image_digest.clone();
            let fault = PackedFault::Damaged { part: "image", found: digest, expected };
            return Err(fail(Some(start), fault));
        }
        Region::of_file(mapping, start, expected)
            .ok_or_else(|| fail(Some(start), PackedFault::Size { found, expected }))
    }

    /// What a program tells whose file is cut while it runs.
    fn told(&self) -> String {
        let path = Shown(self.gguf.path());
        format!(
            "deepthin: error: {path}: the file was cut, or its disk failed, while it was mapped, \
             expected it to stay as it is\n\
             fix: let the program that writes to the file finish, see to its disk, and start \
             again\n"
        )
    }
}

/// Where the one tensor lies, which is the image.
fn image(gguf: &Gguf) -> Result<Range<u64>, PackedError> {
    let image = |tensor: &&TensorInfo| {
        tensor.name == IMAGE && tensor.kind == GgmlType::I8 && tensor.dims.len() == 1
    };
    match gguf.tensors() {
        [tensor] if image(&tensor) => {
            let TensorInfo { offset, .. } = *tensor;
            if !offset.is_multiple_of(u64::from(ALIGNMENT)) {
                let fault = PackedFault::Misaligned(offset);
                return Err(PackedError::new(gguf.path(), Some(offset), fault));
            }
            Ok(offset..offset.saturating_add(tensor.byte_len()))
        }
        others => {
            let other = others.iter().find(|tensor| !image(tensor));
            let found = match (other, others.len()) {
                (Some(TensorInfo { name, kind, dims, .. }), count) => {
                    format!("{count} tensors with `{name}` of {kind} {dims:?} among them")
                }
                (None, _) => "no tensors".to_owned(),
            };
            Err(PackedError::new(gguf.path(), None, PackedFault::Tensors { found }))
        }
    }
}

/// Compares the bytes before the image with the digest among them.
fn check_header(gguf: &Gguf, end: u64) -> Result<(), PackedError> {
    let expected = digest_text(gguf, HEADER_DIGEST_KEY)?;
    let own = gguf.metadata().offset(HEADER_DIGEST_KEY).unwrap_or(end) + TEXT_OFFSET;
    let own = own..own + Digest::DIGITS as u64;
    let read = |offset: u64, piece: &mut [u8]| -> Result<(), GgufError> {
        gguf.read_at(offset, piece)?;
        for (at, byte) in (offset..).zip(piece) {
            if own.contains(&at) {
                *byte = b'0';
            }
        }
        Ok(())
    };
    let digest = Digest::of_read(end, 1, &read, &mut |_| ControlFlow::Continue(()));
    let found = match digest {
        Ok(digest) => digest.to_string(),
        Err(Ended::Failed(error)) => return Err(error.into()),
        Err(Ended::Stopped) => return Err(PackedError::Stopped),
    };
    if found == expected {
        return Ok(());
    }
    let fault = PackedFault::Damaged { part: "header", found, expected: expected.to_owned() };
    Err(PackedError::new(gguf.path(), Some(0), fault))
}

/// The text of a key that has to be there.
fn text<'g>(gguf: &'g Gguf, key: &str) -> Result<&'g str, GgufError> {
    gguf.metadata().str(key)?.ok_or_else(|| gguf.metadata().missing(key))
}

/// The texts of a key that has to be there.
fn texts<'g>(gguf: &'g Gguf, key: &str) -> Result<&'g Strings, GgufError> {
    gguf.metadata().strings(key)?.ok_or_else(|| gguf.metadata().missing(key))
}

/// The digest of a key that has to be there.
fn digest_text<'g>(gguf: &'g Gguf, key: &'static str) -> Result<&'g str, PackedError> {
    let found = text(gguf, key)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if found.len() == Digest::DIGITS && found.bytes().all(is_digit) {
        return Ok(found);
    }
    let fault = PackedFault::Digest { key, found: found.to_owned() };
    Err(PackedError::new(gguf.path(), gguf.metadata().offset(key), fault))
}

/// The model that the file describes, or what is wrong with the description.
fn model(gguf: &Gguf) -> Result<Model, Result<String, GgufError>> {
    let text = text(gguf, MODEL_KEY).map_err(Err)?;
    let mut models = deepthin_dsl::parse(text, MODEL_KEY).map_err(|errors| {
        let list: Vec<String> = errors.iter().map(|error| error.message.clone()).collect();
        Ok(list.join("; "))
    })?;
    match (models.pop(), models.len()) {
        (Some(model), 0) => Ok(model),
        (_, more) => Err(Ok(format!("found {} models, expected one", more + 1))),
    }
}

/// The formats of the model's matrices, in the order that both keys have.
fn formats(gguf: &Gguf, model: &Model) -> Result<Formats, PackedError> {
    let fail = |key: &str, fault| PackedError::new(gguf.path(), gguf.metadata().offset(key), fault);
    let (names, words) = (texts(gguf, TENSORS_KEY)?, texts(gguf, FORMATS_KEY)?);
    // Counted before anything is made for so many blocks.
    let outside = if model.tied { 1 } else { 2 };
    let expected = u64::from(model.depth).saturating_mul(7).saturating_add(outside);
    for (key, list) in [(TENSORS_KEY, names), (FORMATS_KEY, words)] {
        let found = list.len();
        if found as u64 != expected {
            return Err(fail(key, PackedFault::Count { key, found, expected }));
        }
    }
    let mut formats = Formats::uniform(model.depth, Format::F32, Format::F32);
    for (index, ((block, role, tensor), (name, word))) in
        matrices(model).zip(names.iter().zip(words.iter())).enumerate()
    {
        if name != tensor {
            let (key, found) = (TENSORS_KEY, name.to_owned());
            let fault = PackedFault::Name { key, index, found, expected: tensor };
            return Err(fail(key, fault));
        }
        let Ok(format) = word.parse::<Format>() else {
            let found = word.to_owned();
            return Err(fail(FORMATS_KEY, PackedFault::Format { tensor, found }));
        };
        let (_, columns) = shape(model, role);
        if format.row_bytes(columns as usize).is_none() {
            return Err(fail(FORMATS_KEY, PackedFault::Rows { tensor, format, columns }));
        }
        formats
            .set(block, role, format)
            .map_err(|error| fail(FORMATS_KEY, PackedFault::Formats(error)))?;
    }
    Ok(formats)
}
