//! Packed files that are damaged, of another version, or at odds with themselves.

use deepthin_dsl::Model;
use deepthin_dsl::model::TensorStorage;
use deepthin_runtime::digest::Digest;
use deepthin_tests::gguf_model;
use deepthin_tests::gguf_writer::{GgufWriter, Image};
use deepthin_tests::packed_file::{self, I8, IMAGE, key, sealed};

use super::case::{Case, check_all};
use super::gguf::RUN;

/// What a file of another version or model is answered with.
const ANEW: &str = "fix: pack the model anew with this version";
/// What a damaged file is answered with.
const DAMAGED: &str = "fix: the file is damaged: copy it again";

fn writer() -> GgufWriter {
    packed_file::writer(&gguf_model::model(), 1)
}

pub(super) fn cases() -> Vec<Case> {
    [cut(), flipped(), keys(), descriptions(), formats(), images()].into_iter().flatten().collect()
}

/// A sound file, changed afterwards.
fn damaged<P: Into<String>>(
    name: &str,
    damage: impl Fn(Image) -> Image + 'static,
    parts: impl IntoIterator<Item = P>,
) -> Case {
    Case::new(name, &[])
        .file("model.gguf", move || damage(sealed(&writer())).bytes)
        .line(RUN)
        .fails(65, parts)
}

/// A file that is made wrong, with the digest that it then has.
fn made<P: Into<String>>(
    name: &str,
    change: impl Fn(GgufWriter) -> GgufWriter + 'static,
    parts: impl IntoIterator<Item = P>,
) -> Case {
    Case::new(name, &[])
        .file("model.gguf", move || sealed(&change(writer())).bytes)
        .line(RUN)
        .fails(65, parts)
}

fn cut() -> Vec<Case> {
    let cut = |name, at: fn(&Image) -> usize, parts: &[&'static str]| {
        let cut = move |image: Image| {
            let len = at(&image);
            image.cut(len)
        };
        damaged(name, cut, parts.iter().copied())
    };
    vec![
        cut("a packed file cut in its header", |_| 20, &["file ends inside the header"]),
        cut(
            "a packed file cut in its keys",
            |image| image.values["deepthin.packed.model"] + 30,
            &["the value of `deepthin.packed.model` claims a string of "],
        ),
        cut(
            "a packed file cut before its image",
            |image| image.data - 1,
            &["tensor `deepthin.image` ends at byte ", "fix: the file is cut off"],
        ),
        cut(
            "a packed file cut in its image",
            |image| image.data + 5000,
            &["tensor `deepthin.image` ends at byte ", " bytes are missing"],
        ),
        Case::new("bytes after a packed file", &[])
            .file("model.gguf", || [sealed(&writer()).bytes, vec![7; 37]].concat())
            .line(RUN)
            .says(["model.gguf: 37 bytes after the last tensor"]),
    ]
}

/// A byte of a place is another.
fn flip(image: Image, at: usize) -> Image {
    let byte = image.bytes[at] ^ 0x10;
    image.put(at, &[byte])
}

/// The second byte of the first token is another, as text may have it.
fn flipped_token(image: Image) -> Image {
    let first = image.values["tokenizer.ggml.tokens"] + 16;
    flip(image, first + 9)
}

fn flipped() -> Vec<Case> {
    let header = ["model.gguf@0x0: the header has the digest ", ", expected ", DAMAGED];
    let image = ["model.gguf@0x", ": the image has the digest ", ", expected ", DAMAGED];
    vec![
        damaged("a flipped bit in a token", flipped_token, header),
        damaged(
            "a flipped bit in a packed description",
            |image| {
                let at = image.values[&key("model")] + 40;
                flip(image, at)
            },
            header,
        ),
        damaged(
            "a flipped bit in the digest of the header",
            |image| {
                let at = image.values[&key("header_digest")] + 12;
                let digit = if image.bytes[at] == b'0' { b"1" } else { b"0" };
                image.put(at, digit)
            },
            header,
        ),
        damaged(
            "a flipped bit between keys and image",
            |image| {
                let at = image.data - 1;
                flip(image, at)
            },
            header,
        ),
        damaged(
            "a flipped bit at the start of the image",
            |image| {
                let at = image.data;
                flip(image, at)
            },
            image,
        ),
        damaged(
            "a flipped bit in the image",
            |image| {
                let at = image.data + 9999;
                flip(image, at)
            },
            image,
        ),
        damaged("another magic", |image| image.put(0, b"GGML"), ["model.gguf@0x0: found "]),
        damaged("a version of GGUF to come", |image| image.put(4, &[9]), ["gguf version 9"]),
    ]
}

