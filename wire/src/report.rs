//! Entries of a report: which copy of which record its sender holds.
//!
//! ```text
//! offset  size  field
//!      0     8  rsn
//!      8     4  key_len
//!     12     1  flags    `CopyFlags`
//!     13     -  key
//! ```
//! Entries follow each other without padding; numbers are little-endian.

use crate::Rsn;
use alloc::vec::Vec;
use bitflags::bitflags;

bitflags! {
    /// What the sender's copy is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CopyFlags: u8 {
        /// The sender is the DMASTER.
        const OWNER = 0x1;
        /// Header only.
        const TOMBSTONE = 0x2;
    }
}

/// One copy of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub rsn: Rsn,
    pub flags: CopyFlags,
    pub key: &'a [u8],
}

const FIXED_SIZE_BYTES: usize = 13;

impl Entry<'_> {
    /// Appends the entry.
    ///
    /// # Panics
    /// When the key exceeds `KEY_SIZE_BYTES_MAX`; no such key enters a database.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let key_len = u32::try_from(self.key.len()).expect("keys keep their limit");
        out.extend_from_slice(&self.rsn.0.to_le_bytes());
        out.extend_from_slice(&key_len.to_le_bytes());
        out.push(self.flags.bits());
        out.extend_from_slice(self.key);
    }
}

/// Iterates over the entries in `bytes`; an entry that does not fit yields `None` inside `Some`
/// once and ends the walk.
#[must_use]
pub fn entries(bytes: &[u8]) -> Entries<'_> {
    Entries { rest: bytes }
}

pub struct Entries<'a> {
    rest: &'a [u8],
}

/// The rest of a report is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.split_entry();
        if entry.is_none() {
            self.rest = &[];
        }
        Some(entry.ok_or(Malformed))
    }
}

impl<'a> Entries<'a> {
    fn split_entry(&mut self) -> Option<Entry<'a>> {
        let (fixed, rest) = self.rest.split_first_chunk::<FIXED_SIZE_BYTES>()?;
        let (rsn, tail) = fixed.split_first_chunk::<8>()?;
        let (key_len, flags) = tail.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
        self.rest = rest;
        let flags = CopyFlags::from_bits(flags[0])?;
        Some(Entry { rsn: Rsn(u64::from_le_bytes(*rsn)), flags, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order() {
        let written = [
            Entry { rsn: Rsn(3), flags: CopyFlags::OWNER, key: b"a" },
            Entry { rsn: Rsn(9), flags: CopyFlags::empty(), key: b"" },
        ];
        let mut bytes = Vec::new();
        written.iter().for_each(|entry| entry.encode(&mut bytes));
        let read: Vec<_> = entries(&bytes).map(Result::unwrap).collect();
        assert_eq!(read, written);
    }

    #[test]
    fn a_truncated_entry_is_malformed_and_ends_the_walk() {
        let mut bytes = Vec::new();
        Entry { rsn: Rsn(3), flags: CopyFlags::OWNER, key: b"key" }.encode(&mut bytes);
        for len in 1..bytes.len() {
            let read: Vec<_> = entries(&bytes[..len]).collect();
            assert_eq!(read, [Err(Malformed)]);
        }
    }
}
