//! GGUF files that are malformed: rows 27 to 43, and what readers of them have broken on before.

use deepthin_dsl::Model;
use deepthin_tests::gguf_model;
use deepthin_tests::gguf_writer::{GgufWriter, Image};

use super::case::{Case, check_all, sparse};

pub(super) const RUN: &str = "run @model.gguf -p a -n 1";

pub(super) fn writer() -> GgufWriter {
    gguf_model::writer(&gguf_model::model(), 1)
}

/// The file of a sound model, to be damaged.
pub(super) fn sound() -> Image {
    writer().build()
}

/// A file that is refused.
pub(super) fn file<P: Into<String>>(
    name: &str,
    row: u32,
    image: impl Fn() -> Image + 'static,
    parts: impl IntoIterator<Item = P>,
) -> Case {
    Case::new(name, &[row]).file("model.gguf", move || image().bytes).line(RUN).fails(65, parts)
}

/// A file of these bytes.
fn bytes(name: &str, row: u32, bytes: &'static [u8], parts: &[&str]) -> Case {
    let image = move || Image { bytes: bytes.to_vec(), ..Image::default() };
    file(name, row, image, parts.iter().copied())
}

/// The sound file with other bytes at a place.
pub(super) fn put<const N: usize>(
    name: &str,
    row: u32,
    place: impl Fn(&Image) -> usize,
    value: [u8; N],
    parts: &[&str],
) -> Case {
    let at = place(&sound());
    let shown = format!("model.gguf@0x{at:x}: ");
    let parts = parts.iter().map(|part| part.replace("@HERE", &shown)).collect::<Vec<_>>();
    file(name, row, move || sound().put(at, &value), parts)
}

/// The sound file with one more key.
pub(super) fn key(
    name: &str,
    row: u32,
    add: impl Fn(GgufWriter) -> GgufWriter + 'static,
    parts: &[&str],
) -> Case {
    file(name, row, move || add(writer()).build(), parts.iter().copied())
}

pub(super) fn cases() -> Vec<Case> {
    let groups = [headers(), keys(), values(), meanings(), descriptions(), types()];
    groups.into_iter().flatten().collect()
}

fn headers() -> Vec<Case> {
    let version = |name, version: u32, parts| put(name, 29, |_| 4, version.to_le_bytes(), parts);
    vec![
        bytes(
            "no bytes",
            27,
            b"",
            &["model.gguf@0x0: file ends inside the header (0 of 24 bytes)"],
        ),
        bytes("the magic alone", 27, b"GGUF", &["model.gguf@0x4: file ends", "(4 of 24 bytes)"])
            .history(&[35]),
        file("a cut header", 27, || sound().cut(23), ["@0x17: file ends", "(23 of 24 bytes)"]),
        bytes("a zip archive", 28, b"PK\x03\x04 and so on", &["@0x0: found a zip archive"]),
        bytes("a web page", 28, b"<!DOCTYPE html><html>404</html>", &["@0x0: found a web page"]),
        bytes(
            "a git-lfs pointer",
            28,
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            &["@0x0: found a git-lfs pointer", "fix: fetch the file itself: git lfs pull"],
        ),
        bytes("a GGML file", 28, b"lmgg\0\0\0\0 and so on", &["@0x0: found a GGML file"]),
        bytes(
            "a safetensors file",
            28,
            b"\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}",
            &["@0x0: found a safetensors file"],
        ),
        bytes(
            "a program",
            28,
            b"\x7fELF\x02\x01\x01\0",
            &["@0x0: found the first bytes `\\x7fELF`"],
        ),
        version("version 0", 0, &["@HEREgguf version 0 is too old, expected version 2 or 3"]),
        version("version 1", 1, &["@HEREgguf version 1 is too old, expected version 2 or 3"]),
        version("version 99", 99, &["@HEREgguf version 99 is unknown", "newer deepthin"]),
        version("big-endian", 3_u32.swap_bytes(), &["@HEREbig-endian gguf (version 3)"]),
        put("2^63 keys", 30, |_| 16, (1_u64 << 63).to_le_bytes(), &["@HERE", "the list of keys"])
            .history(&[4, 15]),
        put("2^60 tensors", 30, |_| 8, (1_u64 << 60).to_le_bytes(), &["@HERE", "list of tensors"])
            .history(&[5, 15]),
        file("no keys and no tensors", 49, || GgufWriter::new().build(), ["found no architecture"])
            .history(&[7]),
    ]
}

