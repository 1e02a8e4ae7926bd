//! The buffers that the kernel receives into, lent to it through a ring of its own.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::aligned_bytes::ALIGN_BYTES;
use crate::error::RingError;

/// Receive buffers of one ring, in one mapping.
///
/// ```text
/// +---------------------------+------------------+----------+----------+----
/// | ring of entries, 16 B each | to the next page | buffer 0 | buffer 1 | ...
/// +---------------------------+------------------+----------+----------+----
/// ```
///
/// A buffer is in exactly one hand: the kernel's (an entry between the kernel's head and our
/// tail), a completion's that has not been seen yet, or a [`ReceivedBuffer`]'s.
pub(crate) struct ReceivePool {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    buffers_offset: usize,
    buffer_bytes: u32,
    count: u16,
    tail: Cell<u16>,
    lent: Cell<u16>,
}

/// Bytes that a stream received, 16-byte aligned. Dropping it returns the memory to the ring.
pub struct ReceivedBuffer {
    pool: Rc<ReceivePool>,
    number: u16,
    len: u32,
}

/// The number under which the kernel knows the pool; a ring has one.
pub(crate) const BUFFER_GROUP: u16 = 0;

const _: () = assert!(size_of::<BufRingEntry>() == 16);

impl ReceivePool {
    /// Maps the pool and fills it; it is not yet known to the kernel.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> Result<Rc<Self>, RingError> {
        assert!(count.is_power_of_two() && count <= 1 << 15, "the kernel's rule for buffer rings");
        let aligned = (buffer_bytes as usize).is_multiple_of(ALIGN_BYTES) && buffer_bytes > 0;
        assert!(aligned, "frames at the start of a buffer are used in place");
        let page_bytes = rustix::param::page_size();
        let ring_bytes = usize::from(count) * size_of::<BufRingEntry>();
        let buffers_offset = ring_bytes.next_multiple_of(page_bytes);
        let mapping_bytes = usize::from(count)
            .checked_mul(buffer_bytes as usize)
            .and_then(|bytes| bytes.checked_add(buffers_offset))
            .expect("the pool fits in the address space");
        let mapping = map(mapping_bytes).map_err(|error| RingError::system("mmap", error))?;
        let (tail, lent) = (Cell::new(0), Cell::new(count));
        let pool = Self { mapping, mapping_bytes, buffers_offset, buffer_bytes, count, tail, lent };
        (0..count).for_each(|number| pool.give_back(number));
        Ok(Rc::new(pool))
    }

    /// Address of the ring of entries, for the kernel.
    pub(crate) fn ring_address(&self) -> u64 {
        self.mapping.as_ptr().addr() as u64
    }

    pub(crate) const fn count(&self) -> u16 {
        self.count
    }

    /// Buffers that are not in our hands.
    pub(crate) fn available_count(&self) -> u16 {
        self.count - self.lent.get()
    }

    /// Takes over the buffer that a completion names. Each named buffer is taken exactly once.
    pub(crate) fn take(self: &Rc<Self>, number: u16, len: u32) -> ReceivedBuffer {
        assert!(number < self.count, "the kernel names buffers that it was given");
        assert!(len <= self.buffer_bytes, "the kernel writes no further than the buffer");
        self.lent.set(self.lent.get() + 1);
        ReceivedBuffer { pool: Rc::clone(self), number, len }
    }

    fn give_back(&self, number: u16) {
        let tail = self.tail.get();
        let at = usize::from(tail & (self.count - 1));
        let entries = self.entries();
        // SAFETY: `at` is below `count`, so the entry lies in the mapping, which is page aligned
        // and lives as long as `self`. The kernel reads only entries below the published tail;
        // this one is above it, because at most `count` buffers exist and this one is in our hand.
        // The tail field shares its memory with entry 0, but lies in the part of an entry that the
        // setters leave alone.
        let entry = unsafe { &mut *entries.add(at) };
        entry.set_addr(self.buffer(number).as_ptr().addr() as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(number);
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        self.lent.set(self.lent.get() - 1);
        // SAFETY: the mapping starts with the initialised entries of the ring, and its tail is an
        // aligned u16 that the kernel only reads; the atomic store publishes the entry above.
        unsafe {
            let published = BufRingEntry::tail(entries).cast_mut().cast::<AtomicU16>();
            (*published).store(tail, Ordering::Release);
        }
    }

    fn entries(&self) -> *mut BufRingEntry {
        self.mapping.as_ptr().cast()
    }

    fn buffer(&self, number: u16) -> NonNull<u8> {
        let offset = self.buffers_offset + usize::from(number) * self.buffer_bytes as usize;
        // SAFETY: `number` is below `count` (asserted in `take`, by construction in `new`), so
        // the offset lies within the mapping.
        unsafe { self.mapping.add(offset) }
    }
}

impl Drop for ReceivePool {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, made by `map` with this length. The last owner is
        // going: the ring has unregistered it (or leaked its share of the pool for good), and no
        // `ReceivedBuffer` is left.
        unsafe {
            let _ = rustix::mm::munmap(self.mapping.as_ptr().cast(), self.mapping_bytes);
        }
    }
}

impl ReceivedBuffer {
    /// The bytes received.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the buffer lies in the pool's mapping, which `self.pool` keeps alive; the kernel
        // has written `len` bytes and gave the buffer up with its completion; it gets it back only
        // when `self` is dropped.
        unsafe {
            std::slice::from_raw_parts(self.pool.buffer(self.number).as_ptr(), self.len as usize)
        }
    }
}

impl Deref for ReceivedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for ReceivedBuffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ReceivedBuffer").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for ReceivedBuffer {
    fn drop(&mut self) {
        self.pool.give_back(self.number);
    }
}

/// Private anonymous memory that a forked child does not see: the kernel pins the ring's pages, and
/// copy-on-write after a fork would part our view from its view.
fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
    // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
    let address = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )?
    };
    // SAFETY: the range is the mapping just made, and the advice changes nothing for this process.
    unsafe { madvise(address, bytes, Advice::LinuxDontFork)? };
    Ok(NonNull::new(address.cast()).expect("a mapping is not at address zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_lent_again() {
        let pool = ReceivePool::new(4, 64).unwrap();
        assert_eq!((pool.available_count(), pool.tail.get()), (4, 4));
        let buffer = pool.take(2, 10);
        assert_eq!(buffer.len(), 10);
        assert_eq!(buffer.as_ptr().addr() % ALIGN_BYTES, 0);
        assert_eq!(pool.available_count(), 3);
        drop(buffer);
        assert_eq!((pool.available_count(), pool.tail.get()), (4, 5));
    }

    #[test]
    fn the_tail_wraps() {
        let pool = ReceivePool::new(2, 16).unwrap();
        for _ in 0..70_000 {
            drop(pool.take(1, 0));
        }
        assert_eq!(pool.available_count(), 2);
        let entries = pool.entries();
        // SAFETY: the mapping starts with initialised entries.
        let published = unsafe { *BufRingEntry::tail(entries) };
        assert_eq!(published, pool.tail.get());
    }

    #[test]
    fn buffers_may_outlive_their_ring() {
        let pool = ReceivePool::new(2, 16).unwrap();
        let buffer = pool.take(0, 16);
        drop(pool);
        assert_eq!(buffer.as_slice(), [0; 16]);
    }
}
