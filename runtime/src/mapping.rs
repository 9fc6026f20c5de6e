//! Files mapped into memory, and what becomes of the process when one loses bytes meanwhile.
//!
//! A page of a map whose bytes are no longer in the file, because it was cut or its disk fails,
//! cannot be read: the access is answered by a signal, SIGBUS, which by default ends the process
//! without a word. A program may ask for a message and an exit code instead by
//! [`exit_where_pages_are_lost`]. Faults at addresses outside of mapped files stay what they are.
//!
//! A file that is edited in place changes under its map, and one that is cut inside of a page has
//! zeros in its place there: no signal tells of either, so that whoever uses the bytes has to ask
//! ([`Mapping::check_unchanged`]). One that takes the place of another by renaming does no harm:
//! the map keeps the old one.
#![expect(unsafe_code, reason = "answers a signal, for which the system calls a function of ours")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use libc::{c_int, c_void, siginfo_t};
use memmap2::{MmapOptions, MmapRaw};

use crate::shown::Shown;
use crate::stamp::{self, Change, Stamp};

/// The first bytes of a file as memory that can only be read.
#[derive(Debug)]
pub struct Mapping {
    map: MmapRaw,
    watched: &'static Watched,
    file: File,
    path: PathBuf,
    mapped: Stamp,
}

/// A mapped file does not have the bytes any more that it was mapped with.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// It is shorter.
    #[error(
        "{}: the file was cut from {was} to {now} bytes while it was mapped, expected it to stay \
         as it is",
        Shown(path)
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// Bytes when it was mapped.
        was: u64,
        /// Bytes now.
        now: u64,
    },
    /// It was written to.
    #[error(
        "{}: the file was written to, or its time was set, while it was mapped, expected it to stay \
         as it is",
        Shown(.0)
    )]
    Written(PathBuf),
    /// The system does not tell.
    #[error("{}: cannot tell whether the file has changed: {cause}", Shown(path))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
}

impl MappingError {
    /// What the user can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            MappingError::Cut { .. } | MappingError::Written(_) => stamp::FIX,
            MappingError::Unknown { .. } => {
                "see to the disk or network that the file is on, and try again"
            }
        }
    }
}

impl Mapping {
    /// Maps the first `len` bytes of a file, which messages call `path`. `told` is written to
    /// stderr where one of them is lost, if the program asked for that. Changes are those since
    /// this call.
    ///
    /// # Errors
    /// The system has no address space, or does not map files of that kind.
    pub fn new(file: &File, path: &Path, len: usize, told: String) -> io::Result<Mapping> {
        Mapping::since(Stamp::of(&file.metadata()?), file, path, len, told)
    }

    /// [`Mapping::new`] of a file that is to be as it was when its stamp was taken.
    pub(crate) fn since(
        mapped: Stamp,
        file: &File,
        path: &Path,
        len: usize,
        told: String,
    ) -> io::Result<Mapping> {
        let (file, path) = (file.try_clone()?, path.to_path_buf());
        let map = MmapOptions::new().len(len).map_raw_read_only(&file)?;
        let watched = Watched::add(map.as_ptr() as usize, map.len(), told);
        Ok(Mapping { map, watched, file, path, mapped })
    }

    /// Refuses a file that was cut or written to since it was mapped: what was computed from its
    /// bytes meanwhile is worth nothing. It takes one call of the system.
    ///
    /// # Errors
    /// What has changed.
    pub fn check_unchanged(&self) -> Result<(), MappingError> {
        let path = || self.path.clone();
        match self.mapped.change(&self.file) {
            Ok(None) => Ok(()),
            Ok(Some(Change::Cut(now))) => {
                Err(MappingError::Cut { path: path(), was: self.mapped.len, now })
            }
            Ok(Some(Change::Written)) => Err(MappingError::Written(path())),
            Err(cause) => Err(MappingError::Unknown { path: path(), cause }),
        }
    }

    /// The first byte. Nothing may be written there.
    pub fn as_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Bytes that are mapped.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Before the addresses are another's.
        self.watched.len.store(0, Ordering::SeqCst);
    }
}

