//! `deepthin fmt`: what is rewritten, what is left, and what is told.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use deepthin_tests::program::{Ended, deepthin};
use expect_test::expect;

use super::{Folder, assert_fails, ended, example, stdout};

/// A description that is not canonical, and its canonical form.
const LOOSE: &str = "model m { vocab 32K // rows\r\n }\r\n";
const CANONICAL: &str = "model m {\n    vocab  32K  // rows\n}\n";

/// Runs the program with words and a text on stdin.
fn with_stdin(words: &[&str], text: &[u8]) -> Ended {
    let mut command = deepthin();
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that has read enough closes the pipe.
    let _ = stdin.write_all(text);
    drop(stdin);
    child.wait_with_output().unwrap().into()
}

#[test]
fn files_are_rewritten_in_place() {
    let folder = Folder::new();
    let (loose, tidy) = (folder.file("loose.thin", LOOSE), folder.file("tidy.thin", CANONICAL));
    fs::set_permissions(&loose, fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.path("link.thin");
    symlink(&loose, &link).unwrap();
    let before = fs::metadata(&tidy).unwrap().modified().unwrap();
    assert_eq!(stdout(&["fmt", &link, &tidy]), "");
    assert_eq!(fs::read_to_string(&loose).unwrap(), CANONICAL);
    assert_eq!(fs::metadata(&loose).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&tidy).unwrap().modified().unwrap(), before, "not written again");
    let names = fs::read_dir(folder.path(".")).unwrap().count();
    assert_eq!(names, 3, "nothing else is left");
}

#[test]
fn check_names_the_files_that_differ_and_writes_none() {
    let folder = Folder::new();
    let (loose, tidy) = (folder.file("loose.thin", LOOSE), folder.file("tidy.thin", CANONICAL));
    let found = ended(&["fmt", "--check", &tidy, &loose]);
    assert_eq!(
        (found.code, found.stdout, found.stderr),
        (Some(1), format!("{loose}\n"), "".into())
    );
    assert_eq!(fs::read_to_string(&loose).unwrap(), LOOSE);
    assert_eq!(stdout(&["fmt", "--check", &tidy, &example("smollm2-135m.thin")]), "");
    assert_fails(&ended(&["fmt", "--check", "--stdout", &tidy]), 2, &["--stdout"]);
}

#[test]
fn stdin_and_stdout_take_the_place_of_files() {
    let folder = Folder::new();
    let loose = folder.file("loose.thin", LOOSE);
    assert_eq!(stdout(&["fmt", "--stdout", &loose]), CANONICAL);
    assert_eq!(fs::read_to_string(&loose).unwrap(), LOOSE);
    let piped = with_stdin(&["fmt", "-"], LOOSE.as_bytes());
    assert_eq!((piped.code, piped.stdout.as_str()), (Some(0), CANONICAL));
    let checked = with_stdin(&["fmt", "--check", "-"], LOOSE.as_bytes());
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(1), "<stdin>\n"));
}

#[test]
fn wrong_files_stay_as_they_are() {
    let folder = Folder::new();
    let wrong = folder.file("wrong.thin", "model m {\n  vocab = 5\n}\n");
    let loose = folder.file("loose.thin", LOOSE);
    let ended = ended(&["fmt", &wrong, "no/such.thin", &loose]);
    assert_fails(&ended, 65, &["wrong.thin:2:9: ", "help: ", "no/such.thin: no such file"]);
    assert_eq!(fs::read_to_string(&wrong).unwrap(), "model m {\n  vocab = 5\n}\n");
    assert_eq!(fs::read_to_string(&loose).unwrap(), CANONICAL, "the others are laid out");
    let later = folder.file("later.thin", "model m { width 2 * 3 }\n");
    assert_fails(&super::ended(&["fmt", &later]), 65, &["D0018", "arithmetic"]);
    let long = with_stdin(&["fmt", "-"], &b"//\n".repeat(1 << 20));
    assert_fails(&long, 65, &["<stdin>", "D0007"]);
}

#[test]
fn a_folder_that_takes_no_file_leaves_the_old_one() {
    let folder = Folder::new();
    let loose = folder.file("loose.thin", LOOSE);
    fs::set_permissions(&loose, fs::Permissions::from_mode(0o444)).unwrap();
    // The superuser may write to a file that nobody may.
    if fs::File::options().append(true).open(&loose).is_err() {
        assert_fails(&ended(&["fmt", &loose]), 77, &["loose.thin", "fix: "]);
        assert_eq!(fs::read_to_string(&loose).unwrap(), LOOSE);
    }
    assert_fails(&ended(&["fmt", "/proc/self/status"]), 65, &["/proc/self/status"]);
}

#[test]
fn stdin_is_checked_like_a_file() {
    let right = fs::read(example("mobilellm-125m.thin")).unwrap();
    let checked = with_stdin(&["check", "-"], &right);
    assert_eq!(
        (checked.code, checked.stdout.as_str()),
        (Some(0), "<stdin>: ok (mobilellm_125m)\n")
    );
    let wrong = with_stdin(&["check", "-", "-o", "jsonl"], b"model \x07");
    assert_eq!(wrong.code, Some(1));
    expect![[r#"
        {"file":"<stdin>","line":1,"column":7,"code":"D0006","message":"U+0007 is a control character","help":"remove it"}
    "#]]
    .assert_eq(&wrong.stdout);
}

#[test]
fn texts_come_from_stdin_and_end_at_a_limit() {
    let folder = Folder::new();
    let small = folder.small();
    let read = with_stdin(&["tokenize", &small, "--random", "1", "-f", "-"], b"ab c");
    assert_eq!((read.code, read.stdout.as_str()), (Some(0), "97 98 32 99\n"));
    let zero = fs::File::open("/dev/zero").unwrap();
    for verb in ["run", "logits", "tokenize", "perplexity"] {
        let mut command = deepthin();
        command.args([verb, &small, "--random", "1", "-f", "-"]).stdin(zero.try_clone().unwrap());
        let endless: Ended = command.output().unwrap().into();
        assert_fails(&endless, 65, &["<stdin>: longer than 33554432 bytes", "fix: "]);
        assert_eq!(endless.stdout, "");
    }
}