fn keys() -> Vec<Case> {
    let version = "deepthin.packed.version";
    let mut cases = vec![
        made(
            "a packed file of another version",
            move |file| file.replaced(version, |file| file.u32(version, 2)),
            ["model.gguf@0x", ": found a packed file of version 2, expected version 1", ANEW],
        ),
        made(
            "a packed version in words",
            move |file| file.replaced(version, |file| file.str(version, "1")),
            ["key `deepthin.packed.version` is of type string, expected u32"],
        ),
        made(
            "a layout that is no digest",
            |file| file.replaced(&key("layout"), |file| file.str(&key("layout"), "new\x1b[2J")),
            ["layout`: found \"new\\u{1b}[2J\", expected 32 hexadecimal digits", ANEW],
        ),
        made(
            "another layout",
            |file| file.replaced(&key("layout"), |file| file.str(&key("layout"), &"a".repeat(32))),
            ["the image has the layout aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, expected ", ANEW],
        ),
        made(
            "another digest of the image",
            |file| {
                let name = key("image_digest");
                file.replaced(&name, |file| file.str(&name, &"b".repeat(32)))
            },
            ["the image has the digest ", "expected bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb: ", DAMAGED],
        ),
    ];
    for name in ["model", "tensors", "formats", "layout", "image_digest", "header_digest"] {
        cases.push(made(
            &format!("a packed file without `{name}`"),
            move |file| file.without(&key(name)),
            [format!("found no key `{}`, expected one", key(name))],
        ));
        cases.push(made(
            &format!("a packed file with a number as `{name}`"),
            move |file| file.replaced(&key(name), |file| file.u32(&key(name), 7)),
            [format!("key `{}` is of type u32, expected ", key(name))],
        ));
    }
    cases
}

