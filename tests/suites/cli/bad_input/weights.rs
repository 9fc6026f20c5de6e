//! Well-formed GGUF files whose weights cannot be had, fit nothing or are no numbers: rows 44 to 54.

use deepthin_dsl::Model;
use deepthin_dsl::model::TensorStorage;
use deepthin_tests::gguf_model;
use deepthin_tests::gguf_writer::{GgufWriter, Image};
use half::f16;

use super::case::{Case, check_all, sparse};
use super::gguf::{RUN, TABLE, file, key, offset_of, put, sound, writer};

pub(super) fn cases() -> Vec<Case> {
    [data(), models(), metadata(), strangers(), numbers()].into_iter().flatten().collect()
}

fn data() -> Vec<Case> {
    let offset = |image: &Image| image.tensors["output_norm.weight"].offset;
    let moved = |name, row, by: i64, parts| {
        let to = offset_of(&sound(), "output_norm.weight").wrapping_add_signed(by);
        put(name, row, offset, to.to_le_bytes(), parts)
    };
    let norm = "tensor `output_norm.weight` ";
    vec![
        moved("a misaligned tensor", 44, 1, &[norm, "expected a multiple of the alignment 32"]),
        moved(
            "overlapping tensors",
            45,
            -32,
            &[norm, " lies at ", ", over `", "expected them apart"],
        ),
        moved("a gap between tensors", 45, 32, &[norm, "of the data, expected ", "right after `"]),
        file(
            "cut in the data",
            46,
            || {
                let image = sound();
                let len = image.bytes.len() - 100;
                image.cut(len)
            },
            ["ends at byte ", "bytes are missing", "fix: the file is cut off: fetch it again"],
        )
        .history(&[17, 38]),
        key(
            "a tensor larger than the file",
            46,
            |file| file.tensor("more", 0, &[1 << 30, 1 << 20], vec![]),
            &["tensor `more` ends at byte ", " bytes are missing"],
        )
        .history(&[17, 38]),
        Case::new("bytes after the last tensor", &[47])
            .file("model.gguf", || [sound().bytes, vec![7; 37]].concat())
            .line(RUN)
            .says(["deepthin: note: ", "model.gguf: 37 bytes after the last tensor"]),
        Case::new("a terabyte of nothing after the last tensor", &[47, 67])
            .setup(|folder| sparse(folder, "model.gguf", &sound().bytes, 1 << 40))
            .line(RUN)
            .says(["deepthin: note: ", " bytes after the last tensor"]),
        key(
            "the second of three files",
            48,
            |file| file.raw("split.count", 2, &[3, 0]).raw("split.no", 2, &[1, 0]),
            &["file 2 of the 3 files of a split model", "fix: merge the files", "--merge"],
        ),
        key(
            "a count of files in words",
            48,
            |file| file.str("split.count", "2"),
            &["`split.count`"],
        ),
    ]
}

fn models() -> Vec<Case> {
    let described = |name, row, change: fn(&mut Model), parts: &[&'static str]| {
        let mut model = gguf_model::model();
        change(&mut model);
        let text = deepthin_dsl::print(&model);
        Case::new(name, &[row])
            .file("model.gguf", || sound().bytes)
            .file("m.thin", move || text.clone())
            .line("run @m.thin --weights @model.gguf -p a -n 1")
            .fails(65, parts.iter().copied())
    };
    vec![
        file(
            "another architecture",
            49,
            || GgufWriter::new().str("general.architecture", "falcon").build(),
            ["model.gguf: general.architecture: found \"falcon\", expected \"llama\""],
        ),
        file(
            "an architecture that steers the terminal",
            49,
            || GgufWriter::new().str("general.architecture", "\x1b]0;x\x07\n").build(),
            ["found \"\\u{1b}]0;x\\u{7}\\n\", expected \"llama\""],
        ),
        key(
            "scaled positions",
            49,
            |file| file.str("llama.rope.scaling.type", "yarn"),
            &["llama.rope.scaling.type = \"yarn\"", "fix: take a dense model"],
        ),
        described(
            "a description of other heads",
            50,
            |model| model.block.kv_heads = 4,
            &[
                "does not fit the description `bytes`",
                "\n  kv_heads: the description says 4, the file 2",
            ],
        ),
        Case::new("a file whose heads are rotated in part, and told by nothing else", &[50])
            .file("model.gguf", || {
                let heads = ["key_length", "value_length", "head_count"];
                let keys = heads.map(|key| format!("llama.attention.{key}"));
                let rotated = "llama.rope.dimension_count";
                let file = keys.iter().fold(writer(), |file, key| file.without(key));
                file.replaced(rotated, |file| file.u32(rotated, 4)).build().bytes
            })
            .file("m.thin", || deepthin_dsl::print(&gguf_model::model()))
            .line("run @m.thin --weights @model.gguf -p a -n 1")
            .fails(65, ["\n  head_dim: the description says 8, the file 4"]),
        described(
            "a description of another width and depth",
            50,
            |model| {
                model.width = 64;
                model.depth = 3;
            },
            &["\n  width: the description says 64, the file 32\n  depth", " says 3, the file 2"],
        ),
    ]
}

