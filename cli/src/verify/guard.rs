//! Buffers between guard pages: compiled code that strays by one byte dies at once.
//!
//! A buffer lies flush against an unmapped page, before its first byte or behind its last. The
//! bytes on the other side, up to the next guard page, hold a pattern that is checked after the
//! run. Memory starts filled with the same pattern, so that what was never written shows.
#![expect(
    unsafe_code,
    reason = "guard pages are mapped and protected through pointers; all of that is in this file"
)]

use std::ptr::{self, NonNull};
use std::slice;

use deepthin_runtime::memory::OutOfMemory;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Which end of the buffer touches a guard page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The first byte: the buffer is aligned to a page.
    Front,
    /// The last byte: the buffer is aligned as its size is.
    Back,
}

impl Placement {
    /// Both.
    pub const ALL: [Placement; 2] = [Placement::Front, Placement::Back];
}

/// What memory holds before anyone writes it: neither zero nor a likely number.
pub const POISON: u8 = 0xa5;

/// A buffer of its own pages, guard pages around.
#[derive(Debug)]
pub struct GuardedBuffer {
    /// The mapping: a guard page, the usable pages, a guard page.
    map: NonNull<u8>,
    page: usize,
    usable: usize,
    /// Offset of the buffer in the usable pages.
    start: usize,
    len: usize,
}

// SAFETY: a buffer is plain memory of its own without thread affinity.
unsafe impl Send for GuardedBuffer {}

impl GuardedBuffer {
    /// Maps a buffer of `len` bytes, all [`POISON`].
    ///
    /// # Errors
    /// The system has no pages for it.
    pub fn new(len: usize, placement: Placement) -> Result<Self, OutOfMemory> {
        let fail =
            |cause: String| OutOfMemory { what: "a guarded buffer", bytes: len as u64, cause };
        let page = rustix::param::page_size();
        let usable = len.max(1).checked_next_multiple_of(page);
        let usable = usable.filter(|usable| *usable <= isize::MAX as usize - 2 * page);
        let usable = usable.ok_or_else(|| fail("more than the address space".to_owned()))?;
        // SAFETY: a fresh anonymous mapping at an address of the system's choice touches no
        // memory that exists.
        let map = unsafe {
            let size = usable + 2 * page;
            mmap_anonymous(ptr::null_mut(), size, ProtFlags::empty(), MapFlags::PRIVATE)
        };
        let map = map.map_err(|error| fail(error.to_string()))?.cast::<u8>();
        let map = NonNull::new(map).ok_or_else(|| fail("null".to_owned()))?;
        let start = match placement {
            Placement::Front => 0,
            Placement::Back => usable - len,
        };
        let mut buffer = GuardedBuffer { map, page, usable, start, len };
        let first = buffer.first_usable().cast();
        // SAFETY: the range is inside the mapping just made, which nobody else knows.
        unsafe { mprotect(first, usable, MprotectFlags::READ | MprotectFlags::WRITE) }
            .map_err(|error| fail(error.to_string()))?;
        buffer.usable_mut().fill(POISON);
        Ok(buffer)
    }

    /// A buffer that holds a copy of `bytes`.
    ///
    /// # Errors
    /// The system has no pages for it.
    pub fn holding(bytes: &[u8], placement: Placement) -> Result<Self, OutOfMemory> {
        let mut buffer = GuardedBuffer::new(bytes.len(), placement)?;
        buffer.bytes_mut().copy_from_slice(bytes);
        Ok(buffer)
    }

    fn first_usable(&self) -> *mut u8 {
        self.map.as_ptr().wrapping_add(self.page)
    }

    fn usable(&self) -> &[u8] {
        // SAFETY: the pages between the guards are mapped, readable and initialized (the system
        // gives zeros) as long as `self` lives, and `&self` excludes writers of our own.
        unsafe { slice::from_raw_parts(self.first_usable(), self.usable) }
    }

    fn usable_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `usable`; `&mut self` excludes every other access.
        unsafe { slice::from_raw_parts_mut(self.first_usable(), self.usable) }
    }

    /// The first byte, for compiled code. Valid for the buffer's length while `self` lives.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.first_usable().wrapping_add(self.start)
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        &self.usable()[self.start..][..self.len]
    }

    /// The contents, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, len) = (self.start, self.len);
        &mut self.usable_mut()[start..][..len]
    }

    /// Where, counted from the first byte, something beside the buffer was written.
    pub fn stray_write(&self) -> Option<isize> {
        let (before, rest) = self.usable().split_at(self.start);
        let stray = |bytes: &[u8]| bytes.iter().position(|byte| *byte != POISON);
        let in_front = stray(before).map(|at| at.cast_signed() - self.start.cast_signed());
        in_front.or_else(|| stray(&rest[self.len..]).map(|at| (self.len + at).cast_signed()))
    }

    /// Fills the buffer and its surroundings with [`POISON`].
    pub fn poison(&mut self) {
        self.usable_mut().fill(POISON);
    }
}

impl AsRef<[u8]> for GuardedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl AsMut<[u8]> for GuardedBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }
}

impl Drop for GuardedBuffer {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and every borrow of it ended before `self`. A failure
        // leaves the mapping behind, which nothing could mend here.
        let _ = unsafe { munmap(self.map.as_ptr().cast(), self.usable + 2 * self.page) };
    }
}
