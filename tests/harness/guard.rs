//! Buffers between guard pages: compiled code that strays by one byte dies at once.
//!
//! A buffer lies flush against an unmapped page, before its first byte or behind its last. The
//! bytes on the other side, up to the next guard page, hold a pattern that is checked after the
//! run. Memory starts filled with the same pattern, so that what was never written shows.
#![allow(
    unsafe_code,
    reason = "guard pages are mapped and protected through pointers; all of that is in this file"
)]

use std::ptr::{self, NonNull};
use std::slice;

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
    /// The mapping, the first guard page included.
    map: NonNull<u8>,
    /// Bytes of the mapping, both guard pages included.
    mapped: usize,
    /// Offset of the usable pages in the mapping, and of the last guard page.
    pages: (usize, usize),
    /// Offset of the buffer in the mapping.
    start: usize,
    len: usize,
}

impl GuardedBuffer {
    /// Maps a buffer of `len` bytes, all [`POISON`].
    ///
    /// # Panics
    /// Where the system refuses the pages.
    pub fn new(len: usize, placement: Placement) -> Self {
        let page = rustix::param::page_size();
        let usable = len.next_multiple_of(page).max(page);
        let (mapped, pages) = (usable + 2 * page, (page, page + usable));
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no
        // memory that exists.
        let map = unsafe {
            mmap_anonymous(ptr::null_mut(), mapped, ProtFlags::empty(), MapFlags::PRIVATE)
        };
        let map = map.expect("pages for a test buffer").cast::<u8>();
        let map = NonNull::new(map).expect("a mapping is not at address 0");
        let start = match placement {
            Placement::Front => page,
            Placement::Back => pages.1 - len,
        };
        let mut buffer = GuardedBuffer { map, mapped, pages, start, len };
        let usable_pages = buffer.at(page).cast();
        // SAFETY: the range is inside the mapping just made, which nobody else knows.
        unsafe { mprotect(usable_pages, usable, MprotectFlags::READ | MprotectFlags::WRITE) }
            .expect("pages of a test buffer made writable");
        buffer.usable_mut().fill(POISON);
        buffer
    }

    /// A buffer that holds a copy of `bytes`.
    pub fn holding(bytes: &[u8], placement: Placement) -> Self {
        let mut buffer = GuardedBuffer::new(bytes.len(), placement);
        buffer.bytes_mut().copy_from_slice(bytes);
        buffer
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.mapped, "inside the mapping");
        // SAFETY: the offset is inside the mapping or one past its end.
        unsafe { self.map.as_ptr().add(offset) }
    }

    fn usable(&self) -> &[u8] {
        // SAFETY: the pages between the guards are mapped, readable and initialized (the system
        // gives zeros) as long as `self` lives, and `&self` excludes writers of our own.
        unsafe { slice::from_raw_parts(self.at(self.pages.0), self.pages.1 - self.pages.0) }
    }

    fn usable_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `usable`; `&mut self` excludes every other access.
        unsafe { slice::from_raw_parts_mut(self.at(self.pages.0), self.pages.1 - self.pages.0) }
    }

    /// The first byte, for compiled code. Valid for the buffer's length while `self` lives.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.at(self.start)
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        let from = self.start - self.pages.0;
        &self.usable()[from..from + self.len]
    }

    /// The contents, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (from, len) = (self.start - self.pages.0, self.len);
        &mut self.usable_mut()[from..from + len]
    }

    /// Where, counted from the first byte, something beside the buffer was written.
    pub fn stray_writes(&self) -> Option<isize> {
        let from = self.start - self.pages.0;
        let inside = from..from + self.len;
        let stray =
            |(position, byte): &(usize, &u8)| !inside.contains(position) && **byte != POISON;
        let (position, _) = self.usable().iter().enumerate().find(stray)?;
        Some(position.wrapping_sub(from).cast_signed())
    }

    /// Checks that nothing beside the buffer was written.
    ///
    /// # Panics
    /// With the first place that was.
    #[track_caller]
    pub fn assert_surroundings(&self) {
        if let Some(stray) = self.stray_writes() {
            panic!("byte {stray} of a buffer of {} bytes was written", self.len);
        }
    }

    /// Writes beside the buffer, as a stray kernel would: byte `offset` from the first of the
    /// usable pages.
    pub fn disturb(&mut self, offset: usize) {
        self.usable_mut()[offset] = !POISON;
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
        // SAFETY: the mapping is ours alone, and every borrow of it ended before `self`.
        let unmapped = unsafe { munmap(self.map.as_ptr().cast(), self.mapped) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}
