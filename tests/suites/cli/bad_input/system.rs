//! Files that change or cannot be read, signals, limits of memory: rows 64 to 67, 88, 93.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use deepthin_dsl::Model;
use deepthin_dsl::model::TensorStorage;
use deepthin_tests::gguf_model;
use deepthin_tests::program::{Ended, deepthin};
use rustix::process::{Pid, Signal, kill_process};

use super::case::{Case, check_all, sparse};
use crate::cli::{Folder, assert_fails};

const SMALL: &str = "run @m.thin --random 1 -p a -n 1";

fn small(name: &str, rows: &[u32]) -> Case {
    Case::new(name, rows).file("m.thin", || deepthin_dsl::print(&gguf_model::model()))
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        // The memory of a process is a regular file whose first page is not there.
        small("a text that cannot be read", &[66])
            .line(SMALL.trim_end_matches(" -p a -n 1"))
            .line("-f /proc/self/mem")
            .fails(74, ["/proc/self/mem: cannot read it: ", "os error 5", "fix: "]),
        Case::new("a description that cannot be read", &[66])
            .setup(|folder| link(folder, "/proc/self/mem", "m.thin"))
            .line(SMALL)
            .fails(74, ["m.thin: cannot read it: ", "os error 5", "fix: "]),
        Case::new("weights on a device", &[67])
            .line("run /dev/zero -p a")
            .fails(66, ["/dev/zero: found a device, expected a regular file", "fix: "]),
        Case::new("weights in a pipe", &[67])
            .setup(|folder| folder.pipe("model.gguf"))
            .line("run @model.gguf -p a")
            .fails(66, ["model.gguf: found a pipe, expected a regular file", "fix: "]),
        Case::new("weights from the terminal's end", &[67])
            .setup(|folder| link(folder, "/dev/null", "model.gguf"))
            .line("run @model.gguf -p a")
            .fails(66, ["model.gguf: found a device, expected a regular file"]),
        small("a text on a device", &[67])
            .line("run @m.thin --random 1 -f /dev/zero")
            .fails(66, ["/dev/zero: found a pipe or a device, expected a text", "fix: "]),
        Case::new("a terabyte of zeros", &[67])
            .setup(|folder| sparse(folder, "model.gguf", b"", 1 << 40))
            .line("run @model.gguf -p a")
            .fails(65, ["model.gguf@0x0: found the first bytes `\\x00\\x00\\x00\\x00`"]),
        small("little address space", &[93])
            .file("m.thin", || {
                deepthin_dsl::print(&Model { context: 1 << 21, ..gguf_model::model() })
            })
            .line(SMALL)
            .script("ulimit -v 800000; exec \"$@\"")
            .fails(71, ["the model needs ", "KV cache 1024 for", "(ulimit -v)", "fix: ", "-c "]),
        small("little memory for data", &[93])
            .file("m.thin", || {
                deepthin_dsl::print(&Model { context: 1 << 21, ..gguf_model::model() })
            })
            .line(SMALL)
            .script("ulimit -d 200000; exec \"$@\"")
            .fails(71, ["the model needs ", "(ulimit -d)", "fix: ", "-c "]),
        // Each of them would fit alone.
        small("variants that do not fit together", &[93])
            .line("bench @m.thin --random 1 -t 1,2 -n 1 -c 917504")
            .script("ulimit -v 900000; exec \"$@\"")
            .fails(71, ["the 2 variants need ", " MiB together, ", "(ulimit -v)", "fix: "]),
    ]
}

fn link(folder: &Folder, target: &str, name: &str) {
    std::os::unix::fs::symlink(target, folder.path(name)).unwrap();
}

#[test]
fn limits_of_the_system() {
    check_all("cli::bad_input::system::limits_of_the_system", &cases());
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The letter that the system has for what a process does: `T` for one that was stopped.
fn state(child: &Child) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process has a file open.
fn has_open(child: &Child, path: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| link.to_str() == Some(path))
}

