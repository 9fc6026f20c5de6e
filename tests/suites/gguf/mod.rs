//! The GGUF reader: what sound files say, and how each kind of broken one is answered.

mod changes;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use deepthin_runtime::gguf::{Array, GgmlType, Gguf, GgufErrorKind, Value};
use deepthin_tests::gguf_writer::{GgufWriter, Image};
use deepthin_tests::real_model;
use expect_test::{Expect, expect};
use proptest::prelude::*;

/// A sound file: one `u32`, one text, a 2 x 32 matrix of F32 and a vector of 64 Q4_1.
fn small() -> GgufWriter {
    GgufWriter::new()
        .str("general.name", "small")
        .u32("a.number", 7)
        .tensor("matrix", 0, &[32, 2], (0..=255).collect())
        .tensor("vector", 3, &[64], vec![5; 40])
}

/// Opens each file, which must be refused as bad data, and compares the messages.
#[track_caller]
fn check_refused(files: &[(&str, Image)], expected: Expect) {
    let mut messages = String::new();
    for (name, image) in files {
        let error = image.open().err().unwrap_or_else(|| panic!("{name} was accepted"));
        assert_eq!(error.kind(), GgufErrorKind::Data, "{name}: {error}");
        let message = error.to_string();
        let message = message.strip_prefix(&error.path().display().to_string()).unwrap();
        writeln!(messages, "{name}\n  {message}\n  fix: {}", error.fix()).unwrap();
    }
    expected.assert_eq(&messages);
}

/// A file of these bytes.
fn image(bytes: &[u8]) -> Image {
    Image { bytes: bytes.to_vec(), ..Image::default() }
}

#[test]
fn a_sound_file_is_read_as_it_was_written() {
    let gguf = small().open().unwrap();
    assert_eq!((gguf.version(), gguf.trailing_bytes()), (3, 0));
    assert_eq!(gguf.metadata().str("general.name").unwrap(), Some("small"));
    assert_eq!(gguf.metadata().u32("a.number").unwrap(), Some(7));
    assert_eq!(gguf.metadata().u32("no.number").unwrap(), None);
    let keys: Vec<&str> = gguf.metadata().iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["general.name", "a.number"]);

    let [matrix, vector] = gguf.tensors() else { panic!("two tensors were written") };
    assert_eq!((matrix.kind, matrix.columns(), matrix.rows()), (GgmlType::F32, 32, 2));
    assert_eq!((vector.kind, vector.columns(), vector.rows()), (GgmlType::Q4_1, 64, 1));
    assert_eq!(gguf.tensor("vector"), Some(vector));
    assert_eq!(gguf.tensor("Vector"), None);
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(gguf.read(matrix).unwrap(), bytes);
    assert_eq!(gguf.read(vector).unwrap(), [5; 40]);
    gguf.check_unchanged().unwrap();
}

#[test]
fn every_type_of_value_is_read() {
    let nested = {
        let inner = [1_u32.to_le_bytes().as_slice(), &2_u64.to_le_bytes(), &[3, 253]].concat();
        [inner.clone(), inner].concat()
    };
    let gguf = GgufWriter::new()
        .raw("u8", 0, &[200])
        .raw("i8", 1, &[200])
        .raw("u16", 2, &60_000_u16.to_le_bytes())
        .raw("i16", 3, &(-2_i16).to_le_bytes())
        .raw("i32", 5, &(-3_i32).to_le_bytes())
        .f32("f32", 0.5)
        .bool("bool", true)
        .raw("u64", 10, &u64::MAX.to_le_bytes())
        .raw("i64", 11, &i64::MIN.to_le_bytes())
        .raw("f64", 12, &0.1_f64.to_le_bytes())
        .strings("strings", &["", "ü", "xyz"])
        .i32s("i32s", &[1, -1])
        .array("bools", 7, 2, &[1, 0])
        .array("nested", 9, 2, &nested)
        .open()
        .unwrap();
    let value = |key| gguf.metadata().get(key).cloned().unwrap();
    assert_eq!(value("u8"), Value::U8(200));
    assert_eq!(value("i8"), Value::I8(-56));
    assert_eq!(value("u16"), Value::U16(60_000));
    assert_eq!(value("i16"), Value::I16(-2));
    assert_eq!(value("i32"), Value::I32(-3));
    assert_eq!(gguf.metadata().f32("f32").unwrap(), Some(0.5));
    assert_eq!(gguf.metadata().bool("bool").unwrap(), Some(true));
    assert_eq!(value("u64"), Value::U64(u64::MAX));
    assert_eq!(value("i64"), Value::I64(i64::MIN));
    assert_eq!(value("f64"), Value::F64(0.1));
    let strings = gguf.metadata().strings("strings").unwrap().unwrap();
    assert_eq!(strings.iter().collect::<Vec<_>>(), ["", "ü", "xyz"]);
    assert_eq!(gguf.metadata().i32s("i32s").unwrap(), Some([1, -1].as_slice()));
    assert_eq!(value("bools"), Value::Array(Array::Bool(vec![true, false])));
    let inner = Array::I8(vec![3, -3]);
    assert_eq!(value("nested"), Value::Array(Array::Array(vec![inner.clone(), inner])));
}

