//! Fields: how bytes of the socket protocol become values and back, with every length checked.
//!
//! Samba does not align its packets (client protocol §1.2), so everything is copied out of byte
//! slices. Integers are in host order: both ends run on the same host.

mod list;
mod scalar;
mod structure;

pub use list::decode_items;
pub(crate) use structure::{assert_layout, structure};

use alloc::vec::Vec;

/// Bytes that do not have the layout they should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutFault {
    #[error("{need_bytes} bytes needed, {have_bytes} left")]
    TooShort { need_bytes: usize, have_bytes: usize },
    #[error("{extra_bytes} bytes behind the end")]
    TooLong { extra_bytes: usize },
    #[error("text lacks its final NUL")]
    NotTerminated,
    #[error("text is not UTF-8 or holds a NUL")]
    NotText,
    #[error("address family {0} is neither IPv4 nor IPv6")]
    AddressFamily(u16),
    #[error("record says {got_bytes} bytes, its key and data make {want_bytes}")]
    RecordLength { got_bytes: u32, want_bytes: u64 },
    #[error("database name is empty, too long or leaves its directory")]
    DbName,
}

/// Something with a place in a packet.
pub trait Layout<'a>: Sized {
    /// Appends the bytes to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads the value from the front of `fields`.
    ///
    /// # Errors
    /// The bytes do not have this layout.
    fn decode(fields: &mut Fields<'a>) -> Result<Self, LayoutFault>;

    /// Reads the value from exactly these bytes, as requests are checked (client protocol §3.1).
    ///
    /// # Errors
    /// The bytes do not have this layout, or some are left over.
    fn from_bytes(bytes: &'a [u8]) -> Result<Self, LayoutFault> {
        let mut fields = Fields::new(bytes);
        let value = Self::decode(&mut fields)?;
        fields.finish()?;
        Ok(value)
    }

    /// The value's bytes in a buffer of their own.
    #[must_use]
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// A layout that always takes the same number of bytes.
pub trait FixedLayout: for<'a> Layout<'a> {
    const SIZE_BYTES: usize;
}

/// Reads fields from the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Fields<'a> {
    #[must_use]
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    #[must_use]
    pub fn left_bytes(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], LayoutFault> {
        let left = &self.bytes[self.position..];
        let taken = left
            .get(..count)
            .ok_or(LayoutFault::TooShort { need_bytes: count, have_bytes: left.len() })?;
        self.position += count;
        Ok(taken)
    }

    /// The next `count` bytes where the count came from a length field.
    ///
    /// # Errors
    /// Fewer are left.
    #[inline]
    pub fn take_u32(&mut self, count: u32) -> Result<&'a [u8], LayoutFault> {
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// The next `SIZE` bytes as an array.
    ///
    /// # Errors
    /// Fewer are left.
    #[inline]
    pub fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], LayoutFault> {
        let mut array = [0; SIZE];
        array.copy_from_slice(self.take(SIZE)?);
        Ok(array)
    }

    /// The next value of any layout.
    ///
    /// # Errors
    /// The bytes do not have the layout.
    #[inline]
    pub fn read<T: Layout<'a>>(&mut self) -> Result<T, LayoutFault> {
        T::decode(self)
    }

    /// Goes forward to a position that is not behind the current one.
    ///
    /// # Errors
    /// The bytes end before it.
    pub fn skip_to(&mut self, position: usize) -> Result<(), LayoutFault> {
        assert!(position >= self.position, "fields are read from front to back");
        self.take(position - self.position).map(|_| ())
    }

    /// Everything that is left.
    #[must_use]
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.position..];
        self.position = self.bytes.len();
        rest
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// Bytes are left over.
    #[inline]
    pub fn finish(&self) -> Result<(), LayoutFault> {
        match self.left_bytes() {
            0 => Ok(()),
            extra_bytes => Err(LayoutFault::TooLong { extra_bytes }),
        }
    }
}

/// Appends a length field; what we encode always fits one.
pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("what we send stays below 4 GiB");
    len.encode(out);
}

/// Appends text and its NUL.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// The text of a "string+NUL" field of known length.
///
/// # Errors
/// No NUL at the end, one before it, or not UTF-8.
pub(crate) fn text_of(bytes: &[u8]) -> Result<&str, LayoutFault> {
    let (0, text) = bytes.split_last().ok_or(LayoutFault::NotTerminated)? else {
        return Err(LayoutFault::NotTerminated);
    };
    if text.contains(&0) {
        return Err(LayoutFault::NotText);
    }
    core::str::from_utf8(text).map_err(|_| LayoutFault::NotText)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_bytes_is_a_fault_and_reads_nothing() {
        let mut fields = Fields::new(&[1, 2, 3]);
        let fault = LayoutFault::TooShort { need_bytes: 0xFFFF_FFFF, have_bytes: 3 };
        assert_eq!(fields.take_u32(u32::MAX), Err(fault));
        assert_eq!(fields.left_bytes(), 3);
    }

    #[test]
    fn integers_are_read_at_any_alignment() {
        let mut fields = Fields::new(&[9, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(fields.read(), Ok(9_u8));
        assert_eq!(fields.read(), Ok(1_u32));
        assert_eq!(fields.read(), Ok(2_u64));
        assert_eq!(fields.finish(), Ok(()));
    }

    #[test]
    fn text_ends_with_its_only_nul() {
        assert_eq!(text_of(b"ab\0"), Ok("ab"));
        assert_eq!(text_of(b"\0"), Ok(""));
        assert_eq!(text_of(b"ab"), Err(LayoutFault::NotTerminated));
        assert_eq!(text_of(b""), Err(LayoutFault::NotTerminated));
        assert_eq!(text_of(b"a\0b\0"), Err(LayoutFault::NotText));
        assert_eq!(text_of(b"\xff\0"), Err(LayoutFault::NotText));
    }
}
