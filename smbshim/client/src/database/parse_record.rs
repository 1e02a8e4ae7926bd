//! Reading a record without owning it (client protocol §9.6, Samba 4.25 §1.2).

use super::Database;
use crate::connection::{Connection, Release};
use crate::fault::ClientFault;
use bateria_smbshim::{CallFlags, CallId, LTDB_HEADER_SIZE_BYTES};
use bateria_wire::DbKind;

impl Database {
    /// A record's value, or `None` when the record does not exist. What the node may read it reads
    /// from its file; otherwise the daemon is asked.
    ///
    /// # Errors
    /// The file is damaged, the connection is gone, or the daemon answers with an error.
    pub fn parse_record(
        &mut self,
        connection: &mut Connection,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, ClientFault> {
        let header = self.look_at(key)?;
        if header.is_some_and(|header| self.may_read(&header)) {
            return Ok(value_in(&self.stored));
        }
        if self.kind != DbKind::Volatile {
            return Ok(None);
        }
        // A copy that was here before shows that the node reads the record more than once.
        let flags = header.map_or(CallFlags::empty(), |_| CallFlags::WANT_READONLY);
        match self.release {
            Release::Samba417 => {
                let reply = connection.call(self.db_id, CallId::FETCH, flags, key)?;
                Ok(Some(reply.data).filter(|value| !value.is_empty()))
            }
            Release::Samba425 => {
                let (_, value) = connection.fetch_with_header(self.db_id, flags, key)?;
                Ok(Some(value).filter(|value| !value.is_empty()))
            }
        }
    }

    fn may_read(&self, header: &bateria_smbshim::LtdbHeader) -> bool {
        self.kind != DbKind::Volatile || header.is_readable_on(self.pnn)
    }
}

/// The value in stored bytes that have a header; a header alone is a deleted record.
fn value_in(stored: &[u8]) -> Option<Vec<u8>> {
    match &stored[LTDB_HEADER_SIZE_BYTES..] {
        [] => None,
        value => Some(value.to_vec()),
    }
}