/// Stops a process at a moment at which it has the file open; false if it ends before.
fn stop_with_open(child: &mut Child, path: &str) -> bool {
    while child.try_wait().unwrap().is_none() {
        if !has_open(child, path) {
            continue;
        }
        signal(child, Signal::STOP);
        while child.try_wait().unwrap().is_none() {
            if state(child) == Some('T') {
                if has_open(child, path) {
                    return true;
                }
                signal(child, Signal::CONT);
                break;
            }
            thread::yield_now();
        }
    }
    false
}

/// Weights are read from the file until all of them are packed, and the file is open until then:
/// cut at any moment before, it is too short for what is still to be read, or found changed. A process
/// that is stopped between opening it and asking for its length finds a file that was always short.
#[test]
fn a_file_that_shrinks_while_it_is_loaded_ends_with_74() {
    let folder = Folder::new();
    let mut model = Model { vocab: 20_000, width: 512, ..gguf_model::model() };
    model.storage.blocks = TensorStorage::F32;
    let bytes = gguf_model::writer(&model, 1).build().bytes;
    for cut in [1, bytes.len() / 2] {
        let ended = (0..20).find_map(|_| {
            let path = folder.file("model.gguf", &bytes);
            let mut child = deepthin()
                .args(["run", &path, "-p", "a", "-n", "1"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let stopped = stop_with_open(&mut child, &path);
            if stopped {
                let file = File::options().write(true).open(&path).unwrap();
                file.set_len(cut as u64).unwrap();
                signal(&child, Signal::CONT);
            }
            let ended: Ended = child.wait_with_output().unwrap().into();
            let saw_it_whole = ended.code != Some(65);
            (stopped && saw_it_whole).then_some(ended)
        });
        let ended = ended.expect("a process is stopped while it loads, once in twenty times");
        assert_fails(
            &ended,
            74,
            &["model.gguf", "file was cut from ", "while it was read", "fix: "],
        );
        assert_eq!(ended.stdout, "");
    }
}

/// A generation that nobody reads stands still when its pipe is full, so that the first signal
/// cannot end it: it waits for the token at hand to be written.
#[test]
fn the_second_signal_ends_at_once() {
    for which in [Signal::INT, Signal::TERM] {
        let folder = Folder::new();
        let model = Model { context: 1 << 16, ..gguf_model::model() };
        let path = folder.file("endless.thin", deepthin_dsl::print(&model));
        let mut child = deepthin()
            .args(["run", &path, "--random", "1", "-p", "a", "-n", "60000", "--temp", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        rustix::pipe::fcntl_setpipe_size(&stdout, 4096).unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        let start = Instant::now();
        // What is left of the pipe's one page is less than the text of a token, and stays so.
        let mut before = 0;
        loop {
            let bytes = rustix::io::ioctl_fionread(&stdout).unwrap();
            if bytes >= 4096 - 5 && bytes == before {
                break;
            }
            before = bytes;
            assert!(start.elapsed() < Duration::from_secs(60), "the pipe does not fill up");
            thread::sleep(Duration::from_millis(50));
        }
        // A second one that comes before the first was seen is one with it: it is sent again.
        while child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(60), "two signals do not end it");
            signal(&child, which);
            thread::sleep(Duration::from_millis(100));
        }
        let ended: Ended = child.wait_with_output().unwrap().into();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(130), ""), "{which:?}");
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        assert!(text.len() >= 4096 - 5, "what was written stays readable");
    }
}

#[test]
fn sigterm_ends_after_a_whole_token() {
    let folder = Folder::new();
    let model = Model { context: 1 << 16, ..gguf_model::model() };
    let path = folder.file("endless.thin", deepthin_dsl::print(&model));
    let mut child = deepthin()
        .args(["run", &path, "--random", "1", "-p", "a", "-n", "60000", "--temp", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    signal(&child, Signal::TERM);
    let ended: Ended = child.wait_with_output().unwrap().into();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(ended.stdout.ends_with('>') && ended.stderr.starts_with("deepthin: 1 prompt token, "));
}
