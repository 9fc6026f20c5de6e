//! The allocator of the fuzz targets: a process that holds more memory than a hostile input of
//! some kilobytes can need ends there and then, and its input is kept as a finding.
#![allow(unsafe_code, reason = "an allocator is made of unsafe functions")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes at a time.
const LIMIT: usize = 64 << 20;

#[global_allocator]
static BOUNDED: Bounded = Bounded { held: AtomicUsize::new(0) };

/// The allocator of the system, up to [`LIMIT`].
struct Bounded {
    held: AtomicUsize,
}

// SAFETY: all memory comes from and goes back to the system's allocator, with the caller's layout.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = self.held.fetch_add(layout.size(), Ordering::Relaxed);
        if held.saturating_add(layout.size()) > LIMIT {
            eprintln!("more than {} MiB are held", LIMIT >> 20);
            std::process::abort();
        }
        // SAFETY: the caller's promises are those of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above, and the memory came from `alloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}
