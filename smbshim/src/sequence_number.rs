//! The sequence number of a persistent database, kept in a record of its own (client protocol
//! §4.3, §7.6).

use crate::fields::{Layout, LayoutFault};
use crate::ltdb_header::LtdbHeader;

/// Key of the record, with its NUL.
pub const SEQUENCE_NUMBER_KEY: &[u8; 23] = b"__db_sequence_number__\0";

/// The number in the record's stored bytes: header and u64. A tombstone counts as 0, as a missing
/// record does.
///
/// # Errors
/// The bytes are neither.
pub fn sequence_number(stored: &[u8]) -> Result<u64, LayoutFault> {
    match LtdbHeader::split(stored)?.1 {
        [] => Ok(0),
        value => u64::from_bytes(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_number_follows_the_header() {
        let mut stored: Vec<u8> = alloc::vec![0; 24];
        assert_eq!(sequence_number(&stored), Ok(0));
        stored.extend_from_slice(&5_u64.to_ne_bytes());
        assert_eq!(sequence_number(&stored), Ok(5));
        assert!(sequence_number(&stored[..31]).is_err());
    }
}