/// The addresses of a mapped file and its message. A signal may come at any moment, so that one
/// that is in the list stays there for good: some hundred bytes for each file that was mapped.
#[derive(Debug)]
struct Watched {
    start: usize,
    /// 0 once the file is no longer mapped.
    len: AtomicUsize,
    told: Box<[u8]>,
    next: AtomicPtr<Watched>,
}

/// The one mapped last: a handler of signals is told nothing, so that it can only look here.
static LAST: AtomicPtr<Watched> = AtomicPtr::new(ptr::null_mut());

/// The code that the process ends with.
static CODE: AtomicI32 = AtomicI32::new(1);

/// Whether a message is written already: several threads may lose pages at a time.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

impl Watched {
    /// Adds a mapped file to the list.
    fn add(start: usize, len: usize, told: String) -> &'static Watched {
        let watched: &'static Watched = Box::leak(Box::new(Watched {
            start,
            len: AtomicUsize::new(len),
            told: told.into_bytes().into(),
            next: AtomicPtr::new(ptr::null_mut()),
        }));
        let link = |last| {
            watched.next.store(last, Ordering::SeqCst);
            Some(ptr::from_ref(watched).cast_mut())
        };
        // The closure never declines.
        let _ = LAST.fetch_update(Ordering::SeqCst, Ordering::SeqCst, link);
        watched
    }

    /// The mapped file that an address lies in.
    fn at(address: usize) -> Option<&'static Watched> {
        let mut next = LAST.load(Ordering::SeqCst);
        // SAFETY: the list has only what `add` has leaked, which lives for good and is changed
        // through atomics alone.
        while let Some(watched) = unsafe { next.as_ref() } {
            let offset = address.wrapping_sub(watched.start);
            if offset < watched.len.load(Ordering::SeqCst) {
                return Some(watched);
            }
            next = watched.next.load(Ordering::SeqCst);
        }
        None
    }
}

/// From now on a lost page of a mapped file is told on stderr and ends the process with `code`.
///
/// This takes over SIGBUS for the whole process, which is for a program to decide: no library
/// calls it.
///
/// # Errors
/// The system does not let a signal be taken over.
pub fn exit_where_pages_are_lost(code: i32) -> io::Result<()> {
    CODE.store(code, Ordering::SeqCst);
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_lost_page;
    // On the stack that is set aside for signals, for the thread's own may be full.
    answer_by(handler as usize, libc::SA_SIGINFO | libc::SA_ONSTACK)
}

/// Sets how SIGBUS is answered.
fn answer_by(handler: libc::sighandler_t, flags: c_int) -> io::Result<()> {
    // SAFETY: the structure is plain data, of which zeros are a valid value: no signals masked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handler is the default one or `on_lost_page`, which keeps the rules for such
    // functions; the structure lives until the call returns, and the old one is not asked for.
    match unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Answers SIGBUS. Only what POSIX allows in a handler is called: no memory is taken, no lock.
extern "C" fn on_lost_page(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: the system passes the record of the signal, which lives until the handler returns.
    let info = unsafe { &*info };
    // SAFETY: the record of a SIGBUS that a fault has raised has an address; what another process
    // sends has a code that is not positive, and there the number stands for something else.
    let address = unsafe { info.si_addr() } as usize;
    let Some(watched) = Watched::at(address).filter(|_| info.si_code > 0) else {
        // Not ours. The default takes its place and the signal, raised again, comes when this
        // handler has returned.
        let _ = answer_by(libc::SIG_DFL, 0);
        // SAFETY: it takes a number, and may be called in a handler.
        let _ = unsafe { libc::raise(libc::SIGBUS) };
        return;
    };
    if IS_TOLD.swap(true, Ordering::SeqCst) {
        loop {
            // SAFETY: it takes nothing; the thread that tells ends this one.
            let _ = unsafe { libc::pause() };
        }
    }
    let told = &watched.told;
    // SAFETY: the bytes are of the length given and never change.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, told.as_ptr().cast(), told.len()) };
    // SAFETY: it ends the process at once and runs nothing of it.
    unsafe { libc::_exit(CODE.load(Ordering::SeqCst)) };
}
