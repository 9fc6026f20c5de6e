//! Memory regions: zeroed or of a mapped file, aligned to lines, shared by the threads of a session.
#![expect(unsafe_code, reason = "regions are handed to kernels as raw pointers")]

use crate::mapping::{Mapping, MappingError};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::ptr::NonNull;
use thiserror::Error;

/// The operating system has no memory for us.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot have {bytes} bytes for {what}: {cause}")]
pub struct OutOfMemory {
    /// What the memory was for.
    pub what: &'static str,
    /// Bytes asked for.
    pub bytes: u64,
    /// The system's answer.
    pub cause: String,
}

/// No swap is set aside for pages that may never be touched. The interpreter Miri knows plain
/// private mappings alone.
const FLAGS: MapFlags =
    if cfg!(miri) { MapFlags::PRIVATE } else { MapFlags::PRIVATE.union(MapFlags::NORESERVE) };

/// Bytes of a large page, which needs one translation of addresses where small ones of 4 KiB need
/// 512, and lets the processor read ahead further than to the end of each of those.
const LARGE_PAGE: usize = 2 << 20;

/// Bytes that kernels may be pointed to: memory that comes zeroed, of which pages are taken when
/// they are first touched, or a part of a mapped file, which is only read.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    bytes: usize,
    origin: Origin,
}

/// What a region is a part of.
#[derive(Debug)]
enum Origin {
    Memory { start: NonNull<u8>, bytes: usize },
    File(Mapping),
}

// SAFETY: a region is plain memory without thread affinity.
unsafe impl Send for Region {}
// SAFETY: through `&Region` only raw pointers are handed out; whoever dereferences them keeps
// the contract of the kernel ABI (no two threads on the same bytes, one of them writing).
unsafe impl Sync for Region {}

impl Region {
    /// Maps `bytes` zeroed bytes for `what`.
    ///
    /// # Errors
    /// The system's, and more bytes than there are addresses.
    pub fn new(what: &'static str, bytes: u64) -> Result<Self, OutOfMemory> {
        Region::aligned(what, bytes, 1)
    }

    /// [`Region::new`] for bytes that are all going to be written, and read in their order: in pages
    /// of 2 MiB where the system gives them on request, so that memory is read up to half as fast
    /// again. What is large enough for one has nothing but such pages, its end too: a last block in
    /// small ones takes kernels a third longer to ask for.
    ///
    /// # Errors
    /// As [`Region::new`].
    pub fn in_large_pages(what: &'static str, bytes: u64) -> Result<Self, OutOfMemory> {
        let region = Region::aligned(what, bytes, LARGE_PAGE)?;
        if region.bytes >= LARGE_PAGE && !cfg!(miri) {
            let pages = region.bytes.next_multiple_of(LARGE_PAGE);
            // SAFETY: the pages are the region's own, and the advice changes none of their bytes.
            // A system that does not know it, or is told to give none, keeps to small pages.
            let _ = unsafe { madvise(region.as_ptr().cast(), pages, Advice::LinuxHugepage) };
        }
        Ok(region)
    }

    /// Zeroed bytes whose first one has an address of some alignment, or that of any page, and
    /// behind which the mapping goes on to the next such address.
    fn aligned(what: &'static str, bytes: u64, alignment: usize) -> Result<Self, OutOfMemory> {
        let fail = |cause: String| OutOfMemory { what, bytes, cause };
        // Room for a whole page even where nothing is asked for: a region is never dangling.
        let bytes = usize::try_from(bytes.max(64)).map_err(|e| fail(e.to_string()))?;
        // Pages that are never touched take no memory.
        let whole = bytes.checked_next_multiple_of(alignment).unwrap_or(usize::MAX);
        let size = whole.saturating_add(alignment - 1);
        if size > isize::MAX as usize {
            return Err(fail("more than the address space".to_owned()));
        }
        // SAFETY: a new private anonymous mapping at an address of the kernel's choice aliases
        // nothing.
        let start = unsafe {
            mmap_anonymous(std::ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, FLAGS)
        }
        .map_err(|e| fail(e.to_string()))?;
        let mapped = NonNull::new(start.cast::<u8>()).ok_or_else(|| fail("null".to_owned()))?;
        let skipped = mapped.addr().get().next_multiple_of(alignment) - mapped.addr().get();
        // SAFETY: less than the alignment is skipped, so that `whole` bytes of the mapping follow.
        let start = unsafe { mapped.add(skipped) };
        Ok(Region { start, bytes, origin: Origin::Memory { start: mapped, bytes: size } })
    }