fn keys() -> Vec<Case> {
    let of_name = |image: &Image| image.keys["general.name"];
    let broken = |name, key: &'static str, parts| {
        file(name, 32, move || GgufWriter::new().u32(key, 0).build(), parts)
    };
    vec![
        put("a key of 2^64-1 bytes", 31, of_name, u64::MAX.to_le_bytes(), &["@HEREkey ", "left"])
            .history(&[2, 36]),
        put(
            "a text of 2^64-1 bytes",
            31,
            |image| image.values["general.name"] + 4,
            u64::MAX.to_le_bytes(),
            &["@HEREthe value of `general.name` claims a string of 18446744073709551615 bytes"],
        )
        .history(&[2, 36]),
        file(
            "cut in a value",
            31,
            || {
                let image = sound();
                let at = image.values["llama.block_count"] + 6;
                image.cut(at)
            },
            ["file ends inside the value of `llama.block_count` (2 of 4 bytes)"],
        )
        .history(&[6]),
        broken("an empty key", "", ["model.gguf@0x18: key 0 has 0 bytes, expected 1 to 65535"]),
        broken("a key beyond ASCII", "schl\u{fc}ssel", ["@0x24: key 0 holds the byte 0xc3"]),
        broken("a key with an escape", "a\x1b[2Jb", ["@0x21: key 0 holds the byte 0x1b"]),
        file(
            "a key of 65536 bytes",
            32,
            || GgufWriter::new().u32(&"k".repeat(65_536), 0).build(),
            ["@0x18: key 0 has 65536 bytes, expected 1 to 65535"],
        ),
        key(
            "a key twice",
            33,
            |file| file.u32("llama.block_count", 9),
            &["is `llama.block_count` again, expected it once (key "],
        )
        .history(&[15]),
        key(
            "a tensor twice",
            33,
            |file| file.tensor("output_norm.weight", 0, &[1], vec![0; 4]),
            &["is `output_norm.weight` again, expected it once (tensor "],
        )
        .history(&[15]),
    ]
}

fn values() -> Vec<Case> {
    let deep = || [9_u32.to_le_bytes().as_slice(), &1_u64.to_le_bytes()].concat().repeat(10_000);
    let huge = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let number = |image: &Image| image.values["llama.block_count"];
    vec![
        put(
            "value type 13",
            34,
            number,
            13_u32.to_le_bytes(),
            &[
                "@HEREthe value of `llama.block_count` is of type 13, expected a value type of 0 to 12",
            ],
        ),
        key("a bool of 2", 34, |file| file.raw("a.bool", 7, &[2]), &["holds the byte 2", "0 or 1"]),
        key(
            "arrays 10000 deep",
            35,
            move |file| file.raw("a.list", 9, &deep()),
            &["the value of `a.list` nests arrays deeper than the 4 levels"],
        )
        .history(&[16]),
        key(
            "2^60 bytes in an array",
            35,
            move |file| file.raw("a.list", 9, &huge(0, 1 << 60)),
            &["the value of `a.list` claims 1152921504606846976 elements of at least 1 bytes"],
        )
        .history(&[15, 37]),
        key(
            "2^61 strings in an array",
            35,
            move |file| file.raw("a.list", 9, &huge(8, 1 << 61)),
            &["the value of `a.list` claims 2305843009213693952 elements of at least 8 bytes"],
        )
        .history(&[1, 15]),
        key(
            "more arrays in an array than are kept",
            35,
            |file| {
                let list = |count: usize| {
                    let (kind, elements) = (9_u32.to_le_bytes(), (count as u64).to_le_bytes());
                    [&kind[..], &elements, &vec![0; 12 * count]].concat()
                };
                file.raw("a.list", 9, &list(60_000)).raw("b.list", 9, &list(6_000))
            },
            &["the value of `b.list` makes 66000 arrays in arrays, expected at most 65536"],
        ),
        Case::new("a name and a list of 20 MiB in all", &[35])
            .file("model.gguf", || {
                let head = [&0_u32.to_le_bytes()[..], &(10_u64 << 20).to_le_bytes()].concat();
                let name = "n".repeat(10 << 20);
                let file =
                    writer().replaced("general.name", move |file| file.str("general.name", &name));
                file.raw("a.list", 9, &[head, vec![0; 10 << 20]].concat()).build().bytes
            })
            .line("import @model.gguf"),
        Case::new("a list of strings without end in a sparse file", &[35, 67])
            .setup(move |folder| {
                let image = writer().raw("a.list", 9, &huge(8, 1 << 30)).build();
                let start = image.values["a.list"] + 16;
                sparse(folder, "model.gguf", &image.bytes[..start], 1 << 40);
            })
            .line(RUN)
            .fails(65, ["the value of `a.list` passes byte 33554432 of the file", "fix: "])
            .history(&[1, 37]),
    ]
}

fn meanings() -> Vec<Case> {
    vec![
        key(
            "an alignment in words",
            36,
            |file| file.str("general.alignment", "32"),
            &["key `general.alignment` is of type string, expected u32"],
        ),
        key(
            "an alignment of i32",
            36,
            |file| file.raw("general.alignment", 5, &32_u32.to_le_bytes()),
            &["key `general.alignment` is of type i32, expected u32"],
        )
        .history(&[14]),
        file(
            "a depth in words",
            36,
            || {
                let file = GgufWriter::new().str("general.architecture", "llama");
                file.str("llama.block_count", "2").build()
            },
            ["key `llama.block_count` is of type string, expected u32"],
        ),
        key(
            "alignment 0",
            37,
            |file| file.raw("general.alignment", 4, &0_u32.to_le_bytes()),
            &["`general.alignment` is 0, expected a power of two from 8 to 65536"],
        )
        .history(&[15, 37]),
        key(
            "alignment 3",
            37,
            |file| file.raw("general.alignment", 4, &3_u32.to_le_bytes()),
            &["`general.alignment` is 3, expected a power of two from 8 to 65536"],
        ),
        key(
            "alignment 2^31",
            37,
            |file| file.raw("general.alignment", 4, &(1_u32 << 31).to_le_bytes()),
            &["`general.alignment` is 2147483648, expected a power of two"],
        )
        .history(&[14]),
    ]
}

