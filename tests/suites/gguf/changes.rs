//! Files that change while they are read, or claim more than they hold.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::time::SystemTime;

use deepthin_runtime::gguf::{Gguf, GgufErrorKind};
use expect_test::expect;
use tempfile::NamedTempFile;

use super::small;

/// A file of two tensors that is written to between opening and reading.
fn written_to(write: impl Fn(&fs::File)) -> (Gguf, NamedTempFile) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&small().build().bytes).unwrap();
    let gguf = Gguf::open(file.path()).unwrap();
    write(file.as_file());
    (gguf, file)
}

#[test]
fn a_file_that_is_cut_while_it_is_read_is_an_error() {
    let (gguf, file) = written_to(|file| file.set_len(300).unwrap());
    let error = gguf.read(&gguf.tensors()[0]).unwrap_err();
    assert_eq!(error.kind(), GgufErrorKind::Io);
    let message = error.to_string().replace(&file.path().display().to_string(), "");
    expect![
        "@0xc0: file was cut from 512 to 300 bytes while it was read, expected it to stay as it is"
    ]
    .assert_eq(&message);
    expect!["let the program that writes to the file finish, and start again"]
        .assert_eq(&error.fix());
    let [matrix, vector] = gguf.tensors() else { panic!("two tensors were written") };
    let error = gguf.are_equal(matrix, vector).unwrap_or_else(|error| panic!("{error}"));
    assert!(!error, "told by their types, unread");
    assert_eq!(gguf.are_equal(vector, vector).unwrap_err().kind(), GgufErrorKind::Io);
    assert_eq!(gguf.check_unchanged().unwrap_err().kind(), GgufErrorKind::Io);
}

#[test]
fn a_file_that_is_edited_while_it_is_read_is_an_error() {
    let (gguf, file) = written_to(|file| {
        file.write_all_at(&[7], 400).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    });
    assert!(gguf.read(&gguf.tensors()[0]).is_ok());
    let error = gguf.check_unchanged().unwrap_err();
    assert_eq!(error.kind(), GgufErrorKind::Io);
    let message = error.to_string().replace(&file.path().display().to_string(), "");
    expect![": file was written to while it was read, expected it to stay as it is"]
        .assert_eq(&message);
}

/// A file that takes the place of another leaves the bytes that were opened as they are.
#[test]
fn a_file_that_is_replaced_stays_readable() {
    let (gguf, file) = written_to(|_| ());
    fs::write(file.path().with_extension("new"), "GGUF").unwrap();
    fs::rename(file.path().with_extension("new"), file.path()).unwrap();
    assert_eq!(gguf.read(&gguf.tensors()[1]).unwrap(), [5; 40]);
    gguf.check_unchanged().unwrap();
}

/// A sparse file can claim any length: what its header claims of it is not believed.
#[test]
fn a_header_without_end_is_refused() {
    let mut file = NamedTempFile::new().unwrap();
    let head = small().array("list", 8, 1 << 30, &[]).build();
    file.write_all(&head.bytes[..head.values["list"] + 16]).unwrap();
    file.as_file().set_len(1 << 40).unwrap();
    let error = Gguf::open(file.path()).unwrap_err();
    let message = error.to_string().replace(&file.path().display().to_string(), "");
    expect!["@0x71: the value of `list` passes byte 33554432 of the file, expected keys and descriptions of tensors to end before it"].assert_eq(&message);
}
