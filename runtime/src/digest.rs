//! Digests of contents: whether bytes are still those that were written.
//!
//! A digest finds accidents, such as a flipped bit of a disk; it does not keep anyone from making
//! bytes of the same digest on purpose. It is taken of pieces of [`PIECE_BYTES`], which several
//! threads read and hash by themselves, and then of the pieces' digests in their order: it depends
//! on the content alone.

use crate::threads::together;
use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use twox_hash::XxHash3_128;

/// Bytes of a piece, but for the last: they stay in the cache of a core while they are hashed.
pub const PIECE_BYTES: usize = 1 << 18;

/// 128 bits that stand for a content: XXH3 of the pieces' XXH3, each little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(u128);

/// 32 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Why there is no digest.
#[derive(Debug)]
pub enum Ended<E> {
    /// A piece could not be read.
    Failed(E),
    /// Whoever watched wanted no more.
    Stopped,
}

impl Digest {
    /// The number of digits of a digest's text.
    pub const DIGITS: usize = 32;

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let hashes = bytes.chunks(PIECE_BYTES).map(XxHash3_128::oneshot);
        Digest::of_pieces(hashes)
    }

    /// The digest of `bytes`, taken on `threads` threads. `watch` is told now and then how many
    /// bytes are done; `None` where it wanted no more.
    pub fn of_large(
        bytes: &[u8],
        threads: usize,
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Option<Digest> {
        let read = |offset: u64, piece: &mut [u8]| -> Result<(), Infallible> {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            // Offsets and pieces are those of `bytes`, by its length.
            let found = bytes.get(start..).and_then(|rest| rest.get(..piece.len()));
            piece.copy_from_slice(found.unwrap_or_default());
            Ok(())
        };
        match Digest::of_read(bytes.len() as u64, threads, &read, watch) {
            Ok(digest) => Some(digest),
            Err(Ended::Stopped) => None,
            Err(Ended::Failed(never)) => match never {},
        }
    }

    /// The digest of `len` bytes that `read` gives, by offset, on any of `threads` threads: the
    /// caller's is one of them. `watch` is told now and then how many bytes are done.
    ///
    /// # Errors
    /// The first piece that could not be read; [`Ended::Stopped`] where `watch` wanted no more.
    pub fn of_read<E: Send>(
        len: u64,
        threads: usize,
        read: &(impl Fn(u64, &mut [u8]) -> Result<(), E> + Sync),
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Digest, Ended<E>> {
        let count = len.div_ceil(PIECE_BYTES as u64);
        let work = Work { len, next: AtomicU64::new(0), stop: AtomicBool::new(false), read };
        let threads = threads.min(usize::try_from(count).unwrap_or(usize::MAX));
        let own = || work.run(&mut |done| watch(done).is_continue());
        let mut parts: Vec<Part<E>> = together(threads, || work.run(&mut |_| true), own);
        let failures = parts.iter_mut().filter_map(|part| part.failure.take());
        if let Some((_, error)) = failures.min_by_key(|(index, _)| *index) {
            return Err(Ended::Failed(error));
        }
        let mut hashes: Vec<(u64, u128)> = parts.into_iter().flat_map(|part| part.hashes).collect();
        if hashes.len() as u64 != count {
            return Err(Ended::Stopped);
        }
        hashes.sort_unstable();
        Ok(Digest::of_pieces(hashes.into_iter().map(|(_, hash)| hash)))
    }

    fn of_pieces(hashes: impl Iterator<Item = u128>) -> Digest {
        let bytes: Vec<u8> = hashes.flat_map(u128::to_le_bytes).collect();
        Digest(XxHash3_128::oneshot(&bytes))
    }
}

/// A content that threads hash together.
struct Work<'a, R> {
    len: u64,
    /// The first piece that nobody has taken yet.
    next: AtomicU64,
    /// Set where it is in vain to go on.
    stop: AtomicBool,
    read: &'a R,
}

/// What one thread has done: the hashes of its pieces by number, and why it ended early.
struct Part<E> {
    hashes: Vec<(u64, u128)>,
    failure: Option<(u64, E)>,
}

impl<R> Work<'_, R> {
    /// Hashes pieces until there are none left, or `go_on` says no.
    fn run<E>(&self, go_on: &mut dyn FnMut(u64) -> bool) -> Part<E>
    where
        R: Fn(u64, &mut [u8]) -> Result<(), E>,
    {
        let mut part = Part { hashes: Vec::new(), failure: None };
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(self.len).unwrap_or(PIECE_BYTES))];
        while !self.stop.load(Ordering::Relaxed) {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let offset = index.saturating_mul(PIECE_BYTES as u64).min(self.len);
            let left = usize::try_from(self.len - offset).unwrap_or(usize::MAX);
            let count = left.min(PIECE_BYTES);
            let Some(piece) = piece.get_mut(..count).filter(|piece| !piece.is_empty()) else {
                break;
            };
            if let Err(error) = (self.read)(offset, piece) {
                part.failure = Some((index, error));
            } else {
                part.hashes.push((index, XxHash3_128::oneshot(piece)));
            }
            if part.failure.is_some() || !go_on(offset) {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap()).collect()
    }

    #[test]
    fn threads_do_not_change_a_digest() {
        for len in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 3] {
            let bytes = content(len);
            let expected = Digest::of(&bytes);
            for threads in [0, 1, 2, 3, 100] {
                let mut last = None;
                let found = Digest::of_large(&bytes, threads, &mut |done| {
                    assert!(last.is_none_or(|last| last < done) && done < len as u64);
                    last = Some(done);
                    ControlFlow::Continue(())
                });
                assert_eq!(found, Some(expected), "{len} bytes on {threads} threads");
            }
        }
    }

    #[test]
    fn every_byte_counts() {
        let bytes = content(2 * PIECE_BYTES + 10);
        for at in [0, PIECE_BYTES - 1, PIECE_BYTES, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(Digest::of(&other), Digest::of(&bytes), "byte {at}");
        }
        assert_ne!(Digest::of(&bytes), Digest::of(&bytes[..bytes.len() - 1]));
        let mut swapped = bytes.clone();
        swapped.rotate_left(PIECE_BYTES);
        assert_ne!(Digest::of(&swapped), Digest::of(&bytes), "pieces in another order");
    }

    /// Files hold digests: these must stay what they are.
    #[test]
    fn digests_are_known_ones() {
        let texts = [content(0), content(5), content(PIECE_BYTES + 1)].map(|bytes| {
            let text = Digest::of(&bytes).to_string();
            assert_eq!(text.len(), Digest::DIGITS);
            text
        });
        let known = [
            "99aa06d3014798d86001c324468d497f",
            "6d9b64faf04defbaf38b51763e919ff2",
            "0f7d2732bd50bba849736f1210de3bd6",
        ];
        assert_eq!(texts, known);
    }

    #[test]
    fn a_piece_that_cannot_be_read_ends_it() {
        let read = |offset: u64, _: &mut [u8]| match offset / PIECE_BYTES as u64 {
            index @ (2 | 5) => Err(index),
            _ => Ok(()),
        };
        let len = 9 * PIECE_BYTES as u64;
        for threads in [1, 2] {
            let ended = Digest::of_read(len, threads, &read, &mut |_| ControlFlow::Continue(()));
            assert!(matches!(ended, Err(Ended::Failed(2 | 5))), "{ended:?}");
        }
    }

    #[test]
    fn whoever_watches_may_stop_it() {
        let bytes = content(4 * PIECE_BYTES);
        assert_eq!(Digest::of_large(&bytes, 1, &mut |_| ControlFlow::Break(())), None);
    }
}
