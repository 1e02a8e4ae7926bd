//! Bytes that start on a 16-byte border, so that frames can be used where they lie.

use std::fmt;
use std::io;

/// What every frame's start is aligned to, as rkyv's `aligned` layout wants it.
pub const ALIGN_BYTES: usize = 16;

/// A growing byte buffer whose first byte is 16-byte aligned.
///
/// When only frames of a multiple of 16 bytes are appended, every one of them starts aligned.
///
/// It is the buffer that a stream sends from ([`crate::SendBuffer`]) and the one that frames are
/// reassembled in ([`crate::FrameBuffer`]). Clearing keeps the memory; growing is geometric.
#[derive(Default)]
pub struct AlignedBytes {
    /// Every block up to `blocks.len()` is initialised, so a length may move freely below it.
    blocks: Vec<Block>,
    len: usize,
}

#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Block([u8; ALIGN_BYTES]);

const _: () = assert!(size_of::<Block>() == ALIGN_BYTES && align_of::<Block>() == ALIGN_BYTES);

impl AlignedBytes {
    /// An empty buffer without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { blocks: Vec::new(), len: 0 }
    }

    /// An empty buffer with room for `capacity_bytes`.
    #[must_use]
    pub fn with_capacity(capacity_bytes: usize) -> Self {
        let mut bytes = Self::new();
        bytes.reserve_exact(capacity_bytes);
        bytes
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit without another allocation.
    #[must_use]
    pub const fn capacity_bytes(&self) -> usize {
        self.blocks.len() * ALIGN_BYTES
    }

    /// The bytes written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: all blocks up to `blocks.len()` are initialised plain bytes, `len` never exceeds
        // them (`set_len` asserts it), and the borrow of `self` keeps them from moving.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast::<u8>(), self.len) }
    }

    /// The bytes written so far, to fill in what is known late (a length, a checksum).
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_slice`; `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast::<u8>(), self.len) }
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.grow(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends `count` bytes of unspecified but initialised content and returns them to be
    /// written.
    pub fn grow(&mut self, count: usize) -> &mut [u8] {
        let start = self.len;
        self.reserve(count);
        self.set_len(start + count);
        &mut self.as_mut_slice()[start..]
    }

    /// Appends zeros up to the next multiple of 16, so that the next frame starts aligned.
    pub fn pad_to_alignment(&mut self) {
        let missing = self.len.next_multiple_of(ALIGN_BYTES) - self.len;
        self.grow(missing).fill(0);
    }

    /// Takes back everything after the first `len` bytes: a frame that failed to encode.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Forgets the bytes, keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Makes room for `additional_bytes` more; at least doubles when it must grow.
    pub fn reserve(&mut self, additional_bytes: usize) {
        let wanted = self.len.checked_add(additional_bytes).expect("a buffer fits in memory");
        if wanted > self.capacity_bytes() {
            self.reserve_exact(wanted.max(self.capacity_bytes() * 2));
        }
    }

    /// Makes room for `capacity_bytes` in all, and not more than the rounding to 16 asks for.
    pub fn reserve_exact(&mut self, capacity_bytes: usize) {
        let blocks = capacity_bytes.div_ceil(ALIGN_BYTES);
        if blocks > self.blocks.len() {
            self.blocks.reserve_exact(blocks - self.blocks.len());
            self.blocks.resize(blocks, Block([0; ALIGN_BYTES]));
        }
    }

    /// Moves the bytes from `start` on to the front and forgets the ones before.
    pub(crate) fn drop_front(&mut self, start: usize) {
        let len = self.len;
        self.as_mut_slice().copy_within(start..len, 0);
        self.len = len - start;
    }

    fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity_bytes(), "bytes lie within initialised blocks");
        self.len = len;
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, capacity) = (self.len, self.capacity_bytes());
        write!(formatter, "AlignedBytes({len} of {capacity} bytes)")
    }
}

impl io::Write for AlignedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_stays_aligned_while_the_buffer_grows() {
        let mut bytes = AlignedBytes::new();
        for round in 0..2_000_usize {
            bytes.extend_from_slice(&[u8::try_from(round % 251).unwrap(); 7]);
            assert_eq!(bytes.as_slice().as_ptr().addr() % ALIGN_BYTES, 0);
        }
        assert_eq!(bytes.len(), 14_000);
        for (at, &byte) in bytes.as_slice().iter().enumerate() {
            assert_eq!(usize::from(byte), (at / 7) % 251);
        }
    }

    #[test]
    fn padding_ends_on_a_border_with_zeros() {
        let mut bytes = AlignedBytes::new();
        bytes.extend_from_slice(&[0xff; 32]);
        bytes.clear();
        bytes.extend_from_slice(&[1; 17]);
        bytes.pad_to_alignment();
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes.as_slice()[17..], [0; 15]);
        bytes.pad_to_alignment();
        assert_eq!(bytes.len(), 32);
    }

    #[test]
    fn clearing_keeps_the_memory() {
        let mut bytes = AlignedBytes::with_capacity(1000);
        let before = bytes.capacity_bytes();
        bytes.extend_from_slice(&[1; 1000]);
        bytes.clear();
        assert_eq!((bytes.len(), bytes.capacity_bytes()), (0, before));
    }

    #[test]
    fn dropping_the_front_keeps_the_rest() {
        let mut bytes = AlignedBytes::new();
        bytes.extend_from_slice(b"consumed frame, kept");
        bytes.drop_front(16);
        assert_eq!(bytes.as_slice(), b"kept");
    }
}
