//! What cannot be quantized, or not so, and texts that nothing can be learned from: rows 51, 54, 66,
//! 67, 81, 84, 86.

use deepthin_dsl::Model;
use deepthin_tests::{gguf_model, packed_file};

use super::case::{Case, check_all};
use super::gguf::offset_of;

/// Quantizes the sound file with more words.
fn sound(name: &str, row: u32, words: &str) -> Case {
    Case::new(name, &[row])
        .file("model.gguf", || gguf_model::writer(&gguf_model::model(), 1).build().bytes)
        .line("quantize @model.gguf -o @q.gguf")
        .line(words)
}

/// A file with other bytes in one of its tensors, at a place counted from its first.
fn with_bytes(name: &str, model: Model, tensor: &'static str, place: usize, bytes: &[u8]) -> Case {
    let bytes = bytes.to_vec();
    let file = move || {
        let image = gguf_model::writer(&model, 1).build();
        let at = image.data + usize::try_from(offset_of(&image, tensor)).unwrap() + place;
        image.put(at, &bytes).bytes
    };
    Case::new(name, &[54]).file("model.gguf", file).line("quantize @model.gguf -o @q.gguf")
}

/// A file whose table in f32 has another weight: element 5 of row 3.
fn with_weight(name: &str, weight: f32, words: &str) -> Case {
    let (model, place) = (gguf_model::plain_model(), (3 * 32 + 5) * 4);
    with_bytes(name, model, "token_embd.weight", place, &weight.to_le_bytes()).line(words)
}

fn storage() -> Vec<Case> {
    let word = |word: &str, parts: &[&'static str]| {
        sound(&format!("storage {word}"), 86, "--blocks")
            .word(word)
            .fails(2, [&["for '--blocks <FORMAT>': expected a storage format"], parts].concat())
    };
    let narrow = |columns: u32, words: &str, parts: &[&'static str]| {
        let model = Model { width: columns, ..gguf_model::plain_model() };
        Case::new(format!("rows of {columns} {words}"), &[86])
            .file("model.gguf", move || gguf_model::writer(&model, 1).build().bytes)
            .line("quantize @model.gguf -o @q.gguf")
            .line(words)
            .fails(2, parts.iter().copied())
    };
    vec![
        word("q4g46", &["did you mean `q4g64`?"]),
        word("q4_2", &["did you mean `q4_"]),
        word("Q4_K_M", &["such as q4g32m or q6g64"]),
        word("", &["such as q4g32m or q6g64"]),
        word("q4g32m ", &["did you mean `q4g32m`?"]),
        sound("groups that are too long", 86, "--blocks q8g192").fails(
            2,
            [
                "q8g192 cannot store the blocks: found rows of 32 elements, expected multiples of 192",
                "fix: choose groups that divide them: g32, or row",
            ],
        ),
        sound("groups that are too long for the table", 86, "--embeddings q8g96m").fails(
            2,
            ["q8g96m cannot store the embeddings: found rows of 32 elements", "fix: choose groups"],
        ),
        narrow(
            48,
            "",
            &[
                "q4g32m cannot store the blocks: found rows of 48 elements, expected multiples of 32",
                "fix: store them in f16, bf16 or f32: groups are whole blocks of 32",
            ],
        ),
        narrow(48, "--blocks f16 --embeddings q8row", &["q8row cannot store the embeddings"]),
        sound("no threads to quantize on", 86, "-t 0").fails(2, ["'0'", "--threads", "1..=1024"]),
        Case::new("no place for a packed file", &[86])
            .line("quantize m.gguf")
            .fails(2, ["--output <FILE>"]),
    ]
}

fn texts() -> Vec<Case> {
    vec![
        sound("no calibration text", 66, "--calibrate @none.txt")
            .fails(66, ["none.txt: no such file", "fix: check the spelling of the path"]),
        sound("an empty calibration text", 81, "--calibrate @text").file("text", || "").fails(
            65,
            ["text: found an empty text, expected some thousand tokens", "fix: take a longer"],
        ),
        sound("a calibration text that is no text", 84, "--calibrate @text")
            .file("text", || b"some \xff words".to_vec())
            .fails(65, ["text@0x5: found the byte 0xff, expected UTF-8 text", "fix: convert"]),
        sound("a directory to calibrate with", 67, "--calibrate @.")
            .fails(66, ["found a directory, expected a text", "fix: name the file itself"]),
        sound("an endless calibration text", 67, "--calibrate /dev/zero")
            .fails(66, ["/dev/zero: found a pipe or a device, expected a text"]),
        sound("one letter to calibrate with", 81, "--calibrate @text")
            .file("text", || "a")
            .says(["deepthin: calibrating with 1 tokens\n", "deepthin: wrote "]),
        Case::new("calibration of drawn weights", &[86])
            .file("m.thin", || deepthin_dsl::print(&gguf_model::model()))
            .file("text", || "words")
            .line("quantize @m.thin --random 1 -o @q.gguf --calibrate @text")
            .fails(
                2,
                ["--calibrate: found weights drawn at random, expected a GGUF file", "fix: leave"],
            ),
    ]
}

fn sources() -> Vec<Case> {
    let packed = || packed_file::sealed(&packed_file::writer(&gguf_model::model(), 1)).bytes;
    let of_packed = |name: &str, words: &str| {
        Case::new(name, &[51])
            .file("packed.gguf", packed)
            .file("text", || "words")
            .line("quantize @packed.gguf -o @q.gguf")
            .line(words)
            .fails(
                2,
                [
                    "packed.gguf: found a packed file, expected a GGUF file that is not packed",
                    "fix: quantize the file that it was made from",
                ],
            )
    };
    vec![
        Case::new("a description without weights to quantize", &[51])
            .file("m.thin", || deepthin_dsl::print(&gguf_model::model()))
            .line("quantize @m.thin -o @q.gguf")
            .fails(2, ["the description `bytes` has no weights", "fix: give it weights"]),
        of_packed("a packed file to quantize", ""),
        of_packed("a packed file to calibrate", "--calibrate @text"),
        Case::new("a model that is not there to quantize", &[66])
            .line("quantize @none.gguf -o @q.gguf")
            .fails(66, ["none.gguf", "fix: "]),
        with_weight("no number to quantize", f32::NAN, "").fails(
            65,
            [
                "model.gguf@0x",
                "tensor `token_embd.weight`, row 3, group 5: found a weight or scale that is not",
                "fix: the file is damaged",
            ],
        ),
        with_weight("an infinity to round", f32::INFINITY, "--embeddings bf16")
            .fails(65, ["model.gguf@0x", "tensor `token_embd.weight`, row 3, group 5: found"]),
        // A query's rows are laid out anew: told is the row of the file.
        with_bytes(
            "an infinite scale to quantize",
            gguf_model::model(),
            "blk.1.attn_q.weight",
            13 * 18,
            &[0, 0xfc],
        )
        .fails(65, ["model.gguf@0x", "tensor `blk.1.attn_q.weight`, row 13, group 0: found"]),
        with_weight("a weight past f16", 1e5, "--embeddings f16").fails(
            2,
            [
                "model.gguf: tensor `token_embd.weight`, row 3: found a weight of 1e5, expected at \
                 most 6.5504e4 for f16",
                "fix: choose bf16, f32 or codes of our own",
            ],
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    [storage(), texts(), sources()].into_iter().flatten().collect()
}

#[test]
fn what_cannot_be_quantized() {
    check_all("cli::bad_input::quantize::what_cannot_be_quantized", &cases());
}
