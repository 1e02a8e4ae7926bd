//! Databases (client protocol §4.3).

use crate::fields::{Fields, Layout, LayoutFault, put_len, structure};
use crate::ltdb_header::LtdbHeader;
use alloc::vec::Vec;
use bateria_wire::limits::DB_NAME_SIZE_BYTES_MAX;
use bateria_wire::{DbId, DbKind, Pnn, Srvid};
use bitflags::bitflags;

structure! {
    /// An attached database.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Database [8 bytes] {
        0 => db_id: DbId,
        4 => flags: DbFlags,
    }
}

/// Answer to GET_DBMAP, the most recently attached first.
pub type DbMap = Vec<Database>;

bitflags! {
    /// Kind and run-time properties of a database.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct DbFlags: u8 {
        const PERSISTENT = 0x1;
        const READONLY = 0x2;
        const STICKY = 0x4;
        const REPLICATED = 0x8;
    }
}

structure! {
    /// Payload of WIPE_DATABASE and of DB_TRANSACTION_START and COMMIT.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TransactionId [8 bytes] {
        0 => db_id: DbId,
        /// The generation for which the transaction runs.
        4 => tid: u32,
    }
}

structure! {
    /// Payload of DB_PUSH_START: records for the database will come as messages to `srvid`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PushStart [16 bytes] {
        0 => db_id: DbId,
        4 => lmaster: Pnn,
        8 => srvid: Srvid,
    }
}

/// Payload of SCHEDULE_FOR_DELETION: a hint that the record is a tombstone.
///
/// ```text
/// offset  size    field
///      0     4    db_id
///      4     4    padding   0
///      8    24    header    `LtdbHeader`
///     32     4    keylen
///     36  keylen  key
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledDeletion<'a> {
    pub db_id: DbId,
    pub header: LtdbHeader,
    pub key: &'a [u8],
}

impl DbFlags {
    #[must_use]
    pub fn kind(self) -> DbKind {
        DbKind::from_flags(self.bits())
    }
}

impl From<DbKind> for DbFlags {
    fn from(kind: DbKind) -> Self {
        Self::from_bits_retain(kind.flag())
    }
}

impl Layout<'_> for DbFlags {
    fn encode(&self, out: &mut Vec<u8>) {
        self.bits().encode(out);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        fields.read().map(Self::from_bits_retain)
    }
}

impl crate::fields::FixedLayout for DbFlags {
    const SIZE_BYTES: usize = 1;
}

impl<'a> Layout<'a> for ScheduledDeletion<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        [self.db_id.0, 0].encode(out);
        self.header.encode(out);
        put_len(out, self.key.len());
        out.extend_from_slice(self.key);
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, LayoutFault> {
        let (db_id, _padding): (DbId, u32) = (fields.read()?, fields.read()?);
        let (header, keylen) = (fields.read()?, fields.read()?);
        Ok(Self { db_id, header, key: fields.take_u32(keylen)? })
    }
}

/// The name in a DB_ATTACH payload. It becomes a file's name, so it may not leave its directory
/// (client protocol §6.4); control characters and a missing NUL are refused too.
///
/// # Errors
/// The name is no name for a database.
pub fn db_name(payload: &[u8]) -> Result<&str, LayoutFault> {
    let name = crate::fields::text_of(payload)?;
    let fits = (1..DB_NAME_SIZE_BYTES_MAX as usize).contains(&name.len());
    if !fits || name.contains('/') || name.contains("..") || name.contains(char::is_control) {
        return Err(LayoutFault::DbName);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn names_that_leave_their_directory_are_refused() {
        assert_eq!(db_name(b"locking.tdb\0"), Ok("locking.tdb"));
        for name in ["", "a/b", "..", "../x", "a\nb"] {
            let payload = [name.as_bytes(), b"\0"].concat();
            assert_eq!(db_name(&payload), Err(LayoutFault::DbName), "{name:?}");
        }
        assert_eq!(db_name(b"locking.tdb"), Err(LayoutFault::NotTerminated));
    }

    #[test]
    fn the_limit_of_a_name_counts_its_nul() {
        let longest = String::from_utf8(alloc::vec![b'x'; 255]).unwrap();
        assert!(db_name(&[longest.as_bytes(), b"\0"].concat()).is_ok());
        assert!(db_name(&[longest.as_bytes(), b"x\0"].concat()).is_err());
    }
}