/// The file with another description.
fn described(name: &str, text: String, parts: &[&'static str]) -> Case {
    let change =
        move |file: GgufWriter| file.replaced(&key("model"), |file| file.str(&key("model"), &text));
    made(name, change, parts.iter().copied())
}

fn descriptions() -> Vec<Case> {
    let changed = |change: fn(&mut Model)| {
        let mut model = gguf_model::model();
        change(&mut model);
        deepthin_dsl::print(&model)
    };
    let sound = changed(|_| ());
    let wrong = "key `deepthin.packed.model`: the description is wrong: ";
    vec![
        described("a packed description that does not parse", "model {".to_owned(), &[wrong, ANEW]),
        described("a packed description of nothing", String::new(), &[wrong]),
        described(
            "a packed description that steers the terminal",
            "model a\u{1b}[2J { }".to_owned(),
            &[wrong],
        ),
        described(
            "two packed descriptions",
            format!("{sound}\nmodel second = bytes {{ }}"),
            &[wrong, "found 2 models, expected one"],
        ),
        described(
            "a packed description of more blocks",
            changed(|model| model.depth = 3),
            &["found 15 texts, expected one for each of the 22 matrices of the model", ANEW],
        ),
        described(
            "a packed description of a billion blocks",
            sound.replace("depth    2", "depth    4_000_000_000"),
            &["deepthin.packed."],
        ),
        described(
            "a packed description of an untied head",
            changed(|model| model.tied = false),
            &["found 15 texts, expected one for each of the 16 matrices", ANEW],
        ),
        described(
            "a packed description of other sizes",
            changed(|model| model.block.ffn_hidden = 128),
            &["the image has the layout ", ANEW],
        ),
        described(
            "a packed description of a vocabulary that is not the file's",
            changed(|model| model.vocab = 320),
            &["the vocabulary has 300 tokens", "320 rows"],
        ),
    ]
}

fn formats() -> Vec<Case> {
    let listed =
        |name, list: &'static str, at: usize, text: &'static str, parts: &[&'static str]| {
            let change = move |file: GgufWriter| {
                let open = file.open().unwrap();
                let texts = open.metadata().strings(&key(list)).unwrap().unwrap();
                let mut texts: Vec<String> = texts.iter().map(str::to_owned).collect();
                texts[at] = text.to_owned();
                file.replaced(&key(list), |file| file.strings(&key(list), &texts))
            };
            made(name, change, parts.iter().copied())
        };
    vec![
        listed(
            "a format of another version",
            "formats",
            3,
            "q3_x",
            &[
                "tensor `blk.0.attn_v.weight`: found the format \"q3_x\", expected one of f32, ",
                ANEW,
            ],
        ),
        listed(
            "a format that steers the terminal",
            "formats",
            0,
            "\x1b[2J",
            &["tensor `token_embd.weight`: found the format \"\\u{1b}[2J\""],
        ),
        listed("another format", "formats", 4, "f32", &["the image has the layout ", ANEW]),
        listed(
            "gate and up in two formats",
            "formats",
            5,
            "q8_0",
            &["gate is q8_0, up is q4_0", "fix: "],
        ),
        listed(
            "matrices in another order",
            "tensors",
            1,
            "blk.0.attn_k.weight",
            &["tensors`, text 1: found \"blk.0.attn_k.weight\", expected `blk.0.attn_q.weight`"],
        ),
        Case::new("a format whose groups do not divide rows", &[])
            .file("model.gguf", || {
                let mut model = gguf_model::model();
                model.block.ffn_hidden = 72;
                model.storage.blocks = TensorStorage::F32;
                let text = deepthin_dsl::print(&model);
                let file = writer().replaced(&key("model"), |file| file.str(&key("model"), &text));
                sealed(&file).bytes
            })
            .line(RUN)
            .fails(65, ["`blk.0.ffn_down.weight`: found the format q4_0 for rows of 72", ANEW]),
    ]
}

/// The sound file with another image, of which the digest is right.
fn with_image(change: fn(&mut Vec<u8>)) -> impl Fn(GgufWriter) -> GgufWriter {
    move |file| {
        let built = file.build();
        let mut image = built.bytes[built.data..].to_vec();
        image.truncate(image_len());
        change(&mut image);
        let name = key("image_digest");
        let digest = Digest::of(&image).to_string();
        file.replaced(&name, |file| file.str(&name, &digest)).without_tensors().tensor(
            IMAGE,
            I8,
            &[image.len() as u64],
            image,
        )
    }
}

/// Bytes of the sound image.
fn image_len() -> usize {
    usize::try_from(writer().open().unwrap().tensor(IMAGE).unwrap().byte_len()).unwrap()
}

fn images() -> Vec<Case> {
    let alone = "expected the tensor `deepthin.image` of I8 alone, in one row";
    let tensor = |name, tensors: fn(GgufWriter) -> GgufWriter, found: &'static str| {
        made(name, move |file| tensors(file.without_tensors()), [found, alone, ANEW])
    };
    let size = ", expected the 28800 that the model's weights take";
    vec![
        tensor("a packed file without an image", |file| file, "found no tensors"),
        tensor(
            "a packed file with a tensor of another name",
            |file| file.tensor("image", I8, &[4096], vec![0; 4096]),
            "found 1 tensors with `image` of I8 [4096] among them",
        ),
        tensor(
            "an image of another type",
            |file| file.tensor(IMAGE, 0, &[1024], vec![0; 4096]),
            "found 1 tensors with `deepthin.image` of F32 [1024] among them",
        ),
        tensor(
            "an image of two dimensions",
            |file| file.tensor(IMAGE, I8, &[64, 64], vec![0; 4096]),
            "`deepthin.image` of I8 [64, 64]",
        ),
        made(
            "a tensor beside the image",
            |file| file.tensor("more", 0, &[4], vec![0; 16]),
            ["found 2 tensors with `more` of F32 [4] among them", alone],
        ),
        made(
            "an image that begins with no page",
            |file| {
                let name = "general.alignment";
                let file = file.replaced(name, |file| file.u32(name, 32));
                // Of the lengths that this may give the header, one is no multiple of a page.
                let pages = file.build().data.is_multiple_of(4096);
                if pages { file.str("more", &"x".repeat(64)) } else { file }
            },
            ["the image begins at byte ", "expected a multiple of 4096", ANEW],
        ),
        made(
            "an image that is too short",
            with_image(|image| image.truncate(image.len() - 64)),
            ["model.gguf@0x", ": the image has 28736 bytes", size, ANEW],
        ),
        made(
            "an image that is too long",
            with_image(|image| image.resize(image.len() + 4096, 0)),
            [": the image has 32896 bytes", size, ANEW],
        ),
    ]
}

#[test]
fn wrong_packed_files() {
    check_all("cli::bad_input::packed::wrong_packed_files", &cases());
}

/// What is refused for its header is refused by every verb, whether it needs the image or not.
#[test]
fn a_damaged_header_is_told_by_every_verb() {
    let folder = crate::cli::Folder::new();
    let path = folder.file("model.gguf", flipped_token(sealed(&writer())).bytes);
    let out = folder.path("out");
    let verbs: [&[&str]; 8] = [
        &["run", "-p", "a"],
        &["logits", "-p", "a"],
        &["tokenize", "-p", "a"],
        &["info"],
        &["dump", "--stage", "plan"],
        &["compile", "-o", &out],
        &["import"],
        &["verify"],
    ];
    for words in verbs {
        let words = [&words[..1], &[path.as_str()], &words[1..]].concat();
        let ended = crate::cli::ended(&words);
        crate::cli::assert_fails(&ended, 65, &["the header has the digest ", DAMAGED]);
    }
}
