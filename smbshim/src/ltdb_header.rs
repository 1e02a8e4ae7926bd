//! The header in front of every record value of a clustered database (client protocol §5.1).

use crate::fields::{Fields, FixedLayout, Layout, LayoutFault, structure};
use alloc::vec::Vec;
use bateria_wire::{Pnn, Rsn};
use bitflags::bitflags;

structure! {
    /// Who owns the record according to this copy, and which version it is. Native byte order: smbd
    /// on the same host reads and writes it in the shared file. A value of exactly these 24 bytes
    /// is an empty record, a tombstone.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct LtdbHeader [24 bytes] {
        0 => rsn: Rsn,
        8 => dmaster: Pnn,
        12 => reserved: u32,
        16 => flags: RecordFlags,
        /// May be garbage; clients copy headers back, so it is kept (pitfall 32).
        20 => padding: u32,
    }
}

bitflags! {
    /// State of a record's copy. Unknown bits are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RecordFlags: u32 {
        /// Last stored durably (Samba 4.25 §2.1). Samba's own: the daemon only carries it.
        const PERSISTENT = 0x1;
        /// A durable store is under way; the value starts with its storer's server id.
        const PERSISTENT_IN_PROGRESS = 0x2;
        /// The record carried data when it moved: its LMASTER has a say in its deletion.
        const MIGRATED_WITH_DATA = 0x0001_0000;
        /// Only while it moves.
        const VACUUM_MIGRATED = 0x0002_0000;
        /// Made by a lookup, never stored by a client.
        const AUTOMATIC = 0x0004_0000;
        /// On the owner: read-only copies exist elsewhere.
        const RO_HAVE_DELEGATIONS = 0x0100_0000;
        /// This copy may be read.
        const RO_HAVE_READONLY = 0x0200_0000;
        /// On the owner: the copies are being called back.
        const RO_REVOKING = 0x0400_0000;
        const RO_REVOKE_COMPLETE = 0x0800_0000;
        /// Everything about read-only copies.
        const RO = 0x0F00_0000;
    }
}

impl LtdbHeader {
    /// The header of a new version, as clients of persistent databases make it.
    #[must_use]
    pub fn new(rsn: Rsn, dmaster: Pnn) -> Self {
        Self { rsn, dmaster, ..Self::default() }
    }

    /// Splits a record's stored bytes into header and value.
    ///
    /// # Errors
    /// Shorter than a header: no record of a clustered database.
    pub fn split(stored: &[u8]) -> Result<(Self, &[u8]), LayoutFault> {
        let mut fields = Fields::new(stored);
        Ok((fields.read()?, fields.rest()))
    }

    /// Whether a client on `local` that holds the chain lock may change the record (§7.1).
    #[must_use]
    pub fn is_writable_on(&self, local: Pnn) -> bool {
        self.dmaster == local && !self.flags.contains(RecordFlags::RO_HAVE_DELEGATIONS)
    }

    /// Whether a client on `local` that holds the chain lock may read the record (§7.1).
    #[must_use]
    pub fn is_readable_on(&self, local: Pnn) -> bool {
        self.dmaster == local || self.flags.contains(RecordFlags::RO_HAVE_READONLY)
    }
}

impl Layout<'_> for RecordFlags {
    fn encode(&self, out: &mut Vec<u8>) {
        self.bits().encode(out);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        fields.read().map(Self::from_bits_retain)
    }
}

impl FixedLayout for RecordFlags {
    const SIZE_BYTES: usize = size_of::<u32>();
}

pub const LTDB_HEADER_SIZE_BYTES: usize = LtdbHeader::SIZE_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_flags_and_padding_are_kept() {
        let stored: Vec<u8> = (0..26).collect();
        let (header, value) = LtdbHeader::split(&stored).unwrap();
        assert_eq!(header.to_bytes(), stored[..24]);
        assert_eq!(value, [24, 25]);
    }

    #[test]
    fn delegations_make_the_owner_a_reader() {
        let mut header = LtdbHeader::new(Rsn(1), Pnn(2));
        assert!(header.is_writable_on(Pnn(2)) && !header.is_readable_on(Pnn(1)));
        header.flags |= RecordFlags::RO_HAVE_DELEGATIONS;
        assert!(!header.is_writable_on(Pnn(2)) && header.is_readable_on(Pnn(2)));
        header.flags = RecordFlags::RO_HAVE_READONLY;
        assert!(header.is_readable_on(Pnn(1)) && !header.is_writable_on(Pnn(1)));
    }

    #[test]
    fn fewer_bytes_than_a_header_are_no_record() {
        assert!(LtdbHeader::split(&[0; 23]).is_err());
        assert_eq!(LtdbHeader::split(&[0; 24]), Ok((LtdbHeader::default(), &[][..])));
    }
}
