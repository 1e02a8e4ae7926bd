//! Records as they travel in a walk.
//!
//! ```text
//! offset  size  field
//!      0     4  length    of the whole entry: 16 + keylen + datalen
//!      4     4  reqid     zero between nodes, the client's own towards the client
//!      8     4  keylen
//!     12     4  datalen   with the record's 24-byte header
//!     16     -  key, data
//! ```
//! Entries follow each other without padding; numbers are in the nodes' byte order (client protocol
//! §5.2).

use alloc::vec::Vec;
use bateria_wire::frame::FrameFault;

/// Size of the fixed part; an entry of this size is the end marker of a walk.
pub const FIXED_SIZE_BYTES: usize = 16;
/// A client gives up when a record's data is shorter than its header (database semantics §7.3).
const DATA_SIZE_BYTES_MIN: usize = 24;

/// Checks that `bytes` consists of records and nothing else.
///
/// # Errors
/// The first entry that does not fit.
pub fn check(bytes: &[u8]) -> Result<(), FrameFault> {
    let mut rest = bytes;
    while !rest.is_empty() {
        (_, rest) = split_first(rest).ok_or(FrameFault::Meaning { rule: "rec_data is sound" })?;
    }
    Ok(())
}

/// The entries of checked bytes.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let (first, tail) = split_first(rest)?;
        rest = tail;
        Some(first)
    })
}

/// Makes a client's record of an entry: the same with the client's reqid.
pub fn address(entry: &[u8], reqid: u32, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(entry);
    out[4..8].copy_from_slice(&reqid.to_ne_bytes());
}

fn split_first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let number = |offset: usize| {
        let bytes = bytes.get(offset..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_ne_bytes(*bytes)).ok()
    };
    let (length, key_len, data_len) = (number(0)?, number(8)?, number(12)?);
    let expected = FIXED_SIZE_BYTES.checked_add(key_len)?.checked_add(data_len)?;
    if length != expected || data_len < DATA_SIZE_BYTES_MIN {
        return None;
    }
    bytes.split_at_checked(length)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::traverse) fn entry(key: &[u8], body: &[u8]) -> Vec<u8> {
        let data_len = DATA_SIZE_BYTES_MIN + body.len();
        let mut bytes = Vec::new();
        for number in [FIXED_SIZE_BYTES + key.len() + data_len, 0, key.len(), data_len] {
            bytes.extend_from_slice(&u32::try_from(number).unwrap().to_ne_bytes());
        }
        bytes.extend_from_slice(key);
        bytes.resize(bytes.len() + DATA_SIZE_BYTES_MIN, 0);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn entries_are_taken_apart() {
        let (first, second) = (entry(b"k", b"body"), entry(b"", b""));
        let both = [first.clone(), second.clone()].concat();
        assert_eq!(check(&both), Ok(()));
        assert_eq!(entries(&both).collect::<Vec<_>>(), [&first[..], &second[..]]);
    }

    #[test]
    fn every_truncation_and_every_wrong_length_is_found() {
        let bytes = entry(b"key", b"body");
        for len in 1..bytes.len() {
            assert!(check(&bytes[..len]).is_err(), "{len} bytes");
        }
        for offset in [0, 8, 12] {
            let mut wrong = bytes.clone();
            wrong[offset + 3] = 0xFF;
            assert!(check(&wrong).is_err(), "field at {offset}");
        }
    }

    #[test]
    fn an_end_marker_is_no_record() {
        let mut marker = [0; FIXED_SIZE_BYTES];
        marker[0] = 16;
        assert!(check(&marker).is_err());
    }
}