/// The table's description, which damage is done to.
pub(super) const TABLE: &str = "token_embd.weight";

fn descriptions() -> Vec<Case> {
    let dims = |image: &Image| image.tensors[TABLE].dims;
    let rows = |image: &Image| image.tensors[TABLE].dims + 8;
    let count = |image: &Image| image.tensors[TABLE].dim_count;
    let too_large = "ends past 2^64 bytes, expected it in the file";
    vec![
        put("no dimensions", 38, count, [0; 4], &["@HERE", TABLE, "0 dimensions, expected 1 to 4"]),
        put("5 dimensions", 38, count, [5, 0, 0, 0], &["@HERE", TABLE, "expected 1 to 4"]),
        put("255 dimensions", 38, count, [255, 0, 0, 0], &["@HERE", TABLE, "has 255 dimensions"])
            .history(&[3]),
        put(
            "a dimension of 0",
            39,
            rows,
            [0; 8],
            &[TABLE, "[32, 0], expected each to be at least"],
        ),
        put("a dimension of -1", 39, rows, [255; 8], &[TABLE, "18446744073709551615]", too_large])
            .history(&[11]),
        put(
            "2^32 times 2^32 elements",
            39,
            dims,
            (1_u128 << 96 | 1 << 32).to_le_bytes(),
            &[TABLE, "[4294967296, 4294967296]", too_large],
        )
        .history(&[11, 34]),
        first("a product with the type's size past 2^64", 1 << 62, 0).history(&[11]),
        first("padding past 2^64", (1 << 62) - 1, 0).history(&[13]),
        first("a sum with the header past 2^64", u64::MAX - 63, 24).history(&[12]),
        file(
            "a sum past 2^64",
            40,
            || {
                let half = [1_u64 << 63];
                let file = writer().tensor("more", 24, &half, vec![]);
                let image = file.tensor("most", 24, &half, vec![]).build();
                let second = offset_of(&image, "more") + half[0];
                let at = image.tensors["most"].offset;
                image.put(at, &second.to_le_bytes())
            },
            ["tensor `most`", too_large],
        )
        .history(&[10]),
    ]
}

/// A file that begins with a tensor of so many elements of a type.
fn first(name: &str, elements: u64, kind: u32) -> Case {
    let image = move || {
        let file = GgufWriter::new().str("general.architecture", "llama");
        file.tensor("more", kind, &[elements], vec![]).build()
    };
    file(name, 40, image, ["tensor `more`", "ends past 2^64 bytes, expected it in the file"])
}

fn types() -> Vec<Case> {
    let dims = |image: &Image| image.tensors[TABLE].dims;
    let kind = |image: &Image| image.tensors[TABLE].kind;
    let of_kind =
        |name: &str, row, id: u32, parts: &[&str]| put(name, row, kind, id.to_le_bytes(), parts);
    let removed = [
        (4, "Q4_2"),
        (5, "Q4_3"),
        (31, "Q4_0_4_4"),
        (32, "Q4_0_4_8"),
        (33, "Q4_0_8_8"),
        (36, "IQ4_NL_4_4"),
        (37, "IQ4_NL_4_8"),
        (38, "IQ4_NL_8_8"),
    ]
    .map(|(id, old)| {
        let name = format!("the removed type {id}");
        let part = format!("type {id} ({old}), which was removed");
        of_kind(&name, 42, id, &["@HERE", TABLE, &part])
    });
    let mut cases = vec![
        put(
            "rows of 33 in groups of 32",
            41,
            dims,
            33_u64.to_le_bytes(),
            &[TABLE, "rows of 33 elements, expected a multiple of Q8_0's 32"],
        ),
        of_kind("an unknown type", 42, 77, &["@HERE", TABLE, "expected a ggml type of 0 to 40"]),
        of_kind("a negative type", 42, u32::MAX, &["@HERE", TABLE, "is of type 4294967295"])
            .history(&[15]),
        file(
            "a type without kernels",
            43,
            || {
                let model = Model { width: 256, ..gguf_model::model() };
                let table = vec![0; 300 * 74];
                gguf_model::writer(&model, 1).with_tensor(TABLE, 17, &[256, 300], table).build()
            },
            [TABLE, "is stored as IQ2_XS, expected one of F32, F16", "fix: quantize the model to"],
        ),
    ];
    cases.extend(removed);
    cases
}

/// Where a tensor begins in the data section.
pub(super) fn offset_of(image: &Image, tensor: &str) -> u64 {
    let at = image.tensors[tensor].offset;
    u64::from_le_bytes(image.bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn wrong_files() {
    check_all("cli::bad_input::gguf::wrong_files", &cases());
}