fn metadata() -> Vec<Case> {
    let count = |name, number: &'static str, value, part| {
        let other = move |file: GgufWriter| file.replaced(number, |file| file.u32(number, value));
        key(name, 49, other, &[part, "fix: "])
    };
    vec![
        key(
            "attention to what comes later",
            49,
            |file| file.raw("llama.attention.causal", 7, &[0]),
            &["llama.attention.causal = false: found a feature", "fix: take a dense model"],
        ),
        key(
            "a window that is narrower than the context",
            49,
            |file| file.u32("llama.attention.sliding_window", 16),
            &["llama.attention.sliding_window = 16: found a feature", "fix: take a dense model"],
        ),
        key(
            "another number of tokens",
            50,
            |file| file.u32("llama.vocab_size", 299),
            &["llama.vocab_size: found 299, expected the 300 rows of `token_embd.weight`", "fix: "],
        ),
        count(
            "a file of no blocks",
            "llama.block_count",
            0,
            "llama.block_count: found 0, expected at least 1",
        ),
        count(
            "a file of no positions",
            "llama.context_length",
            0,
            "llama.context_length: found 0, expected at least 1",
        ),
        count(
            "a file of no heads",
            "llama.attention.head_count",
            0,
            "llama.attention.head_count: found 0, expected at least 1",
        ),
        key(
            "rotation of less than a head",
            49,
            |file| {
                let heads = "llama.attention.head_count";
                let file = file.without("llama.attention.key_length");
                file.replaced(heads, |file| file.u32(heads, 2))
            },
            &[
                "llama.rope.dimension_count: found 8, expected the head dimension 16, \
                 32 (embedding_length) by 2 (head_count)",
                "fix: ",
            ],
        ),
    ]
}

fn strangers() -> Vec<Case> {
    vec![
        key(
            "a tensor under another name",
            51,
            |file| file.renamed("blk.1.ffn_up.weight", "blk.1.ffn_pu.weight"),
            &["tensor `blk.1.ffn_up.weight`: found nothing (there is `blk.1.ffn_pu.weight`)"],
        ),
        key(
            "one tensor too many",
            51,
            |file| file.tensor("blk.0.attn_q.bias", 0, &[32], vec![0; 128]),
            &["found the tensor `blk.0.attn_q.bias`", "a model of 2 blocks"],
        ),
        key(
            "a transposed tensor",
            51,
            |file| file.with_tensor("blk.0.ffn_up.weight", 0, &[64, 32], vec![0; 64 * 32 * 4]),
            &["tensor `blk.0.ffn_up.weight`: found [32, 64], its transpose, expected [64, 32]"],
        ),
        key(
            "a quantized gain",
            51,
            |file| file.with_tensor("output_norm.weight", 8, &[32], vec![0; 34]),
            &["tensor `output_norm.weight`: found a gain stored as Q8_0, expected F32"],
        ),
        Case::new("a head beside a tied table", &[51])
            .file("model.gguf", || {
                let head = vec![1; 300 * 34];
                writer().tensor("output.weight", 8, &[32, 300], head).build().bytes
            })
            .file("m.thin", || deepthin_dsl::print(&gguf_model::model()))
            .line("run @m.thin --weights @model.gguf -p a -n 1")
            .fails(65, ["found an `output.weight` that is not the embedding table", "fix: write"]),
    ]
}

/// The file with other bytes in a tensor, from `at` of its own bytes on.
fn edited(image: Image, tensor: &str, at: usize, bytes: &[u8]) -> (Image, usize) {
    let place = image.data + usize::try_from(offset_of(&image, tensor)).unwrap() + at;
    (image.put(place, bytes), place)
}

/// A number of a tensor that is not finite: bytes, where in the tensor, and what is said of it.
fn bad_number(
    name: &str,
    tensor: &'static str,
    at: usize,
    bits: &'static [u8],
    place: &str,
) -> Case {
    let (_, offset) = edited(sound(), tensor, at, bits);
    let said =
        format!("model.gguf@0x{offset:x}: tensor `{tensor}`, {place}: found a weight or scale");
    file(name, 54, move || edited(sound(), tensor, at, bits).0, [said, "not finite".to_owned()])
}

fn numbers() -> Vec<Case> {
    // A row of the table is one group of Q8_0; rows of the blocks are groups of Q4_0.
    let subnormal = || {
        let (image, _) = edited(sound(), TABLE, 0, &f16::from_bits(1).to_le_bytes());
        let (image, _) = edited(image, TABLE, 34, &f16::NEG_ZERO.to_le_bytes());
        image.bytes
    };
    vec![
        bad_number("a scale of NaN", TABLE, 7 * 34, &[1, 0x7e], "row 7, group 0"),
        bad_number("an infinite scale", TABLE, 299 * 34, &[0, 0x7c], "row 299, group 0"),
        bad_number(
            "an infinite scale in a query that is laid out anew",
            "blk.1.attn_q.weight",
            13 * 18,
            &[0, 0xfc],
            "row 13, group 0",
        ),
        bad_number(
            "an infinite scale in a second group",
            "blk.0.ffn_down.weight",
            (5 * 2 + 1) * 18,
            &[0, 0x7c],
            "row 5, group 1",
        ),
        bad_number(
            "a gain of NaN",
            "blk.0.ffn_norm.weight",
            3 * 4,
            &[0, 0, 0xc0, 0x7f],
            "row 0, group 3",
        ),
        Case::new("scales of -0 and below the normal numbers", &[54])
            .file("model.gguf", subnormal)
            .line(RUN),
        file(
            "half of the weights in other formats of pairs",
            51,
            || {
                let mut model = gguf_model::model();
                model.storage.blocks = TensorStorage::F32;
                let up = vec![0; 64 * 34];
                let file = gguf_model::writer(&model, 1);
                file.with_tensor("blk.0.ffn_up.weight", 8, &[32, 64], up).build()
            },
            ["gate is f32, up is q8_0", "fix: "],
        ),
    ]
}

#[test]
fn wrong_weights() {
    check_all("cli::bad_input::weights::wrong_weights", &cases());
}