#[test]
fn version_2_other_alignments_and_trailing_bytes_are_accepted() {
    assert_eq!(small().version(2).open().unwrap().version(), 2);
    let wide = small().u32("general.alignment", 4096).open().unwrap();
    assert_eq!(wide.tensors()[1].offset % 4096, 0);
    assert_eq!(wide.read(&wide.tensors()[1]).unwrap(), [5; 40]);
    let mut image = small().build();
    image.bytes.extend([1, 2, 3]);
    assert_eq!(image.open().unwrap().trailing_bytes(), 3);
    // The padding after the last tensor may be left out.
    let image = small().build();
    let end = image.data + 256 + 40;
    assert_eq!(image.cut(end).open().unwrap().trailing_bytes(), 0);
    assert!(GgufWriter::new().open().unwrap().tensors().is_empty());
}

#[test]
fn a_type_of_value_that_was_not_expected_is_named() {
    let gguf = small().i32s("a.list", &[1]).open().unwrap();
    let messages = [
        gguf.metadata().f32("a.number").unwrap_err(),
        gguf.metadata().strings("general.name").unwrap_err(),
        gguf.metadata().u32s("a.list").unwrap_err(),
        gguf.metadata().missing("a.key"),
    ]
    .map(|error| error.to_string().replace(&gguf.path().display().to_string(), ""));
    expect![[r#"
        @0x4d: key `a.number` is of type u32, expected f32
        @0x2c: key `general.name` is of type string, expected array of string
        @0x63: key `a.list` is of type array of i32, expected array of u32
        : found no key `a.key`, expected one"#]]
    .assert_eq(&messages.join("\n"));
}

#[test]
fn unsupported_types_are_refused_when_they_are_asked_for() {
    let gguf = small().tensor("odd", 14, &[256], vec![0; 210]).open().unwrap();
    let odd = gguf.tensor("odd").unwrap();
    assert!(gguf.check_supported(&gguf.tensors()[0]).is_ok());
    let error = gguf.check_supported(odd).unwrap_err();
    let expected =
        "tensor `odd` is stored as Q6_K, expected one of F32, F16, BF16, Q8_0, Q4_0, Q4_1";
    assert!(error.to_string().ends_with(expected), "{error}");
    assert_eq!(
        error.fix(),
        "quantize the model to one of F32, F16, BF16, Q8_0, Q4_0, Q4_1, as llama.cpp's \
         `llama-quantize` does"
    );
}

#[test]
fn what_is_no_gguf_file_is_recognized() {
    let whole = small().build();
    check_refused(
        &[
            ("empty", image(b"")),
            ("part of the magic", image(b"GG")),
            ("magic alone", image(b"GGUF")),
            ("cut header", whole.clone().cut(23)),
            ("zip", image(b"PK\x03\x04 and so on, for some bytes")),
            ("web page", image(b"\n<!DOCTYPE html><html>404</html>")),
            ("git-lfs", image(b"version https://git-lfs.github.com/spec/v1\noid sha256:0")),
            ("ggml", image(b"lmgg\0\0\0\0 and so on, for some bytes")),
            ("ggjt", image(b"tjgg\x01\0\0\0 and so on, for some bytes")),
            ("safetensors", image(b"\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}")),
            ("swapped magic", image(b"FUGG\0\0\0\x03 and so on, for some bytes")),
            ("noise", image(b"\x7fELF\x02\x01\x01 and so on, for some bytes")),
            ("version 0", whole.clone().put(4, &0_u32.to_le_bytes())),
            ("version 1", whole.clone().put(4, &1_u32.to_le_bytes())),
            ("version 99", whole.clone().put(4, &99_u32.to_le_bytes())),
            ("big-endian", whole.put(4, &3_u32.to_be_bytes())),
        ],
        expect![[r#"
            empty
              @0x0: file ends inside the header (0 of 24 bytes)
              fix: the file is damaged: fetch it again
            part of the magic
              @0x2: file ends inside the header (2 of 24 bytes)
              fix: the file is damaged: fetch it again
            magic alone
              @0x4: file ends inside the header (4 of 24 bytes)
              fix: the file is damaged: fetch it again
            cut header
              @0x17: file ends inside the header (23 of 24 bytes)
              fix: the file is damaged: fetch it again
            zip
              @0x0: found a zip archive, expected a GGUF file
              fix: if it is a PyTorch checkpoint, convert it to GGUF; else unpack it and name the GGUF file in it
            web page
              @0x0: found a web page, expected a GGUF file
              fix: the download failed: fetch the file again
            git-lfs
              @0x0: found a git-lfs pointer, expected the GGUF file behind it
              fix: fetch the file itself: git lfs pull
            ggml
              @0x0: found a GGML file of the time before GGUF, expected a GGUF file
              fix: convert the model anew with current tools
            ggjt
              @0x0: found a GGML file of the time before GGUF, expected a GGUF file
              fix: convert the model anew with current tools
            safetensors
              @0x0: found a safetensors file, expected a GGUF file
              fix: convert the model to GGUF
            swapped magic
              @0x0: found the magic `FUGG`, expected `GGUF`: the file's bytes are swapped
              fix: convert the model anew with current tools
            noise
              @0x0: found the first bytes `\x7fELF`, expected the magic `GGUF`
              fix: name a GGUF file; the names of descriptions end in .thin
            version 0
              @0x4: gguf version 0 is too old, expected version 2 or 3
              fix: convert the model anew with current tools
            version 1
              @0x4: gguf version 1 is too old, expected version 2 or 3
              fix: convert the model anew with current tools
            version 99
              @0x4: gguf version 99 is unknown, expected version 2 or 3
              fix: get a newer deepthin, or convert the model to version 3
            big-endian
              @0x4: big-endian gguf (version 3) is not supported, expected little-endian
              fix: convert the model anew on a little-endian machine
        "#]],
    );
}

#[test]
fn broken_counts_and_keys_are_refused() {
    let whole = small().build();
    let (key, value) = (whole.keys["a.number"], whole.values["a.number"]);
    let pair = |key: &str| GgufWriter::new().u32(key, 0).build();
    check_refused(
        &[
            ("2^63 keys", whole.clone().put(16, &(1_u64 << 63).to_le_bytes())),
            ("2^60 tensors", whole.clone().put(8, &(1_u64 << 60).to_le_bytes())),
            ("one key too many", pair("k").put(16, &2_u64.to_le_bytes())),
            ("cut in a value", whole.clone().cut(value + 6)),
            ("key of 2^64-1 bytes", whole.put(key, &u64::MAX.to_le_bytes())),
            ("empty key", pair("")),
            ("key beyond ASCII", pair("schlüssel")),
            ("key with a space", pair("a key")),
            ("key of 65536 bytes", pair(&"k".repeat(65_536))),
            ("the same key twice", small().u32("a.number", 8).build()),
        ],
        expect![[r#"
            2^63 keys
              @0x10: the list of keys claims 9223372036854775808 elements of at least 14 bytes, expected at most the 488 bytes that are left
              fix: the file is damaged: fetch it again
            2^60 tensors
              @0x8: the list of tensors claims 1152921504606846976 elements of at least 33 bytes, expected at most the 427 bytes that are left
              fix: the file is damaged: fetch it again
            one key too many
              @0x10: the list of keys claims 2 elements of at least 14 bytes, expected at most the 17 bytes that are left
              fix: the file is damaged: fetch it again
            cut in a value
              @0x53: file ends inside the value of `a.number` (2 of 4 bytes)
              fix: the file is damaged: fetch it again
            key of 2^64-1 bytes
              @0x3d: key 1 claims a string of 18446744073709551615 bytes, expected at most the 443 that are left
              fix: the file is damaged: fetch it again
            empty key
              @0x18: key 0 has 0 bytes, expected 1 to 65535
              fix: convert the model anew with current tools
            key beyond ASCII
              @0x24: key 0 holds the byte 0xc3, expected printable ASCII alone
              fix: convert the model anew with current tools
            key with a space
              @0x21: key 0 holds the byte 0x20, expected printable ASCII alone
              fix: convert the model anew with current tools
            key of 65536 bytes
              @0x18: key 0 has 65536 bytes, expected 1 to 65535
              fix: convert the model anew with current tools
            the same key twice
              @0x55: key 2 is `a.number` again, expected it once (key 1)
              fix: convert the model anew with current tools
        "#]],
    );
}

#[test]
fn broken_values_are_refused() {
    let whole = small().build();
    let (text, number) = (whole.values["general.name"], whole.values["a.number"]);
    let deep = (0..10_000).flat_map(|_| [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).collect::<Vec<u8>>();
    let huge = [[0; 4].as_slice(), &(1_u64 << 60).to_le_bytes()].concat();
    check_refused(
        &[
            ("text longer than the file", whole.clone().put(text + 4, &4096_u64.to_le_bytes())),
            ("text that is no UTF-8", whole.clone().put(text + 14, &[0xc3, 0x28])),
            ("value type 13", whole.put(number, &13_u32.to_le_bytes())),
            ("bool of 2", GgufWriter::new().raw("truth", 7, &[2]).build()),
            ("bool of 255 in an array", GgufWriter::new().array("truth", 7, 2, &[1, 255]).build()),
            ("arrays 10000 deep", GgufWriter::new().raw("deep", 9, &deep).build()),
            ("array of type 77", GgufWriter::new().array("odd", 77, 0, &[]).build()),
            ("2^60 bytes", GgufWriter::new().raw("list", 9, &huge).build()),
            ("strings without end", GgufWriter::new().array("list", 8, 3, &[0; 16]).build()),
        ],
        expect![[r#"
            text longer than the file
              @0x30: the value of `general.name` claims a string of 4096 bytes, expected at most the 456 that are left
              fix: the file is damaged: fetch it again
            text that is no UTF-8
              @0x3a: the value of `general.name` holds the byte 0xc3, expected UTF-8 text
              fix: convert the model anew with current tools
            value type 13
              @0x4d: the value of `a.number` is of type 13, expected a value type of 0 to 12
              fix: the file is damaged: fetch it again
            bool of 2
              @0x29: the value of `truth` holds the byte 2, expected a bool of 0 or 1
              fix: the file is damaged: fetch it again
            bool of 255 in an array
              @0x36: the value of `truth` holds the byte 255, expected a bool of 0 or 1
              fix: the file is damaged: fetch it again
            arrays 10000 deep
              @0x58: the value of `deep` nests arrays deeper than the 4 levels that are read
              fix: convert the model anew, without that key
            array of type 77
              @0x27: the value of `odd` is of type 77, expected a value type of 0 to 12
              fix: the file is damaged: fetch it again
            2^60 bytes
              @0x2c: the value of `list` claims 1152921504606846976 elements of at least 1 bytes, expected at most the 0 bytes that are left
              fix: the file is damaged: fetch it again
            strings without end
              @0x2c: the value of `list` claims 3 elements of at least 8 bytes, expected at most the 16 bytes that are left
              fix: the file is damaged: fetch it again
        "#]],
    );
}

#[test]
fn keys_of_the_reader_s_own_are_checked() {
    check_refused(
        &[
            ("alignment of text", small().str("general.alignment", "32").build()),
            ("alignment of i32", small().raw("general.alignment", 5, &[32, 0, 0, 0]).build()),
            ("alignment 0", small().u32("general.alignment", 0).build()),
            ("alignment 3", small().u32("general.alignment", 3).build()),
            ("alignment 2^31", GgufWriter::new().u32("general.alignment", 1 << 31).build()),
            ("one of three files", small().raw("split.count", 2, &[3, 0]).build()),
            ("second of two files", {
                small().u32("split.count", 2).raw("split.no", 2, &[1, 0]).build()
            }),
            ("split by text", small().str("split.count", "2").build()),
        ],
        expect![[r#"
            alignment of text
              @0x6e: key `general.alignment` is of type string, expected u32
              fix: convert the model anew with current tools
            alignment of i32
              @0x6e: key `general.alignment` is of type i32, expected u32
              fix: convert the model anew with current tools
            alignment 0
              @0x6e: `general.alignment` is 0, expected a power of two from 8 to 65536
              fix: convert the model anew with current tools
            alignment 3
              @0x6e: `general.alignment` is 3, expected a power of two from 8 to 65536
              fix: convert the model anew with current tools
            alignment 2^31
              @0x31: `general.alignment` is 2147483648, expected a power of two from 8 to 65536
              fix: convert the model anew with current tools
            one of three files
              @0x68: one of the 3 files of a split model, expected a whole model
              fix: merge the files into one first: llama-gguf-split --merge FIRST-FILE WHOLE-FILE
            second of two files
              @0x68: file 2 of the 2 files of a split model, expected a whole model
              fix: merge the files into one first: llama-gguf-split --merge FIRST-FILE WHOLE-FILE
            split by text
              @0x68: key `split.count` is of type string, expected a whole number
              fix: convert the model anew with current tools
        "#]],
    );
}

#[test]
fn broken_descriptions_of_tensors_are_refused() {
    let whole = small().build();
    let (matrix, vector) = (whole.tensors["matrix"], whole.tensors["vector"]);
    let put = |at: usize, bytes: &[u8]| whole.clone().put(at, bytes);
    let kind = |kind: u32| put(vector.kind, &kind.to_le_bytes());
    check_refused(
        &[
            ("empty name", small().tensor("", 0, &[1], vec![0; 4]).build()),
            ("name of 65 bytes", small().tensor(&"n".repeat(65), 0, &[1], vec![0; 4]).build()),
            ("name with an escape", small().tensor("\x1b[2J", 0, &[1], vec![0; 4]).build()),
            ("the same name twice", small().tensor("matrix", 0, &[1], vec![0; 4]).build()),
            ("no dimensions", put(matrix.dim_count, &0_u32.to_le_bytes())),
            ("5 dimensions", put(matrix.dim_count, &5_u32.to_le_bytes())),
            ("255 dimensions", put(matrix.dim_count, &255_u32.to_le_bytes())),
            ("dimension 0", put(matrix.dims + 8, &0_u64.to_le_bytes())),
            ("row of 33 in blocks of 32", put(vector.dims, &33_u64.to_le_bytes())),
            ("type 4", kind(4)),
            ("type 31", kind(31)),
            ("type 38", kind(38)),
            ("type 41", kind(41)),
            ("type 2^32-1", kind(u32::MAX)),
            ("cut in a description", whole.clone().cut(vector.offset + 3)),
        ],
        expect![[r#"
            empty name
              @0xa9: the name of tensor 2 has 0 bytes, expected 1 to 64
              fix: convert the model anew with current tools
            name of 65 bytes
              @0xa9: the name of tensor 2 has 65 bytes, expected 1 to 64
              fix: convert the model anew with current tools
            name with an escape
              @0xb1: the name of tensor 2 holds \u{1b}, expected printable text
              fix: convert the model anew with current tools
            the same name twice
              @0xa9: tensor 2 is `matrix` again, expected it once (tensor 0)
              fix: convert the model anew with current tools
            no dimensions
              @0x63: tensor `matrix` has 0 dimensions, expected 1 to 4
              fix: convert the model anew with current tools
            5 dimensions
              @0x63: tensor `matrix` has 5 dimensions, expected 1 to 4
              fix: convert the model anew with current tools
            255 dimensions
              @0x63: tensor `matrix` has 255 dimensions, expected 1 to 4
              fix: convert the model anew with current tools
            dimension 0
              @0x67: tensor `matrix` has the dimensions [32, 0], expected each to be at least 1
              fix: convert the model anew with current tools
            row of 33 in blocks of 32
              @0xa1: tensor `vector` has rows of 33 elements, expected a multiple of Q4_1's 32
              fix: quantize the model anew, to a type whose blocks fit
            type 4
              @0x9d: tensor `vector` is of type 4 (Q4_2), which was removed from ggml, expected a type of today
              fix: convert the model anew with current tools
            type 31
              @0x9d: tensor `vector` is of type 31 (Q4_0_4_4), which was removed from ggml, expected a type of today
              fix: convert the model anew with current tools
            type 38
              @0x9d: tensor `vector` is of type 38 (IQ4_NL_8_8), which was removed from ggml, expected a type of today
              fix: convert the model anew with current tools
            type 41
              @0x9d: tensor `vector` is of type 41, expected a ggml type of 0 to 40
              fix: quantize the model to one of F32, F16, BF16, Q8_0, Q4_0, Q4_1, as llama.cpp's `llama-quantize` does
            type 2^32-1
              @0x9d: tensor `vector` is of type 4294967295, expected a ggml type of 0 to 40
              fix: quantize the model to one of F32, F16, BF16, Q8_0, Q4_0, Q4_1, as llama.cpp's `llama-quantize` does
            cut in a description
              @0xa4: file ends inside the description of tensor `vector` (3 of 8 bytes)
              fix: the file is damaged: fetch it again
        "#]],
    );
}

#[test]
fn tensors_that_lie_wrong_are_refused() {
    let whole = small().build();
    let (matrix, vector) = (whole.tensors["matrix"], whole.tensors["vector"]);
    let put = |at: usize, bytes: &[u8]| whole.clone().put(at, bytes);
    let with = |kind: u32, dims: &[u64]| small().tensor("third", kind, dims, vec![]).build();
    let offset = |offset: u64| put(vector.offset, &offset.to_le_bytes());
    check_refused(
        &[
            ("dimension -1", put(matrix.dims + 8, &u64::MAX.to_le_bytes())),
            ("product past 2^64", put(matrix.dims, &[[0, 0, 0, 0, 1, 0, 0, 0]; 2].concat())),
            ("padding past 2^64", with(24, &[u64::MAX - 3])),
            ("sum past 2^64", {
                let image = with(24, &[1 << 40]);
                let at = image.tensors["third"].offset;
                image.put(at, &(u64::MAX - 31).to_le_bytes())
            }),
            ("misaligned", offset(257)),
            ("overlap", offset(224)),
            ("gap", offset(288)),
            ("out of order", put(matrix.offset, &64_u64.to_le_bytes())),
            ("cut in the data", whole.clone().cut(whole.data + 100)),
            ("no data", whole.clone().cut(whole.data)),
            ("larger than the file", with(0, &[1 << 30, 1 << 20])),
        ],
        expect![[r#"
            dimension -1
              @0x7b: tensor `matrix` of F32 [32, 18446744073709551615] at 0 ends past 2^64 bytes, expected it in the file
              fix: the file is damaged: fetch it again
            product past 2^64
              @0x7b: tensor `matrix` of F32 [4294967296, 4294967296] at 0 ends past 2^64 bytes, expected it in the file
              fix: the file is damaged: fetch it again
            padding past 2^64
              @0xa9: tensor `third` of I8 [18446744073709551612] at 320 ends past 2^64 bytes, expected it in the file
              fix: the file is damaged: fetch it again
            sum past 2^64
              @0xa9: tensor `third` of I8 [1099511627776] at 18446744073709551584 ends past 2^64 bytes, expected it in the file
              fix: the file is damaged: fetch it again
            misaligned
              @0x83: tensor `vector` begins at 257 of the data, expected a multiple of the alignment 32
              fix: convert the model anew with current tools
            overlap
              @0x83: tensor `vector` lies at 224..264 of the data, over `matrix` at 0..256, expected them apart
              fix: convert the model anew with current tools
            gap
              @0x83: tensor `vector` begins at 288 of the data, expected 256, right after `matrix`
              fix: convert the model anew with current tools
            out of order
              @0x55: tensor `matrix` begins at 64 of the data, expected 0, right after the beginning
              fix: convert the model anew with current tools
            cut in the data
              @0x124: tensor `matrix` ends at byte 448 of a file of 292, 196 bytes are missing
              fix: the file is cut off: fetch it again, and compare its SHA-256 with that of its source
            no data
              @0xc0: tensor `matrix` ends at byte 448 of a file of 192, 296 bytes are missing
              fix: the file is cut off: fetch it again, and compare its SHA-256 with that of its source
            larger than the file
              @0x220: tensor `third` ends at byte 4503599627371040 of a file of 544, 4503599627370496 bytes are missing
              fix: the file is cut off: fetch it again, and compare its SHA-256 with that of its source
        "#]],
    );
}

#[test]
fn what_cannot_be_opened_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let kind = |path: &Path| Gguf::open(path).unwrap_err().kind();
    assert_eq!(kind(&folder.path().join("nothing")), GgufErrorKind::NoInput);
    assert_eq!(kind(&file.join("below a file")), GgufErrorKind::NoInput);
    assert_eq!(kind(folder.path()), GgufErrorKind::NoInput);
    assert_eq!(kind(Path::new("/dev/zero")), GgufErrorKind::NoInput);
    assert_eq!(kind(&file), GgufErrorKind::Data);
    let message = Gguf::open(Path::new("/dev/zero")).unwrap_err().to_string();
    assert_eq!(message, "/dev/zero: found a device, expected a regular file");
}

#[test]
fn the_real_model_is_read() {
    let Some(path) = real_model::smollm2() else { return };
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.tensors().len(), 272);
    assert_eq!(gguf.metadata().u32("llama.block_count").unwrap(), Some(30));
    let table = gguf.tensor("token_embd.weight").unwrap();
    assert_eq!((table.kind, table.columns(), table.rows()), (GgmlType::Q8_0, 576, 49_152));
    assert_eq!(table.byte_len(), 49_152 * 576 / 32 * 34);
    for tensor in gguf.tensors() {
        gguf.check_supported(tensor).unwrap();
        assert_eq!(gguf.read(tensor).unwrap().len() as u64, tensor.byte_len());
    }
    assert_eq!(gguf.trailing_bytes(), 0);
}

proptest! {
    /// Whatever bytes are changed, a file is read or refused, and what is read can be asked for.
    #[test]
    fn damaged_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut image = small()
            .strings("strings", &["a", "b"])
            .array("nested", 9, 1, &[4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])
            .build();
        // The data cannot be wrong: most changes are to fall on what precedes it.
        let (data, len) = (image.data, image.bytes.len());
        for (at, byte) in changes {
            image.bytes[at.index(data)] = byte;
        }
        if let Some(cut) = cut {
            image.bytes.truncate(cut.index(len));
        }
        match image.open() {
            Ok(gguf) => for tensor in gguf.tensors() {
                prop_assert_eq!(gguf.read(tensor).unwrap().len() as u64, tensor.byte_len());
                prop_assert_eq!(tensor.rows().checked_mul(tensor.columns()).is_some(), true);
            },
            Err(error) => prop_assert!(error.offset() <= Some(len as u64), "{}", error),
        }
    }
}