    /// The `bytes` bytes of a mapped file from `offset` on; `None` where they pass its end or do
    /// not begin with a line of 64 bytes.
    pub fn of_file(file: Mapping, offset: u64, bytes: u64) -> Option<Self> {
        let (offset, bytes) = (usize::try_from(offset).ok()?, usize::try_from(bytes).ok()?);
        if !offset.is_multiple_of(64) || offset.checked_add(bytes)? > file.len() {
            return None;
        }
        let start = NonNull::new(file.as_ptr().wrapping_add(offset))?;
        Some(Region { start, bytes, origin: Origin::File(file) })
    }

    /// Whether the bytes are those of a mapped file, which are never written.
    pub fn is_file(&self) -> bool {
        matches!(self.origin, Origin::File(_))
    }

    /// Refuses bytes of a file that was cut or written to meanwhile; memory has no such trouble.
    ///
    /// # Errors
    /// As [`Mapping::check_unchanged`].
    pub fn check_unchanged(&self) -> Result<(), MappingError> {
        match &self.origin {
            Origin::Memory { .. } => Ok(()),
            Origin::File(mapping) => mapping.check_unchanged(),
        }
    }

    /// Start of the region. Nothing is written to one of a file.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes of the region (at least those asked for).
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the region is empty, as only one of a file can be.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The bytes, for whoever owns the region alone.
    pub fn bytes(&mut self) -> &[u8] {
        self.all()
    }

    /// The bytes, with what is to be asked once they have been used: [`Region::check_unchanged`].
    pub fn checked_bytes(&mut self) -> (&[u8], impl Fn() -> Result<(), MappingError>) {
        (self.all(), || self.check_unchanged())
    }

    fn all(&self) -> &[u8] {
        // SAFETY: the mapping is `bytes` long and initialized, and the callers' exclusive borrow
        // keeps kernels out. The bytes of a file are taken not to change while it is mapped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// The bytes to write to, for whoever owns the region alone: none of a file's.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        if self.is_file() {
            return &mut [];
        }
        // SAFETY: the mapping is `bytes` long, initialized (zeroed), and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// `count` f32 from byte `offset`, while no kernel runs; `None` where they pass the end or
    /// are not aligned.
    pub fn floats(&mut self, offset: u64, count: u32) -> Option<&[f32]> {
        self.words((offset, count))
    }

    /// Some f32, and some i32, each from a byte on and so many, while no kernel runs; `None` where
    /// they pass the end or are not aligned.
    pub fn floats_and_integers(
        &mut self,
        floats: (u64, u32),
        integers: (u64, u32),
    ) -> Option<(&[f32], &[i32])> {
        Some((self.words(floats)?, self.words(integers)?))
    }

    /// So many words from a byte on.
    fn words<T: Word>(&self, (offset, count): (u64, u32)) -> Option<&[T]> {
        let (offset, count) = (usize::try_from(offset).ok()?, count as usize);
        let end = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
        if !offset.is_multiple_of(align_of::<T>()) || end > self.bytes {
            return None;
        }
        let first = self.start.as_ptr().wrapping_add(offset).cast::<T>();
        // SAFETY: in bounds and aligned by the check above (the start is a line), initialized, any
        // bits are a word, and the callers' exclusive borrow keeps kernels out.
        Some(unsafe { std::slice::from_raw_parts(first, count) })
    }
}

/// What any bits are one of.
///
/// # Safety
/// Every pattern of bits is a value.
unsafe trait Word {}

// SAFETY: NaN are numbers with any bits, too.
unsafe impl Word for f32 {}

// SAFETY: every pattern is an integer.
unsafe impl Word for i32 {}

impl Drop for Region {
    fn drop(&mut self) {
        let Origin::Memory { start, bytes } = self.origin else {
            return; // the mapping of a file ends itself
        };
        // SAFETY: the mapping was made in `aligned` with this size and is not used after the drop.
        // A failure leaves the mapping behind, which nothing could mend here.
        let _ = unsafe { munmap(start.as_ptr().cast(), bytes) };
    }
}
